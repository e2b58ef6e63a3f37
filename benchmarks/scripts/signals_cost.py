"""What recording the layers' signals costs a run: `python -m benchmarks.scripts.signals_cost`.

A measurement of signals and a train step in turn, on the study's own kind of images; the share is that of all
measurements of a run in the time of its steps. Evaluation, which also takes time, would make it smaller.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence

from resnet_bench.data.batches import normalise
from resnet_bench.data.builtin import digits, synthetic
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure, find_device
from resnet_bench.execution import Execution, default_precision
from resnet_bench.models import Net
from resnet_bench.networks import display_name
from resnet_bench.studies import find
from resnet_bench.timing import time_in_turn
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.signals import BATCH, measure_signals, signal_steps
from resnet_bench.training.state import Job

# Percent of the steps that a study may pay. The first steps are measured in any run, and 220 steps are few.
LIMITS = {"digits-full": 7.0, "cifar10-short": 3.0}


def share(study: str, depth: int, mode: str, device_name: str, rounds: int) -> float:
    """Percent of the time of a residual network's steps; prints a line."""
    device = find_device(device_name)
    precision = default_precision(device.type)
    configure(device, precision=precision)
    config = next(run for run in find(study).runs(depths=[depth], seeds=[0]) if run.arch == "residual")
    data = DeviceData.of(digits() if study.startswith("digits") else synthetic(), device)
    job = Job.of(config, data, Execution(mode, precision))
    state = job.initial_state("")
    model = state.model
    assert isinstance(model, Net)
    step, numbers = job.make_step(state), itertools.count()
    step.build()
    set_learning_rate(state.optimizer, config.lr)
    images = normalise(data.train_images[:BATCH], data.mean)
    labels = data.train_labels[:BATCH]
    steps, signals = time_in_turn(
        [
            lambda: step(job.stream.draws(next(numbers))),
            lambda: measure_signals(model, images, labels, precision),
        ],
        device,
        rounds,
    )
    ratio = statistics.median(signals) / statistics.median(steps)
    points = len(signal_steps(config.steps, config.row_every))
    percent = 100 * points * ratio / config.steps
    print(
        f"{study}, {display_name('residual', depth)}, {mode}: signals take {ratio:.2f} steps, {points} times in "
        f"{config.steps} steps: {percent:.2f} %",
        flush=True,
    )
    return percent


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a share is above the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts.signals_cost")
    parser.add_argument("--depths", default="20,110", help="as in 20,56 (20,110)")
    parser.add_argument("--mode", default="eager", help="of the steps (eager)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args(argv)
    depths = [int(depth) for depth in arguments.depths.split(",")]
    kept = True
    for study, limit in LIMITS.items():
        highest = max(share(study, depth, arguments.mode, arguments.device, arguments.rounds) for depth in depths)
        print(f"{study}: at most {highest:.2f} % (limit {limit} %)")
        kept = kept and highest <= limit
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
