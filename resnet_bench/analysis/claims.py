"""The paper's claims, and the verdict of a study's runs on each, by rules that were fixed before the runs: `RULES`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

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
    page_test,
    seeds_needed,
    sign_flip_test,
    sign_flip_z,
)
from resnet_bench.config import Arm, display_name
from resnet_bench.results import ClaimRow

MARGIN = 0.5  # points
NONE = pd.DataFrame()
RULES = (
    "Errors are those at the last step in percent, differences are in points. A run that diverged counts as what it "
    "is, an error at chance. What is compared is complete: the same depths in every seed.",
    f"A test is taken at {ALPHA}, corrected for the number of tests in the study (Holm). A difference of up to "
    f"{MARGIN} points does not matter: on CIFAR-10 two seeds of one network differ by 0.2 to 0.3 points.",
    "A trend over depth (plain nets degrade; the gap to their residual twins grows) is tested by Page's test, exactly, "
    "with seeds as blocks. It is supported if the test says so and the deepest net is worse than the shallowest by "
    "more than the margin in the mean, contradicted if the 95 % interval of that difference over seeds lies below the "
    "margin.",
    "That residual nets do not degrade is supported if the deepest is not worse than the shallowest by the margin "
    "(non-inferiority, Student's t over seeds), contradicted if the 95 % interval of the difference lies above it.",
    "That a residual net is better than its plain twin is supported by exact sign flips over all pairs (depth x seed), "
    "and contradicted if the flips say the opposite.",
    "That the comparison is fair is no matter of chance: parameters, multiply-adds, initial weights and batches of all "
    "twins are equal, or they are not.",
    *CAUSE_RULES,
    *OPERATION_RULES,
    "All else is undecided, and how many seeds would decide is an estimate from those there are. One seed gives "
    "differences and no judgement: with it nobody can tell luck from effect.",
)
TRAIN, TEST = "final_train_clean_top1_err", "final_test_top1_err"
ERRORS = {TRAIN: "training", TEST: "test"}
PLAIN: Arm = ("plain", "none")
MATCHED = ("params", "macs", "init_digest", "batches_digest")


def judge(
    runs: pd.DataFrame, signals: pd.DataFrame = NONE, construction: pd.DataFrame = NONE, lesions: pd.DataFrame = NONE
) -> list[ClaimRow]:
    """A row for each claim.

    Args:
        runs: with the columns of runs.csv, of one protocol and one data set.
        signals: with those of signals.csv, like the others without rows where nothing was recorded.
        construction: with those of construction.csv.
        lesions: with those of lesions.csv.
    """
    known = _with_chance(runs)
    return decide([*_findings(known), *causes(known, signals), *operations(known, construction, lesions)])


def _findings(runs: pd.DataFrame) -> Iterator[Finding]:
    arms = sorted({arm for arm in zip(runs["arch"], runs["shortcut"], strict=True) if arm != PLAIN})
    for column, kind in ERRORS.items():
        yield _trend("plain-degrades", "plain", f"the {kind} error of plain nets rises with depth", runs, column)
    for arm in arms:
        name = f"residual ({arm[1].upper()})"
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
    runs = runs.copy()
    diverged = runs["status"] == "diverged"
    for column in ERRORS:
        runs.loc[diverged, column] = 100 * (1 - 1 / runs.loc[diverged, "num_classes"])
    return runs


def complete(runs: pd.DataFrame, arm: Arm, column: str) -> pd.DataFrame:
    """Errors of an arm by seed (rows) and depth (columns, ascending), without gaps.

    Where runs are missing, the seed or the depth that lacks most is left out, again and again; of equals the last, and
    a depth only while two others are left.
    """
    chosen = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    return _complete(chosen.pivot_table(index="seed", columns="depth", values=column, aggfunc="first", dropna=False))


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    table = table.astype(float).sort_index().sort_index(axis=1)
    while table.isna().to_numpy().any():
        by_seed, by_depth = table.isna().mean(axis=1), table.isna().mean(axis=0)
        if by_seed.max() >= by_depth.max() or table.shape[1] <= 2:
            table = table.drop(index=by_seed[by_seed == by_seed.max()].index[-1])
        else:
            table = table.drop(columns=by_depth[by_depth == by_depth.max()].index[-1])
    return table


def _ends(table: pd.DataFrame) -> Floats:
    """Deepest minus shallowest, by seed."""
    values = table.to_numpy(dtype=float)
    return np.asarray(values[:, -1] - values[:, 0], dtype=np.float64)


# ---------------------------------------------------------------------------------------------- the claims


def _too_little(table: pd.DataFrame, what: str) -> str:
    """Why a table over seeds and depths cannot be judged at all; "" if it can."""
    if table.empty:
        return f"no seed has finished {what}"
    return f"{what} finished at one depth only ({table.columns[0]})" if table.shape[1] < 2 else ""


def _change(name: str, table: pd.DataFrame, differences: Floats) -> str:
    shallow, deep = (table.iloc[:, index] for index in (0, -1))
    text = (
        f"{name} {shallow.mean():.2f} % at depth {table.columns[0]}, {deep.mean():.2f} % at depth {table.columns[-1]} "
        f"({differences.mean():+.2f} points"
    )
    size = effect_size(differences)
    return text + (f", d = {size:.1f})" if math.isfinite(size) else ")")


def _trend(
    claim: str, subject: str, statement: str, runs: pd.DataFrame, column: str, table: pd.DataFrame | None = None
) -> Finding:
    """Page's test over depth, seeds as blocks (section 1, figure 1; section 4.2, figure 6 left)."""
    table = complete(runs, PLAIN, column) if table is None else table
    claim, what = f"{claim}-{'train' if column == TRAIN else 'test'}", f"{ERRORS[column]} error"
    test = f"Page's test over depths {_numbers(table.columns)}, seeds as blocks"
    if reason := _too_little(table, subject):
        return Finding(claim_row(claim, subject, statement, "Page's test over depth, seeds as blocks", reason))
    differences = _ends(table)
    interval = Interval.of(differences)
    evidence = _change("gap in the " + what if "gap" in claim else what, table, differences)
    row = with_effect(claim_row(claim, subject, statement, test, evidence), interval, MARGIN)
    if interval.n == 1:
        return one_seed(row)
    trend = page_test(table.to_numpy(dtype=float))
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
    table = complete(runs, arm, column)
    if reason := _too_little(table, subject):
        return Finding(claim_row(claim, subject, statement, "non-inferiority over seeds", reason))
    differences = _ends(table)
    interval = Interval.of(differences)
    test = f"non-inferiority of depth {table.columns[-1]} to {table.columns[0]}, t over seeds"
    evidence = _change(f"{ERRORS[column]} error", table, differences)
    row = with_effect(claim_row(claim, subject, statement, test, evidence), interval, MARGIN)
    if interval.n == 1:
        return one_seed(row)
    return Finding(
        replace(row, p=_below(differences, MARGIN)),
        contradicted=interval.low > MARGIN,
        seeds_needed=lambda alpha: _seeds_below(differences, MARGIN, alpha),
    )


def _below(values: Floats, limit: float) -> float:
    """One-sided p of Student's t-test that the mean is below a limit; without any spread the mean itself decides."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return 0.0 if values.mean() < limit else 1.0
    return float(stats.t.sf((limit - float(values.mean())) / error, len(values) - 1))


def _seeds_below(values: Floats, limit: float, alpha: float) -> int | None:
    """The fewest seeds with which that test reaches alpha, if mean and spread stayed as they are."""
    counts = np.arange(len(values), MAX_SEEDS + 1)
    error = float(values.std(ddof=1)) / np.sqrt(counts)
    enough = stats.t.sf((limit - float(values.mean())) / error, counts - 1) <= alpha
    return int(counts[enough.argmax()]) if enough.any() else None


def _gap(subject: str, arm: Arm, runs: pd.DataFrame, column: str) -> Finding:
    """Page's test on plain minus residual (section 4.2, figure 6: left beside middle)."""
    sides = [
        runs[(runs["arch"] == arch) & (runs["shortcut"] == shortcut)].pivot_table(
            index="seed", columns="depth", values=column, aggfunc="first", dropna=False
        )
        for arch, shortcut in (PLAIN, arm)
    ]
    gaps = sides[0].subtract(sides[1])
    statement = f"the gap in {ERRORS[column]} error between plain nets and their residual twins grows with depth"
    table = _complete(gaps.dropna(axis=0, how="all").dropna(axis=1, how="all"))
    return _trend("gap-grows", f"plain and {subject}", statement, runs, column, table)


def _pairs(runs: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    plain = runs[(runs["arch"] == "plain")]
    residual = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    return plain.merge(residual, on=["depth", "seed"], suffixes=("_plain", "_residual")).sort_values(["depth", "seed"])


def _twins(subject: str, arm: Arm, runs: pd.DataFrame) -> Finding:
    """Exact sign flips over all pairs of twins (section 4.1, table 2, for CIFAR-10)."""
    statement = "a residual net has a lower training error than its plain twin"
    subject, pairs = f"plain and {subject}", _pairs(runs, arm).dropna(subset=[f"{TRAIN}_plain", f"{TRAIN}_residual"])
    if pairs.empty:
        return Finding(claim_row("twins", subject, statement, "exact sign flips", "no pair of twins has finished"))
    differences = (pairs[f"{TRAIN}_plain"] - pairs[f"{TRAIN}_residual"]).to_numpy(dtype=float)
    better, seeds = int((differences > 0).sum()), pairs["seed"].nunique()
    interval = Interval.of(pairs.assign(d=differences).groupby("seed")["d"].mean())
    test = f"exact sign flips over {len(differences)} pairs (depth x seed)"
    evidence = f"lower by {differences.mean():.2f} points in the mean, in {better} of {len(differences)} pairs"
    row = with_effect(claim_row("twins", subject, statement, test, evidence), interval, 0.0, n=len(differences))
    if seeds == 1:
        return one_seed(row)
    opposite = sign_flip_test(-differences) <= ALPHA
    return Finding(
        replace(row, p=sign_flip_test(differences)),
        contradicted=opposite,
        matters=bool(differences.mean() > 0),
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


def _numbers(values: pd.Index[Any]) -> str:
    return ", ".join(str(int(value)) for value in values)
