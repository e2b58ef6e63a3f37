"""Turns a study's CSV files into figures, tables and a page; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_bench.report.study_report import StudyReport


def make(folder: Path) -> StudyReport:
    """Read a study's CSV files and judge its runs, once for all that is made of them: `summary()` and `write()`.

    Raises:
        UsageError: the CSV files are missing, malformed or not comparable.
    """
    # pandas and matplotlib load slowly, so only a report that is really made pays for them.
    from resnet_bench.report.study_report import StudyReport

    return StudyReport.of(folder)


def render(folder: Path) -> list[Path]:
    """Draw figures/, tables/, report.html, README.md and claims.csv from a study's CSV files: same files, same bytes.

    Raises:
        UsageError: the CSV files are missing, malformed or not comparable; figures/ or tables/ is a link.
        Failure: the folder cannot be written.
    """
    return make(folder).write()


def summarize(folder: Path) -> str:
    """The summary of a study for the terminal."""
    return make(folder).summary()
