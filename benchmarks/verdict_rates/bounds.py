"""What the rates must keep to, and what fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.verdict_rates.rates import CLAIMS, PRIMARY, Cell
from benchmarks.verdict_rates.truths import RARE, SKEWED
from resnet_bench.analysis.findings import CONTRADICTED, DECISIONS, NO_DIFFERENCE, SUPPORTED

MOST_FALSE = 0.05  # of studies with a false verdict of one kind, all claims together
MOST_FALSE_SKEWED = 0.10
CERTAINTY = 0.99  # a bound fails if even the lower limit of the rate is above it
ON_TWO_ARMS = tuple(claim for claim in CLAIMS if not claim.startswith("residual-holds"))


@dataclass(frozen=True)
class Floor:
    """The least share of studies with the right verdict, at every number of depths.

    Attributes:
        words: for the table.
        truths: names of those whose effects these are.
        claims: that must be decided.
        answer: the right verdict; where another one is right for a claim, the floor does not ask for it.
        seeds: of the study.
        share: at least.
    """

    words: str
    truths: tuple[str, ...]
    claims: Sequence[str]
    answer: str
    seeds: int
    share: float

    def of(self, cells: Sequence[Cell]) -> Iterator[tuple[float, str, Cell]]:
        """Share, claim and cell for all that it asks of."""
        for cell in cells:
            if cell.truth.name in self.truths and cell.seeds == self.seeds:
                for claim in self.claims:
                    if cell.answer(claim) == self.answer:
                        yield cell.share(claim, self.answer), claim, cell


REAL, RISES = ("demo", "published"), ("steady rise", "only the deepest")
HOLDS = tuple(claim for claim in CLAIMS if claim.startswith("residual-holds"))
RISING = tuple(claim for claim in CLAIMS if claim.startswith(("plain-degrades", "gap-grows")) and claim not in PRIMARY)
FLOORS = (
    Floor("the demo, primary claims", ("demo",), PRIMARY, SUPPORTED, 3, 0.90),
    Floor("published errors, primary claims", ("published",), PRIMARY, SUPPORTED, 5, 0.90),
    Floor("all rises, primary claims", REAL + RISES, PRIMARY, SUPPORTED, 5, 0.90),
    Floor("all rises, test errors", REAL + RISES, RISING, SUPPORTED, 5, 0.65),
    Floor("the demo and published errors, twins", REAL, ("twins",), SUPPORTED, 5, 0.95),
    Floor("a steady rise, twins", ("steady rise",), ("twins",), SUPPORTED, 5, 0.60),
    Floor("the demo and published errors, residual nets hold", REAL, HOLDS, SUPPORTED, 5, 0.45),
    Floor("plain nets fall, primary claims", ("plain falls",), PRIMARY, CONTRADICTED, 5, 0.85),
    Floor("residual nets rise, residual nets hold", ("residual rises",), HOLDS, CONTRADICTED, 5, 0.30),
    Floor("all rises, all claims about rises", REAL + RISES, (*PRIMARY, *RISING), SUPPORTED, 10, 0.95),
    Floor("the demo, published errors, a steady rise, twins", (*REAL, "steady rise"), ("twins",), SUPPORTED, 10, 0.95),
    Floor("the demo and published errors, residual nets hold", REAL, HOLDS, SUPPORTED, 10, 0.95),
    Floor("plain nets fall, all claims on both arms", ("plain falls",), ON_TWO_ARMS, CONTRADICTED, 10, 0.95),
    Floor("residual nets rise, residual nets hold", ("residual rises",), HOLDS, CONTRADICTED, 10, 0.95),
    Floor("no difference, residual nets hold", ("no difference",), HOLDS, SUPPORTED, 10, 0.50),
    Floor("no difference, all claims on both arms", ("no difference",), ON_TWO_ARMS, NO_DIFFERENCE, 10, 0.25),
)


def most_false(group: str) -> float:
    """The bound on false verdicts of each kind for truths of a group."""
    if group == RARE:
        return 1.0  # nobody can see what is not among the runs
    return MOST_FALSE_SKEWED if group == SKEWED else MOST_FALSE


def lower_limit(count: int, of: int) -> float:
    """The exact one-sided lower limit of a share (Clopper and Pearson 1934)."""
    return float(stats.beta.ppf(1 - CERTAINTY, count, of - count + 1)) if count else 0.0


def failures(cells: Sequence[Cell]) -> list[str]:
    """A line for every bound that does not hold."""
    return [*_false_too_often(cells), *_decided_too_rarely(cells)]


def _false_too_often(cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        for kind, count in zip(DECISIONS, cell.false, strict=True):
            bound = most_false(cell.truth.group)
            if lower_limit(int(count), cell.studies) > bound:
                yield f"{cell}: false {kind!r} in {count / cell.studies:.1%}, at most {bound:.0%}"


def _decided_too_rarely(cells: Sequence[Cell]) -> Iterator[str]:
    for floor in FLOORS:
        for share, claim, cell in floor.of(cells):
            if share < floor.share:
                yield f"{cell}: {claim} {floor.answer} in {share:.1%}, at least {floor.share:.0%}"
