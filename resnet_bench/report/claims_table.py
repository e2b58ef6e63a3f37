"""The verdicts as a table and as a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_bench.analysis.claims import judge_study
from resnet_bench.analysis.findings import SUPPORTED, UNDECIDED
from resnet_bench.frames import StudyFrames
from resnet_bench.report.tables import TextTable
from resnet_bench.results.rows import ClaimRow

# Which figure shows what a claim is about.
FIGURE_OF = {
    "plain-degrades": "depth", "residual-holds": "depth", "gap-grows": "depth", "twins": "curves",
    "signals-healthy": "gradients", "responses": "responses", "solution-exists": "continuation", "lesions": "lesions",
}  # fmt: skip
ALL = {1: "in the one setting", 2: "in both settings"}
SHORT = {
    "plain-degrades-train": "plain nets degrade on the training images",
    "residual-holds-train": "residual nets do not",
    "gap-grows-train": "the gap between twins grows with depth",
}


def claims(frames: StudyFrames) -> list[ClaimRow]:
    """The verdict on every claim, within every setting."""
    return judge_study(frames)


def figure_of(row: ClaimRow) -> str:
    """The name of the figure that shows it; "" if none does."""
    return next((figure for prefix, figure in FIGURE_OF.items() if row.claim.startswith(prefix)), "")


def by_networks(rows: Sequence[ClaimRow]) -> list[list[ClaimRow]]:
    """The rows of each claim on the same networks: one, or one for each setting."""
    found: dict[tuple[str, str], list[ClaimRow]] = {}
    for row in rows:
        found.setdefault((row.claim, row.subject), []).append(row)
    return list(found.values())


def verdict_in_words(rows: Sequence[ClaimRow]) -> str:
    """Of one claim on the same networks: `supported`, or `supported in 4 of 6 settings, undecided at steps=100`.

    Which settings these are is said of all verdicts but the most frequent one, where they are one or two.
    """
    at: dict[str, list[str]] = {}
    for row in rows:
        at.setdefault(row.verdict, []).append(row.setting)
    most, *others = sorted(at, key=lambda verdict: -len(at[verdict]))
    if not rows[0].setting:
        return most
    if not others:
        return f"{most} {ALL.get(len(rows)) or f'in all {len(rows)} settings'}"
    told = [
        f"{name} at {' and at '.join(at[name])}" if len(at[name]) <= 2 else f"{name} in {len(at[name])}"
        for name in others
    ]
    return f"{most} in {len(at[most])} of {len(rows)} settings, {', '.join(told)}"


def verdict_sentence(rows: Sequence[ClaimRow]) -> str:
    """The study's answer in a sentence; where shortcut options differ, for each of them."""
    parts = []
    for claim, words in SHORT.items():
        verdicts = {found[0].subject: verdict_in_words(found) for found in by_networks(rows) if found[0].claim == claim}
        if len(set(verdicts.values())) == 1:
            parts.append(f"{words}: {next(iter(verdicts.values()))}")
        elif verdicts:
            parts.append(f"{words}: {', '.join(f'{verdict} ({name})' for name, verdict in verdicts.items())}")
    text = "; ".join(parts) or "nothing can be said yet"
    return f"{text[0].upper()}{text[1:]}."


def claims_table(rows: Sequence[ClaimRow], name: str) -> TextTable:
    """A row for each claim."""
    at = {row.setting for row in rows} - {""}
    header = ["claim", "networks", *(["setting"] if at else []), "verdict", "effect", "95 % interval", "n", "p",
              "p (Holm)", "evidence"]  # fmt: skip
    cells = [
        [
            row.statement, row.subject, *([row.setting] if at else []), row.verdict, _points(row.effect),
            _interval(row), str(row.n), _p(row.p), _p(row.p_holm), f"{row.test}: {row.evidence}",
        ]
        for row in rows
    ]  # fmt: skip
    notes = [
        "effect and interval: of errors deepest minus shallowest, or plain minus residual twin, in points; of "
        "responses plain minus residual and shallowest minus deepest, in natural logarithms; of the constructed net "
        "from scratch minus constructed; of lesions the plain net's median rise minus the residual one's."
    ]
    if any(row.verdict not in (SUPPORTED, UNDECIDED) for row in rows):
        notes.append("contradicted: the data speak against it; not measured: there is nothing to judge by.")
    notes.append(
        f"Made from runs.csv, and where there are such from signals.csv, construction.csv and lesions.csv, of study "
        f"{name}; stored in claims.csv."
    )
    return TextTable(f"What the runs of study {name} say of the paper's claims", header, cells, notes)


def _points(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{round(value, 2) + 0.0:+.2f}"


def _interval(row: ClaimRow) -> str:
    if row.low is None or row.high is None or math.isnan(row.low):
        return "-"
    return f"{_points(row.low)} to {_points(row.high)}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value > 0 else "0"
