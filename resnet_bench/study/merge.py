"""Join runs of one study from several machines: each verified, copied whole, nothing overwritten. Needs no torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from resnet_bench.busy import busy
from resnet_bench.config.differences import differences
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import cannot_write, fsync_folder, make_own_folder, sha256_of, write_atomically, write_json
from resnet_bench.results.rows import PlanRow, RunRow
from resnet_bench.results.tables import MAX_BYTES, PLAN, SPLIT
from resnet_bench.study.checks import check_writable
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import EXECUTION, RunFolder, StudyFolder, sort_key
from resnet_bench.study.kept import STUDY, read_kept
from resnet_bench.study.lock import Taken
from resnet_bench.study.verify import verify
from resnet_bench.text import counted, listing

TEMPORARY = ".merge"  # in the folder of runs: copies that are not whole yet
MAX_CHECKPOINT_BYTES = 1 << 40
# What two machines may tell otherwise of one and the same run.
CIRCUMSTANCES = {
    "study", "weights_origin", "checkpoint_digest", "train_seconds", "eval_seconds", "img_per_sec", "exclusive",
    "device", "threads", "torch_version", "git_commit", "git_dirty", "started_utc", "attempts", "bit_exact",
    "schema_version",
}  # fmt: skip
RULES = ("protocol", "precision", "compile")  # of a run, that a study never mixes
RULES_OF_SETTING = ("family", "dataset_digest")  # nor within what varies: images of another size are others


@dataclass(frozen=True)
class Merged:
    """What was done.

    Attributes:
        copied: ids of the runs that are new.
        already: how many were there, with the same results.
        unfinished: how many of the others' planned runs are finished nowhere.
    """

    copied: list[str]
    already: int
    unfinished: int


def merge(into: StudyFolder, others: Sequence[StudyFolder]) -> Merged:
    """Copy each finished run that `into` lacks from the others, which stay as they are; join plans; collect.

    Broken off at any moment, it goes on when it is called again. What is of no run (cost, surgery) is not joined.

    Args:
        into: the study's folder, which is made if it is not there.
        others: folders of the same study.

    Raises:
        UsageError: not one study, two results of one run, or a run that another process works on; nothing was copied.
        Failure: a folder does not hold what was written, or `into` cannot be written.
    """
    _check_places(into, others)
    check_writable(into)
    if into.path.exists():
        _mend(into)
        _check_whole(into)
    for other in others:
        _check_whole(other)
    try:
        (into.path / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(into.path, error, 0) from None
    with into.lock():
        there = into.results()
        found = _compared(into, there, others)
        plan = _joined_plans(into, others)
        _check_one_study(into, others)
        new = {run_id: other for run_id, other in found.items() if run_id not in there}
        _check_free(into, new)
        _settle(into, others)
        with _temporary(into) as temporary:
            for run_id, other in sorted(new.items()):
                _copy(other.run(run_id), into.run(run_id), temporary)
            write_atomically(into.path / PLAN.file, into.plan_csv(plan))
            collect(into)
    return Merged(sorted(new), len(found) - len(new), len({row.run_id for row in plan} - there.keys() - new.keys()))


# ---------------------------------------------------------------------------------------------- what is refused


def _check_places(into: StudyFolder, others: Sequence[StudyFolder]) -> None:
    for other in others:
        if not (other.path / "runs").is_dir():
            raise UsageError(f"{other.path}: no folder of a study (it has no runs/)")
        if into.path.resolve() == other.path.resolve():
            raise UsageError(f"{other.path}: cannot be merged into itself")


def _check_whole(study: StudyFolder) -> None:
    faults = verify(study)
    if faults:
        raise Failure(listing(f"{study.path} is not what was written, so nothing was copied:", faults))


@busy("comparing runs")
def _compared(into: StudyFolder, there: dict[str, RunRow], others: Sequence[StudyFolder]) -> dict[str, StudyFolder]:
    """Where each finished run of the others is; UsageError where two results of one run, or two runs, do not agree."""
    settings = {row.run_id: row.setting for study in (into, *others) for row in study.read_plan()}
    rows: dict[str, tuple[StudyFolder, RunRow]] = {}
    firsts: dict[str, tuple[StudyFolder, RunRow]] = {}  # by setting
    found: dict[str, StudyFolder] = {}
    for study, finished in ((into, there), *((other, other.results()) for other in others)):
        for run_id, row in finished.items():
            _check_same_result(rows.setdefault(run_id, (study, row)), study, row)
            _check_alike(next(iter(rows.values())), study, row, RULES)
            first = firsts.setdefault(settings.get(run_id, ""), (study, row))
            _check_alike(first, study, row, RULES_OF_SETTING)
            if study is not into:
                found.setdefault(run_id, study)
    return found


def _check_same_result(known: tuple[StudyFolder, RunRow], other: StudyFolder, row: RunRow) -> None:
    study, mine = known
    for name in (field.name for field in fields(RunRow) if field.name not in CIRCUMSTANCES):
        if getattr(mine, name) != getattr(row, name):
            raise UsageError(
                f"run {row.run_id} is finished in {study.path} and in {other.path}, with different results: {name} "
                f"{getattr(mine, name)} and {getattr(row, name)}; move one of them away. Nothing was copied"
            )


def _check_alike(known: tuple[StudyFolder, RunRow], other: StudyFolder, row: RunRow, names: Sequence[str]) -> None:
    study, mine = known
    for name in names:
        if getattr(mine, name) != getattr(row, name):
            raise UsageError(
                f"{other.path}: run {row.run_id} has {name} {getattr(row, name)}, run {mine.run_id} of {study.path} "
                f"has {getattr(mine, name)}; a study never mixes them. Nothing was copied"
            )


def _joined_plans(into: StudyFolder, others: Sequence[StudyFolder]) -> list[PlanRow]:
    rows: dict[str, PlanRow] = {}
    cells: dict[tuple[object, ...], str] = {}
    for study in (into, *others):
        for row in study.read_plan():
            cell = (row.family, row.arch, row.shortcut, row.depth, row.seed, row.setting)
            if cells.setdefault(cell, row.run_id) != row.run_id:
                raise UsageError(
                    f"{study.path}: {row.arch}-{row.depth} seed {row.seed} is planned with another configuration "
                    f"({row.run_id} instead of {cells[cell]}). Nothing was copied"
                )
            known = rows.setdefault(row.run_id, row)
            # The earliest plan counts: later rules were not there before the run was asked for.
            rows[row.run_id] = replace(known, rules=min(known.rules, row.rules))
    return sorted(rows.values(), key=sort_key)


def _check_one_study(into: StudyFolder, others: Sequence[StudyFolder]) -> None:
    """Their settled execution, kept study file and split of images are the same, as far as they have any."""
    studies = [study for study in (into, *others) if study.path.exists()]
    settled = [(study, execution) for study in studies if (execution := study.read_execution()) is not None]
    for study, execution in settled[1:]:
        first, expected = settled[0]
        if not expected.agrees(execution):
            raise UsageError(
                f"{study.path}: the study is made in {execution}, in {first.path} in {expected}. Nothing was copied"
            )
    splits = [path for study in studies if (path := study.path / SPLIT.file).exists()]
    for path in splits[1:]:
        if sha256_of(path, MAX_BYTES) != sha256_of(splits[0], MAX_BYTES):
            raise UsageError(f"{path}: is another than {splits[0]}. Nothing was copied")
    _widest(studies)


def _widest(studies: Sequence[StudyFolder]) -> StudyFolder | None:
    """The one whose study file has all that the others' have; None if none of them has a file. UsageError if none."""
    kept = [(study, file) for study in studies if (file := read_kept(study)) is not None]
    if not kept:
        return None
    widest, most = kept[0]
    for study, file in kept[1:]:
        if not differences(file, most):
            widest, most = study, file
        elif found := differences(most, file):
            raise UsageError(
                f"{study.path / STUDY}: another study than {widest.path / STUDY}, where {'; '.join(found[:3])}. "
                "Nothing was copied; one of the files must hold all that the other has (share out seeds by --seeds)"
            )
    return widest


def _check_free(into: StudyFolder, run_ids: Sequence[str] | dict[str, StudyFolder]) -> None:
    busy_ones = [run_id for run_id in run_ids if into.run(run_id).is_locked()]
    if busy_ones:
        raise UsageError(
            f"{into.path}: {counted(len(busy_ones), 'run')} in work there ({busy_ones[0]}); call again when that has "
            "ended. Nothing was copied"
        )


# ---------------------------------------------------------------------------------------------- what is written


def _settle(into: StudyFolder, others: Sequence[StudyFolder]) -> None:
    """Give a new folder what belongs to no single run."""
    for other in others:
        execution = other.read_execution()
        if execution and not (into.path / EXECUTION).exists():
            write_json(into.path / EXECUTION, asdict(execution))
        if (other.path / SPLIT.file).exists() and not (into.path / SPLIT.file).exists():
            _copy_file(other.path / SPLIT.file, into.path / SPLIT.file)
    widest = _widest([into, *others])
    if widest is not None and widest is not into:
        _copy_file(widest.path / STUDY, into.path / STUDY)


@contextlib.contextmanager
def _temporary(into: StudyFolder) -> Iterator[Path]:
    """The folder of copies; it is there while runs or tables may not be as they are to be."""
    place = into.path / "runs" / TEMPORARY
    make_own_folder(place)
    yield place
    shutil.rmtree(place)


def _mend(into: StudyFolder) -> None:
    """Collect, if a merge was broken off: perhaps some tables were written and others not."""
    place = into.path / "runs" / TEMPORARY
    if place.is_dir():
        with into.lock():
            for begun in place.glob("*.begun"):  # taken away for a copy that was never put there
                if not (target := into.run(begun.stem).path).exists():
                    begun.rename(target)
            shutil.rmtree(place, ignore_errors=True)
            collect(into)


def _copy(source: RunFolder, target: RunFolder, temporary: Path) -> None:
    """Put a finished run in its place, whole; what was begun of it there makes way."""
    copy = temporary / source.path.name
    make_own_folder(target.path)
    try:
        with target.lock(timeout=0):
            copy.mkdir()
            for path in sorted(source.path.iterdir()):
                if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                    _copy_file(path, copy / path.name)
            target.path.rename(temporary / f"{source.path.name}.begun")
            copy.rename(target.path)
            fsync_folder(target.path.parent)
    except Taken:
        raise Failure(f"{target.path}: another process began to work on it; call again when that has ended") from None
    except OSError as error:
        raise cannot_write(target.path, error, 0) from None


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file, so that it lasts, and check it."""
    part = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copyfile(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if sha256_of(part, MAX_CHECKPOINT_BYTES) != sha256_of(source, MAX_CHECKPOINT_BYTES):
            raise Failure(f"{source}: changed while it was copied, or the copy is damaged; call again")
        part.rename(target)
    except OSError as error:
        raise cannot_write(target, error, source.stat().st_size) from None
