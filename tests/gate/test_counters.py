"""The gate's first layer: what is counted, that it is exact, and that a change is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import gated
from resnet_bench.errors import Failure, UsageError
from resnet_bench.gate import counters
from resnet_bench.gate.benchmark import Benchmark
from resnet_bench.gate.counters import count, cuda_synchronisations, differences, read_counts
from resnet_bench.training import step as steps
from tests.conftest import ROOT

STORED = read_counts(ROOT / "benchmarks" / "counters.json")
same_torch = pytest.mark.skipif(
    STORED["torch"] != torch.__version__.split("+")[0], reason="the counters were stored with another torch"
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def of_step(step: Callable[[], object]) -> dict[str, Any]:
    return count(Benchmark(step=step, images=1))


# ---------------------------------------------------------------------------------------------- what is counted


def test_memory_is_counted_by_storage() -> None:
    kept = torch.ones(10, 10)
    assert of_step(lambda: torch.zeros(1000))["allocated_bytes"] == 4000
    assert of_step(lambda: kept.t().mul_(1))["allocations"] == 0  # views, and in place
    two = of_step(lambda: kept + kept.t())
    assert (two["allocations"], two["allocated_bytes"]) == (1, 400)
    assert two["operations"] == {"aten::add.Tensor": 1, "aten::t": 1}


def test_saved_activations_by_hand() -> None:
    weight, images = torch.ones(10, 10, requires_grad=True), torch.ones(10, 10)
    assert of_step(lambda: weight + images)["saved_bytes"] == 0
    assert of_step(lambda: weight * images)["saved_bytes"] == 400  # the images; nobody asks for their gradient
    assert of_step(lambda: weight * weight)["saved_bytes"] == 400  # one storage, saved twice


def test_flops_by_hand() -> None:
    left, right = torch.ones(3, 4), torch.ones(4, 5)
    assert of_step(lambda: left @ right)["flops"] == 2 * 3 * 4 * 5


@pytest.mark.parametrize(
    "read",
    [
        lambda ones: ones[0].item(),
        lambda ones: ones[ones > 0],
        lambda ones: bool(ones.sum() > 1),
        lambda ones: ones.nonzero(),
    ],
)
def test_host_reads_are_counted(read: Callable[[Tensor], object]) -> None:
    ones = torch.ones(3)
    assert of_step(lambda: read(ones))["host_reads"] >= 1
    assert of_step(lambda: ones.add(1))["host_reads"] == 0


class Broken(nn.Module):
    """A network that reads a value in the middle, and one whose shape of work depends on how often it was called."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__()
        self.convolution, self.reads, self.calls = nn.Conv2d(3, 4, 3, padding=1, bias=False), reads, 0

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.convolution(images)
        if self.reads:
            print(float(features.detach().sum()))
        else:
            self.calls += 1
            features = features * self.calls
        return features + 1


def of_network(network: nn.Module) -> dict[str, Any]:
    example = torch.ones(2, 3, 8, 8)
    return count(Benchmark(step=lambda: network(example), images=2, network=network, example=example))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of dynamo itself, after a graph break
def test_graph_breaks_and_recompiles_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    whole = of_network(nn.Conv2d(3, 4, 3, padding=1, bias=False))
    assert (whole["graph_breaks"], whole["recompiles"]) == (0, 0)
    assert (whole["parameters"], whole["macs_per_image"]) == (4 * 3 * 9, 4 * 3 * 9 * 64)
    assert of_network(Broken(reads=True))["graph_breaks"] >= 1
    assert of_network(Broken(reads=False))["recompiles"] >= 1


def test_steps_that_differ_are_refused() -> None:
    kept: list[Tensor] = [torch.ones(1)]

    def grow() -> None:
        kept.append(torch.cat(kept))

    with pytest.raises(Failure, match="its steps are not alike: allocated bytes"):
        of_step(grow)


# ---------------------------------------------------------------------------------------------- this checkout's own


@same_torch
@pytest.mark.parametrize("name", gated.BENCHMARKS)
def test_the_stored_counts_are_current(name: str) -> None:
    counted = {"benchmarks": {name: count(gated.BENCHMARKS[name]("cpu"))}}
    assert differences({"benchmarks": {name: STORED["benchmarks"][name]}}, counted) == []


@pytest.mark.parametrize("name", ["train step, plain-20", "train step, ResNet-20"])
def test_the_stored_counts_are_those_of_the_paper(name: str) -> None:
    stored = STORED["benchmarks"][name]
    assert stored["parameters"] == 269_722 and stored["macs_per_image"] == 40_551_040
    assert stored["flops"] == gated.BATCH * 242_421_504
    assert stored["operations"]["aten::convolution"] == stored["operations"]["aten::native_batch_norm"] == 19
    assert stored["host_reads"] == stored["graph_breaks"] == stored["recompiles"] == 0


@same_torch
@pytest.mark.parametrize(
    ("extra", "changes"),
    [
        (lambda meter: meter.loss_sum.add_(0), ["aten::add_.Tensor 121 -> 122"]),
        (lambda meter: meter.loss_sum.item(), ["aten::_local_scalar_dense 0 -> 1", "host reads 0 -> 1"]),
    ],
)
def test_one_more_operation_in_the_step_is_named(
    extra: Callable[[steps.Meter], object], changes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, name = steps.train_step, "train step, plain-20"

    def planted(forward: Any, optimizer: Any, data: Any, meter: steps.Meter, draws: Tensor) -> None:
        original(forward, optimizer, data, meter, draws)
        extra(meter)

    monkeypatch.setattr(steps, "train_step", planted)
    counted = {"benchmarks": {name: count(gated.BENCHMARKS[name]("cpu"))}}
    lines = differences({"benchmarks": {name: STORED["benchmarks"][name]}}, counted)
    assert len(lines) == len(changes)
    assert all(line.startswith(f"{name}: ") and change in line for line, change in zip(lines, changes, strict=True))


# ---------------------------------------------------------------------------------------------- differences, files


def test_differences_are_told_in_words() -> None:
    before = {"benchmarks": {"gone": {}, "kept": {"operations": {"a": 1, "b": 2}, "flops": 10}}}
    after = {"benchmarks": {"kept": {"operations": {"a": 1, "b": 1, "c": 4}, "flops": 11, "parameters": 3}, "new": {}}}
    assert differences(before, after) == [
        "gone: is no longer there",
        "kept: operations 3 -> 6 (b 2 -> 1, c 0 -> 4)",
        "kept: flops 10 -> 11",
        "kept: parameters None -> 3",
        "new: is new",
    ]
    assert differences(after, after) == []


@pytest.mark.parametrize("content", ["", "[]", '{"torch": 1, "benchmarks": {}}', '{"torch": "2"}', "\x00"])
def test_a_damaged_file_is_no_counters(tmp_path: Path, content: str) -> None:
    path = tmp_path / "counters.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no counters"):
        read_counts(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, "no benchmarks at"), ("x = 1", "defines no BENCHMARKS"), ("BENCHMARKS = {}", "no BENCH")],
)
def test_a_file_without_benchmarks(
    tmp_path: Path, content: str | None, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", ["."])
    path = tmp_path / "gated.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=error):
        counters.load_benchmarks(path)


def test_accepted_counts_come_back(tmp_path: Path) -> None:
    path = counters.stored_at(tmp_path / "gated.py")
    counters.write_counts(path, STORED)
    assert path.name == "counters.json" and json.loads(path.read_text()) == STORED == read_counts(path)


# ---------------------------------------------------------------------------------------------- CUDA


@pytest.mark.cuda
@needs_cuda
def test_cuda_sees_the_same_waiting() -> None:
    ones = torch.ones(3, device="cuda")
    assert cuda_synchronisations(Benchmark(step=lambda: ones.sum().item(), images=1)) >= 1
    for name, make in gated.BENCHMARKS.items():
        assert cuda_synchronisations(make("cuda")) == STORED["benchmarks"][name]["host_reads"]
