"""A claim with what was found about it, and the verdict once all p-values of a study are known."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnet_bench.analysis.rules import ALPHA, MAX_SEEDS, OTHERS, SHARES, VERSION
from resnet_bench.analysis.statistics import Floats, Interval, weighted_holm
from resnet_bench.results.rows import ClaimRow

SUPPORTED, CONTRADICTED, NO_DIFFERENCE = "supported", "contradicted", "no relevant difference"
UNDECIDED, NOT_MEASURED = "undecided", "not measured"
NOT_TESTABLE = "not testable"
DECISIONS = (SUPPORTED, CONTRADICTED, NO_DIFFERENCE)
# What a claim is about, as the column `kind` of claims.csv has it.
PAPER, SOUND, BEYOND = "paper", "sound", "beyond"


@dataclass(frozen=True)
class Evidence:
    """What the data say about one claim, as p-values: numbers, or arrays of one shape over many studies.

    Attributes:
        supported: of the hypothesis that the effect is not on the claim's side by more than the margin.
        contradicted: of the hypothesis that it is not on the other side by more than the margin.
        equal: of the hypothesis that it is outside the margin; 1 where the claim itself says that.
        seeds: how many there are.
        with_seeds: the evidence that another number of seeds would give, if the mean and the spread of those there are
            were the true ones; None: no guess.
    """

    supported: Floats | float
    contradicted: Floats | float = 1.0
    equal: Floats | float = 1.0
    seeds: int = 0
    with_seeds: Callable[[int], Evidence] | None = None

    @property
    def nearest(self) -> tuple[NDArray[np.intp], Floats]:
        """The verdict that the data come nearest to, as its place in `DECISIONS`, and its p-value."""
        p_values = np.stack(np.broadcast_arrays(self.supported, self.contradicted, self.equal)).astype(np.float64)
        return p_values.argmin(axis=0), p_values.min(axis=0)

    def but(self, **impossible: ArrayLike) -> Evidence:
        """The same without the verdicts of these names where they cannot be given: `but(equal=True)`."""
        changes: dict[str, Any] = {
            name: np.where(never, 1.0, getattr(self, name)) for name, never in impossible.items()
        }
        before = self.with_seeds
        more = None if before is None else lambda n: before(n).but(**impossible)
        return replace(self, **changes, with_seeds=more)

    def study_needed(self, level: float) -> tuple[int, str] | None:
        """How many seeds in all would give a verdict at a level, and which; None if not even `MAX_SEEDS` would.

        It need not be the verdict that the data come nearest to now: p-values fall at different rates.
        """
        at = self.with_seeds
        if at is None or self.seeds >= MAX_SEEDS or float(at(MAX_SEEDS).nearest[1]) > level:
            return None
        # Every p-value falls with the number of seeds, mean and spread being what they are.
        counts = range(MAX_SEEDS)
        n = bisect.bisect_left(counts, True, lo=self.seeds + 1, key=lambda m: float(at(m).nearest[1]) <= level)
        return n, DECISIONS[int(at(n).nearest[0])]


@dataclass(frozen=True)
class Finding:
    """What was found about a claim.

    Attributes:
        row: with its verdict where `evidence` is None.
        evidence: of tests that decide, once they are corrected for their number.
        place: among those that share the level: `FIRST`, `SECOND` or `OTHERS`.
        of_training: is it about networks that have been trained, so that the length of training matters.
    """

    row: ClaimRow
    evidence: Evidence | None = None
    place: int = OTHERS
    of_training: bool = False


def claim_row(
    claim: str, subject: str, statement: str, test: str, evidence: str, *, kind: str = PAPER, n: int = 0
) -> ClaimRow:
    """A row without numbers, not measured."""
    return ClaimRow(
        rules=VERSION, claim=claim, kind=kind, subject=subject, statement=statement, scope="", verdict=NOT_MEASURED,
        trained="", trained_because="", effect=None, low=None, high=None, unit="", n=n, p=None, p_holm=None,
        nearest="", margin=None, test=test, evidence=evidence,
    )  # fmt: skip


def with_effect(row: ClaimRow, interval: Interval, margin: float | None, unit: str, n: int | None = None) -> ClaimRow:
    """The row with an effect and its interval, whose ends are empty for one seed."""
    low, high = (None if math.isnan(end) else end for end in (interval.low, interval.high))
    n = interval.n if n is None else n
    return replace(row, effect=interval.mean, low=low, high=high, unit=unit, margin=margin, n=n)


def one_seed(row: ClaimRow, *, of_training: bool = False) -> Finding:
    """No judgement."""
    judged = replace(row, verdict=UNDECIDED, evidence=f"{row.evidence}; one seed, so no judgement")
    return Finding(judged, of_training=of_training)


def decide(findings: Sequence[Finding]) -> list[ClaimRow]:
    """The verdicts.

    Each claim has one p-value, of the verdict that its data come nearest to; they are corrected for their number by
    weighted Holm. A claim that is decided, either way, gives its part of the level to the others.
    """
    tested = [finding.evidence for finding in findings if finding.evidence is not None]
    weights = weights_of([finding.place for finding in findings if finding.evidence is not None])
    nearest = [evidence.nearest for evidence in tested]
    corrected = [float(p) for p in weighted_holm([float(p) for _, p in nearest], weights)] if tested else []
    still_open = sum(weight for weight, p in zip(weights, corrected, strict=True) if p > ALPHA)
    results = iter(zip(nearest, corrected, weights, strict=True))
    rows = []
    for finding in findings:
        row = finding.row
        if finding.evidence is not None:
            (place, p), p_holm, weight = next(results)
            row = replace(row, nearest=DECISIONS[int(place)] if p < 1 else "", p=float(p), p_holm=p_holm)
            if p_holm <= ALPHA:
                row = replace(row, verdict=DECISIONS[int(place)])
            else:
                needed = finding.evidence.study_needed(ALPHA * weight / still_open)
                more = "; a study of about {} seeds like these would find: {}".format(*needed) if needed else ""
                row = replace(row, verdict=UNDECIDED, evidence=row.evidence + more)
        rows.append(row)
    return rows


def weights_of(places: Sequence[int]) -> list[float]:
    """Of each test its share of the level, in all 1: `SHARES`, alike for all tests of one place.

    What a place without tests would have goes to the others, in proportion.
    """
    shares = [SHARES[place] / places.count(place) for place in places]
    return [share / sum(shares) for share in shares]
