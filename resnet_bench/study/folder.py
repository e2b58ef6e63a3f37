"""Where a study keeps what: the layout of its folder, and which of its runs are finished. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_bench.config import RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.results import CURVES, PLAN, RUNS, CurveRow, PlanRow, RunRow, parse_row, read_csv, write_csv


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Only that run writes here."""

    path: Path

    @property
    def config(self) -> Path:
        """What the run is: its configuration and the digest of its data."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """Hardware, software and attempts."""
        return self.path / "environment.json"

    @property
    def curves(self) -> Path:
        """The rows so far."""
        return self.path / CURVES.file

    @property
    def result(self) -> Path:
        """Exists once the run is finished, and never changes again."""
        return self.path / "result.json"

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, if it did."""
        return self.path / "failure.txt"

    def read_result(self) -> RunRow | None:
        """The finished run's row; None while it is not finished. UsageError for a damaged file."""
        if not self.result.exists():
            return None
        row = parse_row(RunRow, read_json(self.result), str(self.result))
        if row.run_id != self.path.name:
            raise UsageError(
                f"{self.result}: holds run {row.run_id}, not {self.path.name}; restore or remove the folder"
            )
        return row

    def read_curves(self) -> list[CurveRow]:
        """The rows so far, checked."""
        return read_csv(self.curves, CURVES) if self.curves.exists() else []


@dataclass(frozen=True)
class StudyFolder:
    """results/<study>/."""

    path: Path

    @property
    def name(self) -> str:
        """The study's name in every table."""
        return self.path.name

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / "runs" / run_id)

    def run_folders(self) -> list[RunFolder]:
        """Every run that was ever started, by name."""
        runs = self.path / "runs"
        return [RunFolder(path) for path in sorted(runs.iterdir()) if path.is_dir()] if runs.is_dir() else []

    def results(self) -> dict[str, RunRow]:
        """The finished runs."""
        rows = ((folder.path.name, folder.read_result()) for folder in self.run_folders())
        return {run_id: row for run_id, row in rows if row is not None}

    def read_plan(self) -> list[PlanRow]:
        """The runs that the study consists of, as far as anyone asked for them."""
        path = self.path / PLAN.file
        return read_csv(path, PLAN) if path.exists() else []

    def add_to_plan(self, runs: list[RunConfig]) -> None:
        """Add runs to plan.csv; those that stand there already stay."""
        rows = {row.run_id: row for row in self.read_plan()}
        for run in runs:
            rows[run.run_id] = PlanRow(
                run_id=run.run_id, arch=run.arch, depth=run.depth, shortcut=run.shortcut, seed=run.seed
            )
        write_csv(self.path / PLAN.file, PLAN, sorted(rows.values(), key=sort_key))


def sort_key(row: PlanRow | RunRow) -> tuple[str, str, int, int, str]:
    """The order of runs in every CSV file: arm, depth, seed."""
    return row.arch, row.shortcut, row.depth, row.seed, row.run_id


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; UsageError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not readable as JSON ({error}); restore or remove the run's folder") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object; restore or remove the run's folder")
    return value


def collect(study: StudyFolder) -> list[RunRow]:
    """Write runs.csv and curves.csv from the folders of finished runs; the same folders give the same bytes."""
    rows = sorted(study.results().values(), key=sort_key)
    curves = [row for run in rows for row in study.run(run.run_id).read_curves()]
    write_csv(study.path / RUNS.file, RUNS, rows)
    write_csv(study.path / CURVES.file, CURVES, curves)
    return rows
