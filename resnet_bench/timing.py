"""Time and memory: the one stopwatch, rounds of several callables in turn, what the device can do at best."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch

from resnet_bench.busy import busy
from resnet_bench.environment import synchronize

ROUND_SECONDS = 0.3  # a round is at least this long, so that the clock's and the scheduler's grain do not matter
WARMUP_STEPS = 3
MATRIX_SIDE = {"cpu": 4096, "cuda": 8192}
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 31}
PEAK_ROUNDS = 3


class Stopwatch:
    """Accumulates the seconds spent inside `with watch:`, everything queued on the device included.

    It waits for the device only when it starts and stops, never in between.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self.device = device
        self.seconds = seconds
        self.started = 0.0

    def __enter__(self) -> Stopwatch:
        synchronize(self.device)
        self.started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # after an error the device may not answer
            synchronize(self.device)
        self.seconds += time.perf_counter() - self.started


def time_in_turn(
    calls: Sequence[Callable[[], Any]],
    device: torch.device,
    rounds: int,
    round_seconds: float = ROUND_SECONDS,
    warmup_steps: int = WARMUP_STEPS,
) -> list[list[float]]:
    """Seconds per call of each of `calls` in each of `rounds` rounds.

    In a round every callable is called as often as fills `round_seconds`, one callable after the other, in an order
    that is reversed from round to round: what the machine does to one of them it does to all.
    """
    counts = [_warm_up(call, device, round_seconds, warmup_steps) for call in calls]
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        order = range(len(calls)) if number % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            seconds[index].append(_seconds(calls[index], counts[index], device) / counts[index])
    return seconds


def _warm_up(call: Callable[[], Any], device: torch.device, round_seconds: float, steps: int) -> int:
    """Call for `round_seconds`, at least `steps` times; gives the number of calls that fill a round."""
    for _ in range(steps):
        call()
    count = 1
    while (seconds := _seconds(call, count, device)) < round_seconds:
        count = max(count + 1, math.ceil(1.1 * count * round_seconds / seconds))
    return count


def _seconds(call: Callable[[], Any], count: int, device: torch.device) -> float:
    """Time of `count` calls: by events of the device on CUDA, by the system's clock elsewhere."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        synchronize(device)
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started


@busy("measuring what the device can do at best")
def peak_gflops(device: torch.device, precision: str) -> float:
    """GFLOP/s of a large square matrix product in `precision`, the best of a few (2 FLOPs per multiply-add)."""
    side = MATRIX_SIDE[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(left)
    seconds = time_in_turn([lambda: torch.mm(left, right, out=out)], device, PEAK_ROUNDS, warmup_steps=1)[0]
    return 2 * side**3 / min(seconds) / 1e9


@busy("measuring what the device can do at best")
def peak_gbytes(device: torch.device) -> float:
    """GB/s of a large copy, bytes read and written, the best of a few."""
    source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = time_in_turn([lambda: target.copy_(source)], device, PEAK_ROUNDS, warmup_steps=1)[0]
    return 2 * source.numel() / min(seconds) / 1e9


def allocated_peak(call: Callable[[], Any], device: torch.device) -> int:
    """Bytes that torch has allocated at the worst moment of `call`, beyond those it had before.

    On CUDA by the allocator's counters, on the CPU by the profiler's record of every allocation; what libraries take
    for themselves past torch's allocator is not in it.
    """
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it complains about a missing GPU
    cpu = [torch.profiler.ProfilerActivity.CPU]
    # There is one cycle; told to keep the events of all, it does not warn that it keeps only the last.
    with torch.profiler.profile(activities=cpu, profile_memory=True, acc_events=True) as profile:
        call()
    total = peak = 0
    events = profile.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: int(event.start_ns())):
        if event.name() == "[memory]":
            total += int(event.nbytes())
            peak = max(peak, total)
    return peak
