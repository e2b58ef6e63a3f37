"""When a head is slower than its base: a judgement over pairs, as pure functions of numbers.

One pair of fresh processes, one of each side, gives one number per benchmark: d = ln(time of head / time of base). The
median of d over pairs is what is judged, with bounds that hold whatever the noise looks like: order statistics (the
sign test, turned round), which assume only that pairs do not depend on one another. A slowdown must be both
significant (lower bound above 0) and of a size that matters (median above DELTA), twice: in the first pairs, and in
fresh ones. The chance of a false alarm is so at most that of the first look, which may be repeated while pairs come in,
times that of the second.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ALPHA = 0.01  # of each one-sided bound
DELTA = 0.05  # a slowdown up to this does not matter
MIN_PAIRS = 7  # the fewest with a bound: 1 / 2**7 < ALPHA
SAME_LIMIT = 0.02  # base must not differ from itself by more
SAME_ALPHA = 0.05  # the level at which it does
MIN_SAME_PAIRS = 3
TRIM = 0.25  # at both ends of a pair's rounds


class Outcome(enum.Enum):
    """How a gate ends."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"
    NOT_MEASURED = "NOT MEASURED"


@dataclass(frozen=True)
class Estimate:
    """How much slower head is, as ln(time of head / time of base); each bound holds with 1 - ALPHA."""

    point: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, values: Sequence[float], alpha: float = ALPHA) -> Estimate:
        """The median of independent numbers and its one-sided bounds; infinite where they are too few."""
        if not values:
            return cls(math.nan, -math.inf, math.inf, 0)
        ordered, rank = sorted(values), bound_rank(len(values), alpha)
        low, high = (ordered[rank - 1], ordered[-rank]) if rank else (-math.inf, math.inf)
        return cls(statistics.median(ordered), low, high, len(ordered))

    def is_slower(self, delta: float) -> bool:
        """Is a slowdown certain, and larger than `delta` (a fraction of time)."""
        return self.low > 0 and self.point > math.log1p(delta)

    def is_no_slower(self, delta: float) -> bool:
        """Is a slowdown by more than `delta` out of the question."""
        return self.high < math.log1p(delta)


def bound_rank(count: int, alpha: float = ALPHA) -> int:
    """The largest k such that the k-th smallest of `count` numbers is below their median with 1 - alpha; else 0.

    The number of values below the median is binomial with p = 1/2, whatever their distribution.
    """
    tail, rank = 0.0, 0
    while rank < count:
        tail += math.comb(count, rank) / 2**count
        if tail > alpha:
            break
        rank += 1
    return rank


def pair_log_ratio(base_seconds: Sequence[float], head_seconds: Sequence[float]) -> float:
    """ln(head / base) of one pair: the mean of the middle half over rounds, each a time of both sides.

    The two times of a round are neighbours, so what the machine does to both cancels; what it does to one, a spike,
    is at an end of the order and left out.

    Raises:
        ValueError: no rounds, or not as many of one side as of the other.
    """
    logs = sorted(math.log(head / base) for base, head in zip(base_seconds, head_seconds, strict=True))
    if not logs:
        raise ValueError("a pair without rounds")
    cut = int(TRIM * len(logs))
    return statistics.fmean(logs[cut : len(logs) - cut])


def to_percent(log_ratio: float) -> float:
    """A log ratio of times as "slower by so many percent"; negative is faster."""
    return 100 * math.expm1(log_ratio)


@dataclass
class Trial:
    """What was measured so far, and what follows from it.

    Attributes:
        first: d of every pair up to the first suspicion, by benchmark.
        fresh: d of the pairs taken since, which must confirm it.
        same: d of pairs of base against itself, taken in between.
        suspects: the benchmarks that the first pairs call slower.
        delta: the slowdown that matters, as a fraction of time.
    """

    delta: float = DELTA
    first: dict[str, list[float]] = field(default_factory=dict)
    fresh: dict[str, list[float]] = field(default_factory=dict)
    same: dict[str, list[float]] = field(default_factory=dict)
    suspects: tuple[str, ...] = ()

    def add(self, pair: Mapping[str, float], *, same: bool) -> None:
        """Count a pair: d by benchmark."""
        values = self.same if same else self.fresh if self.suspects else self.first
        for benchmark, d in pair.items():
            values.setdefault(benchmark, []).append(d)
        if not self.suspects and not same:
            self.suspects = tuple(name for name, seen in self.first.items() if Estimate.of(seen).is_slower(self.delta))

    def plan(self, count: int) -> list[bool]:
        """For each of the next pairs, whether it is base against itself: one for every three of head against base."""
        same, against = self._count(self.same), self.pairs
        kinds = []
        for _ in range(count):
            kinds.append(3 * same < against)
            same, against = same + kinds[-1], against + (not kinds[-1])
        return kinds

    @property
    def pairs(self) -> int:
        """How many pairs of head against base were counted."""
        return self._count(self.first) + self._count(self.fresh)

    def settled(self) -> Outcome | None:
        """PASS or FAIL if that is certain by now; None if more pairs may help."""
        if self._count(self.same) < MIN_SAME_PAIRS or self.noise():
            return None
        if self.confirmed():
            return Outcome.FAIL
        estimates = self.estimates().values()
        calm = not self.suspects or all(self._fresh(name).is_no_slower(self.delta) for name in self.suspects)
        if calm and estimates and all(estimate.is_no_slower(self.delta) for estimate in estimates):
            return Outcome.PASS
        return None

    def final(self) -> Outcome:
        """The outcome if there is no time for more."""
        return self.settled() or (Outcome.NOT_MEASURED if self.noise() else Outcome.UNDECIDED)

    def confirmed(self) -> tuple[str, ...]:
        """The benchmarks that are slower both in the first pairs and in fresh ones."""
        return tuple(name for name in self.suspects if self._fresh(name).is_slower(self.delta))

    def estimates(self) -> dict[str, Estimate]:
        """All pairs of head against base, by benchmark."""
        return {name: Estimate.of([*seen, *self.fresh.get(name, [])]) for name, seen in self.first.items()}

    def confirmation(self) -> dict[str, Estimate]:
        """The fresh pairs alone, of what was under suspicion."""
        return {name: self._fresh(name) for name in self.suspects}

    def noise(self) -> str:
        """Why the pairs of base against itself say that nothing can be measured here; "" if they do not."""
        if self._count(self.same) < MIN_SAME_PAIRS:
            return ""
        pairs = max(self.pairs, MIN_PAIRS)
        for name, values in self.same.items():
            same = Estimate.of(values, SAME_ALPHA)
            if abs(same.point) > math.log1p(SAME_LIMIT) and (same.low > 0 or same.high < 0):
                return f"base differs from itself by {to_percent(same.point):+.1f} % ({name}, {len(values)} pairs)"
            if (width := expected_width(values, pairs)) > math.log1p(self.delta):
                return (
                    f"by {len(values)} pairs of base against itself, {pairs} pairs tell a difference "
                    f"only to +-{to_percent(width):.0f} % ({name})"
                )
        return ""

    def _fresh(self, name: str) -> Estimate:
        return Estimate.of(self.fresh.get(name, []))

    @staticmethod
    def _count(values: Mapping[str, Sequence[float]]) -> int:
        return max(map(len, values.values()), default=0)


def expected_width(values: Sequence[float], pairs: int) -> float:
    """Half the width of the interval that `pairs` pairs would give, if all scattered about 0 as these do.

    From the median of |d| (times 1.4826 it is the standard deviation of a normal distribution), whose median over n
    pairs has 1.2533 times the error of a mean; 2.326 is the normal quantile of 1 - ALPHA.
    """
    deviation = 1.4826 * statistics.median(map(abs, values))
    return 2.326 * 1.2533 * deviation / math.sqrt(pairs)
