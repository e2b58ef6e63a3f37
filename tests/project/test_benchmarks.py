"""The yardstick of `benchmarks.peers` trains what we train; what is printed about the two is right."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from benchmarks.peers import memory as peak_memory
from benchmarks.peers import speed as peers
from benchmarks.peers.reference_loop import ReferenceLoop, TrainingImages
from benchmarks.peers.sides import fixed_batch
from benchmarks.scripts import busy, cuda_check, signals_cost
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.execution import Execution
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.state import Job
from tests.conftest import CPU, ROOT


def test_the_reference_loop_trains_as_we_do(small_data: Dataset, small_run: RunConfig) -> None:
    """Three steps on one batch, so that momentum counts: the same losses and weights but for rounding."""
    job = Job.of(small_run, DeviceData.of(small_data, CPU))
    state, twin = job.initial_state(small_data.digest), job.initial_state(small_data.digest)
    step = job.make_step(state)
    set_learning_rate(state.optimizer, small_run.lr)
    reference = ReferenceLoop(TrainingImages(small_data), twin.model, CPU, workers=0, lr=small_run.lr)
    images, labels = fixed_batch(job)
    losses = 0.0
    for _ in range(3):
        step(job.stream.draws(0))
        losses += reference.update(images, labels)[0].item()
    assert float(state.meter.loss_sum) == pytest.approx(losses, rel=1e-5)
    for ours, theirs in zip(state.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")  # DataLoader's
@pytest.mark.parametrize("workers", [0, 1])
def test_the_reference_loop_goes_on_over_the_end_of_an_epoch(small_data: Dataset, workers: int) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    loop = ReferenceLoop(TrainingImages(small_data), model, CPU, workers=workers, batch_size=16)
    before = [parameter.clone() for parameter in model.parameters()]
    loss, error = loop.train(7)  # an epoch has 6
    assert loss > 0 and 0 <= error <= 100
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def comparison(depth: int, **seconds: list[float]) -> peers.Comparison:
    names = {"ours": peers.ours("compile"), "none": peers.reference(0), "two": peers.reference(2)}
    return peers.Comparison(depth, "compile", {names[name]: values for name, values in seconds.items()})


def test_the_last_line_compares_with_the_best_reference_by_medians() -> None:
    found = [
        comparison(20, ours=[1.0, 9.0, 1.0], none=[1.28, 1.28, 0.1], two=[1.5, 1.5, 1.5]),
        comparison(56, ours=[2.0, 2.0, 2.0], none=[3.0, 3.0, 3.0], two=[2.34, 2.34, 9.0]),
    ]
    assert [one.best_reference for one in found] == ["reference, 0 workers", "reference, 2 workers"]
    assert peers.headline(found) == "ResNet-20 1.28x, ResNet-56 1.17x"


def test_peers_end_to_end() -> None:
    words = ["--device", "cpu", "--threads", "1", "--depths", "8", "--workers", "0,1", "--mode", "eager"]
    command = [sys.executable, "-m", "benchmarks.peers", *words, "--rounds", "2", "--steps-per-round", "1"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    lines = output.splitlines()
    assert "1 threads" in lines[0]
    assert re.fullmatch(r"ResNet-8 \d+\.\d\dx", lines[-1])
    for side in ("reference, 1 workers", "ours, eager", "bare step of ours, eager", "bare step of the reference"):
        assert any(line.strip().startswith(side) for line in lines), side


def test_a_busy_machine_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["busy", "--others", "0,1", "--threads", "1", "--depth", "8", "--rounds", "1", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", words)
    busy.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [bool(re.fullmatch(r"\| \d \| 1 \| [\d,]+ \|", row)) for row in rows] == [True, True], rows


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_peak_memory_is_at_least_what_the_layers_put_out() -> None:
    output_bytes = 4 * 128 * sum(3 * width * side**2 for width, side in ((16, 32), (32, 16), (64, 8)))  # about
    assert peak_memory.in_fresh_process("eager", 8, "cpu") > output_bytes


def test_the_cost_of_signals_is_a_share_of_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert signals_cost.main(["--depths", "8", "--rounds", "1", "--device", "cpu"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "9 times in 220 steps" in lines[0] and "9 times in 400 steps" in lines[2]


def test_the_cuda_check_compares_bits_and_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where there is no graph: the same table, and bits that are equal or, with other kernels, not."""
    monkeypatch.setattr(cuda_check, "EQUAL_STEPS", 2)
    data = DeviceData.of(synthetic(num_train=256, num_test=16), CPU)
    assert cuda_check.same_bits(data, 8, Execution(), Execution())
    assert not cuda_check.same_bits(data, 8, Execution(), Execution(memory_format="nhwc"))
    assert cuda_check.check(data, "fp32", ["eager"], [8], rounds=1)
    header, _, row = capsys.readouterr().out.strip().splitlines()[1:]
    assert header.split("  ")[0] == "img/s" and "eager nhwc" in header
    assert row.startswith("ResNet-8 ") and "not asked" in row
    speeds = [float(word.replace(",", "")) for word in row.split()[1:3]]
    assert min(speeds) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_cuda_check_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert cuda_check.main() == 1
    assert "no CUDA device here, so nothing was checked" in capsys.readouterr().err
