"""Timing in turn, memory, what the GPU tells, and the rows of throughput.csv."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import pytest
import torch

from resnet_bench import timing as throughput
from resnet_bench.cli import main
from resnet_bench.complexity import complexity
from resnet_bench.config.run import RunConfig
from resnet_bench.cost.throughput import Bench, Subject, measure_throughput
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure, fingerprint
from resnet_bench.errors import Failure
from resnet_bench.execution import EAGER, Execution
from resnet_bench.machine import GpuState, gpu_state
from resnet_bench.networks import NetworkName
from resnet_bench.results.rows import ThroughputRow
from resnet_bench.results.tables import THROUGHPUT, read_csv, write_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from resnet_bench.timing import allocated_peak, peak_gbytes, peak_gflops, time_in_turn
from tests.study.test_mode import failing_compile
from tests.study.test_study import do, twins

CPU = torch.device("cpu")


@pytest.fixture
def tiny_bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Rounds so short and peaks so small that nothing but the bookkeeping takes time."""
    short = functools.partial(time_in_turn, round_seconds=0.0, warmup_steps=1)
    monkeypatch.setattr("resnet_bench.cost.throughput.time_in_turn", short)
    monkeypatch.setattr("resnet_bench.cost.throughput.peak_gflops", lambda *_: 100.0)
    monkeypatch.setattr("resnet_bench.cost.throughput.peak_gbytes", lambda *_: 10.0)
    return Bench.of((3, 8, 8), 4, CPU, EAGER, batch_size=16)


# ---------------------------------------------------------------------------------------------- clock and memory


def test_callables_are_timed_in_turn_in_alternating_order() -> None:
    order: list[str] = []
    seconds = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], CPU, 3, 0.0, warmup_steps=2)
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "b", "b", "a", "a", "b"]  # warm-up, one that counts, rounds
    assert [len(rounds) for rounds in seconds] == [3, 3] and min(map(min, seconds)) > 0


def test_a_round_is_long_enough() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    (rounds,) = time_in_turn([call], CPU, 1, round_seconds=0.02, warmup_steps=0)
    assert calls * rounds[0] >= 0.02  # more calls than a round of this length holds were made


def test_memory_is_what_torch_allocates() -> None:
    megabyte = 250_000  # float32 elements

    def call() -> None:
        first = torch.ones(2 * megabyte)
        second = first + 1  # two arrays of 2 MB at once
        del first
        second.view(2, -1).sum(0)

    assert 4_000_000 <= allocated_peak(call, CPU) < 4_001_000  # and a scalar or two
    kept: list[torch.Tensor] = []
    assert 1_000_000 <= allocated_peak(lambda: kept.append(torch.ones(megabyte)), CPU) < 1_001_000


def test_a_deeper_network_takes_more_memory(tiny_bench: Bench) -> None:
    names = [NetworkName("cifar", "residual", depth, "a") for depth in (8, 14)]
    shallow, deep = (Subject.of(tiny_bench, tiny_bench.network(name)) for name in names)
    weights = 4 * complexity(names[0], num_classes=4, image_size=(8, 8)).params
    assert 3 * weights < shallow.train_bytes < deep.train_bytes  # weights, momentum, gradients, and activations
    assert weights < shallow.inference_bytes < shallow.train_bytes


def test_peaks_are_in_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 256 x 256 is 33.6 million FLOPs, a copy of a megabyte moves two; here each takes a millisecond."""
    monkeypatch.setitem(throughput.MATRIX_SIDE, "cpu", 256)
    monkeypatch.setitem(throughput.COPY_BYTES, "cpu", 1_000_000)
    monkeypatch.setattr(throughput, "time_in_turn", lambda *_, **__: [[0.002, 0.001, 0.003]])
    assert throughput.peak_gflops(CPU, "fp32") == pytest.approx(33.554432)
    assert throughput.peak_gbytes(CPU) == pytest.approx(2.0)


# ---------------------------------------------------------------------------------------------- machine


def fake_nvidia_smi(folder: Path, answer: str, code: int = 0) -> None:
    folder.mkdir()
    script = folder / "nvidia-smi"
    script.write_text(f'#!/bin/sh\necho "$@" > "{folder}/asked"\necho "{answer}"\nexit {code}\n')
    script.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        ("1410, 400.00, 0x0000000000000000", 0, GpuState(1410, 400.0, "")),
        ("1095, 300.00, 0x0000000000000024", 0, GpuState(1095, 300.0, "power cap, thermal (software)")),
        ("210, 300.00, 0x0000000000000001", 0, GpuState(210, 300.0, "")),  # idle
        ("[N/A], [N/A], [N/A]", 0, GpuState()),
        ("No devices were found", 9, GpuState()),
    ],
)
def test_what_nvidia_smi_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, expected: GpuState
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    fake_nvidia_smi(tmp_path / "bin", answer, code)
    assert gpu_state("GPU-1234") == expected
    assert "--id=GPU-1234" in (tmp_path / "bin/asked").read_text()


def test_without_a_gpu_nothing_is_told() -> None:
    assert gpu_state("") == GpuState()


def test_a_fingerprint_depends_on_threads() -> None:
    one = fingerprint(CPU)
    assert one.digest == fingerprint(CPU).digest and len(one.digest) == 8
    assert dataclasses.replace(one, threads=one.threads + 1).digest != one.digest
    assert one.details["flush_denormal"] is True
    torch.set_flush_denormal(False)
    assert fingerprint(CPU).details["flush_denormal"] is False
    configure(CPU, threads=1)


# ---------------------------------------------------------------------------------------------- rows


def rows_of(study: StudyFolder) -> list[ThroughputRow]:
    return read_csv(study.path / THROUGHPUT.file, THROUGHPUT)


def test_rows_say_what_was_measured(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, tiny_bench: Bench
) -> None:
    study = StudyFolder(tmp_path / "tiny")
    do(study.path, small_data, twins(small_run))
    said: list[str] = []
    assert measure_throughput(study, tiny_bench, 5, said.append) == 4
    rows = rows_of(study)
    assert [(row.mode, row.arch) for row in rows] == [
        ("inference", "plain"), ("inference", "residual"), ("train_step", "plain"), ("train_step", "residual")
    ]  # fmt: skip
    for row in rows:
        assert (row.depth, row.batch_size, row.rounds, row.input_size, row.num_classes) == (8, 16, 5, "8x8x3", 4)
        assert row.img_per_sec == pytest.approx(16 / row.step_ms * 1000)
        assert row.achieved_gflops == pytest.approx(row.flops_per_step / row.step_ms / 1e6)
        assert row.utilisation == pytest.approx(row.achieved_gflops)  # percent of a peak of 100
        assert row.macs == complexity(NetworkName("cifar", "residual", 8, "a"), num_classes=4, image_size=(8, 8)).macs
        assert (row.device, row.threads, row.compile, row.compile_seconds) == (fingerprint(CPU).device, 1, "eager", 0)
    assert rows[0].flops_per_step == 16 * 2 * rows[0].macs
    assert rows[2].flops_per_step == rows[3].flops_per_step > 2 * rows[0].flops_per_step
    assert said[0].startswith("throughput on ") and said[-1] == f"4 rows added to {study.path / THROUGHPUT.file}"
    assert verify(study) == []


def test_what_is_measured_is_kept(tmp_path: Path, small_run: RunConfig, small_data: Dataset, tiny_bench: Bench) -> None:
    study = StudyFolder(tmp_path / "tiny")
    do(study.path, small_data, twins(small_run))
    measure_throughput(study, tiny_bench, 2, lambda _: None)
    alone = [dataclasses.replace(row, exclusive=True) for row in rows_of(study)]
    write_csv(study.path / THROUGHPUT.file, THROUGHPUT, alone)
    assert measure_throughput(study, tiny_bench, 2, lambda _: None) == 0
    assert rows_of(study) == alone
    other = dataclasses.replace(tiny_bench, execution=Execution("eager", "bf16"))
    assert measure_throughput(study, other, 2, lambda _: None) == 4
    assert len(rows_of(study)) == 8 and set(alone) <= set(rows_of(study))


def test_what_was_measured_on_a_shared_machine_is_measured_again(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, tiny_bench: Bench
) -> None:
    study = StudyFolder(tmp_path / "tiny")
    do(study.path, small_data, twins(small_run))
    measure_throughput(study, tiny_bench, 2, lambda _: None)
    old = [dataclasses.replace(row, exclusive=row.arch != "plain", img_per_sec=1.0) for row in rows_of(study)]
    write_csv(study.path / THROUGHPUT.file, THROUGHPUT, old)
    measure_throughput(study, tiny_bench, 2, lambda _: None)
    assert [row.img_per_sec == 1.0 for row in rows_of(study)] == [False, True, False, True]


def test_a_sweep_with_cost_counts_and_times_its_networks(
    tmp_path: Path, tiny_bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command itself, in this process, so that its rounds can be short."""
    monkeypatch.chdir(tmp_path)
    place = StudyFolder(Path("results/demo"))
    run = ("--study", "demo", "--depths", "8", "--seeds", "0", "--device", "cpu")
    assert main(["sweep", *run, "--cost"]) == 0
    told = capsys.readouterr().out
    assert "2 networks counted" in told and "ResNet-8 train step, eager: " in told
    assert len(rows_of(place)) == 4 and (place.path / "complexity.csv").exists()
    assert (place.path / "figures/throughput.png").exists() and verify(place) == []
    assert main(["throughput", "results/demo", "--device", "cpu", "--rounds", "2", "--batch-size", "32"]) == 0
    assert capsys.readouterr().out.count("img/s") == 4
    assert [row.batch_size for row in rows_of(place)].count(32) == 4
    assert main(["throughput", "results/demo", "--device", "cpu", "--mode", "graph"]) == 2
    assert "mode graph needs a CUDA device" in capsys.readouterr().err
    assert main(["throughput", "results/none"]) == 2
    configure(CPU, threads=1)


def test_a_mode_that_cannot_be_built_is_said_in_one_line(tiny_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_compile(monkeypatch)
    bench = dataclasses.replace(tiny_bench, execution=Execution("compile"))
    with pytest.raises(Failure, match=r"mode compile cannot be built here for plain-8 \(RuntimeError: no C\+\+ comp"):
        Subject.of(bench, bench.network(NetworkName("cifar", "plain", 8, "none")))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_throughput_on_cuda(mode: str) -> None:
    device = torch.device("cuda")
    configure(device, 1)
    bench = Bench.of((3, 32, 32), 10, device, Execution(mode, "tf32"))
    subject = Subject.of(bench, bench.network(NetworkName("cifar", "residual", 20, "a")))
    (rounds,) = time_in_turn([subject.train_step], device, 3)
    assert min(rounds) > 0 and subject.train_bytes > subject.inference_bytes > 0
    assert peak_gflops(device, "tf32") > peak_gflops(device, "fp32") > 0 and peak_gbytes(device) > 0
