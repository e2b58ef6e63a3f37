"""What happens while a study is trained: events, told to whoever listens.

One stream tells of one run after the other: RunStarted; then Resumed, Stepped, RowWritten and Working; then
RunFinished. Or RunSkipped. Notes and Waiting may come at any moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnet_bench.config.run import RunConfig
from resnet_bench.results.rows import CurveRow


@dataclass(frozen=True)
class Note:
    """A line that stays."""

    line: str


@dataclass(frozen=True)
class RunStarted:
    """A run begins; its work is in the unit of `plan.work`."""

    run: RunConfig
    work: float


@dataclass(frozen=True)
class Resumed:
    """The run goes on from a checkpoint: what was done before is no work of this sweep."""

    step: int


@dataclass(frozen=True)
class Stepped:
    """So many steps are done; told once a second, as the running training error (percent) is read from the device."""

    step: int
    error: float


@dataclass(frozen=True)
class RowWritten:
    """The run's curve has a new row."""

    row: CurveRow


@dataclass(frozen=True)
class Working:
    """What the run is at while it makes no steps, and for how many seconds it has been."""

    what: str
    seconds: float


@dataclass(frozen=True)
class RunFinished:
    """The run ended; how, in a few words."""

    run: RunConfig
    outcome: str


@dataclass(frozen=True)
class RunSkipped:
    """A run that is not this process's to do; why, in a few words."""

    run: RunConfig
    work: float
    why: str


@dataclass(frozen=True)
class Waiting:
    """All runs left to do, so many, are worked on by other processes."""

    runs: int


Event = Note | RunStarted | Resumed | Stepped | RowWritten | Working | RunFinished | RunSkipped | Waiting
Tell = Callable[[Event], None]
