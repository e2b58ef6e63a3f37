"""The tests and intervals behind a verdict, as pure functions of numbers; exact wherever a study's size allows it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
MAX_EXACT_FLIPS = 36  # differences whose 2**n signs are enumerated, in two halves
MAX_EXACT_TREATMENTS = 12  # of Page's test: its exact distribution is a sum over 2**k sets of ranks
MONTE_CARLO_FLIPS = 20_000


@dataclass(frozen=True)
class Interval:
    """A mean over n independent numbers with a confidence interval of Student's t; NaN bounds for n = 1."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: ArrayLike, confidence: float = 0.95) -> Interval:
        """Two-sided, with that confidence. ValueError without values."""
        numbers = np.asarray(values, dtype=float).ravel()
        if not numbers.size:
            raise ValueError("a mean of nothing")
        mean = float(numbers.mean())
        if numbers.size == 1:
            return cls(mean, math.nan, math.nan, 1)
        error = float(numbers.std(ddof=1)) / math.sqrt(numbers.size)
        reach = float(stats.t.ppf((1 + confidence) / 2, numbers.size - 1)) * error
        return cls(mean, mean - reach, mean + reach, int(numbers.size))


def spread(values: ArrayLike) -> float:
    """Sample standard deviation; 0 where it is nothing but rounding."""
    numbers = np.asarray(values, dtype=float).ravel()
    deviation = float(numbers.std(ddof=1))
    return deviation if deviation > 1e-9 * max(1.0, float(np.abs(numbers).max())) else 0.0


def effect_size(differences: ArrayLike) -> float:
    """Cohen's d of paired differences: mean over standard deviation; NaN for one, infinite without any spread."""
    numbers = np.asarray(differences, dtype=float).ravel()
    if numbers.size < 2:
        return math.nan
    mean, deviation = float(numbers.mean()), spread(numbers)
    if deviation == 0:
        return 0.0 if mean == 0 else math.copysign(math.inf, mean)
    return mean / deviation


@dataclass(frozen=True)
class Trend:
    """Page's test for ordered alternatives."""

    statistic: float  # L: sum over treatments of place in the predicted order times sum of ranks
    p: float  # one-sided: P(L at least this large) if no order were better than another
    z: float  # L in standard deviations from its mean without a trend
    blocks: int
    treatments: int
    exact: bool  # is p summed over all orders


def page_test(values: ArrayLike) -> Trend:
    """Do values grow over the columns, in the predicted order, with rows as blocks (Page 1963).

    Exact up to 12 columns, also with ties: within a block the ranks (equal values share their mean rank) are as likely
    in one order as in another if there is no trend, and L's distribution is that of the sum over blocks. With more
    columns it is Page's normal approximation.

    Args:
        values: [blocks, treatments], treatments in the order in which they are predicted to grow.

    Raises:
        ValueError: fewer than two treatments, no block, a value that is not finite.
    """
    matrix = np.asarray(values, dtype=float)
    if matrix.ndim != 2 or not matrix.size or matrix.shape[1] < 2:
        raise ValueError(f"{matrix.shape} values: Page's test needs blocks of two or more treatments")
    if not np.isfinite(matrix).all():
        raise ValueError("a value is not finite")
    ranks, places = stats.rankdata(matrix, axis=1), np.arange(1, matrix.shape[1] + 1)
    statistic = float((ranks @ places).sum())
    mean = float(places.sum() * places.mean() * len(matrix))
    variance = float(places.var() * ranks.var(axis=1).sum()) * len(places) ** 2 / (len(places) - 1)
    z = (statistic - mean) / math.sqrt(variance) if variance else 0.0
    if len(places) > MAX_EXACT_TREATMENTS:
        return Trend(statistic, float(stats.norm.sf(z)), z, len(matrix), len(places), exact=False)
    distribution = np.ones(1)
    for block in ranks:  # twice the ranks are whole numbers, so sums are exact
        distribution = np.convolve(distribution, _block_distribution(tuple(sorted(int(2 * rank) for rank in block))))
    p = math.fsum(distribution[round(2 * statistic) :])
    return Trend(statistic, min(1.0, p), z, len(matrix), len(places), exact=True)


@functools.cache
def _block_distribution(ranks: tuple[int, ...]) -> Floats:
    """The chance of each value of sum(place * rank), from 0 up, over all orders of one block's ranks."""
    count = len(ranks)
    highest = sum(place * rank for place, rank in enumerate(sorted(ranks), start=1))
    # ways[s][v]: in how many orders the ranks in the set s (as bits) fill the first places with the sum v
    ways: dict[int, Floats] = {0: np.eye(1, highest + 1)[0]}
    for place in range(1, count + 1):
        following: dict[int, Floats] = {}
        for used, sums in ways.items():
            for index in range(count):
                if not used >> index & 1:
                    target = following.setdefault(used | 1 << index, np.zeros(highest + 1))
                    target[place * ranks[index] :] += sums[: highest + 1 - place * ranks[index]]
        ways = following
    (sums,) = ways.values()
    return sums / math.factorial(count)


def sign_flip_test(differences: ArrayLike) -> float:
    """P(a mean at least as large), if each difference were as likely to have the other sign; one-sided.

    Exact up to 36 differences (all signs, in two halves that are searched in one another), else 20,000 random flips.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    numbers = np.asarray(differences, dtype=float).ravel()
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError("sign flips need differences, all of them finite")
    observed = float(numbers.sum())
    slack = 1e-9 * max(1.0, float(np.abs(numbers).sum()))  # equal sums may differ in their last bits
    if numbers.size > MAX_EXACT_FLIPS:
        luck, reached = np.random.default_rng(0), 0
        for _ in range(MONTE_CARLO_FLIPS // 1000):
            signs = luck.choice([-1.0, 1.0], size=(1000, numbers.size))
            reached += int((signs @ numbers >= observed - slack).sum())
        return (1 + reached) / (1 + MONTE_CARLO_FLIPS)
    half = numbers.size // 2
    left, right = _all_signed_sums(numbers[:half]), np.sort(_all_signed_sums(numbers[half:]))
    at_least = len(right) - np.searchsorted(right, observed - slack - left, side="left")
    return float(at_least.sum()) / 2.0**numbers.size


def flips_in_words(count: int) -> str:
    """What `sign_flip_test` does with so many differences."""
    how = "exact sign flips" if count <= MAX_EXACT_FLIPS else f"{MONTE_CARLO_FLIPS:,} random sign flips"
    return f"{how} over {count} pairs"


def sign_flip_z(differences: ArrayLike) -> float:
    """The sum of the differences in standard deviations of what flips make of it; 0 if all of them are 0."""
    numbers = np.asarray(differences, dtype=float).ravel()
    spread = math.sqrt(float(np.square(numbers).sum()))
    return float(numbers.sum()) / spread if spread else 0.0


def seeds_needed(seeds: int, z: float, lowest_p: float, alpha: float) -> int | None:
    """About how many seeds a rank or flip test needs, if those to come are like those there are.

    Args:
        seeds: how many there are.
        z: the test's statistic in standard deviations, which grows with the root of their number.
        lowest_p: the lowest p-value that a single seed can give; n of them give its n-th power.
        alpha: the p-value that is wanted.

    Returns:
        None without an effect in the direction that is tested.
    """
    if z <= 0:
        return None
    enough = max(seeds * (float(stats.norm.isf(alpha)) / z) ** 2, math.log(alpha) / math.log(lowest_p))
    return max(seeds + 1, math.ceil(enough))  # those there are were not enough


def _all_signed_sums(numbers: Floats) -> Floats:
    sums: Floats = np.zeros(1)
    for number in numbers:
        sums = np.concatenate([sums + number, sums - number])
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method (1979), in the order given."""
    count = len(p_values)
    adjusted, so_far = [0.0] * count, 0.0
    for place, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        so_far = max(so_far, min(1.0, (count - place) * p_values[index]))
        adjusted[index] = so_far
    return adjusted
