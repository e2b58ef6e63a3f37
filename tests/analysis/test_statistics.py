"""Each statistic against a case done by hand, and against scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from resnet_bench.analysis.statistics import (
    Interval,
    effect_size,
    holm,
    page_test,
    seeds_needed,
    sign_flip_test,
    sign_flip_z,
)


def test_page_by_hand() -> None:
    # Two blocks of two, both in order: L = 2 * (1*1 + 2*2) = 10; one of the four orders is as good.
    trend = page_test([[1, 2], [3, 5]])
    assert (trend.statistic, trend.p, trend.blocks, trend.treatments) == (10, 0.25, 2, 2)
    assert page_test([[2, 1], [5, 3]]).p == 1
    assert page_test([[1, 2], [5, 3]]).p == 0.75
    assert page_test([[1, 2, 3]]).p == pytest.approx(1 / 6)
    assert page_test([[1, 1]]).p == 1  # a tie says nothing


@pytest.mark.parametrize("shape", [(2, 3), (2, 4), (3, 5), (5, 5), (4, 6), (7, 3)])
def test_page_is_scipys(shape: tuple[int, int]) -> None:
    luck = np.random.default_rng(0)
    for _ in range(5):
        values = luck.normal(size=shape) + 0.3 * np.arange(shape[1])
        theirs = stats.page_trend_test(values, method="exact")
        ours = page_test(values)
        assert ours.statistic == theirs.statistic and ours.p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_page_with_ties_is_the_permutation_test() -> None:
    values = np.array([[1.0, 1.0, 2.0], [3.0, 3.0, 3.0], [1.0, 2.0, 2.0]])
    ranks = [stats.rankdata(block) for block in values]
    observed, weights = sum(rank @ np.arange(1, 4) for rank in ranks), np.arange(1, 4)
    sums = [
        sum(np.array(order) @ weights for order in orders)
        for orders in itertools.product(*(list(itertools.permutations(rank)) for rank in ranks))
    ]
    assert page_test(values).p == pytest.approx(np.mean([total >= observed - 1e-12 for total in sums]))


@pytest.mark.parametrize("values", [[[1.0]], [], [[1.0, math.nan]], [1.0, 2.0]])
def test_page_refuses_what_it_cannot_do(values: list[object]) -> None:
    with pytest.raises(ValueError, match=r"Page's test needs|not finite"):
        page_test(values)  # type: ignore[arg-type]


def test_page_of_very_many_depths_is_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(size=(3, 18))
    theirs = stats.page_trend_test(values, method="asymptotic")
    assert page_test(values).p == pytest.approx(theirs.pvalue)
    almost = np.random.default_rng(1).normal(size=(4, 12))
    approximate = stats.page_trend_test(almost, method="asymptotic").pvalue
    assert page_test(almost).p == pytest.approx(approximate, abs=0.01)


def test_sign_flips_by_hand() -> None:
    assert sign_flip_test([1.0]) == 0.5
    assert sign_flip_test([1.0, 2.0, 3.0]) == 1 / 8
    assert sign_flip_test([-1.0, 2.0]) == 0.5  # 3, 1, -1, -3: two are at least 1
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert (
        sign_flip_test([0.1] * 3 + [-0.3])
        == sum(
            sum(s * d for s, d in zip(signs, [0.1, 0.1, 0.1, 0.3], strict=True)) >= -1e-9
            for signs in itertools.product((-1, 1), repeat=4)
        )
        / 16
    )  # equal sums count as equal, whatever their last bits


@pytest.mark.parametrize("count", [2, 5, 9, 12])
def test_sign_flips_are_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(0.4, size=count)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative="greater", n_resamples=math.inf
    )
    assert sign_flip_test(values) == pytest.approx(theirs.pvalue)


def test_many_sign_flips_are_exact_and_more_are_drawn() -> None:
    values = np.random.default_rng(1).normal(0.3, size=25)
    normal = stats.norm.sf(values.sum() / math.sqrt((values**2).sum()))
    assert sign_flip_test(values) == pytest.approx(normal, rel=0.15)
    many = np.random.default_rng(2).normal(0.1, size=100)
    normal = stats.norm.sf(many.sum() / math.sqrt((many**2).sum()))
    assert sign_flip_test(many) == pytest.approx(normal, rel=0.15) and sign_flip_test(many) == sign_flip_test(many)
    with pytest.raises(ValueError, match="finite"):
        sign_flip_test([])


def test_seeds_that_are_needed() -> None:
    trend = page_test([[1, 2], [3, 5]])
    assert trend.z == pytest.approx(math.sqrt(2))
    assert seeds_needed(2, trend.z, 1 / 2, 0.05) == 5  # 1/32 <= 0.05 < 1/16
    assert sign_flip_z([3.0, 1.0]) == pytest.approx(4 / math.sqrt(10)) and sign_flip_z([0.0]) == 0
    assert seeds_needed(3, 1.0, 1 / 120, 0.05) == 9  # 3 * 1.645**2 = 8.1
    assert seeds_needed(3, 0.0, 1 / 120, 0.05) is None


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


def test_effect_size_by_hand() -> None:
    assert effect_size([1.0, 2.0, 3.0]) == 2.0
    assert effect_size([2.0, 2.0]) == math.inf and effect_size([0.0, 0.0]) == 0
    assert math.isnan(effect_size([1.0]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
