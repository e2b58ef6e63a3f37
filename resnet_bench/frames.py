"""Reads a study's CSV files into data frames and refuses what must not stand in one table."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resnet_bench.errors import UsageError
from resnet_bench.networks import OTHERS, PLAIN, RESIDUAL_ARMS, TWINS, Arm
from resnet_bench.results.rows import (
    ComplexityRow,
    ConfusionRow,
    ConstructionRow,
    ContinuationRow,
    CurveRow,
    LesionRow,
    PlanRow,
    RunRow,
    SignalRow,
    ThroughputRow,
)
from resnet_bench.results.tables import (
    COMPLEXITY,
    CONFUSION,
    CONSTRUCTION,
    CONTINUATION,
    CURVES,
    LESIONS,
    PLAN,
    RUNS,
    SIGNALS,
    THROUGHPUT,
    Columns,
    Table,
    columns_of,
    read_columns,
    study_name,
)

# What all runs of a table share; a difference in one of them makes errors incomparable.
SHARED = {"protocol": "protocols", "dataset": "datasets", "dataset_digest": "data", "precision": "precisions",
          "compile": "modes", "family": "families of networks"}  # fmt: skip
# Tables that a study may lack, in the order of StudyFrames.
OPTIONAL = (COMPLEXITY, THROUGHPUT, SIGNALS, CONFUSION, CONSTRUCTION, CONTINUATION, LESIONS)
ARM_ORDER: tuple[Arm, ...] = (PLAIN, *RESIDUAL_ARMS, *((name, "b") for name in OTHERS))
TRAIN_STEP, INFERENCE = "train_step", "inference"  # the modes of throughput.csv


@dataclass(frozen=True, eq=False)
class StudyFrames:
    """A study as data frames with the columns of its tables in `results`, checked to be comparable.

    `complexity` and `throughput` have no rows while these were not counted and timed, `signals` and `confusion` none
    if the runs recorded none, the last three none without surgery.
    """

    name: str
    plan: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    complexity: pd.DataFrame
    throughput: pd.DataFrame
    signals: pd.DataFrame
    confusion: pd.DataFrame
    construction: pd.DataFrame
    continuation: pd.DataFrame
    lesions: pd.DataFrame

    @property
    def dataset(self) -> str:
        """Name of the data really used; "" without runs."""
        return self._shared("dataset")

    @property
    def dataset_digest(self) -> str:
        """SHA-256 over the data; "" without runs."""
        return self._shared("dataset_digest")

    @property
    def family(self) -> str:
        """Family of the networks; "" without runs."""
        return self._shared("family")

    @property
    def protocol(self) -> str:
        """Name and version of the training protocol; "" without runs."""
        return self._shared("protocol")

    @property
    def precision(self) -> str:
        """Precision, fp32 or tf32; "" without runs."""
        return self._shared("precision")

    @property
    def mode(self) -> str:
        """How steps were executed: eager, compile or graph; "" without runs."""
        return self._shared("compile")

    @property
    def is_paper_protocol(self) -> bool:
        """Is it the paper's protocol, and not a reduced or changed one."""
        return self.protocol.startswith("paper-64k/")

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that every mean is over: those with status ok."""
        return self.runs[self.runs["status"] == "ok"]

    @property
    def diverged(self) -> pd.DataFrame:
        """The runs whose loss was not finite: a result, but in no mean."""
        return self.runs[self.runs["status"] == "diverged"]

    @property
    def missing(self) -> pd.DataFrame:
        """The planned runs that are not in runs.csv."""
        return self.plan[~self.plan["run_id"].isin(self.runs["run_id"])]

    @property
    def finished_curves(self) -> pd.DataFrame:
        """The error curves of the finished runs, with their arch, depth, shortcut and seed."""
        what = self.finished[["run_id", "arch", "depth", "shortcut", "seed"]]
        return self.curves.merge(what, on="run_id", how="inner").sort_values(["run_id", "step"])

    @property
    def arms(self) -> list[Arm]:
        """(arch, shortcut) of every planned or recorded run, plain first; the twins of the paper if there is none."""
        return arms_in(self.plan, self.runs) or list(TWINS)

    @functools.cached_property
    def depths(self) -> list[int]:
        """Every planned or recorded depth, ascending."""
        return sorted({int(d) for frame in (self.plan, self.runs) for d in frame["depth"]})

    def unique(self, column: str) -> list[str]:
        """The different non-empty values of a column of runs.csv, sorted, as text."""
        return sorted({str(value) for value in self.runs[column] if value is not None and value != ""})

    def _shared(self, column: str) -> str:
        return str(self.runs[column].iloc[0]) if len(self.runs) else ""


def arms_in(*frames: pd.DataFrame) -> list[Arm]:
    """(arch, shortcut) of every row, plain first."""
    found = {arm for frame in frames for arm in zip(frame["arch"], frame["shortcut"], strict=True)}
    return sorted(found, key=ARM_ORDER.index)


def select(frame: pd.DataFrame, arm: Arm, depth: int | None = None) -> pd.DataFrame:
    """The rows of one arm, and of one depth if given."""
    rows = frame[(frame["arch"] == arm[0]) & (frame["shortcut"] == arm[1])]
    return rows if depth is None else rows[rows["depth"] == depth]


def load(folder: Path) -> StudyFrames:
    """Read the CSV files of a study. Without plan.csv the recorded runs are the plan.

    Raises:
        UsageError: a file that is needed is missing, one is malformed, the runs are not comparable, or a curve
            belongs to no run.
    """
    tables = {table: read_columns(folder / table.file, table) for table in (RUNS, CURVES)}
    optional = [table for table in (PLAN, *OPTIONAL) if (folder / table.file).exists()]
    tables |= {table: read_columns(folder / table.file, table) for table in optional}
    return _checked(study_name(folder), tables, f"{folder}/")


def from_rows(
    name: str,
    plan: Sequence[PlanRow] | None,
    runs: Sequence[RunRow],
    curves: Sequence[CurveRow],
    complexity: Sequence[ComplexityRow] = (),
    throughput: Sequence[ThroughputRow] = (),
    signals: Sequence[SignalRow] = (),
    confusion: Sequence[ConfusionRow] = (),
    construction: Sequence[ConstructionRow] = (),
    continuation: Sequence[ContinuationRow] = (),
    lesions: Sequence[LesionRow] = (),
    where: str = "",
) -> StudyFrames:
    """The frames of a study from its rows, checked; `where` is the prefix of file names in messages."""
    others = (complexity, throughput, signals, confusion, construction, continuation, lesions)
    tables = {RUNS: runs, CURVES: curves, **dict(zip(OPTIONAL, others, strict=True))}
    columns = {table: columns_of(table, rows) for table, rows in tables.items()}
    planned = {} if plan is None else {PLAN: columns_of(PLAN, plan)}
    return _checked(name, {**columns, **planned}, where)


def _checked(name: str, tables: Mapping[Table, Columns], where: str) -> StudyFrames:
    plan = tables[PLAN] if PLAN in tables else tables[RUNS]
    frames = StudyFrames(
        name,
        _frame(PLAN, plan),
        *(_frame(table, tables.get(table) or columns_of(table, ())) for table in (RUNS, CURVES, *OPTIONAL)),
    )
    _check_comparable(frames, where)
    _check_arms(frames, where)
    _check_twice(frames, where)
    _check_curves(frames, where)
    _check_cost(frames, where)
    return frames


def _frame(table: Table, columns: Columns) -> pd.DataFrame:
    hints = typing.get_type_hints(table.row)
    return pd.DataFrame(
        {name: pd.Series(np.asarray(columns[name], dtype=_dtype(hints[name]))) for name in table.columns}
    )


def _dtype(hint: Any) -> Any:
    """Types are set, not inferred, so that a table without rows has them too; None becomes NaN."""
    if hint is int:
        return "int64"
    return "float64" if hint in (float, int | None, float | None) else "object"


def _check_comparable(frames: StudyFrames, where: str) -> None:
    for column, plural in SHARED.items():
        values = sorted({str(value) for value in frames.runs[column]})
        if len(values) > 1:
            raise UsageError(
                f"{where}{RUNS.file}: column {column!r} holds {' and '.join(values)}; "
                f"a table never mixes {plural}: keep them in separate study folders"
            )


def _check_arms(frames: StudyFrames, where: str) -> None:
    by_table = (
        (PLAN, frames.plan), (RUNS, frames.runs), (COMPLEXITY, frames.complexity), (THROUGHPUT, frames.throughput)
    )  # fmt: skip
    for table, frame in by_table:
        for arm in zip(frame["arch"], frame["shortcut"], strict=True):
            if arm not in ARM_ORDER:
                raise UsageError(f"{where}{table.file}: arch {arm[0]!r} with shortcut {arm[1]!r} is unknown")


def _check_twice(frames: StudyFrames, where: str) -> None:
    twice = frames.runs[frames.runs.duplicated(["arch", "shortcut", "depth", "seed"], keep=False)]
    if len(twice):
        raise UsageError(
            f"{where}{RUNS.file}: runs {' and '.join(twice['run_id'].iloc[:2])} are the same network and seed with "
            "different configurations; keep them in separate study folders"
        )


def _check_curves(frames: StudyFrames, where: str) -> None:
    known = set(frames.plan["run_id"]) | set(frames.runs["run_id"])
    for table, frame in (
        (CURVES, frames.curves),
        (SIGNALS, frames.signals),
        (CONFUSION, frames.confusion),
        (LESIONS, frames.lesions),
    ):
        unknown = sorted(set(frame["run_id"]) - known)
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UsageError(
                f"{where}{table.file}: run {unknown[0]!r}{more} is in neither {PLAN.file} nor {RUNS.file}; "
                "collect the study again"
            )
    last = frames.curves["run_id"].map(frames.runs.set_index("run_id")["steps"])
    late = frames.curves[frames.curves["step"] > last]
    if len(late):
        first = late.iloc[0]
        raise UsageError(
            f"{where}{CURVES.file}: run {first['run_id']!r} has a row of step {first['step']}, after its last one; "
            "collect the study again"
        )


def _check_cost(frames: StudyFrames, where: str) -> None:
    for mode in frames.throughput["mode"]:
        if mode not in (TRAIN_STEP, INFERENCE):
            raise UsageError(f"{where}{THROUGHPUT.file}: mode {mode!r} is unknown; one of {TRAIN_STEP}, {INFERENCE}")
    for table, frame in ((COMPLEXITY, frames.complexity), (THROUGHPUT, frames.throughput)):
        for column, values in frame.select_dtypes("number").items():
            lowest = 1 if column == "depth" else 0
            if (values < lowest).any():
                raise UsageError(f"{where}{table.file}: column {column!r} holds a value below {lowest}")
