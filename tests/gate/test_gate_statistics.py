"""The gate's statistics on made-up series: bounds, one number per pair, and how often a whole gate is right."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from scipy import stats

from resnet_bench.gate.judgement import (
    MIN_PAIRS,
    Estimate,
    Outcome,
    Trial,
    bound_rank,
    expected_width,
    pair_log_ratio,
    to_percent,
)

BENCHMARKS = ("one", "two", "three")
MAX_PAIRS = 46  # what five minutes hold on 2 cores


# ---------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("count", [1, 6, 7, 8, 10, 11, 14, 20, 33, 50])
def test_a_bounds_rank_is_that_of_the_sign_test(count: int) -> None:
    rank = bound_rank(count)
    assert rank == 0 or stats.binom.cdf(rank - 1, count, 0.5) <= 0.01
    assert stats.binom.cdf(rank, count, 0.5) > 0.01
    assert (rank > 0) == (count >= MIN_PAIRS)


def test_bounds_of_a_case_done_by_hand() -> None:
    seven = Estimate.of([0.07, 0.01, 0.03, 0.02, 0.05, 0.04, 0.06])
    assert (seven.point, seven.low, seven.high, seven.pairs) == (0.04, 0.01, 0.07, 7)
    assert Estimate.of([*range(11)]) == Estimate(5, 1, 9, 11)  # (1 + 11) / 2**11 < 1 %, so the second of each end
    few = Estimate.of([0.1] * 6)
    assert (few.low, few.high) == (-math.inf, math.inf)
    assert not few.is_slower(0.05) and not few.is_no_slower(0.05)
    assert Estimate.of([]).pairs == 0


def test_bounds_hold_for_every_shape_of_noise() -> None:
    luck = random.Random(0)
    shapes: list[Callable[[], float]] = [
        lambda: luck.gauss(0, 1),
        lambda: luck.gauss(0, 1) / max(1e-9, luck.random()),  # tails without a mean
        lambda: luck.choice([-1, 1]) * luck.expovariate(1),
        lambda: luck.choice([-1.0, 1.0]) + luck.gauss(0, 0.01),  # two modes
    ]
    for shape, count in itertools.product(shapes, (7, 12)):
        above = sum(Estimate.of([shape() for _ in range(count)]).low > 0 for _ in range(4000))
        assert above <= 4000 * 0.01 + 4 * math.sqrt(4000 * 0.01)


# ---------------------------------------------------------------------------------------------- one pair


def rounds(luck: random.Random, effect: float, disturb: str = "") -> tuple[list[float], list[float]]:
    """Times of base and head in 24 rounds (base first in every other one), as some disturbance makes them."""
    base, head = [], []
    slow_base, slow_head = (luck.choice([1.0, 1.6]) if disturb == "two modes" else 1.0 for _ in range(2))
    for number in range(24):
        order = [(base, slow_base), (head, slow_head * (1 + effect))]
        for place, (side, factor) in enumerate(order if number % 2 == 0 else order[::-1]):
            noise = math.exp(luck.gauss(0, 0.06))
            if disturb == "drift":
                noise *= 1 + 0.5 * (2 * number + place) / 48
            if disturb == "spikes" and luck.random() < 0.1:
                noise *= luck.uniform(1.5, 5)
            if disturb == "slow slot" and place == 0:
                noise *= 1.15
            side.append(factor * noise)
    return base, head


def test_one_number_per_pair_by_hand() -> None:
    assert pair_log_ratio([1.0, 1.0, 1.0, 1.0], [1.1, 1.1, 1.1, 50.0]) == pytest.approx(math.log(1.1))
    assert pair_log_ratio([2.0], [1.0]) == pytest.approx(-math.log(2))
    with pytest.raises(ValueError, match="without rounds"):
        pair_log_ratio([], [])
    with pytest.raises(ValueError, match="zip"):
        pair_log_ratio([1.0], [1.0, 2.0])
    assert to_percent(math.log(1.1)) == pytest.approx(10)


@pytest.mark.parametrize("disturb", ["", "drift", "spikes", "slow slot"])
def test_a_pair_sees_the_effect_through(disturb: str) -> None:
    luck = random.Random(1)
    values = [pair_log_ratio(*rounds(luck, 0.1, disturb)) for _ in range(200)]
    assert math.expm1(sum(values) / len(values)) == pytest.approx(0.1, abs=0.01)
    assert stats.tstd(values) < 0.03


def test_swapped_sides_turn_the_sign() -> None:
    base, head = rounds(random.Random(2), 0.1)
    assert pair_log_ratio(head, base) == pytest.approx(-pair_log_ratio(base, head))


# ---------------------------------------------------------------------------------------------- whole gates


def gate(luck: random.Random, effect: float, pair: Callable[[random.Random, float], float]) -> tuple[Outcome, Trial]:
    """A gate over three benchmarks, the third of which is never slower."""
    trial = Trial()
    for _ in range(MAX_PAIRS):
        if trial.settled() is not None:
            break
        (same,) = trial.plan(1)
        effects = (0, 0, 0) if same else (effect, effect, 0)
        trial.add({name: pair(luck, e) for name, e in zip(BENCHMARKS, effects, strict=True)}, same=same)
    return trial.final(), trial


def outcomes(gates: int, effect: float, pair: Callable[[random.Random, float], float]) -> Counter[Outcome]:
    luck = random.Random(3)
    return Counter(gate(luck, effect, pair)[0] for _ in range(gates))


def of_rounds(disturb: str) -> Callable[[random.Random, float], float]:
    return lambda luck, effect: pair_log_ratio(*rounds(luck, effect, disturb))


def with_outliers(luck: random.Random, effect: float) -> float:
    return math.log1p(effect) + luck.gauss(0, 0.02) + (luck.uniform(-0.5, 0.5) if luck.random() < 0.1 else 0)


DISTURBED = [
    pytest.param(of_rounds(""), id="quiet"),
    pytest.param(of_rounds("drift"), id="drift"),
    pytest.param(of_rounds("spikes"), id="spikes"),
    pytest.param(of_rounds("slow slot"), id="one slow slot"),
    pytest.param(with_outliers, id="outliers"),
]


@pytest.mark.parametrize("pair", DISTURBED)
def test_a_slowdown_is_found_and_nothing_else(pair: Callable[[random.Random, float], float]) -> None:
    same, slower, faster = (outcomes(60, effect, pair) for effect in (0, 0.1, -0.2))
    assert same[Outcome.PASS] >= 57 and not same[Outcome.FAIL]
    assert slower[Outcome.FAIL] >= 57 and not slower[Outcome.PASS]
    assert faster[Outcome.PASS] >= 57 and not faster[Outcome.FAIL]


def test_two_modes_give_no_false_alarm_and_are_said() -> None:
    """Each process is fast or 60 % slower by luck: pairs tell little, and the gate must say so, not guess."""
    seen = outcomes(40, 0, of_rounds("two modes"))
    assert seen[Outcome.FAIL] == 0
    assert seen[Outcome.NOT_MEASURED] + seen[Outcome.UNDECIDED] >= 24


def test_hopeless_noise_is_not_measured() -> None:
    seen = outcomes(100, 0.0, lambda luck, effect: effect + luck.gauss(0, 0.3))
    assert seen[Outcome.FAIL] == 0 and seen[Outcome.NOT_MEASURED] >= 80


def test_a_host_that_prefers_one_side_is_not_measured() -> None:
    """Base against itself comes out 8 % apart: whatever is found cannot be head's doing."""
    trial = Trial()
    for _ in range(40):
        (same,) = trial.plan(1)
        trial.add({"one": 0.08}, same=same)
    assert trial.final() is Outcome.NOT_MEASURED
    assert "base differs from itself by +8.3 % (one" in trial.noise()


# ---------------------------------------------------------------------------------------------- step by step


def feed(trial: Trial, values: list[float], *, same: bool = False) -> Trial:
    for value in values:
        trial.add({"one": value}, same=same)
    return trial


def test_nothing_is_settled_before_the_fewest_pairs() -> None:
    trial = feed(Trial(), [0.0] * MIN_PAIRS)
    assert trial.settled() is None and trial.final() is Outcome.UNDECIDED  # no pair of base against itself yet
    assert feed(feed(Trial(), [0.0] * 3, same=True), [0.0] * (MIN_PAIRS - 1)).settled() is None
    assert feed(trial, [0.0] * 3, same=True).settled() is Outcome.PASS


def test_a_slowdown_must_be_confirmed_by_fresh_pairs() -> None:
    trial = feed(feed(Trial(), [0.0] * 3, same=True), [0.1] * MIN_PAIRS)
    assert trial.suspects == ("one",) and trial.settled() is None
    feed(trial, [0.1] * (MIN_PAIRS - 1))
    assert trial.settled() is None
    feed(trial, [0.1])
    assert trial.settled() is Outcome.FAIL and trial.confirmed() == ("one",)
    assert trial.estimates()["one"].pairs == 2 * MIN_PAIRS and trial.confirmation()["one"].pairs == MIN_PAIRS


def test_a_first_sign_that_fresh_pairs_refute_is_no_failure() -> None:
    trial = feed(feed(Trial(), [0.0] * 3, same=True), [0.06] * MIN_PAIRS)
    feed(trial, [0.0] * MIN_PAIRS)
    assert trial.settled() is None and trial.final() is Outcome.UNDECIDED  # together: up to 6 %
    feed(trial, [0.0] * 20)
    assert trial.settled() is Outcome.PASS


def test_a_significant_slowdown_that_does_not_matter_passes() -> None:
    trial = feed(feed(Trial(), [0.0] * 3, same=True), [0.02, 0.021, 0.019, 0.022, 0.018, 0.02, 0.02])
    assert trial.estimates()["one"].low > 0 and trial.settled() is Outcome.PASS


def test_pairs_of_base_against_itself_come_in_between() -> None:
    trial, kinds = Trial(), []
    for _ in range(12):
        (same,) = trial.plan(1)
        kinds.append(same)
        trial.add({"one": 0.0}, same=same)
    assert kinds == [False, True, False, False] * 3
    assert Trial().plan(8) == kinds[:8]


def test_expected_width_by_hand() -> None:
    # median |d| = 0.01: 2.326 * 1.2533 * 1.4826 * 0.01 / 2
    assert expected_width([0.01, -0.01, 0.05, 0.0, -0.01], 4) == pytest.approx(0.02161, abs=1e-5)
