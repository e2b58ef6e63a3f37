"""Speed of every mode on a GPU, and whether a graph gives eager's bits: `python -m benchmarks.scripts.cuda_check`.

A table per precision: images per second of the train step of ResNet-20 to ResNet-110 (option A, batch 128, 32x32) in
eager mode, compiled, and as one CUDA graph, with channels first and channels last. All of a depth take turns. `graph =
eager` compares weights, momentum, BN statistics and counted errors after some steps on the same batches, bit by bit.
"""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.peers.sides import config
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure, fingerprint, gpu_uuid
from resnet_bench.execution import MEMORY_FORMATS, MODES, Execution
from resnet_bench.machine import gpu_state
from resnet_bench.networks import DEPTHS
from resnet_bench.terminal import columns
from resnet_bench.timing import time_in_turn
from resnet_bench.training.optimizers import optimizer_tensors, set_learning_rate
from resnet_bench.training.state import Job, TrainState
from resnet_bench.training.step import TrainStep

EQUAL_STEPS = 20


def after_steps(job: Job, steps: int) -> list[Tensor]:
    """Everything that steps change, after some of them at a learning rate that changes half way."""
    state = job.initial_state("")
    step = job.make_step(state)
    step.build()
    for number in range(steps):
        set_learning_rate(state.optimizer, 0.1 if number < steps // 2 else 0.01)
        step(job.stream.draws(number))
    return _changed(state)


def _changed(state: TrainState) -> list[Tensor]:
    momentum = optimizer_tensors(state.optimizer)
    return [*state.model.state_dict().values(), *momentum, *state.meter.tensors()]


def same_bits(data: DeviceData, depth: int, one: Execution, other: Execution) -> bool:
    """Do two executions of a network end in the same bits."""
    pair = [after_steps(Job.of(config(depth), data, execution), EQUAL_STEPS) for execution in (one, other)]
    return all(torch.equal(left, right) for left, right in zip(*pair, strict=True))


def build(data: DeviceData, depth: int, execution: Execution) -> TrainStep:
    """The train step, ready."""
    job = Job.of(config(depth), data, execution)
    step = job.make_step(job.initial_state(""))
    step.build()
    return step


def speeds(data: DeviceData, depth: int, executions: Sequence[Execution], rounds: int) -> list[float]:
    """Images per second, the median over rounds in turn."""
    draws = Job.of(config(depth), data).stream.draws(0)
    calls = [functools.partial(build(data, depth, execution), draws) for execution in executions]
    return [len(draws) / statistics.median(seconds) for seconds in time_in_turn(calls, data.device, rounds)]


def check(data: DeviceData, precision: str, modes: Sequence[str], depths: Sequence[int], rounds: int = 5) -> bool:
    """Print the table of one precision; was every graph bit-equal to eager."""
    executions = [Execution(mode, precision, name) for name in MEMORY_FORMATS for mode in modes]
    header = ["img/s", *(f"{e.mode} {e.memory_format}" for e in executions), "graph = eager"]
    rows, all_equal = [], True
    for depth in depths:
        measured = speeds(data, depth, executions, rounds)
        torch.compiler.reset()
        equal = "not asked"
        if "graph" in modes:
            pairs = [
                (Execution("eager", precision, name), Execution("graph", precision, name)) for name in MEMORY_FORMATS
            ]
            bits = all(same_bits(data, depth, *pair) for pair in pairs)
            all_equal, equal = all_equal and bits, "yes" if bits else "NO"
        rows.append([f"ResNet-{depth}", *(f"{speed:,.0f}" for speed in measured), equal])
    print(f"\n{precision}, batch 128, train step\n{columns(header, rows, texts=1)}", flush=True)
    return all_equal


def main() -> int:
    """All precisions on the GPU; 1 without one, or if a graph differs from eager."""
    if not torch.cuda.is_available():
        print("cuda-check: torch sees no CUDA device here, so nothing was checked", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    data = DeviceData.of(synthetic(num_train=50_000, num_test=1_000), device)
    print(f"{fingerprint(device)}\n{gpu_state(gpu_uuid(device))}")
    equal = True
    for precision in ("tf32", "fp32", "bf16"):
        configure(device, precision=precision)
        equal = check(data, precision, MODES, DEPTHS) and equal
    print(gpu_state(gpu_uuid(device)))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
