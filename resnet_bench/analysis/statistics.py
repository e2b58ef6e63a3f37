"""The tests and intervals behind a verdict, as pure functions of numbers; many studies at once where that helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
FINEST = 0.01  # the least spread that numbers over seeds are taken to have, where nothing else is known


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


@dataclass(frozen=True)
class Moments:
    """Mean and spread of numbers over seeds, and how many seeds: all that Student's test needs.

    Attributes:
        mean: [...]
        spread: [...] sample standard deviation, never below the finest step that the numbers can make. Without this
            floor two seeds that agree by chance, or errors that are 0 in all seeds, would be certain.
        n: seeds, at least 2.
    """

    mean: Floats
    spread: Floats
    n: int

    @classmethod
    def of(cls, values: ArrayLike, finest: float = FINEST) -> Moments:
        """Of values [..., seeds]. ValueError for fewer than two seeds, or a value that is not finite."""
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.ndim < 1 or numbers.shape[-1] < 2:
            raise ValueError(f"{numbers.shape} values: a test over seeds needs two of them")
        if not np.isfinite(numbers).all():
            raise ValueError("a value is not finite")
        spread = np.maximum(numbers.std(axis=-1, ddof=1), finest)
        return cls(np.asarray(numbers.mean(axis=-1)), np.asarray(spread), numbers.shape[-1])

    def with_seeds(self, n: int) -> Moments:
        """The same with another number of seeds."""
        return replace(self, n=n)

    def above(self, limit: float) -> Floats:
        """[...] one-sided p of Student's t-test: how likely is such a mean, or a higher one, if the truth is limit?"""
        t = (self.mean - limit) / (self.spread / math.sqrt(self.n))
        return np.asarray(stats.t.sf(t, self.n - 1), dtype=np.float64)

    def below(self, limit: float) -> Floats:
        """[...] the same for such a mean or a lower one."""
        t = (limit - self.mean) / (self.spread / math.sqrt(self.n))
        return np.asarray(stats.t.sf(t, self.n - 1), dtype=np.float64)


def weighted_holm(p_values: ArrayLike, weights: Sequence[float]) -> Floats:
    """p-values corrected for their number by Holm's weighted method (1979, section 4), in the order given.

    That is the short cut of the closed test whose parts are weighted Bonferroni tests: at every step the hypotheses
    that are still open share the level by their weights. With equal weights it is Holm's usual method.

    Args:
        p_values: [..., tests]
        weights: [tests], positive; only their proportions matter.

    Returns:
        [..., tests], at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    w = np.broadcast_to(np.asarray(weights, dtype=np.float64), p.shape)
    order = np.argsort(p / w, axis=-1, kind="stable")
    p_sorted, w_sorted = np.take_along_axis(p, order, -1), np.take_along_axis(w, order, -1)
    open_weight = np.flip(np.flip(w_sorted, -1).cumsum(-1), -1)
    corrected = np.maximum.accumulate(np.minimum(1.0, p_sorted / w_sorted * open_weight), axis=-1)
    result = np.empty_like(p)
    np.put_along_axis(result, order, corrected, -1)
    return result
