"""Verdicts: each rule on runs made by hand, and how often they are right on simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from benchmarks import verdict_rates
from resnet_bench.analysis import claims
from resnet_bench.analysis.blocks import by_seed, complete
from resnet_bench.analysis.claims import judge
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.tables import CONSTRUCTION, LESIONS, SIGNALS, Table
from tests import studies

CAUSES = ("signals-healthy", "responses-small", "responses-fall", "solution-exists", "lesions")
DEPTHS, SEEDS = (20, 32, 44, 56, 110), (0, 1, 2)
Error = Callable[[int, int], float]  # (depth, seed) -> percent


def study(
    plain: Error, residual: Error, depths: tuple[int, ...] = DEPTHS, seeds: tuple[int, ...] = SEEDS
) -> pd.DataFrame:
    rows = [
        {
            "arch": arch, "shortcut": shortcut, "depth": depth, "seed": seed, "status": "ok", "num_classes": 10,
            "final_train_clean_top1_err": error(depth, seed), "final_test_top1_err": error(depth, seed) + 5,
            "params": depth, "macs": 2 * depth, "init_digest": f"i{depth}{seed}", "batches_digest": f"b{seed}",
        }
        for arch, shortcut, error in (("plain", "none", plain), ("residual", "a", residual))
        for depth in depths
        for seed in seeds
    ]  # fmt: skip
    return pd.DataFrame(rows)


def degrading(depth: int, seed: int) -> float:
    return 5 + depth / 4 + 0.3 * seed


def improving(depth: int, seed: int) -> float:
    return 5 - depth / 100 + 0.01 * seed * math.sqrt(depth)


def verdicts(runs: pd.DataFrame) -> dict[str, str]:
    """Of the claims about errors; those about signals are not measured here."""
    found = judge(runs)
    assert {row.verdict for row in found if row.claim in CAUSES} == {"not measured"}
    return {row.claim: row.verdict for row in found if row.claim not in CAUSES}


def row(runs: pd.DataFrame, claim: str) -> ClaimRow:
    (found,) = [row for row in judge(runs) if row.claim == claim]
    return found


# ---------------------------------------------------------------------------------------------- the rules


def test_the_whole_phenomenon_is_supported() -> None:
    found = verdicts(study(degrading, improving))
    assert set(found.values()) == {"supported"}
    assert list(found) == [
        "plain-degrades-train", "plain-degrades-test", "residual-holds-train", "residual-holds-test",
        "gap-grows-train", "gap-grows-test", "twins", "fair",
    ]  # fmt: skip


def test_the_opposite_is_contradicted() -> None:
    found = verdicts(study(improving, degrading))
    assert {name: verdict for name, verdict in found.items() if name != "fair"} == dict.fromkeys(
        [name for name in found if name != "fair"], "contradicted"
    )


def test_numbers_of_a_row_by_hand() -> None:
    found = row(study(degrading, improving), "plain-degrades-train")
    assert found.effect == pytest.approx(22.5) and found.n == 3 and found.margin == 0.5
    assert found.p == pytest.approx(120**-3) and found.p_holm == pytest.approx(7 * 120**-3, rel=1e-3)
    assert found.test == "Page's test over depths 20, 32, 44, 56, 110, seeds as blocks"
    assert found.evidence.startswith("training error 10.30 % at depth 20, 32.80 % at depth 110 (+22.50 points")


def test_one_seed_gives_differences_and_no_judgement() -> None:
    found = judge(study(degrading, improving, seeds=(0,)))
    judged = [row for row in found if row.claim not in (*CAUSES, "fair")]
    assert all(row.verdict == "undecided" and row.p is None for row in judged)
    assert all(row.evidence.endswith("one seed, so no judgement") for row in judged)
    assert found[0].effect == pytest.approx(22.5)


def test_too_few_seeds_are_undecided_and_it_says_how_many_would_do() -> None:
    found = row(study(degrading, improving, depths=(20, 56), seeds=(0, 1)), "plain-degrades-train")
    assert found.verdict == "undecided" and found.p == 0.25
    assert found.evidence.endswith("; about 8 seeds like these would decide")  # 1 / 2**8 < 0.05 / 7


def test_nothing_finished_is_not_measured() -> None:
    found = verdicts(study(degrading, improving).iloc[:0])
    assert len(found) == 8 and set(found.values()) == {"not measured"}
    one_depth = verdicts(study(degrading, improving, depths=(20,)))
    assert one_depth["plain-degrades-train"] == one_depth["residual-holds-test"] == "not measured"
    assert one_depth["twins"] == "undecided" and one_depth["fair"] == "supported"  # three pairs tell little


def test_a_diverged_run_counts_as_an_error_at_chance() -> None:
    runs = study(degrading, improving)
    deep = (runs["arch"] == "plain") & (runs["depth"] == 110)
    runs.loc[deep, ["final_train_clean_top1_err", "final_test_top1_err"]] = math.nan
    runs.loc[deep, "status"] = "diverged"
    found = row(runs, "plain-degrades-train")
    assert found.verdict == "supported" and "90.00 % at depth 110" in found.evidence
    assert row(runs, "fair").n == 12  # a run that diverged has seen fewer batches


def test_missing_runs_are_left_out_with_what_lacks_most() -> None:
    runs = study(degrading, improving)
    runs = runs[~((runs["arch"] == "plain") & (runs["seed"] == 2) & (runs["depth"] >= 56))]
    table = complete(by_seed(runs, ("plain", "none"), claims.TRAIN))
    assert list(table.index) == [0, 1] and list(table.columns) == list(DEPTHS)
    runs = runs[~((runs["arch"] == "plain") & (runs["depth"] == 110))]
    assert list(complete(by_seed(runs, ("plain", "none"), claims.TRAIN)).columns) == [20, 32, 44, 56]


def test_depths_that_hardly_began_are_left_out_and_said() -> None:
    runs = study(degrading, improving)
    runs = runs[(runs["depth"] < 110) | (runs["seed"] == 0)]
    found = row(runs, "plain-degrades-train")
    assert "depths 20, 32, 44, 56," in found.test and "; left out: depth 110" in found.evidence and found.n == 3
    runs = study(degrading, improving)
    runs = runs[~((runs["arch"] == "plain") & (runs["seed"] == 2) & (runs["depth"] == 110))]
    found = row(runs, "plain-degrades-train")
    assert found.n == 2 and found.effect == pytest.approx(22.5) and "; left out: seed 2" in found.evidence
    apart = study(degrading, improving, depths=(20, 56), seeds=(0, 1))
    apart = apart[(apart["depth"] == 20) == (apart["seed"] == 0)]
    assert row(apart, "plain-degrades-train").evidence == "no seed of plain has finished at two depths"


def test_diverged_runs_are_named_as_chance() -> None:
    runs = study(degrading, improving)
    runs.loc[(runs["arch"] == "plain") & (runs["depth"] == 110), "status"] = "diverged"
    assert "; 3 runs diverged and count as chance" in row(runs, "plain-degrades-train").evidence
    assert "; 3 runs diverged and count as chance" in row(runs, "twins").evidence
    assert "diverged" not in row(runs, "residual-holds-train").evidence


def test_twins_are_contradicted_by_the_interval_only() -> None:
    """A low p of the opposite, before any correction, is not enough."""
    gaps = dict(
        zip(DEPTHS, zip((-0.3, -0.3, -0.2, 0.05, -0.25), (0.2, -0.1, -0.3, -0.4, 0.1), strict=True), strict=True)
    )
    found = row(study(lambda depth, seed: 10 + gaps[depth][seed], lambda depth, seed: 10.0, seeds=(0, 1)), "twins")
    assert found.verdict == "undecided" and found.high is not None and found.high > 0


def test_two_equal_differences_are_no_test() -> None:
    found = row(study(degrading, lambda depth, seed: 5.0 + 0.4 * (depth == 110)), "residual-holds-train")
    assert found.verdict == "supported" and found.p is None
    assert found.evidence.endswith("without any spread, so decided by the mean")


def test_unequal_twins_are_named() -> None:
    runs = study(degrading, improving)
    runs.loc[(runs["arch"] == "plain") & (runs["depth"] == 44) & (runs["seed"] == 1), "init_digest"] = "other"
    found = row(runs, "fair")
    assert found.verdict == "contradicted" and found.evidence == "different: plain-44 seed 1: init_digest"


def test_a_residual_arm_that_rises_is_said_as_such() -> None:
    """A reduced study may leave deep residual nets undertrained: that is a result."""
    found = row(study(degrading, lambda depth, seed: 5 + depth / 20 + 0.1 * seed), "residual-holds-train")
    assert found.verdict == "contradicted" and found.effect == pytest.approx(4.5)


def test_zero_errors_everywhere_hold() -> None:
    found = row(study(degrading, lambda depth, seed: 0.0), "residual-holds-train")
    assert found.verdict == "supported" and (found.low, found.high) == (0, 0)


# ---------------------------------------------------------------------------------------------- causes, operations


def verdicts_of(study: studies.Rows) -> dict[str, ClaimRow]:
    frames = study.frames()
    return {row.claim: row for row in judge(frames.runs, frames.signals, frames.construction, frames.lesions)}


def change(study: studies.Rows, table: Table, change_row: Callable[[Any], dict[str, Any]]) -> studies.Rows:
    study.others[table] = [replace(row, **change_row(row)) for row in study.others[table]]
    return study


def test_causes_and_operations_are_supported_where_the_numbers_say_so() -> None:
    found = verdicts_of(studies.insides())
    assert {found[claim].verdict for claim in CAUSES} == {"supported"}
    assert found["signals-healthy"].evidence.startswith("plain-110: lowest response")
    assert found["solution-exists"].effect == pytest.approx(50, abs=1) and found["solution-exists"].n == 5
    assert found["responses-small"].n == 25 and found["responses-fall"].n == 5


def test_one_layer_that_is_silent_in_every_seed_is_not_healthy() -> None:
    def silent(row: Any) -> dict[str, Any]:
        return {"response_std": 0.009} if row.layer_index == 50 and row.step == 220 else {}

    assert verdicts_of(change(studies.insides(), SIGNALS, silent))["signals-healthy"].verdict == "contradicted"
    alone = change(studies.insides(), SIGNALS, lambda row: silent(row) if row.run_id.endswith("s0") else {})
    found = verdicts_of(alone)["signals-healthy"]
    assert found.verdict == "undecided" and found.evidence.endswith("healthy in 4 of 5 seeds")


def test_gradients_that_vanish_are_not_healthy() -> None:
    vanishing = change(studies.insides(), SIGNALS, lambda row: {"grad_norm": 0.8 ** (110 - row.layer_index)})
    assert verdicts_of(vanishing)["signals-healthy"].verdict == "contradicted"


def test_signals_that_are_not_finite_are_not_healthy_and_no_crash() -> None:
    def overflown(row: Any) -> dict[str, Any]:
        return {"response_std": math.nan, "grad_norm": math.nan} if "plain" in row.run_id and row.step == 220 else {}

    found = verdicts_of(change(studies.insides(), SIGNALS, overflown))
    assert found["signals-healthy"].verdict == "contradicted"
    assert found["responses-small"].verdict == "not measured" and found["responses-fall"].verdict == "supported"


def test_lesions_are_judged_at_one_depth_and_need_two_seeds() -> None:
    one_seed = studies.make("x", (20, 56, 110), num_seeds=1)
    twice = studies.with_surgery(studies.with_surgery(one_seed, 20, 56), 20, 110)
    found = verdicts_of(twice)["lesions"]
    assert found.verdict == "undecided" and found.n == 1 and found.evidence.startswith("depth 110: ")


def test_responses_that_differ_by_less_than_matters_are_no_support() -> None:
    """BN sets all responses to 1 at the start; where training has not moved them, nothing is seen."""
    still = change(
        studies.insides(), SIGNALS, lambda row: {"response_std": 1.0 if row.run_id.startswith("plain") else 0.999}
    )
    found = verdicts_of(still)
    assert found["responses-small"].verdict == found["responses-fall"].verdict == "contradicted"
    assert found["responses-small"].p is not None and found["responses-small"].p < 1e-6


def test_a_construction_that_is_not_the_same_net_is_no_solution() -> None:
    wrong = change(studies.insides(), CONSTRUCTION, lambda row: {"max_logit_difference": 0.1})
    assert verdicts_of(wrong)["solution-exists"].verdict == "contradicted"
    found = change(studies.insides(), CONSTRUCTION, lambda row: {"scratch_train_clean_top1_err": 0.2})
    assert verdicts_of(found)["solution-exists"].verdict == "contradicted"  # from scratch it is found as well


def test_lesions_that_plain_nets_bear_better_contradict() -> None:
    swapped = change(
        studies.insides(), LESIONS, lambda row: {"lesioned_top1_err": 3.0 if "plain" in row.run_id else 40.0}
    )
    assert verdicts_of(swapped)["lesions"].verdict == "contradicted"


def test_operations_on_two_pairs_of_depths_are_judged_by_one() -> None:
    both = studies.with_surgery(studies.insides(), 20, 110)
    found = verdicts_of(both)["solution-exists"]
    assert found.n == 5 and found.evidence.startswith("plain-20 deepened to 110")


# ---------------------------------------------------------------------------------------------- simulated studies


def test_verdicts_on_simulated_studies_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer than `python -m benchmarks.verdict_rates` looks at."""
    assert verdict_rates.main(["--studies", "100"]) == 0
    assert "any of them" in capsys.readouterr().out
