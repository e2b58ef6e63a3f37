"""The speed of a study's networks on this machine: throughput.csv, plain and residual measured in turn."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from resnet_bench.busy import busy
from resnet_bench.complexity import torch_flops
from resnet_bench.config.run import RunConfig
from resnet_bench.cost.sized import SizedNetwork, planned_networks
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.summary import channel_statistics
from resnet_bench.environment import Fingerprint, fingerprint, gpu_uuid
from resnet_bench.errors import Failure, first_line, is_out_of_memory
from resnet_bench.execution import Execution
from resnet_bench.git import git_state
from resnet_bench.machine import ForeignLoad, gpu_state
from resnet_bench.networks import NetworkName
from resnet_bench.results.rows import ThroughputRow
from resnet_bench.results.tables import THROUGHPUT, read_csv, write_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.run import utc_now
from resnet_bench.study.sums import write_sums
from resnet_bench.timing import allocated_peak, peak_gbytes, peak_gflops, time_in_turn
from resnet_bench.training.optimizers import optimizer_tensors
from resnet_bench.training.state import Job, TrainState
from resnet_bench.training.step import make_forward

# Random pixels, more than caches hold; speed does not depend on what they show.
NUM_IMAGES, NUM_BYTES = 10_000, 10_000 * 3 * 32 * 32  # at most
ROUNDS = 7
TRAIN_STEP, INFERENCE = "train_step", "inference"
RESIZED = "resized-crop-flip"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rules:
    """What a study's runs do that decides how long a step takes."""

    optimizer: str = "sgd"
    augmentation: str = "crop-flip"

    @classmethod
    def of(cls, study: StudyFolder) -> Rules:
        """From the configuration of one of its runs; images that are not cropped are timed as if they were."""
        folder = next((folder for folder in study.run_folders() if folder.config.exists()), None)
        if folder is None:
            return cls()
        config = folder.read_identity().config
        return cls(config.optimizer, RESIZED if config.augmentation == RESIZED else "crop-flip")


@dataclass(frozen=True)
class Bench:
    """A device with images of one shape on it, and what it can do at best."""

    dataset: Dataset
    data: DeviceData
    execution: Execution
    batch_size: int
    here: Fingerprint
    rules: Rules

    @classmethod
    def of(
        cls,
        image_shape: tuple[int, int, int],
        num_classes: int,
        device: torch.device,
        execution: Execution,
        batch_size: int = 128,
        rules: Rules | None = None,
    ) -> Bench:
        """With random images; `rules` are those of the study (the paper's)."""
        rules = rules or Rules()
        count = max(batch_size, min(NUM_IMAGES, NUM_BYTES // math.prod(image_shape)))
        dataset = synthetic(image_shape, num_train=count, num_test=batch_size, num_classes=num_classes)
        if rules.augmentation == RESIZED:
            whole = synthetic(image_shape, num_train=count, num_test=1).train_images
            statistics = channel_statistics(whole)
            dataset = replace(dataset, resized=Resized(whole, np.ones(count, np.float32), statistics))
        data = DeviceData.of(dataset, device)
        return cls(dataset, data, execution, batch_size, fingerprint(device), rules)

    @functools.cached_property
    def peak_gflops(self) -> float:
        """GFLOP/s of a large matrix product, measured when first asked for."""
        return peak_gflops(self.data.device, self.execution.precision)

    @functools.cached_property
    def peak_gbytes(self) -> float:
        """GB/s of a large copy, measured when first asked for."""
        return peak_gbytes(self.data.device)

    def network(self, name: NetworkName) -> SizedNetwork:
        """A network for these images."""
        return SizedNetwork(name, self.dataset.image_shape, self.data.num_classes)


@dataclass(frozen=True)
class Subject:
    """One network, ready to be measured: a training step and a forward pass of one batch."""

    network: SizedNetwork
    train_step: Callable[[], None]
    inference: Callable[[], None]
    compile_seconds: float
    train_bytes: int
    inference_bytes: int

    @classmethod
    def of(cls, bench: Bench, network: SizedNetwork) -> Subject:
        """Build the network and its step, and measure the memory they take."""
        job = _job(bench, network)
        state = job.initial_state(bench.dataset.digest)
        step, draws = job.make_step(state), job.stream.draws(0)
        try:
            compile_seconds = step.build(network.name)
        except Exception as error:  # whatever a compiler, a driver or a library says no with
            if is_out_of_memory(error):
                raise
            raise Failure(f"mode {step.mode} cannot be built here for {network.name} ({first_line(error)})") from None
        # A replayed graph allocates nothing: it holds what the same step takes in eager mode.
        alike = replace(bench.execution, mode="eager")
        shown = replace(job, execution=alike).make_step(state) if step.mode == "graph" else step
        train_step, inference = functools.partial(step, draws), functools.partial(_infer, state.model, bench)
        return cls(
            network=network,
            train_step=train_step,
            inference=inference,
            compile_seconds=compile_seconds,
            train_bytes=_train_bytes(state, functools.partial(shown, draws), bench.data.device),
            inference_bytes=_num_bytes(state.model.state_dict().values())
            + allocated_peak(inference, bench.data.device),
        )


def _job(bench: Bench, network: SizedNetwork) -> Job:
    run = RunConfig(
        protocol="throughput",
        dataset=bench.dataset.name,
        seed=0,
        steps=1,
        batch_size=bench.batch_size,
        optimizer=bench.rules.optimizer,
        augmentation=bench.rules.augmentation,
        builder=network.own.builder if network.own else "",
        builder_digest=network.own.digest if network.own else "",
        **network.network._asdict(),
    )
    return Job.of(run, bench.data, bench.execution)


@torch.inference_mode()
def _infer(model: nn.Module, bench: Bench) -> None:
    """The forward pass of an evaluation, scaling of the pixels included."""
    model.eval()
    make_forward(model, bench.execution.precision)(bench.data.normalise(bench.data.test_images))
    model.train()


def _num_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _train_bytes(state: TrainState, step: Callable[[], None], device: torch.device) -> int:
    """Weights, statistics, momentum, and the most that one step allocates on top, gradients included."""
    step()
    state.optimizer.zero_grad(set_to_none=True)
    kept = [*state.model.state_dict().values(), *optimizer_tensors(state.optimizer)]
    return _num_bytes(kept) + allocated_peak(step, device)


# ---------------------------------------------------------------------------------------------- rows


def measure_throughput(study: StudyFolder, bench: Bench, rounds: int, say: Say) -> int:
    """Add the rows that throughput.csv lacks for this machine and mode; gives their number.

    All arms of a depth are measured in turn, in one session. What was measured before is kept, unless the machine was
    shared with other processes then. The file is whole after each depth.

    Raises:
        UsageError: the study has no plan, or throughput.csv is malformed.
        Failure: the folder cannot be written.
    """
    plan = planned_networks(study, (bench.dataset.image_shape, bench.data.num_classes))
    rows = _read(study).values()
    todo = sorted(network for network in plan if not any(_is_of(row, bench, network) for row in rows))
    if todo:
        say(
            f"throughput on {bench.here.device}, {bench.here.threads} threads, {bench.execution.precision}, batches of "
            f"{bench.batch_size}; at best {bench.peak_gflops:,.0f} GFLOP/s (matrix product), "
            f"{bench.peak_gbytes:,.0f} GB/s (copy)"
        )
    measured = 0
    for depth in sorted({network.network.depth for network in todo}):
        arms = [network for network in todo if network.network.depth == depth]
        measured += _add_rows(study, measure_in_turn(bench, arms, rounds, say))
    say(f"{measured} rows added to {study.path / THROUGHPUT.file}")
    return measured


def _read(study: StudyFolder) -> dict[tuple[object, ...], ThroughputRow]:
    path = study.path / THROUGHPUT.file
    rows = read_csv(path, THROUGHPUT) if path.exists() else []
    return {THROUGHPUT.key_of(row): row for row in rows}


def _is_of(row: ThroughputRow, bench: Bench, network: SizedNetwork) -> bool:
    """Is it what a training step of the network would give here, and measured on a machine that was free."""
    return (
        row.exclusive is not False
        and (row.mode, row.fingerprint, row.batch_size) == (TRAIN_STEP, bench.here.digest, bench.batch_size)
        and row.optimizer == bench.rules.optimizer
        and (row.compile, row.precision, row.memory_format) == bench.execution.step
        and all(getattr(row, name) == value for name, value in network.columns.items())
    )


def _add_rows(study: StudyFolder, rows: Sequence[ThroughputRow]) -> int:
    new = {THROUGHPUT.key_of(row): row for row in rows}
    with study.lock():
        there = {key: row for key, row in _read(study).items() if row.exclusive is not False or key not in new}
        merged = {**new, **there}  # what stands there stays
        ordered = sorted(merged.values(), key=lambda row: (row.fingerprint, row.compile, row.mode, row.depth, row.arch))
        write_csv(study.path / THROUGHPUT.file, THROUGHPUT, ordered)
        write_sums(study)
    return len(merged) - len(there)


def measure_in_turn(bench: Bench, networks: Sequence[SizedNetwork], rounds: int, say: Say) -> list[ThroughputRow]:
    """Train step and inference of some networks, in turn."""
    try:
        return _measure_in_turn(bench, networks, rounds, say)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        names = " and ".join(network.name for network in networks)
        raise Failure(
            f"out of memory while {names} were measured with batches of {bench.batch_size}; make room, or measure "
            "smaller ones: resnet-bench throughput FOLDER --batch-size 32"
        ) from None


def _measure_in_turn(bench: Bench, networks: Sequence[SizedNetwork], rounds: int, say: Say) -> list[ThroughputRow]:
    subjects = [Subject.of(bench, network) for network in networks]
    rows = []
    for mode in (TRAIN_STEP, INFERENCE):
        calls = [subject.train_step if mode == TRAIN_STEP else subject.inference for subject in subjects]
        load = ForeignLoad()
        with busy(f"timing {' and '.join(network.name for network in networks)}"):
            seconds = time_in_turn(calls, bench.data.device, rounds)
        exclusive = load.exclusive()
        for subject, per_call in zip(subjects, seconds, strict=True):
            row = _row(bench, subject, mode, per_call, exclusive)
            alone = "" if exclusive is not False else ", NOT ALONE: other processes used the processors"
            say(f"{subject.network.name} {mode.replace('_', ' ')}, {row.compile}: {row.img_per_sec:,.0f} img/s{alone}")
            rows.append(row)
    return rows


def _row(bench: Bench, subject: Subject, mode: str, seconds: Sequence[float], exclusive: bool | None) -> ThroughputRow:
    network = subject.network
    rates = sorted(bench.batch_size / second for second in seconds)
    low, _, high = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
    train = mode == TRAIN_STEP
    flops = torch_flops(network.build().train(train), network.image_shape, train_step=train)
    gflops = flops * bench.batch_size / statistics.median(seconds) / 1e9
    device = gpu_state(gpu_uuid(bench.data.device))
    return ThroughputRow(
        fingerprint=bench.here.digest,
        **network.columns,
        mode=mode,
        batch_size=bench.batch_size,
        precision=bench.execution.precision,
        memory_format=bench.execution.memory_format,
        optimizer=bench.rules.optimizer,
        compile=bench.execution.mode if train else "eager",
        img_per_sec=bench.batch_size / statistics.median(seconds),
        img_per_sec_iqr=high - low,
        rounds=len(rates),
        step_ms=1000 * statistics.median(seconds),
        compile_seconds=subject.compile_seconds if train else 0.0,
        peak_memory_bytes=subject.train_bytes if train else subject.inference_bytes,
        macs=network.size().macs,
        flops_per_step=flops * bench.batch_size,
        achieved_gflops=gflops,
        peak_gflops=bench.peak_gflops,
        peak_gbytes=bench.peak_gbytes,
        utilisation=100 * gflops / bench.peak_gflops,
        exclusive=exclusive,
        device=bench.here.device,
        threads=bench.here.threads,
        gpu_clock_mhz=device.clock_mhz,
        gpu_power_limit_watts=device.power_limit_watts,
        gpu_throttled=device.throttled,
        torch_version=bench.here.torch_version,
        git_commit=git_state()[0],
        measured_utc=utc_now(),
    )
