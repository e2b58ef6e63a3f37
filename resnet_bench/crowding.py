"""Do other programs take the cores that a sweep trains on: measured while it trains, judged, and said in a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnet_bench.cores import Cores, cores_here
from resnet_bench.machine import FOREIGN_SHARE, busy_seconds, own_seconds, usable_cores

READING_SECONDS = 5.0
CROWDED_SECONDS, FREE_SECONDS = 10.0, 60.0  # a change must last so long before it is told


@dataclass(frozen=True)
class Pool:
    """Cores that processes share: those of the machine that this one is bound to, or the quota of a group.

    Attributes:
        cores: how many.
        used: seconds for which they have worked for anybody; None where the system does not tell.
    """

    cores: float
    used: Callable[[], float | None]


def pools_of(cores: Cores) -> list[Pool]:
    """The pools that this process takes from.

    What the whole machine does is not asked: a container may see 64 busy cores and have its own two to itself.
    """
    bound = usable_cores()
    count = len(bound) or cores.machine
    return [Pool(count, lambda: busy_seconds(bound)), *(Pool(q.cpus, q.used_seconds) for q in cores.quotas)]


@dataclass(frozen=True)
class Reading:
    """What others used of a pool, on average over some seconds; both in cores."""

    seconds: float
    cores: float
    others: float

    def lacking(self, wanted: float) -> float:
        """Cores that are wanted and not there because of others; below 0 if some are left."""
        return self.others + min(wanted, self.cores) - self.cores


class Meter:
    """Reads what others have used since the reading before.

    Args:
        pools: to look at.
        own: seconds that this process and those below it have used.
        clock: seconds.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        own: Callable[[], float] = own_seconds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools, self.own, self.clock = pools, own, clock
        self.begin()

    def begin(self) -> None:
        """Take the present time and use as those that the next reading is the difference to."""
        self._time, self._own, self._used = self.clock(), self.own(), [pool.used() for pool in self.pools]

    def seconds(self) -> float:
        """Seconds since the last reading, or since `begin`."""
        return self.clock() - self._time

    def read(self) -> Reading | None:
        """The pool that others leave least of; None where the system tells of none."""
        seconds, own, before = self.seconds(), self._own, self._used
        self.begin()
        own = self._own - own
        readings = [
            Reading(seconds, pool.cores, max(0.0, (after - used - own) / seconds))
            for pool, used, after in zip(self.pools, before, self._used, strict=True)
            if used is not None and after is not None and seconds > 0
        ]
        return max(readings, key=lambda reading: reading.lacking(0), default=None)


class Judge:
    """Tells lasting changes from fluctuations.

    Args:
        wanted: cores that training would use, had it them to itself.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        # A quarter of one thread's core, half a core of several; of many what else counts as not alone.
        self.allowed = min(wanted / 4, max(0.5, FOREIGN_SHARE * wanted))
        self.crowded = False
        self._contrary = 0.0  # seconds for which the readings have said otherwise

    def changes(self, reading: Reading) -> bool:
        """Take a reading; is it the one by which `crowded` changes."""
        lacking = reading.lacking(self.wanted)
        otherwise = lacking < self.allowed / 2 if self.crowded else lacking > self.allowed
        self._contrary = self._contrary + reading.seconds if otherwise else 0.0
        if self._contrary < (FREE_SECONDS if self.crowded else CROWDED_SECONDS):
            return False
        self.crowded, self._contrary = not self.crowded, 0.0
        return True


class Watch:
    """Looks from time to time while a sweep trains. The number of threads never changes by itself: bits depend on it.

    Args:
        jobs: runs side by side.
        threads: of each.
        meter: what is read; of this process's pools unless given.
    """

    def __init__(self, jobs: int, threads: int, meter: Meter | None = None) -> None:
        self.jobs, self.threads = jobs, threads
        self.meter = Meter(pools_of(cores_here())) if meter is None else meter
        self.judge = Judge(jobs * threads)

    def begin(self) -> None:
        """A run begins: what was done before it says nothing of it."""
        self.meter.begin()

    def look(self) -> str | None:
        """A line, if something has changed for long; cheap, as it reads only every few seconds."""
        if self.meter.seconds() < READING_SECONDS:
            return None
        reading = self.meter.read()
        if reading is None or not self.judge.changes(reading):
            return None
        if not self.judge.crowded:
            return "other programs have left the cores: training is as fast as it can be again"
        of = f"{reading.cores:g} core{'s' * (reading.cores != 1)}"
        return f"other programs use {reading.others:.1f} of {of}; training is slower for it{self._advice()}"

    def _advice(self) -> str:
        if self.jobs > 1:
            return ": end them, or go on with a smaller --jobs"
        if self.threads > 1:
            return ": end them; a study that is begun with --threads 1 loses least"
        return ""
