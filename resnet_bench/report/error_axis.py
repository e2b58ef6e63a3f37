"""The axis that errors stand on: limits that follow the data, and the line of guessing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_bench.report.mpl import Artist, Axes, Line2D

NEAR = 0.8  # of the error of guessing: where errors reach that far its line is drawn
EMPTY = 0.3  # of the axis may lie empty between 0 and the lowest error; an axis with more begins above 0
LEAST = 1.0  # points from end to end
CHANCE = "chance"  # what the line is called, so that it is told from those of data
GUESSING: dict[str, Any] = {"color": "#777777", "linewidth": 0.9, "linestyle": (0, (1, 2))}


def beginning(values: Sequence[float]) -> float:
    """Where an axis of values that are not negative begins: at 0, or at the lowest where much would lie empty."""
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    return 0.0 if lowest <= EMPTY * highest else lowest


@dataclass(frozen=True)
class ErrorAxis:
    """The limits of an axis of errors in percent, and where guessing stands."""

    low: float
    high: float
    chance: float
    from_zero: bool

    @classmethod
    def of(
        cls,
        errors: Iterable[float],
        chance: float,
        *,
        cap: float = math.inf,
        below: float = 0.02,
        above: float = 0.05,
    ) -> ErrorAxis:
        """An axis that shows all of the errors, up to `cap`.

        Args:
            errors: in percent; those that are not finite do not count. Without any it ends a little above guessing.
            chance: the error of guessing, which is in view where errors come near it.
            cap: the highest end, of an axis that leaves higher errors out.
            below: room below the lowest error (or below 0, so that points there are whole), of the length of the axis.
            above: room above the highest error.
        """
        known = [error for error in errors if math.isfinite(error)]
        highest = max(known, default=chance)
        if known and highest >= NEAR * chance:
            known.append(chance)
        start = beginning([*known, min(highest, cap)]) if known else 0.0
        length = max(max(known, default=chance) - start, LEAST)
        high = min(start + (1 + above) * length, max(cap, start + LEAST))
        return cls(start - below * (high - start), high, chance, start == 0)

    @property
    def shows_chance(self) -> bool:
        """Is the line of guessing in view."""
        return self.low <= self.chance <= self.high

    def draw(self, axes: Axes) -> None:
        """Set the limits, and draw the line of guessing where it is in view."""
        axes.set_ylim(self.low, self.high)
        if self.shows_chance:
            axes.axhline(self.chance, zorder=1, label=CHANCE, **GUESSING)

    def handles(self) -> list[Artist]:
        """The legend entry of that line."""
        return [Line2D([], [], label=f"guessing ({self.chance:.0f} %)", **GUESSING)] if self.shows_chance else []

    def words(self) -> list[str]:
        """A sentence for the caption where the axis does not begin at 0."""
        low = f"{self.low:.0f}" if self.low >= 10 else f"{self.low:.1f}"
        return [] if self.from_zero else [f"The axis of errors begins at {low} %, not at 0."]
