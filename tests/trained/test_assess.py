"""The error of a trained network: a run's own exactly, of a file the same, of any module on any images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import resnet_bench as rb
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import digits
from resnet_bench.data.on_device import DeviceData
from resnet_bench.executors.local import sweep
from resnet_bench.results.tables import CONFUSION, read_csv
from resnet_bench.study.folder import RunFolder, StudyFolder
from resnet_bench.study.plan import DataShape, Plan
from resnet_bench.study.session import Session
from resnet_bench.trained.runs import find_weights
from resnet_bench.trained.weight_files import to_safetensors
from resnet_bench.training.state import TrainState
from tests.conftest import CPU

DATA = digits()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a few steps on digits."""
    study = StudyFolder(tmp_path_factory.mktemp("results") / "tiny")
    config = RunConfig(
        protocol="test/1", dataset="digits", arch="residual", depth=8, shortcut="a", seed=3, steps=12, batch_size=32,
        lr=0.05, row_every=12, augmentation="none",
    )  # fmt: skip
    plan = Plan([config], {}, DataShape(DATA.image_shape, len(DATA.train_labels), len(DATA.test_labels)))
    sweep(Session.open(study, DATA, CPU), plan, quiet=True)
    return study.run(config.run_id)


def test_a_run_has_the_error_that_is_recorded(trained: RunFolder) -> None:
    row, found = trained.read_result(), rb.evaluate(trained.path)
    assert row is not None and row.final_test_top1_err == found.top1_err
    assert found.loss == read_losses(trained)[-1] and found.images == 360 == found.confusion.sum()
    recorded = {(c.true_class, c.predicted_class): c.images for c in read_csv(trained.table(CONFUSION), CONFUSION)}
    for (true, predicted), count in np.ndenumerate(found.confusion):
        assert recorded.get((found.classes[true], found.classes[predicted]), 0) == count
    assert found.top1_err == 100 * (1 - found.confusion.trace() / 360)


def read_losses(folder: RunFolder) -> list[float]:
    from resnet_bench.results.tables import CURVES

    return [row.test_loss for row in read_csv(folder.table(CURVES), CURVES)]


def test_a_run_on_a_part_of_its_data_finds_that_again(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path / "small")
    config = RunConfig(
        protocol="test/1", dataset="digits", arch="plain", depth=8, shortcut="none", seed=0, steps=2, batch_size=16,
        augmentation="none", image_side=4, images_per_class=9,
    )  # fmt: skip
    sweep(Session.open(study, DATA, CPU), Plan([config], {}, DataShape.of_data(DATA)), quiet=True)
    folder = study.run(config.run_id)
    row = folder.read_result()
    assert row is not None and row.final_test_top1_err == rb.evaluate(folder.path).top1_err
    (tmp_path / "net.safetensors").write_bytes(to_safetensors(find_weights(str(folder.path))))
    assert rb.evaluate(tmp_path / "net.safetensors").top1_err == row.final_test_top1_err


def test_a_file_a_module_and_arrays_give_the_same(trained: RunFolder, tmp_path: Path) -> None:
    weights, expected = find_weights(str(trained.path)), rb.evaluate(trained.path)
    assert weights.inputs is not None
    (tmp_path / "net.safetensors").write_bytes(to_safetensors(weights))
    model, arrays = weights.build().train(), (DATA.test_images, DATA.test_labels)
    for found in (
        rb.evaluate(tmp_path / "net.safetensors"),
        rb.evaluate(trained.path, arrays),
        rb.evaluate(model, "digits"),
        rb.evaluate(model, arrays, mean=weights.inputs.mean.numpy()),
    ):
        assert (found.top1_err, found.loss) == (expected.top1_err, expected.loss)
        assert (found.confusion == expected.confusion).all()
    assert model.training


def test_pixels_are_normalised_as_it_is_said() -> None:
    seen: list[torch.Tensor] = []

    class Net(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.mean(dim=(2, 3))  # a logit for each channel

    images = np.full((2, 3, 8, 8), 51, dtype=np.uint8)  # 0.2
    found = rb.evaluate(Net(), (images, [0, 2]), mean=(0.0, 0.1, 0.2), std=0.5)
    assert torch.allclose(seen[-1][0].mean(dim=(1, 2)), torch.tensor([0.4, 0.2, 0.0]), atol=1e-6)
    assert found.top1_err == 50 and found.classes == ("0", "1", "2") and found.confusion[2].tolist() == [1, 0, 0]


def test_torch_is_left_as_it_was(trained: RunFolder) -> None:
    def settings() -> tuple[object, ...]:
        denormals = (torch.full((), 1e-40) * 1).item() != 0
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), denormals

    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)
    try:
        before = settings()
        rb.evaluate(trained.path)
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(True)
        torch.set_flush_denormal(True)


def test_what_does_not_fit_is_said(trained: RunFolder, tmp_path: Path) -> None:
    arrays = DATA.test_images, DATA.test_labels
    model = rb.build_model("plain", 8)
    for call, said in (
        (lambda: rb.evaluate(tmp_path), "no finished run"),
        (lambda: rb.evaluate(trained.path, "synthetic:3x9x9"), "images of 3x9x9.*the network takes 3x8x8"),
        (lambda: rb.evaluate(trained.path, mean=0.5), "mean= and std= are for modules"),
        (lambda: rb.evaluate(trained.path, (DATA.test_images, DATA.test_labels + 10)), "there are 10 classes"),
        (lambda: rb.evaluate(trained.path, (DATA.test_images / 255, DATA.test_labels)), "images are float64"),
        (lambda: rb.evaluate(model), "does not say what images it is for"),
        (lambda: rb.evaluate(model, arrays), "how are pixels normalised"),
        (lambda: rb.evaluate(model, arrays, mean=(0.1, 0.2)), r"mean= is \[2\]"),
        (lambda: rb.evaluate(rb.build_model("plain", 8, num_classes=4), "digits"), "makes 4 logits.* 10 classes"),
    ):
        with pytest.raises(rb.UsageError, match=said):
            call()


def test_data_that_changed_are_noticed(trained: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dataclasses.replace(DATA, test_images=255 - DATA.test_images)
    monkeypatch.setattr("resnet_bench.data.builtin.digits", lambda: changed)
    with pytest.raises(rb.UsageError, match="trained on another digits"):
        rb.evaluate(trained.path)
    assert rb.evaluate(trained.path, "digits").images == 360  # asked for


@pytest.mark.parametrize(("arch", "shortcut"), [("plain", "none"), ("residual", "a"), ("residual", "c")])
def test_a_network_is_built_as_a_run_begins(arch: str, shortcut: str) -> None:
    config = RunConfig(protocol="t/1", dataset="digits", arch=arch, depth=8, shortcut=shortcut, seed=5, steps=1)
    state = TrainState.initial(config, DeviceData.of(DATA, CPU), "")
    ours = rb.build_model(arch, 8, None if shortcut in ("none", "a") else shortcut, seed=5).state_dict()
    assert ours.keys() == state.model.state_dict().keys()
    assert all(torch.equal(value, ours[name]) for name, value in state.model.state_dict().items())
