"""The study's own file beside its results: written once, what may change in it later, and whether the runs agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from resnet_bench.busy import busy
from resnet_bench.config.differences import differences
from resnet_bench.config.run import RunConfig
from resnet_bench.config.study import Study
from resnet_bench.errors import UsageError
from resnet_bench.files import write_atomically
from resnet_bench.networks import NetworkName
from resnet_bench.study.folder import StudyFolder, resum
from resnet_bench.text import counted

STUDY = "study.toml"


@busy("waiting until no other process writes here")
def keep_study(folder: StudyFolder, study: Study) -> None:
    """Write the study's file into its folder, or find that the folder was begun as this study; takes the lock.

    Raises:
        UsageError: it was begun as another one; only seeds, depths, and values of what is varied may be added.
        Failure: the folder cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the results folder {folder.path} cannot be made: {error.strerror}; use --results") from None
    with folder.lock():
        kept = read_kept(folder)
        if kept is None:
            _check_runs(folder, study)
        elif folder.read_plan():
            _check_same(folder.path / STUDY, study, kept)
        if kept != study:
            write_atomically(folder.path / STUDY, study.file_text().encode())
            resum(folder, STUDY)


def read_kept(folder: StudyFolder) -> Study | None:
    """The study that the folder was begun as; None if it is from before studies were files.

    Raises:
        UsageError: study.toml cannot be read, or is none.
    """
    path = folder.path / STUDY
    return Study.load(path, follow=False) if os.path.lexists(path) else None


def _check_same(path: Path, study: Study, kept: Study) -> None:
    if found := differences(study, kept):
        more = f"; and {counted(len(found) - 3, 'difference')} more" if len(found) > 3 else ""
        raise UsageError(
            f"{path}: the folder holds another study, or one that was added to since: {'; '.join(found[:3])}{more}. "
            "Bring the file up to that, give it another name, or use another --results"
        )


def _check_runs(folder: StudyFolder, study: Study) -> None:
    """Raise UsageError for a run of the folder that is not by the rules of the study."""
    for run in _begun(folder):
        if problem := _against(study, run):
            raise UsageError(
                f"{folder.path}: holds runs of another study than {study.name}: {problem}. Give the file another name, "
                "or use another --results"
            )


def _begun(folder: StudyFolder) -> Iterator[RunConfig]:
    for run in folder.run_folders():
        if run.config.exists():
            yield run.read_identity().config


def _against(study: Study, run: RunConfig) -> str:
    """What a run is otherwise than the study says; empty if nothing."""
    alike = study.alike(run)
    if run in alike:
        return ""
    rule = vars(alike[0])
    name = next((name for name, value in vars(run).items() if name in rule and rule[name] != value), "protocol")
    return f"run {run.run_id} has {name} {getattr(run, name)}, the study {rule[name]}"


def faults_of_file(folder: StudyFolder) -> Iterator[str]:
    """What study.toml says otherwise than the runs and the plan; older folders have none, and so no such fault."""
    path = folder.path / STUDY
    try:
        kept = read_kept(folder)
        if kept is None:
            return
        begun = list(_begun(folder))
        plan = folder.read_plan()
    except UsageError as error:
        yield str(error)
        return
    yield from (f"{path}: {problem}" for run in begun if (problem := _against(kept, run)))
    arms = {(run.arch, run.shortcut): run for run in begun}
    known = {run.run_id for run in begun}
    for row in plan:
        like = arms.get((row.arch, row.shortcut))
        if like is None or row.run_id in known:
            continue
        network = NetworkName(row.family, row.arch, row.depth, row.shortcut)
        if row.run_id not in [run.run_id for run in kept.alike(like, network, row.seed)]:
            yield f"{path}: run {row.run_id} of plan.csv is not by its rules"
