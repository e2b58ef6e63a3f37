"""Claims that surgery decides: shares of the way to guessing by hand, and what cannot be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from resnet_bench.analysis.findings import (
    BEYOND,
    CONTRADICTED,
    NO_DIFFERENCE,
    NOT_MEASURED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    decide,
)
from resnet_bench.analysis.operations import operations
from resnet_bench.analysis.rules import OTHERS
from resnet_bench.results.rows import ConstructionRow, LesionRow
from resnet_bench.results.tables import CONSTRUCTION, LESIONS
from tests import studies

Net = tuple[float, list[float]]  # error of the intact net, and without each block


def findings(rows: studies.Rows) -> dict[str, Finding]:
    frames = rows.frames()
    return {found.row.claim: found for found in operations(frames.runs, frames.construction, frames.lesions)}


def lesioned(plain: Sequence[Net], residual: Sequence[Net]) -> studies.Rows:
    """A study of depth 20 with these nets, one for each seed; chance is 90 %."""
    rows = studies.make("cut", (20,), num_seeds=max(len(plain), len(residual)))
    rows.others[LESIONS] = [
        LesionRow(run_id=f"{name}-d20-s{seed}", block=block, stage=1, changes_shape=False, test_images=1000,
                  intact_top1_err=intact, lesioned_top1_err=error)
        for name, nets in (("plain-none", plain), ("residual-a", residual))
        for seed, (intact, errors) in enumerate(nets)
        for block, error in enumerate(errors, start=1)
    ]  # fmt: skip
    return rows


def built(gaps: Sequence[float], differences: Sequence[float]) -> studies.Rows:
    rows = studies.make("built", (20, 56), num_seeds=len(gaps))
    rows.others[CONSTRUCTION] = [
        ConstructionRow(
            seed=seed, shallow_depth=20, deep_depth=56, test_images=360, max_logit=10.0,
            max_logit_difference=difference, different_predictions=0, shallow_test_top1_err=2.0,
            constructed_test_top1_err=2.0,
            constructed_train_clean_top1_err=1.0, scratch_train_clean_top1_err=1.0 + gap,
        )
        for seed, (gap, difference) in enumerate(zip(gaps, differences, strict=True))
    ]  # fmt: skip
    return rows


def test_without_surgery_nothing_is_claimed() -> None:
    assert findings(studies.demo()) == {}


# ---------------------------------------------------------------------------------------------- lesions


def test_shares_of_the_way_to_guessing_by_hand() -> None:
    # Plain: 60 % intact, so 30 points are left; rises 12, 15, 30: median 15, half of the way.
    # Residual: 10 % intact, 80 are left; rises 4, 8, 76: median 8, a tenth: 40 less.
    # Seed 1: half and a fifth, 30 less.
    plain = [(60.0, [72.0, 75.0, 90.0]), (50.0, [70.0, 70.0, 70.0])]
    residual = [(10.0, [14.0, 86.0, 18.0]), (10.0, [26.0, 26.0, 26.0])]
    found = findings(lesioned(plain, residual))["lesions"]
    row = found.row
    assert (row.kind, row.unit, row.margin, row.n) == (BEYOND, "%", 10.0, 2)
    assert row.effect == pytest.approx(35.0)  # of 40 and 30
    assert found.of_training and found.place == OTHERS
    assert "residual (A): 10.0 % intact, +12.0 points in the median over blocks (15 % of the way" in row.evidence
    assert "plain: 55.0 % intact, +17.5 points in the median over blocks (50 % of the way" in row.evidence
    assert "+46.0 without block 2, the worst one" in row.evidence  # of 76 and 16
    assert "a smaller share in 2 of 2 seeds" in row.evidence
    assert found.evidence is not None
    # Student's t of 40 and 30 above 10: (35 - 10) / (7.07 / sqrt 2) = 5, one degree of freedom, two sides
    assert found.evidence.supported == pytest.approx(2 * stats.t.sf(5, 1))


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((50.0, 51.0, 52.0), SUPPORTED),
        ((-50.0, -51.0, -52.0), CONTRADICTED),
        ((0.0, 0.5, -0.5), NO_DIFFERENCE),
        ((60.0, 5.0, -20.0), UNDECIDED),
    ],
)
def test_verdicts_on_lesions(shares: tuple[float, ...], verdict: str) -> None:
    plain = [(10.0, [10.0 + 0.8 * max(share, 0)]) for share in shares]
    residual = [(10.0, [10.0 + 0.8 * max(-share, 0)]) for share in shares]
    (row,) = decide([findings(lesioned(plain, residual))["lesions"]])
    assert row.verdict == verdict and row.effect == pytest.approx(sum(shares) / 3)


def test_a_net_that_is_no_better_than_guessing_is_said_and_not_divided_by() -> None:
    good = (10.0, [20.0])
    found = findings(lesioned([(90.0, [91.0]), (91.0, [95.0]), good, good], [good] * 4))["lesions"]
    assert found.row.n == 2
    assert "left out, for an intact net is no better than guessing: seeds 0, 1" in found.row.evidence
    none = findings(lesioned([(90.0, [91.0])] * 2, [good] * 2))["lesions"]
    assert none.row.verdict == NOT_MEASURED and "nothing can be lost" in none.row.evidence


def test_lesions_of_one_seed_or_without_twins_are_not_judged() -> None:
    net = (10.0, [20.0])
    assert findings(lesioned([net], [net]))["lesions"].row.verdict == UNDECIDED
    alone = findings(lesioned([net], []))["lesions"].row
    assert (alone.verdict, alone.evidence) == (NOT_MEASURED, "no twins were operated on")


def test_blocks_that_change_shapes_do_not_count() -> None:
    rows = lesioned([(10.0, [20.0, 90.0])] * 2, [(10.0, [10.0, 90.0])] * 2)
    rows.others[LESIONS] = [replace(row, changes_shape=row.block == 2) for row in rows.others[LESIONS]]
    assert findings(rows)["lesions"].row.effect == pytest.approx(12.5)  # 10 of 80


# ---------------------------------------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("gaps", "differences", "verdict"),
    [
        ((50.0, 55.0, 60.0), (0.0, 0.0, 0.0), SUPPORTED),
        ((0.0, 0.1, 0.0), (0.0, 0.0, 0.0), NO_DIFFERENCE),
        ((-0.9, -1.0, -0.95), (0.0, 0.0, 0.0), CONTRADICTED),
        ((50.0, 0.0, 9.0), (0.0, 0.0, 0.0), UNDECIDED),
        ((50.0, 55.0, 60.0), (0.0, 0.02, 0.0), CONTRADICTED),  # more than a thousandth of the largest logit
    ],
)
def test_verdicts_on_the_solution(gaps: tuple[float, ...], differences: tuple[float, ...], verdict: str) -> None:
    found = findings(built(gaps, differences))["solution-exists"]
    (row,) = decide([found])
    assert (row.verdict, row.unit, row.n) == (verdict, "points", 3) and found.of_training
    assert ("another function in seed 1" in row.evidence) == (differences[1] > 0)


def test_the_solution_of_one_seed_or_without_its_rival_is_not_judged() -> None:
    assert findings(built((50.0,), (0.0,)))["solution-exists"].row.verdict == UNDECIDED
    rows = built((50.0,), (0.0,))
    rows.others[CONSTRUCTION] = [replace(row, scratch_train_clean_top1_err=None) for row in rows.others[CONSTRUCTION]]
    row = findings(rows)["solution-exists"].row
    assert row.verdict == NOT_MEASURED and "was trained from scratch" in row.evidence


def test_nets_that_learned_nothing_are_not_called_equal_nor_operated_on() -> None:
    rows = built([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    rows.others[CONSTRUCTION] = [
        replace(row, constructed_train_clean_top1_err=90.0, scratch_train_clean_top1_err=90.0)
        for row in rows.others[CONSTRUCTION]
    ]
    assert decide([findings(rows)["solution-exists"]])[0].verdict == "undecided"
    plain = [(89.7, [89.7, 89.8]), (88.0, [88.0, 88.1])]  # nearly nothing to lose
    found = findings(lesioned(plain, [(10.0, [10.1, 10.0]), (10.0, [10.0, 10.1])]))["lesions"]
    assert found.row.verdict == "not measured" and "no better than guessing: seeds 0, 1" in found.row.evidence


def test_another_function_is_seen_though_its_error_is_missing() -> None:
    rows = built([50.0, 51.0, 52.0], [0.0, 0.0, 5.0])
    rows.others[CONSTRUCTION] = [
        replace(row, scratch_train_clean_top1_err=None) if row.seed == 2 else row for row in rows.others[CONSTRUCTION]
    ]
    found = findings(rows)["solution-exists"].row
    assert found.verdict == "contradicted" and "another function in seed 2" in found.evidence
