"""Is a study what was measured: every file against its digest, the schema, and the runs it was collected from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from resnet_bench.busy import busy
from resnet_bench.errors import UsageError
from resnet_bench.files import Damaged, check_own_folder, read_regular
from resnet_bench.results.tables import CURVES, MAX_BYTES, PLAN, RUNS, SPLIT, Table, columns_in, read_columns, to_lines
from resnet_bench.study.collecting import Collection
from resnet_bench.study.folder import MEND_LINE_ENDS, RunFolder, StudyFolder
from resnet_bench.study.kept import faults_of_file
from resnet_bench.study.records import COLLECTED, CRLF, SUMS, differs_in_line_ends
from resnet_bench.study.sums import sums_of
from resnet_bench.text import counted, one_line
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
        """The study at this instant; runs that are in work now are left out, whatever becomes of them."""
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
    found = Collection(lambda table: columns_in(study.path / table.file, table))
    in_runs = list(_runs(study, found))
    faults += [*in_runs, *_tables(study)]
    if not in_runs:
        faults += _derived(study, found)
    faults += [*_checkpoints(study), *_links(study), *faults_of_file(study)]
    return list(dict.fromkeys(faults))


def _sums(study: Snapshot) -> Iterator[str]:
    path = study.path / SUMS
    try:
        content = os.fsdecode(read_regular(path, MAX_BYTES, follow=False))  # the name of a file may be any bytes
    except FileNotFoundError:
        if not study.begun:
            yield f"{path}: missing; a sweep or a report writes it"
        return
    except OSError as error:
        yield f"{path}: {error.strerror}; remove it, and a sweep or a report writes it"
        return
    listed: dict[str, str] = {}
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n")[:-1], start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or match[2] in listed:
            yield f"{path}: row {number}: {'doubled' if match else 'not a digest and a name'}"
        else:
            listed[match[2]] = match[1]
    yield from _against_sums(study, listed)


def _against_sums(study: Snapshot, listed: dict[str, str]) -> Iterator[str]:
    """Compare the files that are there with the digests that are listed, by name."""
    found, converted = sums_of(study), 0
    for name in sorted(listed.keys() ^ found.keys()):
        if not study.is_late(name):
            fault = (
                f"not in {SUMS}; remove it if it is not the study's, else a report adds it"
                if name in found
                else f"missing (or no plain file), but {SUMS} names it"
            )
            yield f"{study.path}/{one_line(name)}: {fault}"
    for name in sorted(listed.keys() & found.keys()):
        if listed[name] == found[name]:
            continue
        if differs_in_line_ends(study.path / name, listed[name]):
            converted += 1
        else:
            yield f"{study.path}/{one_line(name)}: altered (SHA-256 differs from {SUMS})"
    if converted:
        yield f"{study.path}: {counted(converted, 'file')} with {CRLF}; {MEND_LINE_ENDS}"


def _runs(study: Snapshot, found: Collection) -> Iterator[str]:
    """Read what the runs' folders hold, once, and collect what is to be in the tables."""
    for folder in study.run_folders():
        try:
            row, tables = folder.read_result(), folder.read_columns()
        except UsageError as error:
            yield str(error)
            continue
        if row is not None and folder.path.name not in study.late:
            found.add(row, tables)


def _tables(study: Snapshot) -> Iterator[str]:
    if study.begun:
        return
    optional = [table for table in (SPLIT, *COLLECTED) if table is not CURVES and (study.path / table.file).exists()]
    for table in (PLAN, RUNS, CURVES, *optional):
        try:
            read_columns(study.path / table.file, table)
        except UsageError as error:
            yield str(error)


def _derived(study: StudyFolder, collected: Collection) -> Iterator[str]:
    """Compare runs.csv, curves.csv and the like, row by row, with what the runs' folders give."""
    for table, text in collected.texts().items():
        path = study.path / table.file
        try:
            content = read_regular(path, MAX_BYTES, follow=False).decode(errors="replace")
        except OSError:
            continue  # reported by _tables
        if content != text and _written_now(study, table) != text:
            differences = _differences(text.split("\n"), content.split("\n"))
            yield from (f"{path}: row {number}: {what}" for number, what in differences)


def _written_now(study: StudyFolder, table: Table) -> str:
    """The table as it would be written today: older files hold texts that a spreadsheet would run as they are."""
    try:
        columns = read_columns(study.path / table.file, table)
    except UsageError:
        return ""  # reported by _tables
    header = columns_in(study.path / table.file, table)
    return ",".join(header) + "\n" + to_lines({name: columns[name] for name in header})


def _differences(expected: list[str], found: list[str]) -> Iterator[tuple[int, str]]:
    """(row, what) for rows that are altered, unknown or doubled; missing ones are named at the end."""
    left = set(expected)
    seen: set[str] = set()
    for number, line in enumerate(found, start=1):
        if line in seen:
            yield number, "doubled"
        elif line not in left:
            yield number, f"not what the run's folder holds ({one_line(line[:40])}...)"
        seen.add(line)
    for line in expected:
        if line not in seen:
            yield len(found), f"the row {one_line(line[:40])}... is missing before the end"
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
