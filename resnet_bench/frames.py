"""Reads a study's CSV files into data frames and refuses what must not stand in one table."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resnet_bench.errors import UsageError
from resnet_bench.networks import OTHERS, OWN, PLAIN, RESIDUAL_ARMS, TWINS, Arm, is_new_name
from resnet_bench.results.settings import Value, axes_of, in_order, parse
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

# What all runs of a table share; a difference in one of them makes errors incomparable. How runs were executed is no
# part of a setting, so it is one over all of them; the others are one within each.
SHARED = {"protocol": "protocols", "dataset": "datasets", "dataset_digest": "data", "precision": "precisions",
          "compile": "modes", "family": "families of networks"}  # fmt: skip
OF_RUNS = ("plan", "runs", "curves", "signals", "confusion", "lesions")  # the frames whose rows are of a run
# Tables that a study may lack, in the order of StudyFrames.
OPTIONAL = (COMPLEXITY, THROUGHPUT, SIGNALS, CONFUSION, CONSTRUCTION, CONTINUATION, LESIONS)
ARM_ORDER: tuple[Arm, ...] = (PLAIN, *RESIDUAL_ARMS, *((name, "b") for name in OTHERS))
EXECUTION = ("precision", "compile")
TRAIN_STEP, INFERENCE = "train_step", "inference"  # the modes of throughput.csv


@dataclass(frozen=True, eq=False)
class StudyFrames:
    """A study as pandas data frames, checked to be comparable: what `load_study` and `train` give.

    Columns are those of the CSV files in the study's folder; results/README.md says what each means. Errors are
    percent from 0 to 100, `macs` are multiply-adds of one image, seconds are seconds; what was not measured is NaN.
    A frame of a table that the study has not is there, without rows.

    Attributes:
        name: of the study.
        plan: a row for each planned run: run_id, arch, depth, shortcut, seed.
        runs: a row for each finished run: run_id, arch, depth, shortcut, seed, dataset, protocol, status ("ok" or
            "diverged"), steps, params, macs, final_train_clean_top1_err, final_test_top1_err, train_seconds, device.
        curves: a row for each evaluation of a run: run_id, step, epoch, lr, train_loss, train_top1_err (running, as
            trained on), train_clean_top1_err (eval mode, not augmented), test_loss, test_top1_err. Also of planned
            runs that are not finished, as far as they have got (`unfinished_curves`).
        complexity: a row for each network: params, macs, flops_forward, activations. Counted by `cost=True`.
        throughput: a row for each network and mode ("train_step", "inference"): img_per_sec, step_ms,
            peak_memory_bytes, utilisation. Measured by `cost=True`.
        signals: a row for each layer of a run at a step: response_std, grad_norm, weight_norm, dead_fraction.
        confusion: a row for each pair of classes of a run: true_class, predicted_class, images.
        construction: a row for each plain network that was deepened by identity layers (`resnet-bench surgery`).
        continuation: its errors while it was trained on.
        lesions: a row for each block of a network that was taken out: block, intact_top1_err, lesioned_top1_err.
        setting: the one setting that these frames are of, if they are `within` one. Where a study varies fields of
            its runs, `plan`, `runs` and `curves` have the column `setting`, which says at which of their values a
            run was made ("steps=400, lr=0.1"; "" where nothing is varied).

    >>> import resnet_bench as rb
    >>> frames = rb.load_study("results/digits-full")
    >>> frames.runs.groupby(["arch", "depth"]).final_test_top1_err.mean().round(1).unstack("arch")
    arch   plain  residual
    depth
    20       3.1       1.8
    32       4.7       2.3
    44      18.8       2.0
    56      59.4       2.4
    110     90.8       2.5
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
    setting: str = ""

    @functools.cached_property
    def settings(self) -> list[str]:
        """The combinations of values that the study varies, by these values; none of a study that varies nothing."""
        return [] if self.setting else in_order([text for text in self.plan["setting"].unique() if text])

    @functools.cached_property
    def axes(self) -> dict[str, list[Value]]:
        """What the study varies: by field its values, numbers first and ascending, texts as planned."""
        return axes_of(self.settings)

    def within(self, setting: str) -> StudyFrames:
        """The frames of one setting, as a study of its own that varies nothing.

        Size and speed of networks are those of the whole study. Surgery knows no settings, so there is none of it.

        Raises:
            UsageError: the study has no such setting.
        """
        if setting not in self.settings:
            known = "; ".join(self.settings) or "it varies nothing"
            raise UsageError(f"study {self.name} has no setting {setting!r}: {known}")
        ids = self.plan["run_id"][self.plan["setting"] == setting]
        own: dict[str, Any] = {name: _of_runs(getattr(self, name), ids) for name in OF_RUNS}
        nothing = {name: getattr(self, name).iloc[:0] for name in ("construction", "continuation")}
        return replace(self, setting=setting, **own, **nothing)

    @functools.cached_property
    def parts(self) -> list[StudyFrames]:
        """What may stand in one table: each setting by itself, or the whole study where it varies nothing."""
        return [self.within(setting) for setting in self.settings] or [self]

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
        """Family of the networks, "own" if some are the user's own; "" without runs."""
        return OWN if OWN in self.unique("family") else self._shared("family")

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
    def unfinished_curves(self) -> pd.DataFrame:
        """The error curves so far of planned runs that are not in runs.csv, with the same columns."""
        what = self.missing[["run_id", "arch", "depth", "shortcut", "seed"]]
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
        return ", ".join(dict.fromkeys(map(str, self.runs[column])))


def error_of_guessing(num_classes: Any) -> Any:
    """In percent, of so many classes that are equally frequent; of a column of such numbers a column."""
    return 100 * (1 - 1 / num_classes)


def _of_runs(frame: pd.DataFrame, ids: pd.Series[Any]) -> pd.DataFrame:
    return frame[frame["run_id"].isin(ids)].reset_index(drop=True)


def arms_in(*frames: pd.DataFrame) -> list[Arm]:
    """(arch, shortcut) of every row, plain first, those of the user's own at the end by name."""
    found = {arm for frame in frames for arm in zip(frame["arch"], frame["shortcut"], strict=True)}
    return sorted(found, key=lambda arm: (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER), arm))


def select(frame: pd.DataFrame, arm: Arm, depth: int | None = None) -> pd.DataFrame:
    """The rows of one arm, and of one depth if given."""
    rows = frame[(frame["arch"] == arm[0]) & (frame["shortcut"] == arm[1])]
    return rows if depth is None else rows[rows["depth"] == depth]


def load(folder: Path) -> StudyFrames:
    """Read the CSV files of a study. Without plan.csv the recorded runs are the plan.

    Of planned runs that are not in runs.csv the curves so far are read from their folders.

    Raises:
        UsageError: a file that is needed is missing, one is malformed, the runs are not comparable, or a curve
            belongs to no run.
    """
    tables = {table: read_columns(folder / table.file, table) for table in (RUNS, CURVES)}
    optional = [table for table in (PLAN, *OPTIONAL) if (folder / table.file).exists()]
    tables |= {table: read_columns(folder / table.file, table) for table in optional}
    tables[CURVES] = _with_unfinished(folder, tables)
    return _checked(study_name(folder), tables, f"{folder}/")


def _with_unfinished(folder: Path, tables: Mapping[Table, Columns]) -> Columns:
    """The curves, with those so far of planned runs that are in no table yet."""
    known = {*tables[RUNS]["run_id"], *tables[CURVES]["run_id"]}
    paths = {run_id: folder / "runs" / run_id / CURVES.file for run_id in tables.get(PLAN, {"run_id": ()})["run_id"]}
    begun = {path: run_id for run_id, path in paths.items() if run_id not in known and path.exists()}
    if not begun:
        return tables[CURVES]
    parts = [tables[CURVES]]
    for path, run_id in begun.items():
        parts.append(read_columns(path, CURVES))
        if strangers := set(parts[-1]["run_id"]) - {run_id}:
            raise UsageError(f"{path}: holds rows of run {min(strangers)!r}; move the run's folder away")
    return {name: [value for part in parts for value in part[name]] for name in CURVES.columns}


def from_rows(name: str, tables: Mapping[Table, Sequence[Any]], where: str = "") -> StudyFrames:
    """The frames of a study from the rows of its tables, checked. Without those of PLAN the runs are the plan.

    Args:
        name: of the study.
        tables: the rows by table; a table that is not named has none.
        where: the prefix of file names in messages.

    Raises:
        UsageError: as `load`.
    """
    return _checked(name, {table: columns_of(table, rows) for table, rows in tables.items()}, where)


def _checked(name: str, tables: Mapping[Table, Columns], where: str) -> StudyFrames:
    runs = tables.get(RUNS) or columns_of(RUNS, ())
    nothing_else = {name: [getattr(PLAN.row, name)] * len(runs["run_id"]) for name in PLAN.later}
    plan = tables.get(PLAN, {**nothing_else, **runs})
    others: Any = (to_frame(table, tables.get(table) or columns_of(table, ())) for table in (RUNS, CURVES, *OPTIONAL))
    frames = StudyFrames(name, to_frame(PLAN, plan), *others)
    _join_settings(frames, where)
    _check_comparable(frames, where)
    _check_arms(frames, where)
    _check_twice(frames, where)
    _check_curves(frames, where)
    _check_cost(frames, where)
    return frames


def _join_settings(frames: StudyFrames, where: str) -> None:
    """Give runs and curves the setting that is planned for them."""
    try:
        varied = {setting: list(parse(setting)) for setting in frames.plan["setting"].unique()}
    except ValueError as error:
        raise UsageError(f"{where}{PLAN.file}: column 'setting': {error}") from None
    first = next(iter(varied), "")
    different = [setting for setting in varied if varied[setting] != varied[first]]
    if different:
        raise UsageError(
            f"{where}{PLAN.file}: column 'setting' holds {first!r} and {different[0]!r}, which are not of the same "
            "fields; keep them in separate study folders"
        )
    planned = frames.plan.set_index("run_id")["setting"]
    for frame in (frames.runs, frames.curves):
        frame["setting"] = frame["run_id"].map(planned).fillna("").astype("object")
    unknown = frames.runs["run_id"][frames.runs["setting"] == ""]
    if frames.settings and len(unknown):
        raise UsageError(
            f"{where}{RUNS.file}: run {unknown.iloc[0]!r} is not in {PLAN.file}, so its setting is not known; collect "
            "the study again"
        )


def to_frame(table: Table, columns: Columns) -> pd.DataFrame:
    """The columns of a table as a data frame, with the table's types; what was not measured is NaN, or None."""
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
        for setting in frames.runs["setting"].unique() if column not in EXECUTION else [""]:
            runs = frames.runs[frames.runs["setting"] == setting] if setting else frames.runs
            values = sorted({str(value) for value in runs[column]} - ({OWN} if column == "family" else set()))
            if len(values) > 1:
                within = f" within {setting}" if setting else ""
                raise UsageError(
                    f"{where}{RUNS.file}: column {column!r} holds {' and '.join(values)}{within}; "
                    f"a table never mixes {plural}: keep them in separate study folders"
                )


def _check_arms(frames: StudyFrames, where: str) -> None:
    by_table = (
        (PLAN, frames.plan), (RUNS, frames.runs), (COMPLEXITY, frames.complexity), (THROUGHPUT, frames.throughput)
    )  # fmt: skip
    for table, frame in by_table:
        for family, *arm in zip(frame["family"], frame["arch"], frame["shortcut"], strict=True):
            if tuple(arm) not in ARM_ORDER and not (family == OWN and is_new_name(arm[0]) and arm[1] == "none"):
                raise UsageError(f"{where}{table.file}: arch {arm[0]!r} with shortcut {arm[1]!r} is unknown")


def _check_twice(frames: StudyFrames, where: str) -> None:
    twice = frames.runs[frames.runs.duplicated(["arch", "shortcut", "depth", "seed", "setting"], keep=False)]
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
