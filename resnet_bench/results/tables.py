"""The CSV files of a study: their names; read, check, write. Needs neither torch nor pandas."""

from __future__ import annotations

import csv
import functools
import io
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from resnet_bench.errors import UsageError
from resnet_bench.files import Guard, open_regular, unguarded, write_atomically
from resnet_bench.results.rows import (
    ClaimRow,
    ComplexityRow,
    ConfusionRow,
    ConstructionRow,
    ContinuationRow,
    CurveRow,
    LayerRow,
    LesionRow,
    PlanRow,
    RunRow,
    SignalRow,
    SplitRow,
    ThroughputRow,
    TransferRow,
)
from resnet_bench.schema import Invalid, Scalar, are_doubled, scalars, to_cell
from resnet_bench.text import one_line

MAX_BYTES = 1 << 30  # of a table that is read: ten thousand runs of a thousand rows are a fifth of it
MAX_HEADER_BYTES = 10_000
CHUNK = 4_096  # rows that are checked at once
Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True)
class Table:
    """A CSV file of a study: its name and the dataclass of its rows."""

    file: str
    row: type[Any]

    @functools.cached_property
    def columns(self) -> list[str]:
        """Column names in file order."""
        return [f.name for f in fields(self.row)]

    @functools.cached_property
    def checks(self) -> dict[str, Scalar]:
        """How the values of each column are checked."""
        return scalars(self.row)

    @functools.cached_property
    def later(self) -> list[str]:
        """The columns that older files lack."""
        return [f.name for f in fields(self.row) if f.default is not MISSING]

    @functools.cached_property
    def key(self) -> list[str]:
        """The columns that make a row unique."""
        return [f.name for f in fields(self.row) if f.metadata["key"]]

    def key_of(self, row: Any) -> tuple[Any, ...]:
        """What makes the row unique."""
        return tuple(getattr(row, name) for name in self.key)


PLAN = Table("plan.csv", PlanRow)
SPLIT = Table("split.csv", SplitRow)
CURVES = Table("curves.csv", CurveRow)
RUNS = Table("runs.csv", RunRow)
SIGNALS = Table("signals.csv", SignalRow)
CONFUSION = Table("confusion.csv", ConfusionRow)
COMPLEXITY = Table("complexity.csv", ComplexityRow)
LAYERS = Table("layers.csv", LayerRow)
THROUGHPUT = Table("throughput.csv", ThroughputRow)
CONSTRUCTION = Table("construction.csv", ConstructionRow)
CONTINUATION = Table("continuation.csv", ContinuationRow)
LESIONS = Table("lesions.csv", LesionRow)
TRANSFER = Table("transfer.csv", TransferRow)
CLAIMS = Table("claims.csv", ClaimRow)
TABLES = (
    PLAN, SPLIT, RUNS, CURVES, SIGNALS, CONFUSION, COMPLEXITY, LAYERS, THROUGHPUT, CONSTRUCTION, CONTINUATION, LESIONS,
    TRANSFER, CLAIMS,
)  # fmt: skip


def study_name(folder: Path) -> str:
    """What a study in that folder is called: by the folder, and the transfer folder that it lies in, if any.

    Raises:
        UsageError: it cannot be called that in a table: it is no text in UTF-8, or holds characters that do not show.
    """
    try:
        place = folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte, links in a circle
        raise UsageError(f"the folder '{one_line(str(folder))}' cannot be used ({error}); use another") from None
    name = f"{place.parent.name}/{place.name}" if (place.parent / TRANSFER.file).exists() else place.name
    if one_line(name) != name:
        raise UsageError(
            f"the folder '{one_line(name)}': its name stands in every table, but is not UTF-8 or holds characters that "
            "do not show; rename it"
        )
    return name


# ---------------------------------------------------------------------------------------------- writing


def to_csv(table: Table, rows: Iterable[Any], columns: Sequence[str] | None = None) -> str:
    """The rows as CSV text, header first, `\\n` line ends; None and numbers that are not finite become empty cells.

    Args:
        table: which table they are of.
        rows: its rows.
        columns: of an older file; None: all that there are now.
    """
    names = table.columns if columns is None else columns
    return ",".join(names) + "\n" + to_lines(columns_of(table, rows, names))


def columns_of(table: Table, rows: Iterable[Any], names: Sequence[str] | None = None) -> Columns:
    """The rows of a table by columns: all, or those that are named."""
    rows = list(rows)
    return {name: [getattr(row, name) for row in rows] for name in names or table.columns}


def to_lines(columns: Columns) -> str:
    """The lines of CSV, without a header, for columns of equal length."""
    text = io.StringIO()
    cells = (map(to_cell, values) for values in columns.values())
    csv.writer(text, lineterminator="\n").writerows(zip(*cells, strict=True))
    return text.getvalue()


def write_claims(path: Path, rows: Sequence[Any]) -> None:
    """Write claims.csv; it has the column `setting` only where the study varies something."""
    columns = [name for name in CLAIMS.columns if name != "setting" or any(row.setting for row in rows)]
    write_atomically(path, to_csv(CLAIMS, rows, columns).encode())


def write_csv(path: Path, table: Table, rows: Iterable[Any], guard: Guard = unguarded) -> None:
    """Write a whole table, atomically; for the guard see `files.write_atomically`."""
    write_atomically(path, to_csv(table, rows).encode(), guard=guard)


# ---------------------------------------------------------------------------------------------- reading


def read_csv(path: Path, table: Table) -> list[Any]:
    """Read and check a table.

    Raises:
        UsageError: no such file, or no plain one, a missing or unknown column, a cell that its column must not hold, a
            duplicate key; names file, row (the header is row 1) and column.
    """
    return _rows(table, read_columns(path, table))


def _rows(table: Table, columns: Columns) -> list[Any]:
    return [table.row(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def read_columns(path: Path, table: Table) -> Columns:
    """The same by columns, in file order, for tables of a million rows: arrays of numbers, lists of all else.

    Columns that the file lacks, because it is older than they are, hold their default.
    """
    try:
        with open_regular(path, MAX_BYTES, follow=False) as file:
            lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
            columns = _parse(path, table, lines)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; run the study first (resnet-bench sweep)") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; not a table of this package") from None
    _check_unique(path, table, columns)
    _check_together(path, table, columns)
    return columns


def columns_in(path: Path, table: Table) -> list[str]:
    """The columns of a table, without later ones that its file, made before there were any, lacks."""
    try:
        with open_regular(path, MAX_BYTES, follow=False) as file:
            there = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig", errors="replace").strip().split(",")
    except OSError:
        return table.columns
    return [name for name in table.columns if name in there or name not in table.later]


def _check_header(path: Path, table: Table, header: Sequence[str]) -> None:
    missing = [name for name in table.columns if name not in header and name not in table.later]
    unknown = [name for name in header if name not in table.columns]
    if missing:
        separator = next((mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]), "")
        if separator:
            raise UsageError(
                f"{path}: row 1: its cells are separated by {separator!r}; wanted are commas, and points in numbers "
                "(save it as CSV in UTF-8, separated by commas)"
            )
        raise UsageError(f"{path}: row 1: column {missing[0]!r} is missing; see results/README.md for the columns")
    if unknown or len(set(header)) != len(header):
        extra = unknown[0] if unknown else next(name for name in header if header.count(name) > 1)
        raise UsageError(
            f"{path}: row 1: column {one_line(extra[:100])!r} is unknown or doubled; see results/README.md"
        )


def _parse(path: Path, table: Table, lines: Iterator[list[str]]) -> Columns:
    header = next(lines, [])
    _check_header(path, table, header)
    checks = table.checks
    columns: dict[str, Any] = {name: _store(checks[name]) for name in header}
    filled = ((number, cells) for number, cells in enumerate(lines, start=2) if cells)
    count = 0
    while chunk := list(itertools.islice(filled, CHUNK)):
        count += len(chunk)
        for number, cells in chunk:
            if len(cells) != len(header):
                raise UsageError(f"{path}: row {number}: {len(cells)} cells instead of {len(header)}; the line is torn")
        by_column = zip(*(cells for _, cells in chunk), strict=True)
        for name, column_cells in zip(header, by_column, strict=True):
            try:
                columns[name].extend(checks[name].of_cells(column_cells))
            except Invalid:
                raise _first_invalid(path, name, checks[name], [number for number, _ in chunk], column_cells) from None
    later = {f.name: [f.default] * count for f in fields(table.row) if f.name not in columns}
    return {**columns, **later}


def _store(check: Scalar) -> Any:
    """What holds the values of a column in the least room."""
    return array("d" if check.kind is float else "q") if check.kind in (int, float) and not check.optional else []


def _first_invalid(path: Path, name: str, check: Scalar, numbers: Sequence[int], cells: Sequence[str]) -> UsageError:
    for number, cell in zip(numbers, cells, strict=True):
        try:
            check.of_cell(cell)
        except Invalid as error:
            return UsageError(f"{path}: row {number}, column {name!r}: {error.why}")
    raise AssertionError(name)


def _check_together(path: Path, table: Table, columns: Columns) -> None:
    for number, row in enumerate(_rows(table, columns) if hasattr(table.row, "check_together") else (), start=2):
        try:
            row.check_together()
        except Invalid as error:
            raise UsageError(f"{path}: row {number}, column {error.path[0]!r}: {error.why}") from None


def _check_unique(path: Path, table: Table, columns: Columns) -> None:
    keys = [columns[name] for name in table.key]
    if not are_doubled(keys):
        return
    seen: dict[tuple[Any, ...], int] = {}
    for number, key in enumerate(zip(*keys, strict=True), start=2):
        if key in seen:
            named = ", ".join(f"{name}={one_line(str(value))}" for name, value in zip(table.key, key, strict=True))
            raise UsageError(f"{path}: row {number}: {named} stands in row {seen[key]} already; remove one of them")
        seen[key] = number
