"""Surgery: the constructed net is the shallow one, logit by logit; lesions leave what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.errors import UsageError
from resnet_bench.models import CifarNet, build_model
from resnet_bench.models.surgery import calibrate, deepen, without_block
from resnet_bench.report import render
from resnet_bench.results.tables import CONSTRUCTION, CONTINUATION, LESIONS, read_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from resnet_bench.trained.surgery import TrainedStudy, operate
from tests.study.test_study import do

CPU = torch.device("cpu")


def net(depth: int, arch: str = "plain", seed: int = 0) -> CifarNet:
    luck = torch.Generator().manual_seed(seed)
    return build_model(arch, depth, "none" if arch == "plain" else "a", generator=luck)


def lived_in(depth: int) -> CifarNet:
    """A net whose BN has seen images and whose weights are not those of the start."""
    model = net(depth).train()
    for number in range(5):
        model(images(number))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def images(seed: int, count: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shallow", "deep"), [(8, 14), (20, 56), (20, 20)])
def test_the_constructed_net_is_the_shallow_one_in_every_logit(shallow: int, deep: int) -> None:
    small, large = lived_in(shallow), net(deep, seed=7)
    inserted = deepen(small, large)
    assert len(inserted) == (deep - shallow) // 2
    with torch.no_grad():
        expected, found = small(images(9)), large.eval()(images(9))
    assert expected.abs().max() > 0.1
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_calibration_keeps_the_function_and_brings_train_mode_near_it() -> None:
    small, large = lived_in(8), net(26, seed=7)
    inserted = deepen(small, large)
    calibrate(large, inserted, [images(number) for number in range(4)])
    expected = small(images(9)).detach()
    assert torch.allclose(large.eval()(images(9)), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    # What enters the first inserted block leaves it nearly unchanged, also with a batch's own statistics.
    seen: list[torch.Tensor] = []
    block = inserted[0][1]
    block.register_forward_hook(lambda module, inputs, output: seen.extend([inputs[0], output]))
    large(images(0))
    before, after = seen
    block.train()
    assert F.mse_loss(block(before), before) < 0.05 * before.var()
    assert torch.allclose(after, before, atol=1e-4 * float(before.detach().abs().max()))


def test_blocks_are_taken_out() -> None:
    model = net(14, "residual").eval()
    assert [(stage, number) for stage, number, _ in model.blocks()] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    lesioned = without_block(model, 0, 1)
    assert lesioned is not None
    stem = F.relu(model.stem_bn(model.stem(images(0))))
    features = model.stages[0][0](stem)
    for stage in (1, 2):
        features = model.stages[stage](features)
    expected = model.head(model.pool(features).flatten(1))  # the block's input is after a ReLU already
    assert torch.allclose(lesioned.eval()(images(0)), expected)
    assert torch.equal(model(images(0)), net(14, "residual").eval()(images(0)))  # the net is unharmed


def test_what_changes_shapes_can_be_taken_out_of_residual_nets_only() -> None:
    plain, residual = net(14), net(14, "residual")
    assert [without_block(plain, stage, 0) is None for stage in range(3)] == [False, True, True]
    for stage in range(3):
        lesioned = without_block(residual, stage, 0)
        assert lesioned is not None and lesioned.eval()(images(0)).shape == (32, 10)


@pytest.fixture
def trained(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> StudyFolder:
    runs = [
        dataclasses.replace(small_run, arch=arch, shortcut=shortcut, depth=depth, seed=seed)
        for arch, shortcut in (("plain", "none"), ("residual", "a"))
        for depth in (8, 14)
        for seed in (0, 1)
    ]
    do(tmp_path / "study", small_data, runs)
    return StudyFolder(tmp_path / "study")


def test_operations_on_a_study(trained: StudyFolder, small_data: Dataset) -> None:
    said: list[str] = []
    nets = TrainedStudy(trained, DeviceData.of(small_data, CPU), small_data.digest)
    operate(nets, 8, 14, None, said.append)
    constructions = read_csv(trained.path / CONSTRUCTION.file, CONSTRUCTION)
    assert [(row.seed, row.shallow_depth, row.deep_depth) for row in constructions] == [(0, 8, 14), (1, 8, 14)]
    for row in constructions:
        assert row.different_predictions == 0 and row.max_logit_difference < 1e-4 * row.max_logit
        assert row.constructed_test_top1_err == row.shallow_test_top1_err
    way = read_csv(trained.path / CONTINUATION.file, CONTINUATION)
    assert [row.step for row in way] == [0, 4, 8, 12] * 2
    lesions = read_csv(trained.path / LESIONS.file, LESIONS)
    assert len(lesions) == 2 * (4 + 6)  # plain: two of six blocks change shapes
    assert not verify(trained)
    assert len(said) == 2 + 2 * 3 + 4  # a line per net, and per row of a training
    before = {path.name: path.read_bytes() for path in trained.path.glob("*.csv")}
    operate(nets, 8, 14, None, said.append)  # nothing is done twice
    assert len(said) == 12 and {path.name: path.read_bytes() for path in trained.path.glob("*.csv")} == before
    render(trained.path)
    page = (trained.path / "report.html").read_text()
    assert "of 14 layers that is plain-8 by construction" in page and 'id="figure-lesions"' in page


def test_a_broken_off_operation_goes_on(trained: StudyFolder, small_data: Dataset) -> None:
    nets = TrainedStudy(trained, DeviceData.of(small_data, CPU), small_data.digest)

    def stop(line: str) -> None:
        if line.startswith("[2/2]"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operate(nets, 8, 14, None, stop)
    assert [row.seed for row in read_csv(trained.path / CONSTRUCTION.file, CONSTRUCTION)] == [0]
    said: list[str] = []
    operate(nets, 8, 14, None, said.append)
    assert [row.seed for row in read_csv(trained.path / CONSTRUCTION.file, CONSTRUCTION)] == [0, 1]
    assert said[0] == "[1/1] deepening plain-8 seed 1 to 14 layers"


def test_nets_that_are_not_here_are_named(trained: StudyFolder, small_data: Dataset) -> None:
    nets = TrainedStudy(trained, DeviceData.of(small_data, CPU), small_data.digest)
    with pytest.raises(UsageError, match="no seed has finished plain-20 and plain-56"):
        operate(nets, 20, 56, None, print)
    for folder in trained.run_folders():
        (folder.path / "checkpoint.pt").unlink()
    with pytest.raises(UsageError, match=r"checkpoint.pt: no such file; weights are kept where a run was trained"):
        operate(nets, 8, 14, None, print)
    with pytest.raises(UsageError, match="trained on other data"):
        operate(dataclasses.replace(nets, dataset_digest="0" * 64), 8, 14, None, print)


@pytest.mark.parametrize(
    ("words", "error"),
    [(["--shallow", "56", "--deep", "20"], "is not below"), (["--deep", "57"], "57"), ([], "no run has finished")],
)
def test_bad_input(tmp_path: Path, words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    assert main(["surgery", str(tmp_path), *words]) == 2
    assert error in capsys.readouterr().err
