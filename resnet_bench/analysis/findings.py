"""A claim with what was found about it, and the verdict once all p-values of a study are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from resnet_bench.analysis.statistics import Interval, holm
from resnet_bench.results.rows import ClaimRow

ALPHA = 0.05
MAX_SEEDS = 100  # no more are asked for: the effect is too small to be decided by seeds
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_MEASURED = "supported", "contradicted", "undecided", "not measured"


@dataclass(frozen=True)
class Finding:
    """What was found about a claim.

    Attributes:
        row: with a p-value if there was a test, which decides then; with its verdict if there was none.
        contradicted: do the data speak against the claim.
        matters: is the effect on the claim's side, and large enough.
        seeds_needed: how many seeds in all would reach a p-value, if they were like those there are; None: no guess.
    """

    row: ClaimRow
    contradicted: bool = False
    matters: bool = True
    seeds_needed: Callable[[float], int | None] = lambda alpha: None


def claim_row(claim: str, subject: str, statement: str, test: str, evidence: str, n: int = 0) -> ClaimRow:
    """A row without numbers, not measured."""
    return ClaimRow(
        claim=claim, subject=subject, statement=statement, verdict=NOT_MEASURED, effect=None, low=None, high=None, n=n,
        p=None, p_holm=None, margin=None, test=test, evidence=evidence,
    )  # fmt: skip


def with_effect(row: ClaimRow, interval: Interval, margin: float | None, n: int | None = None) -> ClaimRow:
    """The row with an effect and its interval, whose ends are empty for one seed."""
    low, high = (None if math.isnan(end) else end for end in (interval.low, interval.high))
    return replace(row, effect=interval.mean, low=low, high=high, margin=margin, n=interval.n if n is None else n)


def one_seed(row: ClaimRow) -> Finding:
    """No judgement."""
    return Finding(replace(row, verdict=UNDECIDED, evidence=f"{row.evidence}; one seed, so no judgement"))


def decide(findings: Sequence[Finding]) -> list[ClaimRow]:
    """The verdicts, with the p-values corrected for their number."""
    p_values = [finding.row.p for finding in findings if finding.row.p is not None]
    adjusted = iter(holm(p_values))
    return [
        finding.row if finding.row.p is None else _decide(finding, next(adjusted), len(p_values))
        for finding in findings
    ]


def _decide(finding: Finding, p_holm: float, tests: int) -> ClaimRow:
    row = replace(finding.row, p_holm=p_holm)
    if finding.contradicted:
        return replace(row, verdict=CONTRADICTED)
    if p_holm <= ALPHA and finding.matters:
        return replace(row, verdict=SUPPORTED)
    needed = finding.seeds_needed(ALPHA / tests)
    more = f"; about {needed} seeds like these would decide" if needed and needed <= MAX_SEEDS else ""
    return replace(row, verdict=UNDECIDED, evidence=row.evidence + more)
