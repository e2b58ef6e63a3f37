"""Where a study keeps what: the layout of its folder, and which of its runs are finished. Needs no torch."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from resnet_bench.analysis.rules import UNRECORDED, VERSION
from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution
from resnet_bench.files import read_regular, sha256_of, to_json, write_atomically, write_json
from resnet_bench.results.rows import PlanRow, RunRow
from resnet_bench.results.tables import (
    MAX_BYTES,
    PLAN,
    RUNS,
    Columns,
    Table,
    columns_in,
    read_columns,
    read_csv,
    study_name,
    to_csv,
)
from resnet_bench.study.lock import NAME, Lock, Lost, holding, is_held, undisturbed
from resnet_bench.study.records import (
    COLLECTED,
    CONFIG,
    CRLF,
    ENVIRONMENT,
    MEND,
    RESULT,
    SUMS,
    History,
    Identity,
    Result,
    checked,
    differs_in_line_ends,
    read_json,
    result_digest,
)

EXECUTION = "execution.json"
MEND_LINE_ENDS = (
    "nothing is lost: git config core.autocrlf false, then git rm -rq --cached FOLDER and git checkout HEAD -- FOLDER"
)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Only that run writes here."""

    path: Path

    @property
    def config(self) -> Path:
        """What the run is: its configuration and the digest of its data."""
        return self.path / CONFIG

    @property
    def environment(self) -> Path:
        """Hardware, software and attempts."""
        return self.path / ENVIRONMENT

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
        result: Result = checked(Result, value, path)
        if result.digest != result_digest(value["row"], value["files"]):
            raise UsageError(f"{path}: altered since it was written; {MEND}")
        if check_files:
            self._check_files(result.files)
        if result.row.run_id != self.path.name:
            raise UsageError(f"{path}: holds run {result.row.run_id}, not {self.path.name!r}; {MEND}")
        return result.row

    def _check_files(self, digests: dict[str, str]) -> None:
        for name, expected in digests.items():
            path = self.path / name
            try:
                found = sha256_of(path, MAX_BYTES)
            except FileNotFoundError:
                raise UsageError(f"{path}: missing, but {RESULT} names it; {MEND}") from None
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror}; {MEND}") from None
            if found != expected and differs_in_line_ends(path, expected):
                raise UsageError(f"{path}: has {CRLF}; {MEND_LINE_ENDS}")
            if found != expected:
                raise UsageError(f"{path}: altered since the run was finished (SHA-256 differs); {MEND}")

    def read_identity(self) -> Identity:
        """config.json, checked; UsageError if it is not there, or not what was written."""
        identity: Identity = checked(Identity, read_json(self.config), self.config)
        return identity

    def read_history(self) -> dict[str, Any]:
        """environment.json as `History` has it, as written; UsageError if it is not there, or not what was written."""
        value = read_json(self.environment)
        checked(History, value, self.environment)
        return value

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

    def read_columns(self) -> dict[Table, Columns]:
        """The tables that it has written so far, by columns, checked."""
        paths = {table: self.table(table) for table in COLLECTED}
        return {table: read_columns(path, table) for table, path in paths.items() if path.exists()}

    def read_table(self, table: Table) -> list[Any]:
        """Its rows so far, checked; none if it has not written any."""
        path = self.table(table)
        return read_csv(path, table) if path.exists() else []


@dataclass(frozen=True)
class StudyFolder:
    """results/<study>/."""

    path: Path

    def __post_init__(self) -> None:
        study_name(self.path)  # what cannot be named in a table is refused before anything is done there

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
        """Every run that was ever started, by name; hidden folders are copies that are not whole."""
        runs = self.path / "runs"
        if not runs.is_dir():
            return []
        with os.scandir(runs) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        return [RunFolder(runs / name) for name in names]

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
        known = set(read_columns(path, RUNS)["run_id"]) if path.exists() else set()
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
        if not path.exists():
            return self._execution_of_runs()
        settled: Execution = checked(Execution, read_json(path), path)
        return settled if settled.threads else replace(settled, threads=self._threads_of_runs())

    def _execution_of_runs(self) -> Execution | None:
        """For studies from before there was a choice: what a finished run was made with; None without any."""
        row = next(iter(self.results(check_files=False).values()), None)
        return Execution(row.compile, row.precision, threads=self._threads_of_runs()) if row else None

    def _threads_of_runs(self) -> int | None:
        """For studies that do not record it: the number that all finished runs had, or those that have begun."""
        threads = {row.threads for row in self.results(check_files=False).values()}
        if not threads:
            begun = [folder for folder in self.run_folders() if folder.environment.exists()]
            found = [folder.read_history()["environment"].get("threads") for folder in begun]
            threads = {number for number in found if isinstance(number, int)}
        return threads.pop() if len(threads) == 1 else None  # runs side by side once had fewer than others

    def settle_execution(self, execution: Execution) -> Execution:
        """Write down how the study's runs are executed, as far as no other process did; gives what stands there."""
        with self.lock():
            there = self.read_execution()
            settled = there.completed(execution) if there else execution
            if settled != there:
                write_json(self.path / EXECUTION, asdict(settled))
        return settled

    def read_plan(self) -> list[PlanRow]:
        """The runs that the study consists of, as far as anyone asked for them."""
        path = self.path / PLAN.file
        return read_csv(path, PLAN) if path.exists() else []

    def add_to_plan(self, runs: Sequence[RunConfig], settings: Mapping[str, str] = {}) -> None:
        """Add runs to plan.csv; those that stand there already stay, with the rules that they were planned under.

        Args:
            runs: of the study.
            settings: by run id, what the study varies and the run's values; of others it is what stands there.

        Raises:
            UsageError: a run stands there with another configuration.
        """
        rows = {row.run_id: row for row in self.read_plan()}
        cells = {(row.arch, row.shortcut, row.depth, row.seed, row.setting): row.run_id for row in rows.values()}
        for run in runs:
            there = rows.get(run.run_id)
            setting = settings.get(run.run_id, there.setting if there else "")
            other = cells.setdefault((run.arch, run.shortcut, run.depth, run.seed, setting), run.run_id)
            if other != run.run_id:
                raise self._another(run, other, setting)
            rows[run.run_id] = PlanRow(
                run_id=run.run_id,
                family=run.family,
                arch=run.arch,
                depth=run.depth,
                shortcut=run.shortcut,
                seed=run.seed,
                setting=setting,
                rules=there.rules if there else self._rules_at_planning(run.run_id),
                twin_digest=there.twin_digest if there else run.twin_digest,
            )
        write_atomically(self.path / PLAN.file, self.plan_csv(sorted(rows.values(), key=sort_key)))
        resum(self, PLAN.file)  # what is there stays whole while the new runs are done

    def _rules_at_planning(self, run_id: str) -> int:
        """The rules that stand now; of a run that has begun without being in the plan nobody knows which stood then."""
        return UNRECORDED if self.run(run_id).config.exists() else VERSION

    def plan_csv(self, rows: Sequence[PlanRow]) -> bytes:
        """With a column that is later than the file only if some row needs it: studies from before keep their bytes."""
        path = self.path / PLAN.file
        there = columns_in(path, PLAN) if path.exists() else [name for name in PLAN.columns if name != "setting"]
        needed = {name for name in PLAN.later for row in rows if getattr(row, name) != getattr(PlanRow, name)}
        return to_csv(PLAN, rows, [name for name in PLAN.columns if name in {*there, *needed}]).encode()

    def _another(self, run: RunConfig, other: str, setting: str) -> UsageError:
        """What to say of a run whose place in the study another one has."""
        with_setting = f" with {setting}" if setting else ""
        where = f"{self.path}: {run.arch}-{run.depth} seed {run.seed}{with_setting} stands there"
        config = self.run(other).config
        there = self.run(other).read_identity().config if config.exists() else run
        if replace(there, builder_digest=run.builder_digest) == run != there:
            return UsageError(
                f"{where} with another source of {run.builder} ({other}): the module has changed since (SHA-256 "
                f"{there.builder_digest[:12]}..., now {run.builder_digest[:12]}...); restore it, or begin a study of "
                "another name"
            )
        return UsageError(
            f"{where} with another configuration ({other}); a study never mixes them: use another results folder "
            "(--results)"
        )


def sort_key(row: PlanRow | RunRow) -> tuple[str, str, int, int, str]:
    """The order of runs in every CSV file: arm, depth, seed."""
    return row.arch, row.shortcut, row.depth, row.seed, row.run_id


def resum(study: StudyFolder, name: str) -> None:
    """Bring the line of one of the study's own files in SHA256SUMS up to date, if there are digests yet."""
    path, ending = study.path / SUMS, f"  {name}".encode()
    if path.exists():
        line = sha256_of(study.path / name, MAX_BYTES).encode() + ending
        lines = read_regular(path, MAX_BYTES, follow=False).removesuffix(b"\n").split(b"\n")
        others = [old for old in lines if not old.endswith(ending)]
        ordered = sorted([*others, line], key=lambda line: os.fsdecode(line[66:]).split("/"))  # a digest, two spaces
        write_atomically(path, b"".join(line + b"\n" for line in ordered))


def result_json(folder: RunFolder, row: RunRow) -> bytes:
    """The content of result.json: the run's row, the SHA-256 of its other files, and one over both."""
    tables = [path for path in map(folder.table, COLLECTED) if path.exists()]
    files = {path.name: sha256_of(path, MAX_BYTES) for path in (folder.config, folder.environment, *tables)}
    return to_json({"row": asdict(row), "files": files, "digest": result_digest(asdict(row), files)})
