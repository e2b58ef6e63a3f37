"""What every executor does around the runs of a sweep: settle the mode, write the plan, collect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from resnet_bench.busy import busy
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import UsageError
from resnet_bench.results.rows import RunRow, SplitRow
from resnet_bench.results.tables import SPLIT, read_csv, write_csv
from resnet_bench.study.checks import check
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.mode import choose_execution
from resnet_bench.study.plan import Plan
from resnet_bench.study.rate import probed_rate
from resnet_bench.study.session import Session


@dataclass(frozen=True)
class Outcome:
    """What a sweep did."""

    rows: list[RunRow]  # all finished runs of the folder
    failed: list[str]  # one line per run that failed in this sweep


def prepare(session: Session, plan: Plan, mode: str, say: Callable[[str], None]) -> Session:
    """Check what would stop the sweep, and settle the mode of the study; gives the session to sweep with.

    Raises:
        UsageError: the folder holds runs that these cannot be compared with.
        Failure: too little room, or the study's mode cannot be built here.
    """
    check(session.study, plan, session.dataset, session.execution)
    return choose_execution(session, plan, mode, lambda: plan.train_seconds(probed_rate(session, plan)), say)


@busy("waiting until no other process writes here")
def open_plan(study: StudyFolder, plan: Plan, dataset: Dataset) -> None:
    """Write down what the study consists of, and how its images were split.

    Raises:
        UsageError: the study holds other configurations of these runs, or other images.
    """
    with study.lock():
        study.add_to_plan(plan.runs, plan.settings)
        if not dataset.split:
            return
        rows = [SplitRow(image=image, class_name=name, split=split) for image, name, split in dataset.split]
        path = study.path / SPLIT.file
        if path.exists() and read_csv(path, SPLIT) != rows:
            raise UsageError(f"{path}: the study was begun with other images of {dataset.name}; use another --results")
        write_csv(path, SPLIT, rows)


@busy("waiting until no other process writes here")
def collect_now(study: StudyFolder) -> list[RunRow]:
    """Collect what is finished; its rows."""
    with study.lock():
        return collect(study)


@contextlib.contextmanager
def collecting(study: StudyFolder) -> Iterator[None]:
    """Collect what is finished also when the sweep is broken off; the reason for that is what is told."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception), study.lock(timeout=3):  # not longer: it was asked to stop
            collect(study)
        raise
