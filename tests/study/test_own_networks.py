"""A study of networks that a function of the user's builds: trained, broken off, changed, judged, used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnet_bench.analysis.claims import judge_study
from resnet_bench.cli.status import status_table
from resnet_bench.complexity import Complexity
from resnet_bench.config.builders import find_source, source_digest
from resnet_bench.config.run import RunConfig
from resnet_bench.cost.counting import count_layers, read_counts, write_complexity
from resnet_bench.cost.networks import find_networks
from resnet_bench.cost.throughput import Bench, Subject
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.errors import UsageError
from resnet_bench.execution import EAGER
from resnet_bench.executors.local import Outcome, sweep
from resnet_bench.frames import load
from resnet_bench.models.own import try_out
from resnet_bench.report import render
from resnet_bench.results.rows import ClaimRow
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan
from resnet_bench.study.session import Session, shape_of
from resnet_bench.study.sums import write_sums
from resnet_bench.study.verify import verify
from resnet_bench.trained.export import write_features, write_weights
from resnet_bench.trained.runs import weights_of_run
from resnet_bench.trained.transfer import Recipe
from resnet_bench.trained.weight_files import read_weights
from resnet_bench.training import checkpoint
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.loop import fit
from resnet_bench.training.state import Job, TrainState
from tests.conftest import CPU, WriteModule
from tests.owned import NETWORKS


def own_run(builder: str, arch: str = "plain", depth: int = 1, seed: int = 0) -> RunConfig:
    return RunConfig(
        protocol="test/1", dataset="synthetic-3x8x8", family="own", arch=arch, depth=depth,
        shortcut="a" if arch == "residual" else "none", seed=seed, steps=6, batch_size=16, lr=0.05, row_every=3,
        row_train_images=20, builder=builder, builder_digest=source_digest(builder),
    )  # fmt: skip


def do(place: Path, dataset: Dataset, runs: list[RunConfig]) -> Outcome:
    study = StudyFolder(place)
    session = Session.open(study, dataset, CPU)
    return sweep(session, Plan(runs, study.results(), shape_of(dataset, runs)), quiet=True)


@pytest.fixture
def module(write_module: WriteModule) -> Iterator[str]:
    yield write_module(NETWORKS)
    try_out.cache_clear()


def grid(module: str, residual: str = "residual") -> list[RunConfig]:
    builders = {"plain": "plain", "residual": residual}
    return [
        own_run(f"{module}:{builders[arch]}", arch, depth, seed)
        for arch in builders
        for depth in (1, 2)
        for seed in (0, 1)
    ]


def verdicts(study: StudyFolder) -> dict[str, ClaimRow]:
    return {row.claim: row for row in judge_study(load(study.path))}


def test_a_pair_is_trained_judged_and_drawn_like_ours(module: str, tmp_path: Path, small_data: Dataset) -> None:
    runs = [*grid(module), own_run(f"{module}:linear", "linear")]
    outcome = do(tmp_path / "mine", small_data, runs)
    assert outcome.failed == [] and len(outcome.rows) == 9
    study = StudyFolder(tmp_path / "mine")
    plain, twin = (
        next(row for row in outcome.rows if (row.arch, row.depth) == (arch, 2)) for arch in ("plain", "residual")
    )
    assert plain.run_id.startswith("plain-none-d2-s0-") and plain.family == "own"
    assert (plain.params, plain.macs) == (2 * 148 + 2 * 8 + 112 + 20, 64 * (108 + 288) + 16)
    assert (plain.params, plain.init_digest, plain.batches_digest) == (
        twin.params,
        twin.init_digest,
        twin.batches_digest,
    )
    config = (study.run(plain.run_id).config).read_text()
    assert f'"{module}:plain"' in config and '"network_digest"' in config
    assert write_complexity(study, small_data.image_shape, 4) == 5
    assert write_complexity(study, small_data.image_shape, 4) == 0  # what is counted stays
    counts = {network.name: row for network, (row, _) in read_counts(study).items()}
    assert counts["plain-2"].macs == plain.macs == counts["plain-2"].flops_forward // 2
    assert counts["plain-2"].activations == 3 * 4 * 64 + 4
    with pytest.raises(UsageError, match="layers are listed of our networks only"):
        count_layers(find_networks(study, (small_data.image_shape, 4), depths=[1], archs=["plain"])[0])
    bench = Bench.of(small_data.image_shape, 4, CPU, EAGER, batch_size=8)
    networks = find_networks(study, (small_data.image_shape, 4), depths=[2])
    assert [Subject.of(bench, network).network.size() for network in networks] == [
        Complexity(plain.params, plain.macs)
    ] * 2

    find_source(f"{module}:plain").unlink()  # from here on nobody needs it, nor may execute it
    sys.modules.pop(module)
    collect(study)
    render(study.path)
    write_sums(study)
    assert list(verify(study)) == []
    assert "linear-1" in status_table(study) and "plain-2" in status_table(study)
    claims = verdicts(study)
    assert claims["fair"].verdict == "supported" and claims["fair"].n == 2
    assert claims["twins"].n == 2 and claims["gap-grows-train"].n == 2
    assert not any("linear" in row.subject for row in claims.values())
    assert load(study.path).arms == [("plain", "none"), ("residual", "a"), ("linear", "none")]


def test_what_is_no_twin_is_not_judged_as_one(module: str, tmp_path: Path, small_data: Dataset) -> None:
    do(tmp_path / "mine", small_data, grid(module, residual="wider"))
    claims = verdicts(StudyFolder(tmp_path / "mine"))
    for name in ("twins", "gap-grows-train", "gap-grows-test"):
        assert claims[name].verdict == "not measured" and claims[name].p is None
        assert "no twins: they differ in initial weights (plain-1 seed 0); parameters (" in claims[name].evidence
    assert claims["fair"].verdict == "contradicted"
    assert claims["residual-holds-train"].n == 2  # that needs no twin


def test_ours_and_the_users_own_stand_in_one_study(
    module: str, tmp_path: Path, small_data: Dataset, small_run: RunConfig
) -> None:
    mine = own_run(f"{module}:plain", "mynet")
    ours = replace(mine, family="cifar", arch="plain", depth=8, builder="", builder_digest="")
    do(tmp_path / "both", small_data, [ours])
    do(tmp_path / "both", small_data, [mine])
    assert load(tmp_path / "both").arms == [("plain", "none"), ("mynet", "none")]
    with pytest.raises(UsageError, match="is unknown in family cifar"):
        replace(small_run, arch="mynet")


class BreakAt:
    """Breaks a run off after some steps."""

    def __init__(self, step: int) -> None:
        self.last = step

    def built(self, seconds: float) -> None: ...

    def step(self, state: TrainState) -> None:
        self.now = state.step

    def row(self, state: TrainState) -> None: ...

    def wants_pause(self) -> bool:
        return self.now == self.last

    def pause(self, state: TrainState) -> None:
        raise KeyboardInterrupt

    def poll(self) -> None: ...


@pytest.mark.parametrize("function", ["plain", "tied", "linear"])
def test_a_run_that_was_broken_off_ends_as_one_that_was_not(module: str, small_data: Dataset, function: str) -> None:
    config = own_run(f"{module}:{function}", depth=2)
    job = Job.of(config, DeviceData.of(small_data, CPU))
    whole, half, rest = (job.initial_state(small_data.digest) for _ in range(3))
    fit(whole, job, BreakAt(100))
    with pytest.raises(KeyboardInterrupt):
        fit(half, job, BreakAt(4))
    stored = checkpoint.decode(checkpoint.encode(checkpoint.capture(half, {})))
    checkpoint.restore(rest, check_stored(stored, Expected.of_state(rest, config, {}, 4)))
    torch.rand(5)
    fit(rest, job, BreakAt(100))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name
    assert [row.test_loss for row in rest.rows] == [row.test_loss for row in whole.rows]


def edit(module: str, remark: str) -> None:
    path = find_source(f"{module}:plain")
    path.write_text(f"{path.read_text()}\n# {remark}\n")


def test_a_changed_source_is_refused_and_says_so(module: str, tmp_path: Path, small_data: Dataset) -> None:
    old = own_run(f"{module}:plain")
    do(tmp_path / "mine", small_data, [old])
    edit(module, "now it is another one")
    with pytest.raises(UsageError) as raised:
        do(tmp_path / "mine", small_data, [own_run(f"{module}:plain")])
    assert f"stands there with another source of {module}:plain ({old.run_id}): the module has changed since" in str(
        raised.value
    )
    assert "\n" not in str(raised.value)
    again = replace(old, seed=1)  # as a process would that was started before the change
    with pytest.raises(UsageError, match="is not the one that the run was begun with"):
        do(tmp_path / "mine", small_data, [old, again])


def test_what_the_source_imports_is_watched_by_its_shapes(
    write_module: WriteModule, tmp_path: Path, small_data: Dataset
) -> None:
    helper = write_module("WIDTH = 4")
    source = f"""
import {helper}
from torch import nn


def plain(depth, in_channels, num_classes):
    width = {helper}.WIDTH
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, num_classes))
"""
    module = write_module(source)
    run = own_run(f"{module}:plain")
    do(tmp_path / "mine", small_data, [run])
    for path in (StudyFolder(tmp_path / "mine").run(run.run_id).result, *(tmp_path / "mine").glob("*.csv")):
        path.unlink()  # as if it had been broken off
    (tmp_path / f"{helper}.py").write_text("WIDTH = 16")
    try_out.cache_clear()  # another process
    importlib.invalidate_caches()
    for name in (helper, module):
        sys.modules.pop(name)
    with pytest.raises(UsageError, match=r"other names or shapes .* although its source is the same"):
        do(tmp_path / "mine", small_data, [run])


def test_a_bad_network_stops_a_sweep_before_anything_is_trained(
    module: str, tmp_path: Path, small_data: Dataset
) -> None:
    with pytest.raises(UsageError, match="draws random numbers"):
        do(tmp_path / "mine", small_data, [own_run(f"{module}:plain"), own_run(f"{module}:dropping", "dropping")])
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"arch": "my-net"}, {"arch": "resnet18"}, {"arch": "x" * 21}, {"depth": 0}, {"shortcut": "a"},
        {"builder": ""}, {"builder": "mynets"}, {"builder_digest": "abc"}, {"frozen_parts": 1},
        {"family": "cifar", "depth": 8},
    ],
)  # fmt: skip
def test_configurations_that_are_none(module: str, values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(own_run(f"{module}:plain"), **values)  # type: ignore[arg-type]


def test_trained_networks_of_ones_own_are_used_or_refused_in_one_line(
    module: str, tmp_path: Path, small_data: Dataset
) -> None:
    run = own_run(f"{module}:plain", "mynet", 2)
    do(tmp_path / "mine", small_data, [run])
    weights = weights_of_run(StudyFolder(tmp_path / "mine").run(run.run_id).path)
    model = weights.build()
    assert not model.training and model(torch.zeros(2, *small_data.image_shape)).shape == (2, 4)
    for _ in range(2):  # the second time the same stands there
        write_weights(weights, tmp_path / "net.safetensors")
    stored = read_weights(str(tmp_path / "net.safetensors"))
    assert stored.digest == weights.digest and stored.own is None
    with pytest.raises(UsageError, match=r"weights of mynet-2 \(own\), which a function of somebody's builds"):
        stored.build()
    assert weights.inputs is not None and weights.network is not None
    with pytest.raises(UsageError, match="not known where its classifier is"):
        write_features(model, weights.inputs, small_data, tmp_path / "f.npz", CPU)
    with pytest.raises(UsageError, match="finetune: of a network of your own"):
        Recipe(weights.network)
