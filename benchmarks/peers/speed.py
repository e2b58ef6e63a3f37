"""How fast resnet_bench trains, beside the loop that people write today: `python -m benchmarks.peers`.

All sides take turns in this one process, in rounds of the same number of steps, forwards and then backwards through
the list, so that a drift of the machine meets all of them. The sides, for each depth (a residual network, option A):

- the reference loop (`benchmarks.peers.reference_loop`) with 0, 2 and 4 workers, persistent, iterators alive from round
  to round. Before its round is timed a reference uses up twice what its workers have made ahead, so that it
  does not profit from their work in other sides' rounds; after it, nothing goes on before they are at rest, with
  queues full, so that they take no cores from others. The reference runs without deterministic algorithms, and with
  cuDNN's benchmark mode;
- ours, eager, and ours in the chosen mode: the real `fit`, with draws, digests, checks and rows as in the paper's
  study. Evaluation is not counted, as the reference has none, and neither is compiling, whose time is printed;
- bare steps: forward, loss, backward and update on one fixed batch. The reference's beside ours in eager mode shows
  that the same network is trained with the same effort; ours in the chosen mode is the ceiling of our training.

The last line holds, for each depth, our speed in the chosen mode over that of the reference with its best number of
workers, by the medians over rounds. `--memory` measures peak memory instead (`benchmarks.peers.memory`).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rich import box
from rich.table import Table

from benchmarks.peers import memory, sides
from benchmarks.peers.reference_loop import TrainingImages
from benchmarks.peers.sides import BATCH, OurTraining, Side
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure, find_device, fingerprint
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution, default_precision
from resnet_bench.machine import ForeignLoad
from resnet_bench.networks import display_name
from resnet_bench.terminal import to_text
from resnet_bench.training.state import Job

PROBE_STEPS = 3
ROUND_SECONDS, LEAST_STEPS = 1.0, 5  # of a round, unless --steps-per-round says otherwise
ALIKE = 0.05  # bare steps further apart than this are remarked upon
REFERENCE, REFERENCE_BARE = "reference, ", "bare step of the reference"


def reference(workers: int) -> str:
    """The name of a reference side."""
    return f"{REFERENCE}{workers} workers"


def ours(mode: str) -> str:
    """The name of our training."""
    return f"ours, {mode}"


def our_bare(mode: str) -> str:
    """The name of our bare step."""
    return f"bare step of ours, {mode}"


@dataclass(frozen=True)
class Comparison:
    """One depth, measured: seconds per step of every round, by side."""

    depth: int
    mode: str  # the chosen one of ours
    seconds: dict[str, list[float]]
    build_seconds: float = 0.0
    exclusive: bool | None = None

    def median(self, side: str) -> float:
        """Seconds per step."""
        return statistics.median(self.seconds[side])

    @property
    def best_reference(self) -> str:
        """The reference with its best number of workers."""
        return min((side for side in self.seconds if side.startswith(REFERENCE)), key=self.median)

    def speed(self, side: str, other: str) -> float:
        """How fast `side` is, in speeds of `other`."""
        return self.median(other) / self.median(side)


def headline(comparisons: Iterable[Comparison]) -> str:
    """The last line: `ResNet-20 1.28x, ResNet-56 1.17x`."""
    return ", ".join(
        f"{display_name('residual', found.depth)} {found.speed(ours(found.mode), found.best_reference):.2f}x"
        for found in comparisons
    )


# ---------------------------------------------------------------------------------------------- measuring


class LoadOfOthers(ForeignLoad):
    """Counts the worker processes, whether they live or not, as this process."""

    @staticmethod
    def _own_seconds() -> float:
        return sum(os.times()[:4]) + sides.worker_seconds()  # own and of ended children, user and system


@dataclass(frozen=True)
class Bench:
    """What all depths share."""

    dataset: Dataset
    images: TrainingImages
    data: DeviceData
    mode: str
    workers: Sequence[int]

    @classmethod
    def open(cls, device: torch.device, mode: str, workers: Sequence[int]) -> Bench:
        """Random images in CIFAR-10's number and size."""
        dataset = synthetic(num_train=50_000, num_test=1_000)
        return cls(dataset, TrainingImages(dataset), DeviceData.of(dataset, device), mode, workers)

    def compare(self, depth: int, rounds: int, steps: int | None) -> Comparison:
        """Measure one depth; `steps` per round, or as many as take a second on the fastest side."""
        lineup, build_seconds = self._lineup(depth)
        if steps is None:
            say(f"ResNet-{depth}: how many steps make a round")
            fastest = min(side(PROBE_STEPS) / PROBE_STEPS for side in lineup.values())
            steps = max(LEAST_STEPS, math.ceil(ROUND_SECONDS / fastest))
        seconds: dict[str, list[float]] = {name: [] for name in lineup}
        load = LoadOfOthers()
        for number in range(rounds):
            for name in list(lineup)[:: -1 if number % 2 else 1]:
                say(f"ResNet-{depth}, round {number + 1} of {rounds}, {steps} steps: {name}")
                seconds[name].append(lineup[name](steps) / steps)
        return Comparison(depth, self.mode, seconds, build_seconds, load.exclusive())

    def _lineup(self, depth: int) -> tuple[dict[str, Side], float]:
        """The sides by name, and the seconds that ours took to compile or capture."""
        loops = {n: sides.make_reference(self.images, depth, n, self.data.device) for n in self.workers}
        lineup = {reference(n): sides.reference_training(loop) for n, loop in loops.items()}
        build_seconds = 0.0
        for mode in dict.fromkeys(("eager", self.mode)):
            say(f"ResNet-{depth}: building ours, {mode}")
            execution = Execution(mode, default_precision(self.data.device.type))
            job = Job.of(sides.config(depth), self.data, execution)
            training = OurTraining(job, self.dataset.digest)
            lineup |= {ours(mode): training, our_bare(mode): sides.our_bare_step(job)}
            build_seconds = training.build_seconds
        lineup[REFERENCE_BARE] = sides.reference_bare_step(loops[self.workers[0]], job)
        return lineup, build_seconds


def choose_mode(mode: str, device: torch.device) -> str:
    """`auto` is graph on CUDA; elsewhere compile if it works, else eager. UsageError for what cannot be."""
    if mode == "auto" and device.type == "cuda":
        return "graph"
    if mode == "auto":
        return "eager" if sides.why_not_compile(device.type) else "compile"
    Execution(mode).check(device.type)
    if mode == "compile" and (reason := sides.why_not_compile(device.type)):
        raise UsageError(reason)
    return mode


# ---------------------------------------------------------------------------------------------- telling


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def to_table(found: Comparison) -> str:
    """Speeds and ratios of one depth, as text."""
    title = f"{display_name('residual', found.depth)}, batch {BATCH}"
    table = Table(title, "img/s", "quartiles", "ms/step", "over best reference", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, seconds in found.seconds.items():
        slow, _, fast = (BATCH / value for value in statistics.quantiles(seconds, n=4, method="inclusive")[::-1])
        median, ratio = found.median(name), found.speed(name, found.best_reference)
        table.add_row(name, f"{BATCH / median:.1f}", f"{slow:.1f}..{fast:.1f}", f"{1000 * median:.1f}", f"{ratio:.2f}x")
    return to_text(table, *_remarks(found))


def _remarks(found: Comparison) -> list[str]:
    ceiling = found.speed(ours(found.mode), our_bare(found.mode))
    alike = found.speed(REFERENCE_BARE, our_bare("eager"))
    lines = [
        f"Best reference: {found.best_reference}. Compiling or capturing ours took {found.build_seconds:.1f} s.",
        f"Our training runs at {ceiling:.3f}x the speed of its bare step ({found.mode}).",
        f"The reference's bare step runs at {alike:.3f}x the speed of ours in eager mode.",
    ]
    if abs(alike - 1) > ALIKE:
        lines.append(f"NOTE: these differ by more than {100 * ALIKE:.0f} %: the two sides do not train alike.")
    if found.exclusive is None:
        lines.append("NOTE: this system does not tell what other processes do.")
    elif not found.exclusive:
        lines.append("WARNING: other processes used more than 5 % of the processors; measure again on a quiet machine.")
    return lines


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--depths", type=_numbers, default=[20, 56], help="(20,56)")
    parser.add_argument("--workers", type=_numbers, default=[0, 2, 4], help="of the reference (0,2,4)")
    parser.add_argument("--rounds", type=int, default=7, help="at least 2 (7)")
    parser.add_argument("--mode", default="auto", choices=("auto", "eager", "compile", "graph"), help="of ours (auto)")
    parser.add_argument("--steps-per-round", type=int, help="(as many as take a second on the fastest side)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--threads", type=int, help="CPU threads within one operation (all cores)")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of speed")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print tables and the last line."""
    arguments = _parse(argv)
    # Four workers on two cores are asked for on purpose: the reference is taken with its best number of workers.
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    device = find_device(arguments.device)
    precision = default_precision(device.type)
    configure(device, arguments.threads, precision)
    mode, here = choose_mode(arguments.mode, device), fingerprint(device)
    print(f"{here.device}, {here.threads} threads, {precision}, torch {here.torch_version}, ours in mode {mode}")
    if arguments.memory:
        for depth in arguments.depths:
            print(memory.to_table(depth, dict.fromkeys(("eager", mode)), arguments.device))
        return
    bench, comparisons = Bench.open(device, mode, arguments.workers), []
    for depth in arguments.depths:
        comparisons.append(bench.compare(depth, arguments.rounds, arguments.steps_per_round))
        print(to_table(comparisons[-1]), flush=True)
    print(headline(comparisons))
