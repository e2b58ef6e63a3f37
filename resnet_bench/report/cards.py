"""The verdicts as cards: of each claim that was measured its verdicts, the effect, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_bench.report.claim_words import AT_BUDGET, OF_TRAINED, by_kind, effect_sentence, measured, of_trained
from resnet_bench.results.rows import ClaimRow


@dataclass(frozen=True)
class Line:
    """A verdict and what it is about: "at this budget", "of trained networks", or "" where there is one verdict."""

    about: str
    verdict: str
    because: str = ""

    @property
    def shape(self) -> str:
        """The name of its sign, and of what a style is for: the verdict as one word."""
        return self.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Card:
    """One claim on the same networks."""

    row: ClaimRow
    lines: Sequence[Line]
    effect: str

    @property
    def title(self) -> str:
        """The claim as a sentence would begin with it."""
        return f"{self.row.statement[:1].upper()}{self.row.statement[1:]}"


@dataclass(frozen=True)
class Group:
    """Cards of one kind of claims under a heading."""

    title: str
    cards: Sequence[Card]


def groups(rows: Sequence[ClaimRow]) -> list[Group]:
    """The cards of a study that varies nothing: the paper's claims first; those that were not measured have none."""
    return [Group(title, [_card(row) for row in group]) for title, group in by_kind(measured(rows)).items()]


def _card(row: ClaimRow) -> Card:
    trained = of_trained(row)
    lines = [Line(AT_BUDGET if trained else "", row.verdict)]
    lines += [Line(OF_TRAINED, trained, row.trained_because)] if trained else []
    return Card(row, lines, effect_sentence(row))
