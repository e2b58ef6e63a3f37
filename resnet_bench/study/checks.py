"""What would make a sweep pointless, found before it begins."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.prepare import check_preparable, prepare
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import Execution
from resnet_bench.files import check_own_folder
from resnet_bench.networks import OWN
from resnet_bench.study.collecting import check_nothing_lost
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.lock import Taken, check_lockable
from resnet_bench.study.plan import DataShape, Plan, network_size
from resnet_bench.text import counted

if TYPE_CHECKING:
    from resnet_bench.data.dataset import Dataset

BYTES_PER_RUN = 200_000  # rows, configuration and result, generously


class Incomplete(Failure):
    """Some runs failed, or their cost could not be measured; what was done is finished and collected in `folder`."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


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
    """Raise UsageError if the folder's finished runs cannot be compared with those to come of the same setting."""
    alike = {"precision": execution.precision, "compile": execution.mode}
    settings = {row.run_id: row.setting for row in study.read_plan()} | {**plan.settings}
    firsts: dict[str, RunConfig] = {}
    for run in sorted(plan.runs, key=lambda run: run.family == OWN):
        firsts.setdefault(settings.get(run.run_id, ""), run)
    now = {
        setting: {**_terms(firsts[setting], dataset), **alike}
        for setting in {settings.get(run_id, "") for run_id in plan.done} & firsts.keys()
    }
    for row in plan.done.values():
        terms = now.get(settings.get(row.run_id, ""), alike)
        if row.family == OWN:  # networks of one's own stand beside those of any family
            terms = {name: value for name, value in terms.items() if name != "family"}
        for name, value in terms.items():
            if getattr(row, name) != value:
                there = f"{study.path}: run {row.run_id} has {name} {getattr(row, name)}"
                raise UsageError(f"{there}, this sweep has {value}; a study never mixes them: use another --results")


def _terms(run: RunConfig, dataset: Dataset) -> dict[str, str]:
    """What all runs of a setting have in common."""
    digest = prepare(dataset, run.image_side, run.images_per_class).digest
    terms = {"dataset_digest": digest, "protocol": run.protocol, "family": run.family}
    return {name: value for name, value in terms.items() if value != OWN}


def check_images(plan: Plan, dataset: Dataset) -> None:
    """Raise UsageError if a run cannot be made with these images.

    A batch that is larger than the training set would hold the same image several times.
    """
    for image_side, images_per_class in dict.fromkeys((run.image_side, run.images_per_class) for run in plan.todo):
        check_preparable(dataset, image_side, images_per_class)
    whole = DataShape.of_data(dataset)
    for run in plan.todo:
        shape, batch = whole.of_run(run), run.batch_size
        run.check_crop(min(shape.image_shape[1:]))
        if shape.num_train < batch:
            mend = f"give --data with at least {batch}, or a study of your own with a smaller batch_size"
            if run.images_per_class is not None:
                mend = "take more images_per_class, or a smaller batch_size"
            raise UsageError(
                f"{dataset.name}: {shape.num_train} training images, fewer than the {batch} of a batch, which are part "
                f"of the study's protocol; {mend}"
            )


def check_space(study: StudyFolder, plan: Plan) -> None:
    """Raise Failure if the disk has no room for what the sweep will write."""
    largest = max((network_size(run, plan.shape).params for run in plan.todo), default=0)
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
    check_images(plan, dataset)
    try:
        (study.path / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{study.path} cannot be made: {error.strerror}; set --results") from None
    for run in plan.todo:
        check_own_folder(study.run(run.run_id).path)
    check_comparable(study, plan, dataset, execution)
    check_nothing_lost(study)
    check_space(study, plan)
