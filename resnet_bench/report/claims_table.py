"""The verdicts as a table."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_bench.analysis.claims import judge_study
from resnet_bench.frames import StudyFrames
from resnet_bench.report.claim_words import (
    AT_BUDGET,
    MEANINGS,
    OF_TRAINED,
    by_kind,
    effect,
    interval,
    of_trained,
    p_value,
)
from resnet_bench.report.tables import TextTable
from resnet_bench.results.rows import ClaimRow

MOST_SCOPES = 4  # that a note names
VOCABULARY = (
    f"{AT_BUDGET}: what the runs say after as much training as they had; {OF_TRAINED}: the same verdict if the "
    "protocol trains to the end, else not testable; - where a claim is not about training.",
    "; ".join(f"{word}: {meaning}" for word, meaning in MEANINGS.items()) + ".",
    "effect: mean over seeds of the difference that the test is about, with its 95 % interval before correction; "
    "points are of error, % is of the way to chance, times is a ratio: of a gradient x weight norm to the last "
    "convolution's, of a plain net's response to its twin's, of the shallowest net's response to the deepest one's, of "
    "a standard deviation to 1. n: seeds. p: of the verdict that the data come nearest to, corrected for all tests of "
    "the study (Holm).",
)


def claims(frames: StudyFrames) -> list[ClaimRow]:
    """The verdict on every claim, within every setting."""
    return judge_study(frames)


def claims_table(rows: Sequence[ClaimRow], name: str) -> TextTable:
    """A row for each claim, in groups: the paper's claims, whether the comparison is sound, and what is beyond."""
    has_settings = any(row.setting for row in rows)
    header = ["claim", AT_BUDGET, OF_TRAINED, "networks", *(["setting"] if has_settings else []), "effect",
              "95 % interval", "n", "p (Holm)", "evidence"]  # fmt: skip
    groups: dict[int, str] = {}
    cells: list[list[str]] = []
    for title, group in by_kind(rows).items():
        groups[len(cells)] = title
        cells += [_cells(row, has_settings) for row in group]
    notes = [
        *scopes(rows),
        *VOCABULARY,
        f"Made from runs.csv, and where there are such from signals.csv, construction.csv and lesions.csv, of study "
        f"{name}; stored in claims.csv.",
    ]
    return TextTable(f"What the runs of study {name} say of each claim", header, cells, notes, groups)


def _cells(row: ClaimRow, has_settings: bool) -> list[str]:
    p = "-" if row.p_holm is None else p_value(row.p_holm).removeprefix("p ").removeprefix("= ")
    evidence = f"{row.test}: {row.evidence}" if row.test else row.evidence
    return [
        row.statement, row.verdict, of_trained(row) or "-", row.subject, *([row.setting] if has_settings else []),
        effect(row), interval(row), str(row.n), p, evidence,
    ]  # fmt: skip


def scopes(rows: Sequence[ClaimRow]) -> list[str]:
    """Notes: after how much training on what data it is judged, and why trained networks are reached or not."""
    found = dict.fromkeys(
        (row.setting, row.scope, row.trained_because) for row in rows if row.scope and of_trained(row)
    )
    notes = []
    for setting, scope, because in list(found)[:MOST_SCOPES]:
        text = f"{scope}{f'; trained networks: {because}' if because else ''}."
        notes.append(f"At {setting}: {text}" if setting else f"Judged {text}")
    more = len(found) - len(notes)
    return [*notes, f"The scope of {more} more settings stands in claims.csv."] if more > 0 else notes
