"""What the throughput gate compares between two checkouts (`make bench-check`). Every checkout brings its own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import make_batch, normalise
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure, find_device
from resnet_bench.gate.benchmark import Benchmark
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.state import Job

# Small batches and one thread: short steps can take turns often, which is what makes the comparison sharp.
BATCH, PIPELINE_BATCH, NUM_IMAGES = 8, 128, 2_000


def train_step(arch: str, device: str) -> Benchmark:
    """The whole step of a training run at depth 20: draws, batch, forward, loss, backward, update, counting."""
    job = _job(arch, BATCH, device)
    state = job.initial_state("")
    step, numbers = job.make_step(state), itertools.count()
    set_learning_rate(state.optimizer, 0.01)
    return Benchmark(
        step=lambda: step(job.stream.draws(next(numbers))),
        images=BATCH,
        network=state.model,
        example=normalise(job.data.train_images[:BATCH], job.data.mean),
    )


def batch_pipeline(device: str) -> Benchmark:
    """What comes before the network: draws, their copy to the device, crop, flip, normalise."""
    job = _job("residual", PIPELINE_BATCH, device)
    there = torch.zeros(PIPELINE_BATCH, 4, dtype=torch.int32, device=job.data.device)
    numbers = itertools.count()

    def pipeline() -> Tensor:
        there.copy_(job.stream.draws(next(numbers)), non_blocking=True)
        return make_batch(job.data.train_images, job.data.mean, there)

    return Benchmark(step=pipeline, images=PIPELINE_BATCH)


BENCHMARKS: dict[str, Callable[[str], Benchmark]] = {
    "train step, plain-20": functools.partial(train_step, "plain"),
    "train step, ResNet-20": functools.partial(train_step, "residual"),
    "batch pipeline": batch_pipeline,
}


@functools.cache
def _data(device: str) -> DeviceData:
    there = find_device(device)
    configure(there, threads=1)
    return DeviceData.of(synthetic(num_train=NUM_IMAGES, num_test=1), there)


def _job(arch: str, batch_size: int, device: str) -> Job:
    config = RunConfig(
        protocol="gate/1", dataset="synthetic", arch=arch, depth=20, shortcut="none" if arch == "plain" else "a",
        seed=0, steps=10**9, batch_size=batch_size,
    )  # fmt: skip
    return Job.of(config, _data(device))
