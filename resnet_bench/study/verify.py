"""Is a study what was measured: every file against its digest, the schema, and the runs it was collected from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from resnet_bench.errors import UsageError
from resnet_bench.results import CURVES, PLAN, RUNS, SPLIT, Table, read_csv, to_csv
from resnet_bench.sealed import Damaged, unseal
from resnet_bench.study.folder import COLLECTED, SUMS, StudyFolder, collected, sums_of
from resnet_bench.training.checkpoint import KIND, NEWEST, PREVIOUS


def verify(study: StudyFolder) -> list[str]:
    """One line per fault: what is missing, doubled, altered or unknown, and where. Empty if all is well."""
    checks: list[Callable[[StudyFolder], Iterator[str]]] = [_sums, _runs, _tables, _derived, _checkpoints]
    return list(dict.fromkeys(fault for check in checks for fault in check(study)))


def _sums(study: StudyFolder) -> Iterator[str]:
    path = study.path / SUMS
    if not path.exists():
        yield f"{path}: missing; a sweep or a report writes it"
        return
    listed: dict[str, str] = {}
    for number, line in enumerate(path.read_text(errors="replace").split("\n")[:-1], start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
        if match is None or match[2] in listed:
            yield f"{path}: row {number}: {'doubled' if match else 'not a digest and a name'}"
        else:
            listed[match[2]] = match[1]
    found = sums_of(study)
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            yield f"{study.path / name}: missing, but {SUMS} names it"
        elif name not in listed:
            yield f"{study.path / name}: not in {SUMS}; the sweep or a report adds what was finished since"
        elif listed[name] != found[name]:
            yield f"{study.path / name}: altered (SHA-256 differs from {SUMS})"


def _runs(study: StudyFolder) -> Iterator[str]:
    for folder in study.run_folders():
        try:
            folder.read_result()
            for table in COLLECTED:
                folder.read_table(table)
        except UsageError as error:
            yield str(error)


def _tables(study: StudyFolder) -> Iterator[str]:
    optional = [table for table in (SPLIT, *COLLECTED) if table is not CURVES and (study.path / table.file).exists()]
    for table in (PLAN, RUNS, CURVES, *optional):
        try:
            read_csv(study.path / table.file, table)
        except UsageError as error:
            yield str(error)


def _derived(study: StudyFolder) -> Iterator[str]:
    """Compare runs.csv, curves.csv and the like, row by row, with what the runs' folders give."""
    try:
        tables = collected(study)
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


def _checkpoints(study: StudyFolder) -> Iterator[str]:
    for folder in study.run_folders():
        for name in (NEWEST, PREVIOUS):
            path = folder.path / name
            try:
                if path.exists():
                    unseal(KIND, path.read_bytes())
            except Damaged as error:
                yield f"{path}: damaged ({error})"
