"""What would make a sweep pointless, found before it begins."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from resnet_bench.complexity import complexity
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import Execution
from resnet_bench.files import check_own_folder
from resnet_bench.study.collecting import check_nothing_lost
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.lock import Taken, check_lockable
from resnet_bench.study.plan import Plan
from resnet_bench.text import counted

BYTES_PER_RUN = 200_000  # rows, configuration and result, generously


def check_writable(study: StudyFolder) -> None:
    """Find out whether the study's folder can be made, written and locked; leaves nothing behind.

    Raises:
        UsageError: it cannot, or a link stands where a sweep would write.
    """
    place = study.path.absolute()
    # Nothing is made that another process, starting at the same moment, could find half removed.
    there = next(path for path in (place, *place.parents) if path.exists())
    runs = [place / "runs"] if (place / "runs").exists() else []
    try:
        for path in (there, *runs):
            with tempfile.NamedTemporaryFile(prefix=".probe.", dir=path) as probe:
                check_lockable(Path(probe.name), probe.fileno(), study.path)
    except OSError as error:
        raise UsageError(f"{study.path} cannot be written: {error.strerror}; set --results") from None
    if there == place:
        with contextlib.suppress(Taken), study.lock(timeout=0):
            pass
    for name in ("figures", "tables"):
        check_own_folder(study.path / name)


def check_comparable(study: StudyFolder, plan: Plan, dataset: Dataset, execution: Execution) -> None:
    """Raise UsageError if the folder's finished runs cannot be compared with those to come."""
    now = {
        "dataset_digest": dataset.digest,
        "protocol": plan.runs[0].protocol,
        "family": plan.runs[0].family,
        "precision": execution.precision,
        "compile": execution.mode,
    }
    for row in plan.done.values():
        for name, value in now.items():
            if getattr(row, name) != value:
                there = f"{study.path}: run {row.run_id} has {name} {getattr(row, name)}"
                raise UsageError(f"{there}, this sweep has {value}; a study never mixes them: use another --results")


def check_enough_images(plan: Plan, dataset: Dataset) -> None:
    """Raise UsageError if a batch is larger than the training set: it would hold the same image several times."""
    images, largest = len(dataset.train_labels), max((run.batch_size for run in plan.todo), default=0)
    if images < largest:
        raise UsageError(
            f"{dataset.name}: {images} training images, fewer than the {largest} of a batch, which are part of the "
            f"study's protocol; give --data with at least {largest}, or use resnet-bench finetune, whose batches fit"
        )


def check_space(study: StudyFolder, plan: Plan) -> None:
    """Raise Failure if the disk has no room for what the sweep will write."""
    largest = max((complexity(run.network).params for run in plan.todo), default=0)
    # Weights and at most two values more for each in fp32, in two generations and one being written; the finished runs
    # keep one each.
    need = 12 * largest * (2 + len(plan.todo)) + BYTES_PER_RUN * len(plan.todo)
    free = shutil.disk_usage(study.path).free
    if free < need:
        raise Failure(
            f"{study.path}: {free / 1e6:,.1f} MB are free, about {need / 1e6:,.1f} MB are needed for "
            f"{counted(len(plan.todo), 'run')}; make room, or choose another disk (--results)"
        )


def check(study: StudyFolder, plan: Plan, dataset: Dataset, execution: Execution) -> None:
    """Raise UsageError or Failure for what would make a sweep pointless; makes the folder if it is not there."""
    check_enough_images(plan, dataset)
    try:
        (study.path / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{study.path} cannot be made: {error.strerror}; set --results") from None
    for run in plan.todo:
        check_own_folder(study.run(run.run_id).path)
    check_comparable(study, plan, dataset, execution)
    check_nothing_lost(study)
    check_space(study, plan)
