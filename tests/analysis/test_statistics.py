"""Each statistic against a case done by hand, and against scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from resnet_bench.analysis.contrasts import (
    deciding_pair,
    degrades,
    does_not_rise,
    exceeds,
    gap_grows,
    holds,
    rises,
    twins_differ,
)
from resnet_bench.analysis.findings import CONTRADICTED, DECISIONS, NO_DIFFERENCE, SUPPORTED, Evidence, weights_of
from resnet_bench.analysis.rules import FIRST, OTHERS, SECOND
from resnet_bench.analysis.statistics import Floats, Interval, Moments, weighted_holm


def above(values: ArrayLike, limit: float, finest: float = 0.01) -> Floats:
    return Moments.of(values, finest).above(limit)


def below(values: ArrayLike, limit: float, finest: float = 0.01) -> Floats:
    return Moments.of(values, finest).below(limit)


def test_interval_is_scipys_and_by_hand() -> None:
    interval = Interval.of([1.0, 2.0, 3.0])  # sd 1, t(2) at 97.5 % = 4.302653
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.high - 2 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    values = np.random.default_rng(0).normal(size=8)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = Interval.of(values, 0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert math.isnan(Interval.of([5.0]).low)
    with pytest.raises(ValueError, match="nothing"):
        Interval.of([])


# ---------------------------------------------------------------------------------------------- tests over seeds


def test_a_test_over_seeds_by_hand() -> None:
    # Mean 3, sd 1, three seeds; against 1: t = 2 * sqrt(3) = 3.4641 with 2 degrees of freedom, whose upper tail has the
    # closed form 1/2 - t / (2 * sqrt(t**2 + 2)).
    t = 2 * math.sqrt(3)
    assert above([2.0, 3.0, 4.0], 1.0) == pytest.approx(0.5 - t / (2 * math.sqrt(t**2 + 2)))
    assert below([2.0, 3.0, 4.0], 1.0) == pytest.approx(0.5 + t / (2 * math.sqrt(t**2 + 2)))
    # Two seeds: Cauchy. Mean 1, sd sqrt(2), t = 1: an upper tail of a quarter.
    assert above([0.0, 2.0], 0.0) == pytest.approx(0.25)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_tests_over_seeds_are_scipys(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(0.7, 1, size=(4, seeds))
    for ours, side in ((above(values, 0.5), "greater"), (below(values, 0.5), "less")):
        assert ours == pytest.approx(stats.ttest_1samp(values, 0.5, axis=1, alternative=side).pvalue)


def test_equal_numbers_have_the_spread_of_the_finest_step() -> None:
    """Two seeds without any error are no certainty: an error is known to one image."""
    assert above([1.0, 1.0, 1.0], 0.5, finest=0.1) == pytest.approx(stats.t.sf(0.5 / (0.1 / math.sqrt(3)), 2))
    assert below([0.0, 0.0], 0.5, finest=0.28) == pytest.approx(stats.t.sf(0.5 / (0.28 / math.sqrt(2)), 1))
    spread = Moments.of([1.0, 3.0], finest=0.1).spread
    assert spread == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("values", [[1.0], [], [1.0, math.nan], [[1.0], [2.0]]])
def test_what_no_test_over_seeds_can_be_made_of(values: list[object]) -> None:
    with pytest.raises(ValueError, match=r"needs two of them|not finite"):
        Moments.of(values)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- correction


def test_holm_by_hand() -> None:
    assert weighted_holm([0.01, 0.04, 0.03], [1, 1, 1]) == pytest.approx([0.03, 0.06, 0.06])
    assert list(weighted_holm([0.5, 0.9], [1, 1])) == [1.0, 1.0]
    # Weights 3 and 1: 0.02 / 3 comes first and is corrected by (3 + 1) / 3; then the other has the whole level.
    assert weighted_holm([0.02, 0.03], [3, 1]) == pytest.approx([0.02 * 4 / 3, 0.03])
    assert weighted_holm([0.04, 0.03], [1, 3]) == pytest.approx([0.04, 0.04])


@pytest.mark.parametrize("seed", range(5))
def test_weighted_holm_is_the_closed_weighted_bonferroni_test(seed: int) -> None:
    """A hypothesis is as bad as the worst set that it is in; a set's p is the least p * sum of weights / weight."""
    luck = np.random.default_rng(seed)
    p, w = luck.uniform(0, 0.2, 5), luck.uniform(0.1, 3, 5)
    places = range(5)
    sets = [s for size in range(1, 6) for s in itertools.combinations(places, size)]
    of_set = {s: min(1.0, *(p[i] * sum(w[j] for j in s) / w[i] for i in s)) for s in sets}
    closed = [max(value for s, value in of_set.items() if i in s) for i in places]
    assert weighted_holm(p, list(w)) == pytest.approx(closed)
    assert weighted_holm(np.stack([p, p[::-1]]), list(w))[0] == pytest.approx(closed)


def test_weights_keep_most_of_the_level_for_two_claims() -> None:
    assert weights_of([FIRST, SECOND, OTHERS, OTHERS]) == pytest.approx([0.6, 0.3, 0.05, 0.05])
    assert weights_of([FIRST, FIRST, SECOND, OTHERS]) == pytest.approx([0.3, 0.3, 0.3, 0.1])  # of two settings
    assert weights_of([OTHERS, OTHERS]) == [0.5, 0.5] and weights_of([FIRST]) == [1.0] and weights_of([]) == []
    assert weights_of([FIRST, OTHERS]) == pytest.approx([6 / 7, 1 / 7])


# ---------------------------------------------------------------------------------------------- contrasts


def nearest(evidence: Evidence) -> tuple[str, float]:
    place, p = evidence.nearest
    return DECISIONS[int(place)], float(p)


def test_a_rise_is_of_the_end_points() -> None:
    errors = np.array([[10.0, 9.0, 14.0], [11.0, 9.0, 13.0], [10.5, 9.0, 15.5]])
    ends = errors[:, 2] - errors[:, 0]
    found = rises(errors, 0.5)
    assert float(found.supported) == pytest.approx(2 * stats.ttest_1samp(ends, 0.5, alternative="greater").pvalue)
    assert nearest(found)[0] == SUPPORTED and nearest(rises(-errors, 0.5))[0] == CONTRADICTED
    two = rises(errors[:, [0, 2]], 0.5)
    assert float(two.supported) == float(found.supported)  # two depths can decide


def test_no_relevant_difference_is_of_all_depths() -> None:
    flat = np.array([[10.0, 10.05, 10.0], [10.1, 10.05, 10.0], [9.9, 10.0, 10.05]])
    pairs = [flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0], flat[:, 2] - flat[:, 1]]
    worst = 2 * max(
        *(stats.ttest_1samp(pair, -0.5, alternative="greater").pvalue for pair in pairs),
        *(stats.ttest_1samp(pair, 0.5, alternative="less").pvalue for pair in pairs),
    )
    verdict, p = nearest(rises(flat, 0.5))
    assert verdict == NO_DIFFERENCE and p == pytest.approx(worst)
    hill = flat + np.array([0, 5, 0])  # equal ends, and the depth between them is much worse
    assert nearest(rises(hill, 0.5))[1] > 0.9


def test_what_does_not_rise_has_no_pair_of_depths_that_does() -> None:
    falling = np.array([[10.0, 9.0, 8.0], [10.2, 9.1, 8.1], [9.9, 9.2, 8.0]])
    assert nearest(does_not_rise(falling, 0.5))[0] == SUPPORTED
    hill = falling + np.array([0, 0, 2.5])  # the deepest is worse than the one before it
    found = does_not_rise(hill, 0.5)
    assert float(found.supported) > 0.5 and nearest(found)[0] == CONTRADICTED and deciding_pair(hill, 0.5) == (1, 2)
    step = hill[:, 2] - hill[:, 1]
    p = stats.ttest_1samp(step, 0.5, alternative="greater").pvalue
    assert float(found.contradicted) == pytest.approx(2 * 2 * 2 * p)  # two sides; half of the level, for two pairs
    ends = does_not_rise(hill[:, 1:], 0.5)
    assert float(ends.contradicted) == pytest.approx(2 * p)  # of two depths it is the only pair


def test_evidence_of_many_studies_at_once_is_that_of_each() -> None:
    errors = np.random.default_rng(0).normal(20, 2, size=(6, 4, 3))
    for test in (rises, does_not_rise):
        together = test(errors, 0.5)
        for place, one in enumerate(errors):
            alone = test(one, 0.5)
            for name in ("supported", "contradicted", "equal"):
                assert np.asarray(getattr(together, name))[place] == pytest.approx(float(getattr(alone, name)))
    means = exceeds(errors[..., 0], 0.5)
    assert np.asarray(means.supported)[2] == pytest.approx(float(exceeds(errors[2, :, 0], 0.5).supported))


def test_seeds_that_would_decide() -> None:
    differences = np.array([1.0, 3.0])  # mean 2, sd sqrt(2); against 0.5
    needed = exceeds(differences, 0.5).study_needed(0.01)
    by_hand = next(n for n in range(3, 101) if 2 * stats.t.sf(1.5 / (math.sqrt(2) / math.sqrt(n)), n - 1) <= 0.01)
    assert needed == (by_hand, SUPPORTED)
    assert exceeds(np.array([-50.0, 51.0]), 0.5).study_needed(0.01) is None


def test_a_verdict_and_its_interval_say_the_same() -> None:
    """Before correction a test at 5 % and the 95 % interval are one: support is an interval above the margin."""
    for seed in range(40):
        values = np.random.default_rng(seed).normal(1.2, 0.8, 4)
        interval, found = Interval.of(values), exceeds(values, 0.5)
        assert (float(found.supported) <= 0.05) == (interval.low >= 0.5)
        assert (float(found.equal) <= 0.05) == (interval.low >= -0.5 and interval.high <= 0.5)


# ---------------------------------------------------------------------------------------------- at guessing


STUCK, LEARNED = np.full((3, 2), 90.0), np.array([[10.0, 10.1], [10.2, 10.1], [10.1, 10.2]])


def test_nothing_is_concluded_from_nets_that_learned_nothing() -> None:
    guess = STUCK + np.array([[0.1, 0.0], [0.0, 0.1], [0.1, 0.2]])
    assert float(degrades(guess, 0.5, 0.01).equal) < 0.05 and float(degrades(guess, 0.5, 0.01, 90.0).equal) == 1
    assert float(holds(guess, 0.5, 0.01).supported) < 0.05 and float(holds(guess, 0.5, 0.01, 90.0).supported) == 1
    assert float(twins_differ(guess, guess, 0.5, 0.01, 90.0).equal) == 1


def test_a_gap_does_not_grow_by_residual_nets_that_learned_nothing_nor_shrink_by_plain_ones() -> None:
    plain = LEARNED + np.array([0.0, 9.0])
    assert float(gap_grows(plain, STUCK, 0.5, 0.01).supported) < 0.05
    assert float(gap_grows(plain, STUCK, 0.5, 0.01, 90.0).supported) == 1
    worse = LEARNED + np.array([0.0, 9.0])  # residual nets, while plain nets are at guessing at both depths
    assert float(gap_grows(STUCK, worse, 0.5, 0.01).contradicted) < 0.05
    assert float(gap_grows(STUCK, worse, 0.5, 0.01, 90.0).contradicted) == 1
    assert float(gap_grows(np.array([10.0, 90.0]) + 0 * LEARNED, LEARNED, 0.5, 0.01, 90.0).supported) < 0.01
