"""Where a study keeps what: the layout of its folder, and which of its runs are finished. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_bench.busy import busy
from resnet_bench.config import RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution
from resnet_bench.files import remove_temporaries, to_json, write_atomically, write_json
from resnet_bench.results import (
    CONFUSION,
    CURVES,
    PLAN,
    RUNS,
    SIGNALS,
    PlanRow,
    RunRow,
    Table,
    parse_row,
    read_csv,
    study_name,
    write_csv,
)
from resnet_bench.study.lock import NAME, Lock, Lost, holding, is_held, undisturbed

RESULT = "result.json"
EXECUTION = "execution.json"
SUMS = "SHA256SUMS"
COLLECTED = (CURVES, SIGNALS, CONFUSION)  # tables that each run writes its own rows of
MAX_JSON_BYTES = 1 << 20
CRLF = "line ends CRLF instead of LF (as git makes them with core.autocrlf), and otherwise what was written"
MEND_LINE_ENDS = (
    "nothing is lost: git config core.autocrlf false, then git rm -rq --cached FOLDER and git checkout HEAD -- FOLDER"
)
MEND = "restore the file, or remove the run's folder to train it again"


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

    def table(self, table: Table) -> Path:
        """The run's own rows of a table of the study."""
        return self.path / table.file

    @property
    def result(self) -> Path:
        """Exists once the run is finished, and never changes again."""
        return self.path / RESULT

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, if it did."""
        return self.path / "failure.txt"

    def read_result(self, *, check_files: bool = True) -> RunRow | None:
        """The finished run's row; None while it is not finished.

        Args:
            check_files: also read the other files whose digests result.json holds; not needed just to look.

        Raises:
            UsageError: result.json, or such a file, is not what was written.
        """
        path = self.result
        if not path.exists():
            return None
        value = read_json(path)
        if set(value) != {"row", "files", "digest"} or value["digest"] != _digest(value["row"], value["files"]):
            raise UsageError(f"{path}: altered since it was written; {MEND}")
        if check_files:
            self._check_files(value["files"])
        row = parse_row(RunRow, value["row"], str(path))
        if row.run_id != self.path.name:
            raise UsageError(f"{path}: holds run {row.run_id}, not {self.path.name}; {MEND}")
        return row

    def _check_files(self, digests: dict[str, str]) -> None:
        for name, expected in digests.items():
            path = self.path / name
            if not path.exists():
                raise UsageError(f"{path}: missing, but {RESULT} names it; {MEND}")
            if _sha256(path) != expected and differs_in_line_ends(path, expected):
                raise UsageError(f"{path}: has {CRLF}; {MEND_LINE_ENDS}")
            if _sha256(path) != expected:
                raise UsageError(f"{path}: altered since the run was finished (SHA-256 differs); {MEND}")

    def lock(self, timeout: float = math.inf) -> contextlib.AbstractContextManager[Lock]:
        """Held by the one process that works on the run; the system frees it when that process dies."""
        return holding(self.path / NAME, timeout)

    def is_locked(self) -> bool:
        """Does some process work on the run now, as far as that can be told."""
        try:
            return is_held(self.path / NAME)
        except UsageError:
            return False

    def check_owned(self, lock: Lock) -> None:
        """Raise Lost unless the holder of the lock may write here: others see the lock, and there is no result."""
        why = lock.why_lost()
        if not why and self.result.exists():
            why = f"{self.result} was written by another process meanwhile"
        if why:
            raise Lost(f"{why}; this process left the run as it is, and the same command goes on")

    def read_table(self, table: Table) -> list[Any]:
        """Its rows so far, checked; none if it has not written any."""
        path = self.table(table)
        return read_csv(path, table) if path.exists() else []


@dataclass(frozen=True)
class StudyFolder:
    """results/<study>/."""

    path: Path

    @property
    def name(self) -> str:
        """The study's name in every table."""
        return study_name(self.path)

    def lock(self, timeout: float = math.inf) -> contextlib.AbstractContextManager[Lock]:
        """Held while the files that belong to no single run are written."""
        return holding(self.path / NAME, timeout)

    def undisturbed(self, timeout: float) -> contextlib.AbstractContextManager[None]:
        """Keep those files as they are while they are read, if the lock can be had for that within some seconds."""
        return undisturbed(self.path / NAME, timeout)

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / "runs" / run_id)

    def run_folders(self) -> list[RunFolder]:
        """Every run that was ever started, by name."""
        runs = self.path / "runs"
        if not runs.is_dir():
            return []
        with os.scandir(runs) as entries:
            return [RunFolder(runs / name) for name in sorted(entry.name for entry in entries if entry.is_dir())]

    def in_work(self) -> list[RunFolder]:
        """The runs that some process works on now."""
        return [folder for folder in self.run_folders() if not folder.result.exists() and folder.is_locked()]

    def progress(self) -> str:
        """How many of its planned runs are in work, in words."""
        return f"in work: {len(self.in_work())} of {len(self.read_plan())} planned"

    def uncollected(self) -> list[RunFolder]:
        """The finished runs that runs.csv does not hold (yet); all of them if there is no such file.

        Raises:
            UsageError: runs.csv is malformed.
        """
        path = self.path / RUNS.file
        known = {row.run_id for row in read_csv(path, RUNS)} if path.exists() else set()
        return [folder for folder in self.run_folders() if folder.path.name not in known and folder.result.exists()]

    @busy("reading finished runs")
    def results(self, *, check_files: bool = True) -> dict[str, RunRow]:
        """The finished runs, by run id; for `check_files` see RunFolder.read_result."""
        rows = ((folder.path.name, folder.read_result(check_files=check_files)) for folder in self.run_folders())
        return {run_id: row for run_id, row in rows if row is not None}

    def read_execution(self) -> Execution | None:
        """How the study's runs are executed; None while that is not settled.

        Raises:
            UsageError: execution.json is not what was written.
        """
        path = self.path / EXECUTION
        if not path.exists():  # studies made before there was a choice say it in their runs
            rows = (folder.read_result() for folder in self.run_folders())
            row = next((row for row in rows if row is not None), None)
            return None if row is None else Execution(row.compile, row.precision)
        try:
            return Execution(**read_json(path))
        except (TypeError, UsageError) as error:
            raise UsageError(f"{path}: says not how the study is executed ({error}); {MEND}") from None

    def settle_execution(self, execution: Execution) -> Execution:
        """Write down how the study's runs are executed, unless another process did; gives what stands there."""
        with self.lock():
            settled = self.read_execution()
            if settled is None:
                write_json(self.path / EXECUTION, asdict(execution))
        return settled or execution

    def read_plan(self) -> list[PlanRow]:
        """The runs that the study consists of, as far as anyone asked for them."""
        path = self.path / PLAN.file
        return read_csv(path, PLAN) if path.exists() else []

    def add_to_plan(self, runs: list[RunConfig]) -> None:
        """Add runs to plan.csv; those that stand there already stay."""
        rows = {row.run_id: row for row in self.read_plan()}
        cells = {(row.arch, row.shortcut, row.depth, row.seed): row.run_id for row in rows.values()}
        for run in runs:
            other = cells.get((run.arch, run.shortcut, run.depth, run.seed), run.run_id)
            if other != run.run_id:
                raise UsageError(
                    f"{self.path}: {run.arch}-{run.depth} seed {run.seed} stands there with another configuration "
                    f"({other}); a study never mixes them: use another RESULTS="
                )
            rows[run.run_id] = PlanRow(
                run_id=run.run_id,
                family=run.family,
                arch=run.arch,
                depth=run.depth,
                shortcut=run.shortcut,
                seed=run.seed,
            )
        write_csv(self.path / PLAN.file, PLAN, sorted(rows.values(), key=sort_key))
        _resum(self, PLAN.file)  # what is there stays whole while the new runs are done


def sort_key(row: PlanRow | RunRow) -> tuple[str, str, int, int, str]:
    """The order of runs in every CSV file: arm, depth, seed."""
    return row.arch, row.shortcut, row.depth, row.seed, row.run_id


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; UsageError for anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES:,} bytes")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not readable as JSON ({error}); {MEND}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object; {MEND}")
    return value


def _digest(row: Any, files: Any) -> str:
    """SHA-256 over the canonical JSON of what a result says."""
    return hashlib.sha256(json.dumps([row, files], sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differs_in_line_ends(path: Path, expected: str) -> bool:
    """Would the file have this SHA-256 if its line ends were LF; asked where it has another one."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest() == expected


def result_json(folder: RunFolder, row: RunRow) -> bytes:
    """The content of result.json: the run's row, the SHA-256 of its other files, and one over both."""
    tables = [path for path in map(folder.table, COLLECTED) if path.exists()]
    files = {path.name: _sha256(path) for path in (folder.config, folder.environment, *tables)}
    return to_json({"row": asdict(row), "files": files, "digest": _digest(asdict(row), files)})


def collected(study: StudyFolder) -> dict[Table, list[Any]]:
    """The rows of runs.csv, curves.csv, signals.csv and confusion.csv, from the folders of finished runs.

    Studies made before there were signals and confusions have none of them, and no such tables.
    """
    runs = sorted(study.results().values(), key=sort_key)
    rows: dict[Table, list[Any]] = {RUNS: runs}
    for table in COLLECTED:
        found = [row for run in runs for row in study.run(run.run_id).read_table(table)]
        if found or table is CURVES:
            rows[table] = found
    return rows


def check_nothing_lost(study: StudyFolder) -> None:
    """Raise UsageError if runs.csv holds runs whose folders are gone: collecting would drop them."""
    path = study.path / RUNS.file
    rows = read_csv(path, RUNS) if path.exists() else []
    gone = [row.run_id for row in rows if not study.run(row.run_id).result.exists()]
    if gone:
        raise UsageError(
            f"{path}: holds {len(gone)} runs without a folder in runs/ ({gone[0]}); restore it or move the CSV files"
        )


def collect_late(study: StudyFolder) -> None:
    """Collect if runs were finished since that was done. Hold the study's lock.

    Raises:
        UsageError: no run was finished yet; or see `collect`.
    """
    if study.uncollected():
        collect(study)
    elif not (study.path / RUNS.file).exists() and (study.path / "runs").is_dir():
        raise UsageError(
            f"{study.path}: no run is finished yet ({study.progress()}); call again when one is (resnet-bench status)"
        )


@busy("collecting finished runs")
def collect(study: StudyFolder) -> list[RunRow]:
    """Write the collected tables and SHA256SUMS; the same folders give the same bytes. Hold the study's lock.

    Raises:
        UsageError: a finished run is not what was written, or runs.csv holds one whose folder is gone.
        Failure: the folder cannot be written.
    """
    check_nothing_lost(study)
    for place in (study.path, study.path / "figures", study.path / "tables"):
        if place == study.path or not place.is_symlink():
            remove_temporaries(place)
    tables = collected(study)
    for table, rows in tables.items():
        write_csv(study.path / table.file, table, rows)
    write_sums(study)
    return tables[RUNS]


def sums_of(study: StudyFolder) -> dict[str, str]:
    """SHA-256 of every file of finished runs, and of every file that belongs to no run, by its path in the study."""
    finished = [folder.path for folder in study.run_folders() if folder.result.exists()]
    others = [path for path in study.path.iterdir() if path.name != "runs" and not path.is_symlink()]
    paths = [path for place in [*finished, *others] for path in (place.rglob("*") if place.is_dir() else [place])]
    kept = sorted(path for path in paths if path.is_file() and not path.name.startswith((".", "checkpoint", SUMS)))
    return {path.relative_to(study.path).as_posix(): _sha256(path) for path in kept}


def _resum(study: StudyFolder, name: str) -> None:
    """Bring the line of one file in SHA256SUMS up to date, if there is one."""
    path, ending = study.path / SUMS, f"  {name}".encode()
    if path.exists():
        line = _sha256(study.path / name).encode() + ending
        lines = [line if old.endswith(ending) else old for old in path.read_bytes().split(b"\n")]
        write_atomically(path, b"\n".join(lines))


@busy("computing digests")
def write_sums(study: StudyFolder) -> None:
    """Write SHA256SUMS, which `sha256sum -c` reads too."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sums_of(study).items())
    write_atomically(study.path / SUMS, text.encode())
