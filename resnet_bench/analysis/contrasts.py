"""What a claim asks of errors over seeds and depths, as tests of contrasts over seeds: arrays -> Evidence.

A seed is the unit. Runs of one seed share batches and first layers, so their errors are not independent; a contrast
takes one number from each seed, in which whatever the seed adds to all of its runs is gone.

All functions also take many studies at once: their arrays may have further axes in front, which stay.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_bench.analysis.findings import Evidence
from resnet_bench.analysis.rules import SIDES, STUCK
from resnet_bench.analysis.statistics import FINEST, Floats, Moments

PValues = tuple[Floats, Floats, Floats]  # supported, contradicted, equal
NEVER = float("inf")  # an error of guessing that none reaches

# ---------------------------------------------------------------------------------------------- the claims


def degrades(plain: ArrayLike, margin: float, finest: float = FINEST, chance: float = NEVER) -> Evidence:
    """Does the error of plain nets rise: `rises`. Of nets that learned nothing, no equality is said.

    Args:
        plain: [..., seeds, depths] errors, depths ascending.
        margin: points that matter.
        finest: the least spread over seeds, in points.
        chance: the error of guessing.
    """
    return rises(plain, margin, finest).but(equal=stuck(plain, chance)[..., 0])


def holds(residual: ArrayLike, margin: float, finest: float = FINEST, chance: float = NEVER) -> Evidence:
    """Does the error of residual nets not rise: `does_not_rise`. It is not said where the shallowest learned nothing.

    Arguments as for `degrades`.
    """
    return does_not_rise(residual, margin, finest).but(supported=stuck(residual, chance)[..., 0])


def gap_grows(
    plain: ArrayLike, residual: ArrayLike, margin: float, finest: float = FINEST, chance: float = NEVER
) -> Evidence:
    """Does plain minus residual rise. What is bounded by guessing is no growth, no shrinking and no equality.

    Residual nets that learned nothing cannot be ahead by more with depth; and a gap that shrinks because plain nets
    cannot be worse than guessing does not speak against its growth. Arguments as for `degrades`.
    """
    errors = np.asarray(plain, dtype=np.float64), np.asarray(residual, dtype=np.float64)
    plain_stuck, residual_stuck = (stuck(of, chance)[..., [0, -1]] for of in errors)
    either = (plain_stuck | residual_stuck).any(axis=-1)
    return rises(errors[0] - errors[1], margin, finest).but(
        supported=residual_stuck.any(axis=-1), contradicted=plain_stuck[..., 1], equal=either
    )


def twins_differ(
    plain: ArrayLike, residual: ArrayLike, margin: float, finest: float = FINEST, chance: float = NEVER
) -> Evidence:
    """Is plain minus residual above 0 in the mean over depths. Where both learned nothing, equality is not said.

    Arguments as for `degrades`.
    """
    errors = np.asarray(plain, dtype=np.float64), np.asarray(residual, dtype=np.float64)
    both = (stuck(errors[0], chance) & stuck(errors[1], chance)).any(axis=-1)
    return exceeds((errors[0] - errors[1]).mean(axis=-1), margin, finest).but(equal=both)


def stuck(errors: ArrayLike, chance: float) -> NDArray[np.bool_]:
    """[..., depths] is a network no better than guessing in the mean over seeds; errors [..., seeds, depths]."""
    return np.asarray(np.asarray(errors, dtype=np.float64).mean(axis=-2) >= STUCK * chance)


# ---------------------------------------------------------------------------------------------- the tests


def rises(errors: ArrayLike, margin: float, finest: float = FINEST) -> Evidence:
    """Is the deepest net worse than the shallowest by more than the margin (figure 1 of the paper: two depths).

    The end points are compared, so a rise that only the deepest net has is found, and two depths are enough. That
    there is no relevant difference asks for more: every pair of depths within the margin (an intersection-union test).

    Args:
        errors: [..., seeds, depths], depths ascending.
        margin: points that matter.
        finest: the least spread over seeds, in points.
    """
    values = np.asarray(errors, dtype=np.float64)
    pairs = _pairs(values, finest)
    ends = pairs[0, values.shape[-1] - 1]

    def at(n: int) -> PValues:
        end = ends.with_seeds(n)
        equal = np.max([_within(pair.with_seeds(n), margin) for pair in pairs.values()], axis=0)
        return _above(end, margin), _below(end, -margin), equal

    return _evidence(at, values.shape[-2])


def does_not_rise(errors: ArrayLike, margin: float, finest: float = FINEST) -> Evidence:
    """Is no deeper net worse than a shallower one by the margin or more (section 4.2, figure 6 middle).

    Supported if that is so for every pair of depths, each tested at the whole level (an intersection-union test).
    Contradicted if some pair rises by more than the margin; half of the level is kept for the end points, the other
    half is shared by all other pairs (Bonferroni).

    Args:
        errors: [..., seeds, depths], depths ascending.
        margin: points that matter.
        finest: the least spread over seeds, in points.
    """
    values = np.asarray(errors, dtype=np.float64)
    pairs = _pairs(values, finest)

    def at(n: int) -> PValues:
        low, high = _of_pairs(pairs, margin, n)
        supported = np.max(list(low.values()), axis=0)
        return supported, np.min(list(high.values()), axis=0), np.ones_like(supported)

    return _evidence(at, values.shape[-2])


def deciding_pair(errors: Floats, margin: float, finest: float = FINEST) -> tuple[int, int]:
    """The places of the pair of depths, shallower first, that decides `does_not_rise` of errors [seeds, depths].

    For support that is the pair that is hardest to keep below the margin, against it the one that rises most surely.
    """
    pairs = _pairs(errors, finest)
    low, high = _of_pairs(pairs, margin, errors.shape[0])
    rise = {pair: float(moments.mean) for pair, moments in pairs.items()}
    hardest = max(pairs, key=lambda pair: (float(low[pair]), rise[pair]))
    surest = min(pairs, key=lambda pair: (float(high[pair]), -rise[pair]))
    return hardest if float(low[hardest]) < float(high[surest]) else surest


def exceeds(differences: ArrayLike, margin: float, finest: float = FINEST) -> Evidence:
    """Is a difference more than the margin in the mean over seeds.

    Args:
        differences: [..., seeds]
        margin: in their unit; within it they do not matter.
        finest: the least spread over seeds.
    """
    moments = Moments.of(differences, finest)

    def at(n: int) -> PValues:
        these = moments.with_seeds(n)
        return _above(these, margin), _below(these, -margin), _within(these, margin)

    return _evidence(at, moments.n)


def _above(moments: Moments, limit: float) -> Floats:
    return np.minimum(1.0, SIDES * moments.above(limit))


def _below(moments: Moments, limit: float) -> Floats:
    return np.minimum(1.0, SIDES * moments.below(limit))


def _within(moments: Moments, margin: float) -> Floats:
    """p that the mean is within the margin: both tests must say so, and the worse counts."""
    return np.maximum(_above(moments, -margin), _below(moments, margin))


Pair = tuple[int, int]


def _pairs(values: Floats, finest: float) -> dict[Pair, Moments]:
    """Deeper minus shallower, for every pair of places."""
    places = combinations(range(values.shape[-1]), 2)
    return {(i, j): Moments.of(values[..., j] - values[..., i], finest) for i, j in places}


def _of_pairs(pairs: dict[Pair, Moments], margin: float, n: int) -> tuple[dict[Pair, Floats], dict[Pair, Floats]]:
    """For each pair, with n seeds: p that it is below the margin, and p that it is above, by its share of the level."""
    ends = max(pairs, key=lambda pair: pair[1] - pair[0])
    shares = {pair: 2 if pair == ends else 2 * (len(pairs) - 1) for pair in pairs} if len(pairs) > 1 else {ends: 1}
    low = {pair: _below(moments.with_seeds(n), margin) for pair, moments in pairs.items()}
    high = {
        pair: np.minimum(1.0, shares[pair] * _above(moments.with_seeds(n), margin)) for pair, moments in pairs.items()
    }
    return low, high


def _evidence(at: Callable[[int], PValues], seeds: int) -> Evidence:
    return Evidence(*at(seeds), seeds=seeds, with_seeds=lambda n: Evidence(*at(n), seeds=n))
