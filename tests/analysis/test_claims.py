"""Verdicts: each rule on runs made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from resnet_bench.analysis import claims
from resnet_bench.analysis.blocks import by_seed, complete
from resnet_bench.analysis.claims import judge_study
from resnet_bench.analysis.rules import SIDES, VERSION
from resnet_bench.errors import UsageError
from resnet_bench.frames import load
from resnet_bench.networks import PLAIN, TWINS, Arm
from resnet_bench.results.rows import ClaimRow, RunRow
from tests import studies
from tests.conftest import ROOT

OF_ERRORS = (
    "plain-degrades-train", "plain-degrades-test", "residual-holds-train", "residual-holds-test", "gap-grows-train",
    "gap-grows-test", "twins",
)  # fmt: skip
DEPTHS, SEEDS = (20, 32, 44, 56, 110), (0, 1, 2)
Error = Callable[[int, int], float]  # (depth, seed) -> percent
SOME = ("plain-none-d20-s0", "plain-none-d110-s0")


def study(
    plain: Error, residual: Error, depths: Sequence[int] = DEPTHS, seeds: Sequence[int] = SEEDS, **values: Any
) -> studies.Rows:
    """Test errors are 5 points above training errors."""
    images = {"final_train_clean_images": 50_000, "final_test_images": 10_000}
    made = studies.make("x", depths, num_seeds=len(seeds), **{**images, **values})
    errors = {"plain": plain, "residual": residual}
    runs = []
    for row in made.runs:
        error = errors[row.arch](row.depth, row.seed)
        runs.append(replace(row, final_train_clean_top1_err=error, final_test_top1_err=error + 5))
    return replace(made, runs=runs)


def degrading(depth: int, seed: int) -> float:
    return 5 + depth / 4 + 0.3 * seed * math.sqrt(depth / 20)


def improving(depth: int, seed: int) -> float:
    return 5 - depth / 100 + 0.01 * seed * math.sqrt(depth)


def flat(depth: int, seed: int) -> float:
    return 10 + 0.02 * ((depth * (seed + 1)) % 3)


def judged(made: studies.Rows) -> dict[str, ClaimRow]:
    return {row.claim: row for row in judge_study(made.frames())}


def verdicts(made: studies.Rows) -> dict[str, str]:
    return {name: row.verdict for name, row in judged(made).items() if name in OF_ERRORS}


def change(made: studies.Rows, arm: Arm, which: Callable[[RunRow], bool], **values: Any) -> studies.Rows:
    def mine(row: RunRow) -> bool:
        return (row.arch, row.shortcut) == arm and which(row)

    return replace(made, runs=[replace(row, **values) if mine(row) else row for row in made.runs])


def without(made: studies.Rows, gone: Callable[[RunRow], bool]) -> studies.Rows:
    return made.keep([row.run_id for row in made.runs if not gone(row)])


# ---------------------------------------------------------------------------------------------- the rules


def test_the_whole_phenomenon_is_supported() -> None:
    found = judged(study(degrading, improving))
    assert [name for name in found if name in OF_ERRORS] == [*OF_ERRORS]
    assert {found[name].verdict for name in (*OF_ERRORS, "fair")} == {"supported"}
    assert {row.rules for row in found.values()} == {VERSION}


def test_the_opposite_is_contradicted() -> None:
    assert verdicts(study(improving, degrading)) == dict.fromkeys(OF_ERRORS, "contradicted")


def test_what_does_not_differ_is_no_relevant_difference() -> None:
    found = verdicts(study(flat, flat))
    assert found["plain-degrades-train"] == found["gap-grows-test"] == found["twins"] == "no relevant difference"
    assert found["residual-holds-train"] == "supported"


def test_numbers_of_a_row_by_hand() -> None:
    found = judged(study(degrading, improving))["plain-degrades-train"]
    rises = [degrading(110, seed) - degrading(20, seed) for seed in SEEDS]
    assert found.effect == pytest.approx(np.mean(rises)) and (found.n, found.margin, found.unit) == (3, 0.5, "points")
    p = SIDES * stats.ttest_1samp(rises, 0.5, alternative="greater").pvalue
    assert (
        found.p == pytest.approx(p)
        and found.p_holm is not None
        and found.p_holm >= 1.4 * p
        and found.nearest == "supported"
    )
    interval = stats.ttest_1samp(rises, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.test == "depth 110 minus 20, t over seeds"
    assert found.evidence == (
        "training error 10.3 % at depth 20, 13.4 at 32, 16.4 at 44, 19.5 at 56, 33.2 at 110; higher at the deepest in "
        "3 of 3 seeds"
    )


def test_two_depths_can_decide_as_in_the_papers_figure_1() -> None:
    assert set(verdicts(study(degrading, improving, depths=(20, 56))).values()) == {"supported"}


def test_a_rise_that_only_the_deepest_net_has_is_found() -> None:
    made = study(lambda depth, seed: 10 + 0.1 * seed + (3 if depth == 110 else 0), flat)
    assert verdicts(made)["plain-degrades-train"] == "supported"


def test_residual_nets_that_are_worse_between_the_ends_do_rise() -> None:
    made = study(degrading, lambda depth, seed: 10 + 0.05 * seed + (3 + depth / 1000 if 32 <= depth <= 56 else 0))
    found = judged(made)["residual-holds-train"]
    assert found.verdict == "contradicted" and found.effect == pytest.approx(3, abs=0.2)
    assert found.test.startswith("depth 56 minus 20 (which decides among 10 pairs of depths)")


def test_a_hill_of_plain_nets_is_neither_a_rise_nor_no_difference() -> None:
    made = study(lambda depth, seed: 10 + 0.1 * seed + (10 if depth == 44 else 0), flat)
    assert verdicts(made)["plain-degrades-train"] == "undecided"


def test_what_a_seed_adds_to_all_of_its_runs_changes_nothing() -> None:
    def shifted(error: Error) -> Error:
        return lambda depth, seed: error(depth, seed) + 7 * seed

    plain, moved = (judged(study(f(degrading), f(improving))) for f in (lambda error: error, shifted))
    for name in OF_ERRORS:
        assert moved[name].p == pytest.approx(plain[name].p, rel=1e-6) and moved[name].verdict == plain[name].verdict


def test_one_seed_gives_differences_and_no_judgement() -> None:
    found = judged(study(degrading, improving, seeds=(0,)))
    rows = [found[name] for name in OF_ERRORS]
    assert all(row.verdict == "undecided" and row.p is None for row in rows)
    assert all(row.evidence.endswith("one seed, so no judgement") for row in rows)
    assert found["plain-degrades-train"].effect == pytest.approx(22.5)


def test_the_verdict_that_a_larger_study_would_find_need_not_be_the_nearest_now() -> None:
    """One more image or so in a noisy study: nearest to support now, and a rise above the margin in a larger one."""
    digits = judge_study(load(ROOT / "results" / "digits-full"))
    found = next(row for row in digits if row.claim == "residual-holds-test")
    assert found.verdict == "undecided" and (found.effect or 0) >= 0.5
    assert "would find: supported" not in found.evidence


def test_where_nothing_points_anywhere_no_verdict_is_nearest() -> None:
    made = study(lambda depth, seed: 10 + 0.3 * (seed - 1) + (0.5 if depth == 110 else 0), flat, seeds=range(3))
    row = judged(made)["plain-degrades-train"]
    assert row.verdict == "undecided" and row.p == 1 and row.nearest == ""


def test_too_few_seeds_are_undecided_and_it_says_how_many_would_do() -> None:
    made = study(lambda depth, seed: degrading(depth, seed) + 4 * seed * (depth > 20), improving, (20, 56), (0, 1))
    found = judged(made)["plain-degrades-train"]
    assert found.verdict == "undecided" and found.evidence.endswith("seeds like these would find: supported")


def test_nothing_finished_is_not_measured() -> None:
    nothing = judged(study(degrading, improving).keep([]))
    assert {row.verdict for row in nothing.values()} == {"not measured"} and {r.scope for r in nothing.values()} == {""}
    one_depth = verdicts(study(degrading, improving, depths=(20,)))
    assert one_depth["plain-degrades-train"] == one_depth["residual-holds-test"] == "not measured"
    assert one_depth["twins"] == "supported"


def test_zero_errors_everywhere_hold_as_far_as_one_image_tells() -> None:
    found = judged(study(degrading, lambda depth, seed: 0.0, final_train_clean_images=1437))["residual-holds-train"]
    assert found.verdict == "supported" and (found.low, found.high) == (0, 0)
    t = 0.5 / (100 / 1437 / math.sqrt(3))
    assert found.p == pytest.approx(SIDES * stats.t.sf(t, 2))


def test_a_residual_arm_that_rises_is_said_as_such() -> None:
    """A reduced study may leave deep residual nets undertrained: that is a result."""
    found = judged(study(degrading, lambda depth, seed: 5 + depth / 20 + 0.1 * seed))["residual-holds-train"]
    assert found.verdict == "contradicted" and found.effect == pytest.approx(4.5)


# ---------------------------------------------------------------------------------------------- runs that are not there


def test_a_diverged_run_counts_as_an_error_at_chance_and_tests_carry_it() -> None:
    three = judged(study(degrading, improving).diverge("plain-none-d110-s1", 100))
    assert three["plain-degrades-train"].verdict == "undecided"  # 90 % among 33 %: of few seeds it is too much
    made = study(degrading, improving, seeds=range(8))
    found = judged(made.diverge("plain-none-d110-s1", 100))
    assert found["plain-degrades-train"].verdict == found["gap-grows-train"].verdict == "supported"
    assert "; 1 run diverged and counts as chance" in found["plain-degrades-train"].evidence
    assert found["twins"].verdict == "supported" and found["residual-holds-train"].verdict == "supported"
    many = made
    for seed in range(8):
        many = many.diverge(f"plain-none-d110-s{seed}", 100)
    found = judged(many)
    assert found["plain-degrades-train"].verdict == found["gap-grows-train"].verdict == "supported"
    assert "90.0 at 110" in found["plain-degrades-train"].evidence
    assert "; 8 runs diverged and count as chance" in found["twins"].evidence
    assert "diverged" not in found["residual-holds-train"].evidence and found["fair"].verdict == "supported"


def test_missing_runs_are_left_out_with_what_lacks_most() -> None:
    made = without(study(degrading, improving), lambda r: r.arch == "plain" and r.seed == 2 and r.depth >= 56)
    table = complete(by_seed(made.frames().runs, PLAIN, claims.TRAIN))
    assert [*map(int, table.index)] == [0, 1] and [*map(int, table.columns)] == [*DEPTHS]
    made = without(made, lambda r: r.arch == "plain" and r.depth == 110)
    table = complete(by_seed(made.frames().runs, PLAIN, claims.TRAIN))
    assert [*map(int, table.columns)] == [20, 32, 44, 56]


def test_depths_that_hardly_began_are_left_out_and_said() -> None:
    found = judged(without(study(degrading, improving), lambda r: r.depth == 110 and r.seed > 0))[
        "plain-degrades-train"
    ]
    assert found.test.startswith("depth 56 minus 20") and "; left out: depth 110" in found.evidence and found.n == 3
    made = without(study(degrading, improving), lambda r: r.arch == "plain" and r.seed == 2 and r.depth == 110)
    found = judged(made)["plain-degrades-train"]
    assert found.n == 2 and "; left out: seed 2" in found.evidence
    apart = without(study(degrading, improving, (20, 56), (0, 1)), lambda row: (row.depth == 20) != (row.seed == 0))
    assert judged(apart)["plain-degrades-train"].evidence == "no seed of plain has finished at two depths"


def test_where_all_runs_diverged_nothing_is_concluded_from_their_being_alike() -> None:
    made = study(degrading, improving, depths=(20, 110))
    everything = made
    for row in made.runs:
        everything = everything.diverge(row.run_id, 100)
    assert {verdicts(everything)[name] for name in OF_ERRORS} == {"undecided"}
    residual = made
    for row in made.runs:
        residual = residual.diverge(row.run_id, 100) if row.arch == "residual" else residual
    found = judged(residual)
    for name in ("residual-holds-train", "gap-grows-train", "gap-grows-test"):
        assert found[name].verdict == "undecided", name
    assert found["plain-degrades-train"].verdict == "supported" and found["twins"].verdict == "contradicted"
    assert "; at guessing: ResNet-20, ResNet-110" in found["gap-grows-train"].evidence


# ---------------------------------------------------------------------------------------------- fair


UNFAIR = {
    "lr": 0.001, "batch_size": 64, "optimizer": "adam", "schedule": "cosine", "frozen_parts": 1, "train_images": 1000,
    "init_digest": "9" * 64, "batches_digest": "8" * 64, "eval_digest": "7" * 64, "weights": "6" * 64, "params": 7,
    "macs": 7, "steps": 219, "input_size": "9x9x1",
}  # fmt: skip


@pytest.mark.parametrize("column", UNFAIR)
def test_twins_that_differ_in_anything_are_not_fair_and_not_compared(column: str) -> None:
    made = study(degrading, improving, depths=(20, 44))
    for row in made.runs:
        made = made.change(row.run_id, train_images=1437, input_size="8x8x1")
    made = change(made, PLAIN, lambda row: row.depth == 44 and row.seed == 1, **{column: UNFAIR[column]})
    if column == "steps":
        made = replace(made, curves=[row for row in made.curves if row.step < 219])
    found = judged(made)
    assert found["fair"].verdict == "contradicted" and "plain-44 seed 1" in found["fair"].evidence
    for name in ("twins", "gap-grows-train", "gap-grows-test"):
        assert found[name].verdict == "not measured" and "no twins: they differ in " in found[name].evidence
    one_arm = {
        "lr",
        "batch_size",
        "optimizer",
        "schedule",
        "steps",
        "train_images",
        "frozen_parts",
    }  # which then differ over plain depths, too
    assert found["plain-degrades-train"].verdict == ("not measured" if column in one_arm else "supported")


def test_depths_that_were_not_trained_alike_are_not_compared() -> None:
    made = study(degrading, improving)
    for arm in TWINS:
        made = change(made, arm, lambda row: row.depth == 56, lr=0.5)
    found = judged(made)
    assert found["fair"].verdict == "supported"  # of twins it is
    for name in ("plain-degrades-train", "residual-holds-test", "gap-grows-train"):
        assert found[name].verdict == "not measured" and "learning rate (0.02 and 0.5)" in found[name].evidence


def test_whole_configurations_are_compared_where_the_plan_has_their_digests() -> None:
    made = study(degrading, improving)
    plan = [replace(row, twin_digest=f"{row.depth:064d}") for row in made.plan]
    assert "whole configurations" in judged(replace(made, plan=plan))["fair"].evidence
    other = [replace(row, twin_digest="f" * 64) if row.run_id == "plain-none-d56-s2" else row for row in plan]
    found = judged(replace(made, plan=other))["fair"]
    assert found.verdict == "contradicted" and found.evidence == "different: configuration (plain-56 seed 2)"


def test_a_learning_rate_of_its_own_is_named_with_both_values() -> None:
    made = change(study(degrading, improving), PLAIN, lambda row: True, lr=0.001)
    evidence = judged(made)["fair"].evidence
    assert evidence == "different: learning rate (plain-20 seed 0: 0.001, ResNet-20: 0.02)"


def test_options_with_parameters_of_their_own_may_have_more() -> None:
    arms = (PLAIN, ("residual", "b"))
    made = study(degrading, improving, arms=arms)
    assert len({row.params for row in made.runs if row.depth == 20}) == 2
    assert judged(made)["fair"].verdict == judged(made)["twins"].verdict == "supported"


@pytest.mark.parametrize(
    ("ends", "verdict"), [((40, 40), "supported"), ((40, 42), "no relevant difference"), ((40, 90), "contradicted")]
)
def test_what_runs_decided_by_themselves_is_judged(ends: tuple[int, int], verdict: str) -> None:
    made = study(degrading, improving)
    for arm, end in zip(TWINS, ends, strict=True):
        made = change(made, arm, lambda row: row.depth == 110, lr_warmup_steps=end)
    found = judged(made)["fair-decisions"]
    assert found.verdict == verdict and f"plain-110 {ends[0]}, ResNet-110 {ends[1]}" in found.evidence
    assert judged(made)["fair"].verdict == "supported"


# ---------------------------------------------------------------------------------------------- scope


def test_a_short_protocol_does_not_reach_trained_networks() -> None:
    found = judged(study(degrading, improving))
    row = found["plain-degrades-train"]
    assert row.scope == "after 220 steps of batch 128 (1/291 of the paper's steps, 20 of its 164 epochs), on digits"
    assert (row.verdict, row.trained) == ("supported", "not testable")
    assert row.trained_because.startswith("training stops after 20 of the paper's 164 epochs")
    assert (found["fair"].trained, found["fair"].trained_because) == ("", "")


def test_the_papers_protocol_reaches_them_unless_an_error_still_falls() -> None:
    made = studies.paper()
    row = judged(made)["plain-degrades-train"]
    assert "the paper's number of steps" in row.scope and row.scope.endswith("epochs), on cifar10")
    assert row.trained == row.verdict == "supported"
    falling = [
        replace(curve, train_clean_top1_err=30 - 20 * curve.step / 64_000)
        if "plain-none-d44" in curve.run_id
        else curve
        for curve in made.curves
    ]
    row = judged(replace(made, curves=falling))["plain-degrades-train"]
    assert (row.verdict, row.trained) == ("supported", "not testable")
    assert "the training error of plain-44 still falls by 2.0 points" in row.trained_because


def test_a_network_without_any_trained_run_is_not_trained() -> None:
    made = studies.paper()
    for seed in range(5):
        made = made.diverge(f"plain-none-d56-s{seed}", 400)
    row = judged(made)["plain-degrades-train"]
    assert row.trained == "not testable" and "plain-56 (diverged, or too few points" in row.trained_because
    one = judged(studies.paper().diverge("plain-none-d56-s0", 400))["plain-degrades-train"]
    assert one.trained == one.verdict and "(1 diverged, which count as guessing)" in one.trained_because
    one_silent = studies.paper()
    kept = [row for row in one_silent.curves if row.run_id != "plain-none-d56-s3"]
    assert judged(replace(one_silent, curves=kept))["plain-degrades-train"].trained == "not testable"
    silent = studies.paper()
    silent = replace(silent, curves=[row for row in silent.curves if "plain-none-d56" not in row.run_id])
    assert judged(silent)["plain-degrades-train"].trained == "not testable"


def test_errors_on_more_images_at_the_end_are_no_fall() -> None:
    made = studies.paper()
    curves = [
        replace(curve, train_clean_images=50_000, train_clean_top1_err=0.0) if curve.step == 64_000 else curve
        for curve in made.curves
    ]
    assert judged(replace(made, curves=curves))["plain-degrades-train"].trained == "supported"


def test_primary_claims_are_those_of_the_first_option() -> None:
    made = study(degrading, improving, arms=(PLAIN, ("residual", "b"), ("residual", "a")))
    rows = judge_study(made.frames())
    primary = [r for r in rows if r.claim in ("plain-degrades-train", "gap-grows-train") and r.p_holm is not None]
    assert len(primary) == 3  # of plain nets, and of each option
    a, b = (next(r for r in primary if r.subject.endswith(f"({o})")) for o in "AB")
    assert a.p is not None and b.p is not None and a.p == pytest.approx(b.p)
    assert a.p_holm is not None and b.p_holm is not None and a.p_holm < b.p_holm


def test_a_study_that_was_planned_under_newer_rules_is_not_judged_by_older_ones() -> None:
    made = study(degrading, improving)
    newer = replace(made, plan=[replace(row, rules=VERSION + 1) for row in made.plan])
    with pytest.raises(UsageError, match=f"planned under rules {VERSION + 1}, and this package has rules {VERSION}"):
        judged(newer)
