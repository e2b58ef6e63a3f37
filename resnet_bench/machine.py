"""Facts about the machine that need no torch."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.cores import cores_here


def available_cores() -> int:
    """CPU cores this process may use: those it is bound to, but no more than the quotas of its groups."""
    return cores_here().number


def usable_cores() -> list[int]:
    """The numbers of the CPU cores that this process may be bound to; empty where it cannot be."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def has_gpu_driver() -> bool:
    """Is there a CUDA driver; a guess that needs no torch."""
    return Path("/proc/driver/nvidia/version").exists()


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class GpuState:
    """A GPU's clocks and limits at one moment, as nvidia-smi tells; empty where it does not."""

    clock_mhz: int | None = None
    power_limit_watts: float | None = None
    throttled: str = ""


# Bits of NVML's clock event reasons. An idle GPU and a clock that somebody set are no slowing down.
THROTTLE_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal (software)", 0x40: "thermal", 0x80: "power brake",
}  # fmt: skip


def gpu_state(uuid: str) -> GpuState:
    """The state of the GPU with that UUID; nothing for ""."""
    if not uuid:
        return GpuState()
    fields = "clocks.sm,enforced.power.limit,clocks_throttle_reasons.active"
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        clock, limit, reasons = (cell.strip() for cell in answer.split(","))
        active = int(reasons, 16)
        named = ", ".join(name for bit, name in THROTTLE_REASONS.items() if active & bit)
        return GpuState(int(clock), float(limit), named)
    except (OSError, subprocess.SubprocessError, ValueError):
        return GpuState()


FOREIGN_SHARE = 0.05  # of all cores: more than this, and a run did not have the machine to itself


class ForeignLoad:
    """How much of the processors other processes used since this object was made.

    The processes that this one has started, and those that they have, are its own.

    Args:
        cores: look at these alone; at all of the machine if empty.
    """

    def __init__(self, cores: Sequence[int] = ()) -> None:
        self._cores = cores
        self._busy = busy_seconds(cores)
        self._own = self._own_seconds()
        self._started = time.monotonic()

    def share(self) -> float | None:
        """The part of the cores' time that others took, 0 to 1; None where the system does not tell."""
        if self._busy is None or (busy := busy_seconds(self._cores)) is None:
            return None
        foreign = (busy - self._busy) - (self._own_seconds() - self._own)
        capacity = (time.monotonic() - self._started) * (len(self._cores) or os.cpu_count() or 1)
        return max(0.0, foreign / capacity) if capacity else 0.0

    def exclusive(self) -> bool | None:
        """Was this process (nearly) alone; None where the system does not tell."""
        share = self.share()
        return None if share is None else share < FOREIGN_SHARE

    @staticmethod
    def _own_seconds() -> float:
        return own_seconds()


def own_seconds() -> float:
    """CPU time of this process, of those that it has waited for, and of all below it that live."""
    return sum(os.times()[:4]) + _seconds_below(os.getpid())


def _seconds_below(pid: int, root: Path = Path("/proc")) -> float:
    """CPU time of the living processes below one, and of those that they have waited for; 0 where nothing tells."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for path in root.glob("[0-9]*/stat"):
        try:  # the name, in brackets, may hold anything
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            number, parent, used = int(path.parent.name), int(fields[1]), sum(map(int, fields[11:15]))
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
        ticks[number] = used
        children.setdefault(parent, []).append(number)
    total, found = 0, list(children.get(pid, ()))
    while found:
        number = found.pop()
        total += ticks[number]
        found += children.pop(number, ())
    return total / os.sysconf("SC_CLK_TCK")


def busy_seconds(cores: Sequence[int]) -> float | None:
    """Seconds in which these cores (all of the machine's if empty) worked, since it was started."""
    names, ticks = {f"cpu{core}" for core in cores} or {"cpu"}, 0
    try:
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in names:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
                ticks += user + nice + system + irq + softirq + steal
    except (OSError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")
