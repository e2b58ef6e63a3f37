"""The collected tables of a study, from its finished runs: the same folders give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resnet_bench.busy import busy
from resnet_bench.errors import UsageError
from resnet_bench.files import remove_temporaries, write_atomically
from resnet_bench.results.rows import RunRow
from resnet_bench.results.tables import (
    CURVES,
    RUNS,
    Columns,
    Table,
    columns_in,
    read_columns,
    to_csv,
    to_lines,
)
from resnet_bench.study.folder import StudyFolder, sort_key
from resnet_bench.study.records import COLLECTED
from resnet_bench.study.sums import write_sums
from resnet_bench.text import counted


class Collection:
    """The collected tables of a study as they are written, from its finished runs.

    Args:
        header: the columns that a table is to have: older ones lack some. None: all that there are now.
    """

    def __init__(self, header: Callable[[Table], Sequence[str]] | None = None) -> None:
        self._header = header or (lambda table: table.columns)
        self._runs: list[tuple[RunRow, dict[Table, str]]] = []

    def add(self, row: RunRow, tables: dict[Table, Columns]) -> None:
        """Add a run. Its lines of CSV are kept, which take a third of the room of its rows."""
        lines = {
            table: to_lines({name: columns[name] for name in self._header(table)}) for table, columns in tables.items()
        }
        self._runs.append((row, lines))

    @property
    def rows(self) -> list[RunRow]:
        """The rows of runs.csv."""
        return [row for row, _ in sorted(self._runs, key=lambda run: sort_key(run[0]))]

    def texts(self) -> dict[Table, str]:
        """What is written, by table. Studies made before there were signals and confusions have no such tables."""
        texts = {RUNS: to_csv(RUNS, self.rows, self._header(RUNS))}
        runs = sorted(self._runs, key=lambda run: sort_key(run[0]))
        for table in COLLECTED:
            lines = "".join(lines.get(table, "") for _, lines in runs)
            if lines or table is CURVES:
                texts[table] = ",".join(self._header(table)) + "\n" + lines
        return texts


def check_nothing_lost(study: StudyFolder) -> None:
    """Raise UsageError if runs.csv holds runs whose folders are gone: collecting would drop them."""
    path = study.path / RUNS.file
    known = read_columns(path, RUNS)["run_id"] if path.exists() else []
    gone = [run_id for run_id in known if not study.run(run_id).result.exists()]
    if gone:
        raise UsageError(
            f"{path}: holds {counted(len(gone), 'run')} without a folder in runs/ ({gone[0]}); restore it or move the "
            "CSV files"
        )


def collect_late(study: StudyFolder) -> None:
    """Collect if runs were finished since that was done, or if that was never done. Hold the study's lock.

    Raises:
        UsageError: no run was finished yet, nor has one a row of its curves; or see `collect`.
    """
    never = not (study.path / RUNS.file).exists() and (study.path / "runs").is_dir()
    if study.uncollected() or (never and any(folder.table(CURVES).exists() for folder in study.run_folders())):
        collect(study)
    elif never:
        raise UsageError(
            f"{study.path}: no run is finished yet ({study.progress()}); call again when one is (resnet-bench status)"
        )


@busy("collecting finished runs")
def collect(study: StudyFolder) -> list[RunRow]:
    """Write the collected tables and SHA256SUMS; the same folders give the same bytes. Hold the study's lock.

    Tables from before there were all columns get the later ones with the first run that they did not hold.

    Raises:
        UsageError: a finished run is not what was written, or runs.csv holds one whose folder is gone.
        Failure: the folder cannot be written.
    """
    check_nothing_lost(study)
    for place in (study.path, study.path / "figures", study.path / "tables"):
        if place == study.path or not place.is_symlink():
            remove_temporaries(place)
    found = Collection(None if study.uncollected() else lambda table: columns_in(study.path / table.file, table))
    for folder in study.run_folders():
        row = folder.read_result()
        if row is not None:
            found.add(row, folder.read_columns())
    for table, text in found.texts().items():
        write_atomically(study.path / table.file, text.encode())
    write_sums(study)
    return found.rows
