"""The paper's claims, and the verdict of a study's runs on each, by rules that were fixed before the runs: `RULES`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from resnet_bench.analysis.blocks import by_seed, complete, left_out, numbers
from resnet_bench.analysis.causes import CAUSE_RULES, causes
from resnet_bench.analysis.findings import (
    ALPHA,
    CONTRADICTED,
    MAX_SEEDS,
    SUPPORTED,
    Finding,
    claim_row,
    decide,
    one_seed,
    with_effect,
)
from resnet_bench.analysis.operations import OPERATION_RULES, operations
from resnet_bench.analysis.statistics import (
    Floats,
    Interval,
    effect_size,
    flips_in_words,
    page_test,
    seeds_needed,
    sign_flip_test,
    sign_flip_z,
    spread,
)
from resnet_bench.frames import StudyFrames
from resnet_bench.networks import CIFAR, OWN, PLAIN, Arm, arm_name, display_name
from resnet_bench.results.rows import ClaimRow

MARGIN = 0.5  # points
NONE = pd.DataFrame()
RULES = (
    "Errors are those at the last step in percent, differences are in points. A run that diverged counts as what it "
    "is, an error at chance. What is compared over depths is complete: the same depths in every seed; incomplete seeds "
    "are left out while two complete ones remain, else the depths that lack most, and the evidence says so.",
    f"A test is taken at {ALPHA}, corrected for the number of tests in the study (Holm). A difference of up to "
    f"{MARGIN} points does not matter: on CIFAR-10 two seeds of one network differ by 0.2 to 0.3 points.",
    "A trend over depth (plain nets degrade; the gap to their residual twins grows) is tested by Page's test, exactly "
    "up to 12 depths, with seeds as blocks. It is supported if the test says so and the deepest net is worse than the "
    "shallowest by more than the margin in the mean, contradicted if the 95 % interval of that difference over seeds "
    "lies below the margin.",
    "That residual nets do not degrade is supported if the deepest is not worse than the shallowest by the margin "
    "(non-inferiority, Student's t over seeds; without any spread over seeds the mean decides), contradicted if the "
    "95 % interval of the difference lies above it.",
    "That a residual net is better than its plain twin is supported by sign flips over all pairs (depth x seed), exact "
    "up to 36 pairs, and contradicted if the 95 % interval of the difference over seeds lies below 0.",
    "That the comparison is fair is no matter of chance: parameters, multiply-adds, initial weights and batches of all "
    "twins are equal, or they are not.",
    *CAUSE_RULES,
    *OPERATION_RULES,
    "All else is undecided, and how many seeds would decide is an estimate from those there are. One seed gives "
    "differences and no judgement: with it nobody can tell luck from effect.",
)
TRAIN, TEST = "final_train_clean_top1_err", "final_test_top1_err"
ERRORS = {TRAIN: "training", TEST: "test"}
MATCHED = ("params", "macs", "init_digest", "batches_digest")


def judge_study(frames: StudyFrames) -> list[ClaimRow]:
    """A row for each claim, within each setting where a study varies fields; corrected over all its tests."""
    return decide(
        [
            replace(found, row=replace(found.row, setting=part.setting))
            for part in frames.parts
            for found in _on_everything(part.runs, part.signals, part.construction, part.lesions)
        ]
    )


def rules(frames: StudyFrames) -> Sequence[str]:
    """`RULES`, and what is done otherwise where the study varies fields."""
    if not frames.settings:
        return RULES
    return [
        *RULES,
        f"This study varies {' and '.join(frames.axes)}: a claim is judged within each setting by itself, from the "
        f"runs of that setting alone; the correction (Holm) is for the tests of all {len(frames.settings)} settings "
        "together.",
    ]


def judge(
    runs: pd.DataFrame, signals: pd.DataFrame = NONE, construction: pd.DataFrame = NONE, lesions: pd.DataFrame = NONE
) -> list[ClaimRow]:
    """A row for each claim on runs of one setting.

    Args:
        runs: with the columns of runs.csv, of one protocol and one data set.
        signals: with those of signals.csv, like the others without rows where nothing was recorded.
        construction: with those of construction.csv.
        lesions: with those of lesions.csv.
    """
    return decide(_on_everything(runs, signals, construction, lesions))


def _on_everything(
    runs: pd.DataFrame, signals: pd.DataFrame, construction: pd.DataFrame, lesions: pd.DataFrame
) -> list[Finding]:
    known = _with_chance(runs)
    return [*_findings(known), *causes(known, signals), *operations(known, construction, lesions)]


def _findings(runs: pd.DataFrame) -> Iterator[Finding]:
    about = runs[(runs["family"] != OWN) | (runs["arch"] == "residual")]  # of others the paper says nothing
    arms = sorted({arm for arm in zip(about["arch"], about["shortcut"], strict=True) if arm != PLAIN})
    for column, kind in ERRORS.items():
        statement, chance = f"the {kind} error of plain nets rises with depth", _at_chance(runs, [PLAIN])
        yield _trend("plain-degrades", "plain", statement, by_seed(runs, PLAIN, column), column, chance)
    for arm in arms or [("residual", "a")]:
        name = arm_name(arm)
        for column in ERRORS:
            yield _holds(name, arm, runs, column)
        for column in ERRORS:
            yield _gap(name, arm, runs, column)
        yield _twins(name, arm, runs)
        if arm == ("residual", "a"):
            yield _fair(name, arm, runs)


# ---------------------------------------------------------------------------------------------- what is compared


def _with_chance(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, with the error of guessing where one diverged."""
    runs = runs.assign(family=runs.get("family", CIFAR))
    diverged = runs["status"] == "diverged"
    for column in ERRORS:
        runs.loc[diverged, column] = 100 * (1 - 1 / runs.loc[diverged, "num_classes"])
    return runs


def _at_chance(runs: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """`; 2 runs diverged and count as chance`, or ""."""
    chosen = pd.concat([runs[(runs["arch"] == arch) & (runs["shortcut"] == shortcut)] for arch, shortcut in arms])
    number = int((chosen["status"] == "diverged").sum())
    return f"; {number} run{'s' if number > 1 else ''} diverged and count as chance" if number else ""


def _ends(table: pd.DataFrame) -> Floats:
    """Deepest minus shallowest, by seed."""
    values = table.to_numpy(dtype=float)
    return np.asarray(values[:, -1] - values[:, 0], dtype=np.float64)


# ---------------------------------------------------------------------------------------------- the claims


def _too_little(table: pd.DataFrame, whole: pd.DataFrame, what: str) -> str:
    """Why a table over seeds and depths cannot be judged at all; "" if it can."""
    if table.empty:
        return f"no run of {what} has finished"
    if table.shape[1] < 2:
        return f"{what} finished at one depth only ({table.columns[0]})"
    return "" if len(whole) else f"no seed of {what} has finished at two depths"


def _change(name: str, table: pd.DataFrame, differences: Floats) -> str:
    shallow, deep = (table.iloc[:, index] for index in (0, -1))
    text = (
        f"{name} {shallow.mean():.2f} % at depth {table.columns[0]}, {deep.mean():.2f} % at depth {table.columns[-1]} "
        f"({differences.mean():+.2f} points"
    )
    size = effect_size(differences)
    return text + (f", d = {size:.1f})" if math.isfinite(size) else ")")


def _trend(claim: str, subject: str, statement: str, table: pd.DataFrame, column: str, more: str) -> Finding:
    """Page's test over depth, seeds as blocks (section 1, figure 1; section 4.2, figure 6 left)."""
    claim, what = f"{claim}-{'train' if column == TRAIN else 'test'}", f"{ERRORS[column]} error"
    whole = complete(table)
    if reason := _too_little(table, whole, subject):
        return Finding(claim_row(claim, subject, statement, "Page's test over depth, seeds as blocks", reason))
    differences = _ends(whole)
    interval = Interval.of(differences)
    evidence = _change("gap in the " + what if "gap" in claim else what, whole, differences)
    trend = page_test(whole.to_numpy(dtype=float))
    kind = "" if trend.exact else ", normal approximation"
    test = f"Page's test over depths {numbers(whole.columns)}, seeds as blocks{kind}"
    row = claim_row(claim, subject, statement, test, evidence + left_out(table, whole) + more)
    row = with_effect(row, interval, MARGIN)
    if interval.n == 1:
        return one_seed(row)
    return Finding(
        replace(row, p=trend.p),
        contradicted=interval.high < MARGIN,
        matters=interval.mean > MARGIN,
        seeds_needed=lambda alpha: (
            seeds_needed(trend.blocks, trend.z, 1 / math.factorial(trend.treatments), alpha)
            if interval.mean > MARGIN
            else None
        ),
    )


def _holds(subject: str, arm: Arm, runs: pd.DataFrame, column: str) -> Finding:
    """Non-inferiority of the deepest (section 4.2, figure 6 middle)."""
    claim = f"residual-holds-{'train' if column == TRAIN else 'test'}"
    statement = f"the {ERRORS[column]} error of residual nets does not rise with depth"
    table = by_seed(runs, arm, column)
    whole = complete(table)
    if reason := _too_little(table, whole, subject):
        return Finding(claim_row(claim, subject, statement, "non-inferiority over seeds", reason))
    differences = _ends(whole)
    interval = Interval.of(differences)
    test = f"non-inferiority of depth {whole.columns[-1]} to {whole.columns[0]}, t over seeds"
    evidence = _change(f"{ERRORS[column]} error", whole, differences) + left_out(table, whole)
    row = claim_row(claim, subject, statement, test, evidence + _at_chance(runs, [arm]))
    row = with_effect(row, interval, MARGIN)
    if interval.n == 1:
        return one_seed(row)
    if spread(differences) == 0:
        verdict = SUPPORTED if interval.mean < MARGIN else CONTRADICTED
        return Finding(
            replace(row, verdict=verdict, evidence=f"{row.evidence}; without any spread, so decided by the mean")
        )
    return Finding(
        replace(row, p=_below(differences, MARGIN)),
        contradicted=interval.low > MARGIN,
        seeds_needed=lambda alpha: _seeds_below(differences, MARGIN, alpha),
    )


def _below(values: Floats, limit: float) -> float:
    """One-sided p of Student's t-test that the mean is below a limit."""
    error = spread(values) / math.sqrt(len(values))
    return float(stats.t.sf((limit - float(values.mean())) / error, len(values) - 1))


def _seeds_below(values: Floats, limit: float, alpha: float) -> int | None:
    """The fewest seeds with which that test reaches alpha, if mean and spread stayed as they are."""
    counts = np.arange(len(values), MAX_SEEDS + 1)
    error = float(values.std(ddof=1)) / np.sqrt(counts)
    enough = stats.t.sf((limit - float(values.mean())) / error, counts - 1) <= alpha
    return int(counts[enough.argmax()]) if enough.any() else None


def _not_twins(runs: pd.DataFrame, arm: Arm) -> str:
    """Why networks of the user's own cannot be compared as twins; "" if they can, or all are ours."""
    pairs = _pairs(runs, arm)
    own = pairs[(pairs["family_plain"] == OWN) | (pairs["family_residual"] == OWN)]
    names = {"params": "parameters", "macs": "multiply-adds", "init_digest": "initial weights"}
    different = [
        f"{name} (plain-{row['depth']}, seed {row['seed']})"
        for column, name in names.items()
        for _, row in own[own[f"{column}_plain"] != own[f"{column}_residual"]].head(1).iterrows()
    ]
    return f"not applicable, for these are no twins: they differ in {', '.join(different)}" if different else ""


def _gap(subject: str, arm: Arm, runs: pd.DataFrame, column: str) -> Finding:
    """Page's test on plain minus residual (section 4.2, figure 6: left beside middle)."""
    gaps = by_seed(runs, PLAIN, column).subtract(by_seed(runs, arm, column))
    gaps = gaps.dropna(axis=0, how="all").dropna(axis=1, how="all")
    statement = f"the gap in {ERRORS[column]} error between plain nets and their residual twins grows with depth"
    if reason := _not_twins(runs, arm):
        claim = f"gap-grows-{'train' if column == TRAIN else 'test'}"
        return Finding(claim_row(claim, f"plain and {subject}", statement, "Page's test over depth", reason))
    return _trend("gap-grows", f"plain and {subject}", statement, gaps, column, _at_chance(runs, [PLAIN, arm]))


def _pairs(runs: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    plain = runs[(runs["arch"] == "plain")]
    residual = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    return plain.merge(residual, on=["depth", "seed"], suffixes=("_plain", "_residual")).sort_values(["depth", "seed"])


def _twins(subject: str, arm: Arm, runs: pd.DataFrame) -> Finding:
    """Exact sign flips over all pairs of twins (section 4.1, table 2, for CIFAR-10)."""
    statement = "a residual net has a lower training error than its plain twin"
    if reason := _not_twins(runs, arm):
        return Finding(claim_row("twins", f"plain and {subject}", statement, "exact sign flips", reason))
    subject, pairs = f"plain and {subject}", _pairs(runs, arm).dropna(subset=[f"{TRAIN}_plain", f"{TRAIN}_residual"])
    if pairs.empty:
        return Finding(claim_row("twins", subject, statement, "exact sign flips", "no pair of twins has finished"))
    differences = (pairs[f"{TRAIN}_plain"] - pairs[f"{TRAIN}_residual"]).to_numpy(dtype=float)
    better, seeds = int((differences > 0).sum()), pairs["seed"].nunique()
    interval = Interval.of(pairs.assign(d=differences).groupby("seed")["d"].mean())
    evidence = (
        f"lower by {interval.mean:.2f} points in the mean over seeds, in {better} of {len(differences)} pairs"
        f"{_at_chance(runs, [PLAIN, arm])}"
    )
    row = claim_row("twins", subject, statement, f"{flips_in_words(len(differences))} (depth x seed)", evidence)
    row = with_effect(row, interval, 0.0, n=len(differences))
    if seeds == 1:
        return one_seed(row)
    return Finding(
        replace(row, p=sign_flip_test(differences)),
        contradicted=interval.high < 0,
        matters=interval.mean > 0,
        seeds_needed=lambda alpha: seeds_needed(
            seeds, sign_flip_z(differences), 0.5 ** (len(differences) / seeds), alpha
        ),
    )


def _fair(subject: str, arm: Arm, runs: pd.DataFrame) -> Finding:
    """Equality, not statistics (section 3.2: the same number of parameters, depth, width and cost)."""
    subject, statement = (
        f"plain and {subject}",
        "twins have equal parameters, multiply-adds, initial weights and batches",
    )
    pairs = _pairs(runs, arm)
    # A run that diverged has seen fewer batches than its twin.
    pairs = pairs[(pairs["status_plain"] == "ok") & (pairs["status_residual"] == "ok")]
    test = "equality in runs.csv"
    if pairs.empty:
        return Finding(claim_row("fair", subject, statement, test, "no pair of twins has finished"))
    unequal = [
        f"{display_name('plain', int(row['depth']))} seed {row['seed']}: {name}"
        for _, row in pairs.iterrows()
        for name in MATCHED
        if row[f"{name}_plain"] != row[f"{name}_residual"]
    ]
    evidence = f"different: {'; '.join(unequal)}" if unequal else f"all equal in {len(pairs)} pairs of twins"
    row = claim_row("fair", subject, statement, test, evidence, n=len(pairs))
    return Finding(replace(row, verdict=CONTRADICTED if unequal else SUPPORTED))
