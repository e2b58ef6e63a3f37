"""The study's answer in a few sentences, which say after how much training on what data it holds."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_bench.analysis.findings import CONTRADICTED, NOT_MEASURED, NOT_TESTABLE, SOUND
from resnet_bench.frames import StudyFrames
from resnet_bench.report.claim_words import because, by_networks, of_trained, places, seeds, verdict_in_words
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.settings import parse
from resnet_bench.text import counted

DEGRADES, HOLDS, GROWS = "plain-degrades-train", "residual-holds-train", "gap-grows-train"
SHORT = {
    DEGRADES: "plain nets degrade",
    HOLDS: "residual nets do not degrade",
    GROWS: "the gap between twins grows with depth",
}


def headline(frames: StudyFrames, rows: Sequence[ClaimRow]) -> str:
    """The verdict; of a study that is not finished it begins by saying so."""
    planned, missing = len(frames.plan), len(frames.missing)
    if not missing:
        return verdict_sentence(rows)
    begun = frames.unfinished_curves["run_id"].nunique()
    if missing == planned:
        more = f" ({begun} so far in curves only)" if begun else ""
        return f"Unfinished: none of {counted(planned, 'planned run')} has ended{more}, so nothing is judged."
    more = f" ({begun} more so far in curves only)" if begun else ""
    return (
        f"Unfinished: {planned - missing} of {counted(planned, 'planned run')} have ended{more}, and what follows is "
        f"about these alone; it may change with the others. {verdict_sentence(rows)}"
    )


def verdict_sentence(rows: Sequence[ClaimRow]) -> str:
    """What the runs say of the primary claims: after which training, how each was decided, and of trained networks."""
    claims = [found for found in by_networks(rows) if found[0].claim in SHORT]
    told = [found for found in claims if any(row.verdict != NOT_MEASURED for row in found)]
    if not told:
        reasons = dict.fromkeys(found[0].evidence for found in claims)
        why = f": {'; '.join(reasons)}" if any(reasons) else ""
        return f"Whether depth hurts was not measured{why}.{_unsound(rows)}"
    measured = [row for found in told for row in found]
    text = f"{_scope(measured)}: on the training images {'; '.join(_clauses(told))}.{_of_trained(measured)}"
    silent = [words for claim, words in SHORT.items() if not _of(told, claim) and _of(claims, claim)]
    if silent:
        text += f" Not measured: {'; '.join(silent)}."
    text += _unsound(rows)
    return f"{text[0].upper()}{text[1:]}"


def _unsound(rows: Sequence[ClaimRow]) -> str:
    """What makes the comparison unsound, if anything does."""
    found = dict.fromkeys(row.statement for row in rows if row.kind == SOUND and row.verdict == CONTRADICTED)
    return f" The comparison is not sound; contradicted: {'; '.join(found)}." if found else ""


def _of(groups: Sequence[Sequence[ClaimRow]], claim: str) -> list[Sequence[ClaimRow]]:
    return [found for found in groups if found[0].claim == claim]


def _scope(rows: Sequence[ClaimRow]) -> str:
    """What the verdict is about, and the seeds; of several settings the first and the last."""
    scopes = list(dict.fromkeys(row.scope for row in rows if row.scope)) or ["with the training that there was"]
    settings = list(dict.fromkeys(row.setting for row in rows if row.setting))
    number = _seeds(rows)
    if not settings:
        return f"{scopes[0]}, {number}"
    within = f"within each of {counted(len(settings), 'setting')} of {' and '.join(parse(settings[0]))}"
    if len(scopes) == 1:
        return f"{scopes[0]}, {within}, {number}"
    return f"{within} ({number}), the first {scopes[0]}, the last {scopes[-1]}"


def _seeds(rows: Sequence[ClaimRow]) -> str:
    numbers = sorted({row.n for row in rows if row.verdict != NOT_MEASURED})
    return seeds(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {counted(numbers[-1], 'seed')}"


def _clauses(told: Sequence[Sequence[ClaimRow]]) -> list[str]:
    """Of each claim the verdict; where networks with several shortcut options differ, of each of them."""
    clauses = []
    for claim, words in SHORT.items():
        by_verdict: dict[str, list[str]] = {}
        for found in _of(told, claim):
            by_verdict.setdefault(verdict_in_words(found), []).append(found[0].subject)
        if len(by_verdict) == 1:
            clauses.append(f"{words}: {next(iter(by_verdict))}")
        elif by_verdict:
            said = [f"{verdict} for {' and '.join(subjects)}" for verdict, subjects in by_verdict.items()]
            clauses.append(f"{words}: {', '.join(said)}")
    return clauses


def _of_trained(rows: Sequence[ClaimRow]) -> str:
    """A sentence about trained networks, from claims that are about such."""
    about = [row for row in rows if of_trained(row)]
    out = [row for row in about if row.trained == NOT_TESTABLE]
    if not about:
        return ""
    if not out:
        return f" Of trained networks the same holds: {because(about)}."
    if len(out) == len(about):
        return f" This protocol cannot tell what trained networks do: {because(out)}."
    reached = [row for row in about if row.trained != NOT_TESTABLE]
    at = places(list(dict.fromkeys(row.setting for row in reached)))
    return f" Of trained networks the same holds {at} ({because(reached)}); elsewhere this protocol cannot tell."
