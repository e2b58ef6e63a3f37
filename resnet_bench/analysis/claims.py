"""The claims, and the verdict of a study's runs on each, by rules that are the same for every study: `RULES`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from resnet_bench.analysis.blocks import by_seed, complete, left_out
from resnet_bench.analysis.contrasts import deciding_pair, degrades, gap_grows, holds, stuck, twins_differ
from resnet_bench.analysis.fairness import FAIR_RULES, differences, fairness, uneven
from resnet_bench.analysis.findings import (
    NOT_MEASURED,
    NOT_TESTABLE,
    Finding,
    claim_row,
    decide,
    one_seed,
    with_effect,
)
from resnet_bench.analysis.operations import OPERATION_RULES, operations
from resnet_bench.analysis.rules import ALPHA, DATE, FIRST, MARGIN, OTHERS, SECOND, SHARES, STUCK, VERSION
from resnet_bench.analysis.scope import SCOPE_RULES, Scope, scope_of
from resnet_bench.analysis.signals import SIGNAL_RULES, signals
from resnet_bench.analysis.statistics import FINEST, Floats, Interval
from resnet_bench.errors import UsageError
from resnet_bench.frames import StudyFrames, arms_in, error_of_guessing
from resnet_bench.networks import CIFAR, OWN, PLAIN, Arm, arm_name, display_name
from resnet_bench.results.rows import ClaimRow

RULES = (
    f"Rules of version {VERSION}, of {DATE}. Errors are those at the last step in percent, differences are in points. "
    "A run that diverged counts as what it is, an error at guessing, and is never left out. What is compared over "
    "depths is complete: the same depths in every seed; incomplete seeds are left out while two complete ones "
    "remain, else the depths that lack most, and the evidence says so.",
    "The seed is the unit: from each seed one number is taken, and tests are Student's, two-sided, over these numbers. "
    "Their spread is taken to be no smaller than one image's worth of error. One seed gives differences and no "
    "judgement.",
    f"A difference of up to {MARGIN} points does not matter: on CIFAR-10 two seeds of one network differ by 0.2 to 0.3 "
    "points. Supported: the effect is on the claim's side by more than the margin. Contradicted: it is on the other "
    "side by more than the margin. No relevant difference: it is within the margin. Undecided: none of these can be "
    "said; how many seeds a study would need to say the nearest is an estimate that takes the mean and the spread of "
    "these few seeds for the true ones.",
    f"False verdicts of a study, all its tests together, are held to {ALPHA:.0%} (weighted Holm over the p-values of "
    "the verdicts that the data come nearest to). That the training error of plain nets rises with depth holds "
    f"{SHARES[FIRST]:.0%} of this level, that the gap to their residual twins grows {SHARES[SECOND]:.0%} (of several "
    f"shortcut options the first), all others together {SHARES[OTHERS]:.0%}; what a decided claim held goes to the "
    "undecided ones. The level holds for one look at seeds whose number was fixed before: who adds seeds until "
    "something is decided is wrong more often.",
    "That an error, or the gap between twins, rises with depth: deepest minus shallowest. No relevant difference asks "
    "for every pair of depths to be within the margin.",
    "That an error does not rise with depth: every pair of depths, deeper minus shallower, is below the margin (each "
    "at the whole level). Contradicted: some pair rises by more than the margin; the end points have half of the "
    "level, all other pairs together the other half.",
    "That residual nets are better than their plain twins: plain minus residual in the mean over depths.",
    f"A network whose mean error is at least {STUCK:.0%} of that of guessing has learned nothing, and nothing "
    "is concluded from its error staying there: no equality, no gap that grows because residual nets are at guessing, "
    "or shrinks because plain nets are.",
    *FAIR_RULES,
    *SCOPE_RULES,
    *SIGNAL_RULES,
    *OPERATION_RULES,
)
TRAIN, TEST = "final_train_clean_top1_err", "final_test_top1_err"
ERRORS = {TRAIN: "training", TEST: "test"}
IMAGES = {TRAIN: "final_train_clean_images", TEST: "final_test_images"}
SUFFIX = {TRAIN: "train", TEST: "test"}
ENDS = "deepest minus shallowest, t over seeds"


def judge_study(frames: StudyFrames) -> list[ClaimRow]:
    """A row for each claim, within each setting where a study varies fields; corrected over all its tests.

    Raises:
        UsageError: the study was planned under rules that this package does not know.
    """
    newest = int(frames.plan["rules"].max()) if len(frames.plan) else VERSION
    if newest > VERSION:
        raise UsageError(
            f"study {frames.name}: plan.csv says that it was planned under rules {newest}, and this package has rules "
            f"{VERSION}; judge it with the package that it was planned with, or a newer one"
        )
    parts = frames.parts
    findings = [(place, found) for place, part in enumerate(parts) for found in _on_frames(part)]
    scopes = [scope_of(part.runs, part.curves) for part in parts]
    rows = decide([found for _, found in findings])
    return [
        replace(_in_scope(row, found, scopes[place]), setting=parts[place].setting)
        for row, (place, found) in zip(rows, findings, strict=True)
    ]


def rules(frames: StudyFrames) -> Sequence[str]:
    """`RULES`, and what is done otherwise where the study varies fields."""
    if not frames.settings:
        return RULES
    return [
        *RULES,
        f"This study varies {' and '.join(frames.axes)}: a claim is judged within each setting by itself, from the "
        f"runs of that setting alone; the correction is for the tests of all {len(frames.settings)} settings together, "
        "among which each share of the level is divided.",
    ]


def _on_frames(part: StudyFrames) -> list[Finding]:
    digests = part.plan.set_index("run_id")["twin_digest"]
    runs = part.runs.assign(twin_digest=part.runs["run_id"].map(digests).fillna(""))
    known = _with_chance(runs)
    apart = {arm: found for arm in arms_in(known) if arm != PLAIN and (found := differences(known, arm))}
    no_twins = {arm: _no_twins(found) for arm, found in apart.items()}
    unlike = {arm: why for arm in arms_in(known) if (why := _uneven(known, [arm]))}
    return [
        *_findings(known, apart, no_twins),
        *signals(known, part.signals, no_twins, unlike),
        *operations(known, part.construction, part.lesions, no_twins, unlike),
    ]


def _no_twins(apart: Sequence[str]) -> str:
    """Why networks that differ in this cannot be compared as twins."""
    return f"not applicable, for these are no twins: they differ in {'; '.join(apart)}"


def _in_scope(row: ClaimRow, found: Finding, scope: Scope) -> ClaimRow:
    if row.verdict == NOT_MEASURED:
        return row
    row = replace(row, scope=scope.words)
    if not found.of_training:
        return row
    return replace(row, trained=row.verdict if scope.trained else NOT_TESTABLE, trained_because=scope.because)


def _findings(runs: pd.DataFrame, apart: Mapping[Arm, Sequence[str]], no_twins: Mapping[Arm, str]) -> Iterator[Finding]:
    about = runs[(runs["family"] != OWN) | (runs["arch"] == "residual")]  # of others the paper says nothing
    arms = sorted({arm for arm in zip(about["arch"], about["shortcut"], strict=True) if arm != PLAIN})
    for column in ERRORS:
        yield _degrades(runs, column)
    for arm in arms or [("residual", "a")]:
        for column in ERRORS:
            yield _holds(arm, runs, column)
        for column in ERRORS:
            found = _gap(arm, runs, column, no_twins.get(arm, ""))
            yield found if arm in arms[:1] else replace(found, place=OTHERS)
        yield _twins(arm, runs, no_twins.get(arm, ""))
        yield from fairness(runs, arm, apart.get(arm, ()))


# ---------------------------------------------------------------------------------------------- what is compared


def _with_chance(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, with the error of guessing where one diverged."""
    runs = runs.assign(family=runs.get("family", CIFAR))
    diverged = runs["status"] == "diverged"
    for column in ERRORS:
        runs.loc[diverged, column] = error_of_guessing(runs.loc[diverged, "num_classes"])
    return runs


def _at_chance(runs: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """`; 2 runs diverged and count as chance`, or ""."""
    chosen = pd.concat([runs[(runs["arch"] == arch) & (runs["shortcut"] == shortcut)] for arch, shortcut in arms])
    number = int((chosen["status"] == "diverged").sum())
    if not number:
        return ""
    return "; 1 run diverged and counts as chance" if number == 1 else f"; {number} runs diverged and count as chance"


def _chance(runs: pd.DataFrame) -> float:
    """The error of guessing, in percent."""
    return float(error_of_guessing(float(runs["num_classes"].max())))


def _finest(runs: pd.DataFrame, column: str) -> float:
    """Points of error that one image makes."""
    images = runs[IMAGES[column]].dropna()
    return 100 / float(images.min()) if len(images) else FINEST


def _too_little(table: pd.DataFrame, whole: pd.DataFrame, what: str) -> str:
    """Why a table over seeds and depths cannot be judged at all; "" if it can."""
    if table.empty:
        return f"no {'pair' if what.startswith('plain and') else 'run'} of {what} has finished"
    if table.shape[1] < 2:
        return f"{what} finished at one depth only ({table.columns[0]})"
    return "" if len(whole) else f"no seed of {what} has finished at two depths"


def _uneven(runs: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Why networks of different depths cannot be compared; "" if they can."""
    apart = dict.fromkeys(found for arm in arms for found in uneven(runs, arm))
    return f"not applicable, for depths were not trained alike: they differ in {'; '.join(apart)}" if apart else ""


def _errors(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}"


def _by_depth(table: pd.DataFrame, unit: str) -> str:
    """`0.00 % at depth 20, 0.45 at 32, 89.1 at 110`: the means over seeds."""
    means = [(int(depth), _errors(float(table[depth].mean()))) for depth in table.columns]
    (shallow, first), *others = means
    return ", ".join([f"{first} {unit} at depth {shallow}", *(f"{mean} at {depth}" for depth, mean in others)])


def _at_guessing(tables: Mapping[Arm, pd.DataFrame], chance: float) -> str:
    """`; at guessing: plain-110`, or ""."""
    names = [
        display_name(arm[0], int(depth), arm[1])
        for arm, table in tables.items()
        for depth, is_stuck in zip(table.columns, stuck(table.to_numpy(dtype=float), chance), strict=True)
        if is_stuck
    ]
    return f"; at guessing: {', '.join(names)}" if names else ""


# ---------------------------------------------------------------------------------------------- the claims


def _degrades(runs: pd.DataFrame, column: str) -> Finding:
    """Deepest against shallowest (section 1, figure 1; section 4.2, figure 6 left)."""
    claim = f"plain-degrades-{SUFFIX[column]}"
    statement = f"the {ERRORS[column]} error of plain nets rises with depth, from the shallowest to the deepest"
    table = by_seed(runs, PLAIN, column)
    whole = complete(table)
    if reason := _too_little(table, whole, "plain") or _uneven(runs, [PLAIN]):
        return Finding(claim_row(claim, "plain", statement, ENDS, reason))
    chance = _chance(runs)
    more = f"{left_out(table, whole)}{_at_chance(runs, [PLAIN])}{_at_guessing({PLAIN: whole}, chance)}"
    row = _of_ends(claim, "plain", statement, whole, f"{ERRORS[column]} error {_by_depth(whole, '%')}", more)
    if len(whole) == 1:
        return one_seed(row, of_training=True)
    evidence = degrades(whole.to_numpy(dtype=float), MARGIN, _finest(runs, column), chance)
    return Finding(row, evidence, place=FIRST if column == TRAIN else OTHERS, of_training=True)


def _of_ends(claim: str, subject: str, statement: str, whole: pd.DataFrame, evidence: str, more: str) -> ClaimRow:
    """The row of deepest minus shallowest; `whole` holds errors or gaps by seed and depth."""
    ends: Floats = (whole.iloc[:, -1] - whole.iloc[:, 0]).to_numpy(dtype=float)
    test = f"depth {whole.columns[-1]} minus {whole.columns[0]}, t over seeds"
    evidence += f"; higher at the deepest in {int((ends > 0).sum())} of {len(ends)} seeds{more}"
    return with_effect(claim_row(claim, subject, statement, test, evidence), Interval.of(ends), MARGIN, "points")


def _holds(arm: Arm, runs: pd.DataFrame, column: str) -> Finding:
    """No depth is worse than a shallower one (section 4.2, figure 6 middle)."""
    subject, claim = arm_name(arm), f"residual-holds-{SUFFIX[column]}"
    statement = f"the {ERRORS[column]} error of residual nets does not rise with depth"
    table = by_seed(runs, arm, column)
    whole = complete(table)
    if reason := _too_little(table, whole, subject) or _uneven(runs, [arm]):
        return Finding(claim_row(claim, subject, statement, "deeper minus shallower, t over seeds", reason))
    values, finest, chance = whole.to_numpy(dtype=float), _finest(runs, column), _chance(runs)
    several = len(values) > 1
    shallow, deep = deciding_pair(values, MARGIN, finest) if several else (0, len(whole.columns) - 1)
    pairs = len(whole.columns) * (len(whole.columns) - 1) // 2
    of = f" (which decides among {pairs} pairs of depths)" if several and pairs > 1 else ""
    test = f"depth {whole.columns[deep]} minus {whole.columns[shallow]}{of}, t over seeds"
    evidence = (
        f"{ERRORS[column]} error {_by_depth(whole, '%')}{left_out(table, whole)}{_at_chance(runs, [arm])}"
        f"{_at_guessing({arm: whole}, chance)}"
    )
    row = claim_row(claim, subject, statement, test, evidence)
    row = with_effect(row, Interval.of(values[:, deep] - values[:, shallow]), MARGIN, "points")
    if not several:
        return one_seed(row, of_training=True)
    return Finding(row, holds(values, MARGIN, finest, chance), of_training=True)


def _gap(arm: Arm, runs: pd.DataFrame, column: str, no_twins: str) -> Finding:
    """Plain minus residual, deepest against shallowest (section 4.2, figure 6: left beside middle)."""
    claim, subject = f"gap-grows-{SUFFIX[column]}", f"plain and {arm_name(arm)}"
    statement = (
        f"the gap in {ERRORS[column]} error between plain nets and their residual twins grows with depth, from the "
        "shallowest to the deepest"
    )
    if no_twins:
        return Finding(claim_row(claim, subject, statement, ENDS, no_twins))
    both = _twins_errors(arm, runs, column)
    table, whole = both["gap"], complete(both["gap"])
    if reason := _too_little(table, whole, subject) or _uneven(runs, [PLAIN, arm]):
        return Finding(claim_row(claim, subject, statement, ENDS, reason))
    plain, residual = (both[name].loc[whole.index, whole.columns] for name in ("plain", "residual"))
    chance = _chance(runs)
    guessing = _at_guessing({PLAIN: plain, arm: residual}, chance)
    more = f"{left_out(table, whole)}{_at_chance(runs, [PLAIN, arm])}{guessing}"
    told = f"gap in the {ERRORS[column]} error {_by_depth(whole, 'points')}"
    row = _of_ends(claim, subject, statement, whole, told, more)
    if len(whole) == 1:
        return one_seed(row, of_training=True)
    errors = plain.to_numpy(dtype=float), residual.to_numpy(dtype=float)
    evidence = gap_grows(*errors, MARGIN, _finest(runs, column), chance)
    return Finding(row, evidence, place=SECOND if column == TRAIN else OTHERS, of_training=True)


def _twins_errors(arm: Arm, runs: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Errors of both arms by seed and depth, and plain minus residual where both have finished."""
    plain, residual = by_seed(runs, PLAIN, column), by_seed(runs, arm, column)
    gap = plain.subtract(residual).dropna(axis=0, how="all").dropna(axis=1, how="all")
    return {"plain": plain, "residual": residual, "gap": gap}


def _twins(arm: Arm, runs: pd.DataFrame, no_twins: str) -> Finding:
    """Plain minus residual in the mean over depths (section 4.1, table 2, for CIFAR-10)."""
    subject, test = f"plain and {arm_name(arm)}", "plain minus residual in the mean over depths, t over seeds"
    statement = "residual nets have a lower training error than their plain twins, in the mean over depths"
    if no_twins:
        return Finding(claim_row("twins", subject, statement, test, no_twins))
    both = _twins_errors(arm, runs, TRAIN)
    table = both["gap"]
    whole = complete(table) if len(table) else table
    if whole.empty:
        return Finding(claim_row("twins", subject, statement, test, "no pair of twins has finished"))
    plain, residual = (both[name].loc[whole.index, whole.columns] for name in ("plain", "residual"))
    by_pair: Floats = whole.to_numpy(dtype=float)
    evidence = (
        f"plain minus residual {_by_depth(whole, 'points')}; lower in {int((by_pair > 0).sum())} of {by_pair.size} "
        f"pairs{left_out(table, whole)}{_at_chance(runs, [PLAIN, arm])}"
        f"{_at_guessing({PLAIN: plain, arm: residual}, _chance(runs))}"
    )
    row = claim_row("twins", subject, statement, test, evidence)
    row = with_effect(row, Interval.of(by_pair.mean(axis=1)), MARGIN, "points")
    if len(whole) == 1:
        return one_seed(row, of_training=True)
    errors = plain.to_numpy(dtype=float), residual.to_numpy(dtype=float)
    return Finding(row, twins_differ(*errors, MARGIN, _finest(runs, TRAIN), _chance(runs)), of_training=True)
