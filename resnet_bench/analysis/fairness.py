"""Is a plain net equal to its residual twin in everything but the shortcut: equality, not statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from resnet_bench.analysis.findings import (
    CONTRADICTED,
    NO_DIFFERENCE,
    SOUND,
    SUPPORTED,
    UNDECIDED,
    Finding,
    claim_row,
)
from resnet_bench.networks import OWN, Arm, arm_name, display_name

# By column, in words. What may differ where the shortcut itself has parameters (options B and C) is SIZE.
CONFIGURATION = {
    "protocol": "protocol", "dataset_digest": "data", "input_size": "size of images", "num_classes": "classes",
    "train_images": "training images", "validation_images": "validation images", "batch_size": "batch size",
    "lr": "learning rate", "optimizer": "optimizer", "schedule": "schedule", "weights": "weights begun with",
    "frozen_parts": "frozen parts", "precision": "precision", "compile": "mode of execution",
    "twin_digest": "configuration",
}  # fmt: skip
SIZE = {"params": "parameters", "macs": "multiply-adds"}
BEGINNING = {"init_digest": "initial weights"}
WAY = {"steps": "steps", "batches_digest": "batches", "eval_digest": "images evaluated"}  # of runs that went to the end
# What networks of different depths must share, too.
TRAINING = {
    column: (CONFIGURATION | WAY)[column]
    for column in (
        "protocol", "dataset_digest", "batch_size", "lr", "optimizer", "schedule", "steps", "train_images",
        "frozen_parts",
    )
}  # fmt: skip
COMPARED = {
    "arch", "shortcut", "depth", "seed", "status", "family", "lr_warmup_steps", *CONFIGURATION, *SIZE, *BEGINNING, *WAY,
}  # fmt: skip
DECISION_SHARE = 0.01  # of the steps: what is decided during a run may differ by so much
FAIR_RULES = (
    "That the comparison is fair is not a matter of chance. Twins are equal in every field of their configuration "
    "but the shortcut, in parameters and multiply-adds (but for the shortcuts of options B and C), in initial "
    "weights, batches and steps, or they are not. If they are not, no claim that compares twins is judged. Nor is "
    "one that compares depths which do not share data, steps, batch size, learning rate, optimizer and schedule.",
    "What was decided during the runs by what they did (the end of the warm-up) is judged beside it: the same step for "
    f"twins; steps that differ by up to {DECISION_SHARE:.0%} of training do not matter.",
)


def pairs_of(runs: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """A row for each depth and seed that has both twins, their columns with the endings _plain and _residual."""
    columns = [name for name in runs.columns if name in COMPARED]
    runs = runs[columns]
    plain = runs[(runs["arch"] == "plain")]
    residual = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    return plain.merge(residual, on=["depth", "seed"], suffixes=("_plain", "_residual")).sort_values(["depth", "seed"])


def differences(runs: pd.DataFrame, arm: Arm) -> list[str]:
    """`learning rate (plain-20 seed 0: 0.1, ResNet-20: 0.001)` for everything that twins do not share.

    Of each kind of difference the first pair is named. Columns that the frame lacks, or that were not recorded of
    either twin, are not compared.
    """
    pairs = pairs_of(runs, arm)
    if pairs.empty:
        return []
    options = arm[1] in ("b", "c") and OWN not in set(pairs["family_residual"])
    whole = pairs[(pairs["status_plain"] == "ok") & (pairs["status_residual"] == "ok")]
    compared = [(pairs, CONFIGURATION | BEGINNING | ({} if options else SIZE)), (whole, WAY)]
    return [
        found
        for rows, columns in compared
        for column, words in columns.items()
        if (found := _first_difference(rows, arm, column, words))
    ]


def uneven(runs: pd.DataFrame, arm: Arm) -> list[str]:
    """`steps (20 and 220)` for every part of the training that an arm's networks of different depths do not share.

    The paper's warm-up is not among them: it is given to depth 110 alone.
    """
    mine = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    whole = mine[mine["status"] == "ok"]
    found = []
    for column, words in TRAINING.items():
        values = sorted(set((whole if column == "steps" else mine)[column].dropna())) if column in mine else []
        if len(values) > 1:
            told = f" ({' and '.join(str(value) for value in values)})" if len(str(values[-1])) <= 20 else ""
            found.append(words + told)
    return found


def _first_difference(pairs: pd.DataFrame, arm: Arm, column: str, words: str) -> str:
    if f"{column}_plain" not in pairs:
        return ""
    ours, theirs = pairs[f"{column}_plain"], pairs[f"{column}_residual"]
    recorded = ours.notna() & theirs.notna() & (ours.astype(str) != "") & (theirs.astype(str) != "")
    if column == "weights":  # empty is a value: drawn by seed
        recorded[:] = True
    unequal = pairs[recorded & (ours != theirs)]
    if unequal.empty:
        return ""
    first = unequal.iloc[0]
    depth, values = int(first["depth"]), (first[f"{column}_plain"], first[f"{column}_residual"])
    plain, residual = display_name("plain", depth), display_name(arm[0], depth, arm[1])
    told = "" if any(len(str(value)) > 20 for value in values) else f": {values[0]}, {residual}: {values[1]}"
    return f"{words} ({plain} seed {first['seed']}{told})"


def fairness(runs: pd.DataFrame, arm: Arm, unequal: Sequence[str]) -> Iterator[Finding]:
    """Section 3.2: the same number of parameters, depth, width and cost; here also the same weights and batches.

    `unequal` is what `differences` found.
    """
    subject, pairs = f"plain and {arm_name(arm)}", pairs_of(runs, arm)
    statement, test = "twins are equal in everything but the shortcut", "equality of configurations and digests"
    if pairs.empty:
        yield Finding(claim_row("fair", subject, statement, test, "no pair of twins has finished", kind=SOUND))
        return
    seeds = int(pairs["seed"].nunique())
    by = "whole configurations" if _recorded(pairs, "twin_digest") else "what runs.csv holds of configurations"
    digests = {"initial weights": "init_digest", "batches": "batches_digest"}
    unknown = [words for words, column in digests.items() if not _recorded(pairs, column)]
    known = [words for words in digests if words not in unknown]
    equal = f"equal in {len(pairs)} pairs: {', '.join([by, 'parameters', *known])}"
    evidence = f"different: {'; '.join(unequal)}" if unequal else equal
    evidence += f"; not recorded: {', '.join(unknown)}" if unknown else ""
    row = claim_row("fair", subject, statement, test, evidence, kind=SOUND, n=seeds)
    yield Finding(replace(row, verdict=CONTRADICTED if unequal else UNDECIDED if unknown else SUPPORTED))
    yield from _decisions(subject, arm, pairs)


def _recorded(pairs: pd.DataFrame, column: str) -> bool:
    """Is it known of both twins of every pair."""
    sides = [f"{column}_plain", f"{column}_residual"]
    return set(sides) <= set(pairs) and not bool((pairs[sides].isna() | (pairs[sides] == "")).to_numpy().any())


def _decisions(subject: str, arm: Arm, pairs: pd.DataFrame) -> Iterator[Finding]:
    """The end of the warm-up of depth 110 (section 4.2), which a run's own training error decides."""
    columns = ["lr_warmup_steps_plain", "lr_warmup_steps_residual"]
    warm = pairs[pairs[columns].notna().any(axis=1)] if set(columns) <= set(pairs) else pairs.iloc[:0]
    if warm.empty:
        return
    ends = warm[columns].fillna(0).astype(int)
    apart = (ends[columns[0]] - ends[columns[1]]).abs()
    limit = DECISION_SHARE * warm[["steps_plain", "steps_residual"]].max(axis=1)
    verdict = SUPPORTED if not apart.any() else NO_DIFFERENCE if (apart <= limit).all() else CONTRADICTED
    told = "; ".join(
        f"{display_name('plain', int(row['depth']))} {row[columns[0]]:,.0f}, "
        f"{display_name(arm[0], int(row['depth']), arm[1])} {row[columns[1]]:,.0f} (seed {row['seed']})"
        for _, row in warm.assign(**ends).iterrows()
    )
    evidence = f"the warm-up ended after steps: {told}; it differs by at most {int(apart.max()):,} steps"
    statement, test = "what was decided during the runs is the same for twins", "equality of lr_warmup_steps"
    row = claim_row("fair-decisions", subject, statement, test, evidence, kind=SOUND, n=int(warm["seed"].nunique()))
    yield Finding(replace(row, verdict=verdict))
