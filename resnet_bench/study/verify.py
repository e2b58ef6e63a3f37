"""Is a study what was measured: every file against its digest, the schema, and the runs it was collected from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from resnet_bench.busy import busy
from resnet_bench.errors import UsageError
from resnet_bench.files import check_own_folder
from resnet_bench.results import CURVES, PLAN, RUNS, SPLIT, Table, read_csv, to_csv
from resnet_bench.sealed import Damaged
from resnet_bench.study.folder import (
    COLLECTED,
    CRLF,
    MEND_LINE_ENDS,
    SUMS,
    RunFolder,
    StudyFolder,
    collected,
    differs_in_line_ends,
    sums_of,
)
from resnet_bench.training.generations import NEWEST, PREVIOUS, exchanged, read_sealed

UNDISTURBED_SECONDS = 60.0  # to wait for a process that writes the study's own files
TRIES = 3


@dataclass(frozen=True)
class Snapshot(StudyFolder):
    """A study while others may be at work in it: its runs are those that nobody works on.

    Attributes:
        quiet: these runs.
        late: names of those that are finished but not in the tables yet.
        begun: nothing was collected yet, so the tables are not missed.
    """

    quiet: tuple[RunFolder, ...]
    late: frozenset[str]
    begun: bool

    @classmethod
    def of(cls, study: StudyFolder) -> Snapshot:
        """As it is now."""
        busy = study.in_work()
        quiet = tuple(folder for folder in study.run_folders() if folder not in busy)
        try:
            late = frozenset(folder.path.name for folder in study.uncollected())
        except UsageError:  # reported by _tables
            late = frozenset()
        tables = any((study.path / name).exists() for name in (SUMS, RUNS.file, CURVES.file))
        return cls(study.path, quiet, late, begun=not tables and (study.path / "runs").is_dir())

    def run_folders(self) -> list[RunFolder]:
        """The runs that nobody works on."""
        return list(self.quiet)

    def collected(self) -> Snapshot:
        """Without the runs that are not in the tables yet."""
        quiet = tuple(folder for folder in self.quiet if folder.path.name not in self.late)
        return Snapshot(self.path, quiet, frozenset(), self.begun)

    def is_late(self, name: str) -> bool:
        """Is a file, by its path in the study, of a run that is not in the tables yet, or that is worked on."""
        place, _, rest = name.partition("/")
        run = rest.partition("/")[0]
        return place == "runs" and (run in self.late or self.run(run).is_locked())


@busy("checking files against their digests")
def verify(study: StudyFolder) -> list[str]:
    """One line per fault: what is missing, doubled, altered or unknown, and where. Empty if all is well.

    Runs that some process works on are passed over; finished ones that are not in the tables yet are no fault.
    """
    if not _faults(Snapshot.of(study)):
        return []
    faults: list[str] = []
    with study.undisturbed(UNDISTURBED_SECONDS):  # perhaps some files were just being replaced
        for _ in range(TRIES):
            snapshot = Snapshot.of(study)
            faults = _faults(snapshot)
            if not faults or snapshot == Snapshot.of(study):  # no run was begun meanwhile
                break
    return faults


def _faults(study: Snapshot) -> list[str]:
    faults = list(_sums(study))
    if any(CRLF in fault for fault in faults):
        return faults  # all else would follow from that
    checks: list[Callable[[Snapshot], Iterator[str]]] = [_runs, _tables, _derived, _checkpoints, _links]
    return list(dict.fromkeys([*faults, *(fault for check in checks for fault in check(study))]))


def _sums(study: Snapshot) -> Iterator[str]:
    path = study.path / SUMS
    if not path.exists():
        if not study.begun:
            yield f"{path}: missing; a sweep or a report writes it"
        return
    listed: dict[str, str] = {}
    for number, line in enumerate(path.read_text(errors="replace").split("\n")[:-1], start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or match[2] in listed:
            yield f"{path}: row {number}: {'doubled' if match else 'not a digest and a name'}"
        else:
            listed[match[2]] = match[1]
    found, converted = sums_of(study), 0
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            if not study.is_late(name):
                yield f"{study.path / name}: missing, but {SUMS} names it"
        elif name not in listed:
            if not study.is_late(name):
                yield f"{study.path / name}: not in {SUMS}; remove it if it is not the study's, else a report adds it"
        elif listed[name] != found[name] and differs_in_line_ends(study.path / name, listed[name]):
            converted += 1
        elif listed[name] != found[name]:
            yield f"{study.path / name}: altered (SHA-256 differs from {SUMS})"
    if converted:
        files = "1 file has" if converted == 1 else f"{converted} files have"
        yield f"{study.path}: {files} {CRLF}; {MEND_LINE_ENDS}"


def _runs(study: Snapshot) -> Iterator[str]:
    for folder in study.run_folders():
        try:
            folder.read_result()
            for table in COLLECTED:
                folder.read_table(table)
        except UsageError as error:
            yield str(error)


def _tables(study: Snapshot) -> Iterator[str]:
    if study.begun:
        return
    optional = [table for table in (SPLIT, *COLLECTED) if table is not CURVES and (study.path / table.file).exists()]
    for table in (PLAN, RUNS, CURVES, *optional):
        try:
            read_csv(study.path / table.file, table)
        except UsageError as error:
            yield str(error)


def _derived(study: Snapshot) -> Iterator[str]:
    """Compare runs.csv, curves.csv and the like, row by row, with what the runs' folders give."""
    try:
        tables = collected(study.collected())
    except UsageError:
        return  # reported by _runs
    for table, rows in tables.items():
        path = study.path / table.file
        if not path.exists():
            continue  # reported by _tables
        found = path.read_bytes().decode(errors="replace").split("\n")
        expected = to_csv(table, rows, _columns(table, found[0])).split("\n")
        yield from (f"{path}: row {number}: {what}" for number, what in _differences(expected, found))


def _columns(table: Table, header: str) -> list[str]:
    """Those of the table, without later ones that the file, made before there were any, lacks."""
    there = header.split(",")
    return [name for name in table.columns if name in there or name not in table.later]


def _differences(expected: list[str], found: list[str]) -> Iterator[tuple[int, str]]:
    """(row, what) for rows that are altered, unknown or doubled; missing ones are named at the end."""
    left = set(expected)
    seen: set[str] = set()
    for number, line in enumerate(found, start=1):
        if line in seen:
            yield number, "doubled"
        elif line not in left:
            yield number, f"not what the run's folder holds ({line[:40]}...)"
        seen.add(line)
    for line in expected:
        if line not in seen:
            yield len(found), f"the row {line[:40]}... is missing before the end"
    if not left ^ seen and expected != found and len(expected) == len(found):
        yield 1, "the rows are in another order"


def _checkpoints(study: Snapshot) -> Iterator[str]:
    """Each is whole, and that of a finished run the one that its result names; where there is none, none is missed."""
    for folder in study.run_folders():
        for name, recorded in ((NEWEST, _recorded(folder)), (PREVIOUS, "")):
            path = folder.path / name
            try:
                found = read_sealed(path).digest
            except FileNotFoundError:
                continue
            except Damaged as error:
                yield f"{path}: damaged ({error})"
            except UsageError as error:
                yield str(error)
            else:
                if recorded not in ("", found):
                    yield f"{path}: {exchanged(found, recorded)}"


def _recorded(folder: RunFolder) -> str:
    """The digest of the last checkpoint, if the run is finished and its result holds one."""
    try:
        row = folder.read_result(check_files=False)
    except UsageError:  # reported by _runs
        return ""
    return row.checkpoint_digest if row else ""


def _links(study: Snapshot) -> Iterator[str]:
    places = [study.path / "figures", study.path / "tables", *(folder.path for folder in study.run_folders())]
    for place in places:
        try:
            check_own_folder(place)
        except UsageError as error:
            yield str(error)
