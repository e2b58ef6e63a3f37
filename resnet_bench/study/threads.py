"""How many CPU threads a run has: those of its study, those that were asked for, or what there is. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnet_bench.cores import Cores
from resnet_bench.errors import UsageError


@dataclass(frozen=True)
class Threads:
    """The choice.

    Attributes:
        number: of threads within one operation, of one run.
        reason: why so many, in a few words; "" if these are all cores.
        warning: a line that must be said; "" if there is nothing to warn of.
    """

    number: int
    reason: str = ""
    warning: str = ""

    def __str__(self) -> str:
        return f"{_threads(self.number)}{f' ({self.reason})' if self.reason else ''}"


def choose_threads(where: Path, settled: int | None, asked: int | None, cores: Cores, jobs: int = 1) -> Threads:
    """Threads for each of so many runs side by side.

    A study keeps the number that it was begun with, also on a machine with fewer cores: its bits depend on it.

    Args:
        where: the study's folder.
        settled: what the study is made with; None: nothing yet, or of no matter (on a GPU).
        asked: what the user wants; None: nothing special.
        cores: what this machine has.
        jobs: runs side by side.

    Raises:
        UsageError: another number than the settled one is asked for; more threads than cores, all runs together.
    """
    if jobs > cores.number:
        raise UsageError(f"--jobs {jobs}: this machine has {cores}, one a job at most")
    check_settled(where, settled, asked)
    if settled is None:
        number = asked or cores.threads(jobs)
        if number * jobs > cores.number:
            raise UsageError(f"--threads {number}{_times(jobs)}: this machine has {cores}, one a thread at most")
        asked_by = cores.wished_by if cores.wish == number < cores.number // jobs else ""
        return Threads(number, "asked for" if asked else asked_by)
    if jobs > 1 and settled * jobs > cores.number:
        raise UsageError(
            f"--jobs {jobs}: each run of {where} has {_threads(settled)}, as the study was begun with, and this "
            f"machine has {cores}; use fewer jobs, or another results folder (--results)"
        )
    warning = ""
    if settled > cores.number:
        warning = (
            f"this study was begun with {_threads(settled)} and goes on with them, as its bits depend on them; "
            f"here are only {cores}, so it is slow"
        )
    return Threads(settled, "settled for this study", warning)


def check_settled(where: Path, settled: int | None, asked: int | None) -> None:
    """Raise UsageError if another number is asked for than the study is made with."""
    if settled and asked not in (None, settled):
        raise UsageError(
            f"{where}: this study is made with {_threads(settled)} a run; a study never mixes them, as bits depend on "
            "them: leave out --threads, or use another results folder (--results)"
        )


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number != 1)}"


def _times(jobs: int) -> str:
    return f" for each of {jobs} jobs" if jobs > 1 else ""
