"""Pairs of processes, one of each side, that take turns on the same core: what the gate measures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_bench.errors import Failure
from resnet_bench.machine import ForeignLoad, gpu_state, usable_cores

SAMPLE = Path(__file__).with_name("sample.py")
ROUND_SECONDS = 0.02  # of each side: short against the machine's ups and downs, so that neighbours share them
PAIR_SECONDS = 2.0  # of both sides together, for each benchmark
MAX_LANES = 2
# For glibc: blocks up to 32 MiB (its limit) come from the heap, which never gives anything back.
HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
FOREIGN_SHARE = 0.1  # of the cores in use: more than this, and the pairs of that moment are measured again


class DifferentWork(Exception):
    """A benchmark does not do the same on both sides."""


class SampleFailure(Failure):
    """A benchmark of one side does not run."""

    def __init__(self, tree: Tree, reason: str) -> None:
        self.tree = tree
        lines = [line for line in reason.strip().splitlines() if line.strip()]
        super().__init__(f"the benchmarks of the {tree.name} do not run: {lines[-1] if lines else 'no reason given'}")


@dataclass(frozen=True)
class Tree:
    """A checkout to be measured."""

    name: str  # "base" or "head"
    root: Path
    benchmarks: str  # its file of benchmarks, as a path inside it

    def environment(self) -> dict[str, str]:
        """In which its own packages come first, and freed memory is kept: else luck decides about page faults."""
        return {**os.environ, "PYTHONPATH": str(self.root), "PYTHONHASHSEED": "0", **HEAP}


class SampleProcess:
    """A fresh process that has loaded one side's benchmarks."""

    def __init__(self, tree: Tree, device: str, core: int | None) -> None:
        self.tree = tree
        command = [
            sys.executable,
            "-P",
            str(SAMPLE),
            tree.benchmarks,
            device,
            *([str(core)] if core is not None else []),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=tree.root,
            env=tree.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is the gate's; it ends its processes itself
        )

    def send(self, **request: Any) -> None:
        """Write a request to the side's process; `receive` reads the answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: `receive` says so
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer. Raises SampleFailure with the side's own error."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise SampleFailure(self.tree, answer["error"])
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send and receive."""
        self.send(**request)
        return self.receive()

    def end(self) -> None:
        """Make it end: it has nothing to lose."""
        self.process.kill()

    def wait(self) -> None:
        """Wait until it is gone."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self.process.wait()


@contextlib.contextmanager
def processes(trees: Sequence[Tree], device: str, core: int | None = None) -> Iterator[list[SampleProcess]]:
    """One fresh process for each tree, started in this order; all gone afterwards."""
    started: list[SampleProcess] = []
    try:
        for tree in trees:
            started.append(SampleProcess(tree, device, core))
        yield started
    finally:
        for process in started:
            process.end()
        for process in started:
            process.wait()


@dataclass(frozen=True)
class Pair:
    """One process of each side: seconds per step, round by round, of each benchmark.

    `same` is a pair of base against itself, whose second process stands in head's place.
    """

    same: bool
    head_first: bool
    base_seconds: dict[str, list[float]]
    head_seconds: dict[str, list[float]]


def measure_pair(
    base: Tree,
    head: Tree,
    benchmarks: Sequence[str],
    device: str,
    core: int | None,
    *,
    head_first: bool,
    stop: threading.Event | None = None,
) -> Pair:
    """Start both, let them get ready together, and then take turns, each round in the opposite order.

    Args:
        core: the one that both are bound to; None binds them to none.
        head_first: start head before base, and let it begin.
        stop: once it is set, the pair is broken off and worth nothing.
    """
    order, stop = [head, base] if head_first else [base, head], stop or threading.Event()
    with processes(order, device, core) as running:
        seconds = {name: _take_turns(running, name, stop) for name in benchmarks}
    by_side = [{name: times[index] for name, times in seconds.items()} for index in (0, 1)]
    if head_first:
        by_side.reverse()
    return Pair(head.name == base.name, head_first, *by_side)


def _take_turns(running: Sequence[SampleProcess], benchmark: str, stop: threading.Event) -> list[list[float]]:
    for process in running:
        process.send(do="prepare", benchmark=benchmark)
    ready = [process.receive() for process in running]
    if ready[0]["images"] != ready[1]["images"]:
        raise DifferentWork(
            f"{benchmark} works on {ready[0]['images']} images a step on one side, {ready[1]['images']} on the other"
        )
    steps = max(1, math.ceil(ROUND_SECONDS / min(answer["seconds"] for answer in ready)))
    seconds: list[list[float]] = [[] for _ in running]
    end = time.monotonic() + PAIR_SECONDS
    while time.monotonic() < end and not stop.is_set():
        for index in (0, 1, 1, 0):  # two rounds
            answer = running[index].ask(do="time", benchmark=benchmark, steps=steps)
            seconds[index].append(answer["seconds"] / steps)
    return seconds


class Lanes:
    """Where pairs are measured: side by side, each on a core of its own; on a GPU one after the other."""

    def __init__(self, base: Tree, head: Tree, benchmarks: Sequence[str], device: str, gpu: str = "") -> None:
        self.base, self.head, self.benchmarks, self.device, self.gpu = base, head, benchmarks, device, gpu
        cores = usable_cores()
        self.cores: list[int | None] = [None] if device != "cpu" or not cores else list(cores[:MAX_LANES])
        self.measured = {True: 0, False: 0}
        self.stop = threading.Event()

    def measure(self, kinds: Sequence[bool]) -> tuple[list[Pair], str]:
        """One pair on each lane (true: base against itself), and why they do not count; "" if they do."""
        load = ForeignLoad([core for core in self.cores if core is not None])
        jobs = []
        for same, core in zip(kinds, self.cores, strict=False):
            # Every other pair of a kind starts with head.
            jobs.append((self.base if same else self.head, core, self.measured[same] % 2 == 1))
            self.measured[same] += 1
        with ThreadPoolExecutor(len(jobs)) as pool, self._stopping():
            pairs = list(pool.map(lambda job: self._pair(*job), jobs))
        return pairs, self._disturbance(load.share() or 0.0)

    def _pair(self, head: Tree, core: int | None, head_first: bool) -> Pair:
        return measure_pair(self.base, head, self.benchmarks, self.device, core, head_first=head_first, stop=self.stop)

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Whatever goes wrong on one lane, or a Ctrl-C, ends them all soon."""
        try:
            yield
        except BaseException:
            self.stop.set()
            raise

    def _disturbance(self, share: float) -> str:
        if share > FOREIGN_SHARE:
            return f"other programs took {100 * share:.0f} % of the cores"
        throttled = gpu_state(self.gpu).throttled
        return f"the GPU was slowed down ({throttled})" if throttled else ""
