"""Training beside other programs: images per second with one and with two threads, alone and beside spinning processes.

python -m benchmarks.scripts.busy --others 0,1,2 --threads 1,2
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from resnet_bench.data.builtin import digits
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure
from resnet_bench.studies import find
from resnet_bench.training.state import Job

SECONDS = 3.0  # of a round
SPIN = "while True: pass"


@contextlib.contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that do nothing but work."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rate(depth: int, seconds: float) -> float:
    """Images per second of plain training steps on the digits, at the present number of threads."""
    (run,) = (run for run in find("demo").runs("digits", [depth], [0]) if run.arch == "plain")
    job = Job.of(run, DeviceData.of(digits(), torch.device("cpu")))
    step, draws = job.make_step(job.initial_state("")), job.stream.draws(0)
    step(draws)
    steps, started = 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        step(draws)
        steps += 1
    return steps * run.batch_size / elapsed


def main() -> None:
    """Measure in turn, each pair in several rounds, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", default="0,1,2", help="processes that spin, as in 0,1,2")
    parser.add_argument("--threads", default="1,2", help="as in 1,2")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a round")
    arguments = parser.parse_args()
    pairs = list(itertools.product(map(int, arguments.others.split(",")), map(int, arguments.threads.split(","))))
    rates: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    for _ in range(arguments.rounds):
        for others, threads in pairs:
            configure(torch.device("cpu"), threads)
            with spinning(others):
                rates[others, threads].append(rate(arguments.depth, arguments.seconds))
    print("| others | threads | img/s |\n| ---: | ---: | ---: |")
    for others, threads in pairs:
        print(f"| {others} | {threads} | {statistics.median(rates[others, threads]):,.0f} |")


if __name__ == "__main__":
    main()
