"""The studies of a transfer folder side by side: transfer.csv, from their finished runs. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.config.run import TRANSFER_MODES, RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.results.rows import RunRow, TransferRow
from resnet_bench.results.tables import RUNS, TRANSFER, read_csv, write_csv
from resnet_bench.study.folder import StudyFolder

if TYPE_CHECKING:
    from resnet_bench.data.dataset import Dataset


def is_transfer_folder(folder: Path) -> bool:
    """Does it hold studies to be compared, and is no study itself."""
    return (folder / TRANSFER.file).exists() and not (folder / RUNS.file).exists()


def studies_of(folder: Path) -> list[StudyFolder]:
    """The studies in a transfer folder, in the order of modes and names."""
    paths = sorted(path for path in folder.iterdir() if (path / "plan.csv").exists() and _mode_of_name(path.name))
    return [
        StudyFolder(path) for path in sorted(paths, key=lambda path: TRANSFER_MODES.index(_mode_of_name(path.name)))
    ]


def _mode_of_name(name: str) -> str:
    return next((mode for mode in TRANSFER_MODES if name.startswith(mode)), "")


def compared(folder: Path) -> list[TransferRow]:
    """The rows of transfer.csv, from the finished runs of the studies in the folder.

    Raises:
        UsageError: they cannot be compared.
    """
    rows = [_row(study, run) for study in studies_of(folder) for run in sorted_runs(study)]
    check_comparable(folder, [Basis.of_row(row) for row in rows])
    return rows


@dataclass(frozen=True)
class Basis:
    """What all modes share that are compared at one number of images.

    Attributes:
        level: which number: what the study's name says after the mode.
        dataset_digest: of the images.
        recipe: the protocol, without what a mode may have of its own: its learning rate and what is frozen.
        weights: digest of what they begin with; None: from scratch.
    """

    level: str
    dataset_digest: str
    recipe: str
    weights: str | None

    @classmethod
    def of_row(cls, row: TransferRow) -> Basis:
        """Of a finished run."""
        level = row.study.removeprefix(row.mode)
        return cls(level, row.dataset_digest, _common(row.protocol, row.mode), row.weights or None)

    @classmethod
    def of_run(cls, run: RunConfig, mode: str, level: str, dataset: Dataset) -> Basis:
        """Of a run to be made."""
        return cls(level, dataset.digest, _common(run.protocol, mode), run.weights or None)


def _common(protocol: str, mode: str) -> str:
    return re.sub(r"-freeze\d+|-lr[^/]*", "", protocol.removeprefix(f"{mode}-"))


def check_comparable(folder: Path, bases: Sequence[Basis]) -> None:
    """Raise UsageError, which names the difference, if runs at one number of images must not be compared."""
    for name, what in (("dataset_digest", "images"), ("recipe", "protocols"), ("weights", "weights to begin with")):
        seen: dict[str, str] = {}
        for one in bases:
            value = getattr(one, name)
            if value is not None and seen.setdefault(one.level, value) != value:
                raise UsageError(
                    f"{folder}: its runs{_of(one.level)} would be of different {what} ({seen[one.level][:16]}, "
                    f"{value[:16]}), which are not compared: use another --name"
                )


def _of(level: str) -> str:
    return f" of {level.removeprefix('-')}" if level else ""


def sorted_runs(study: StudyFolder) -> list[RunRow]:
    """The finished runs of a study, in the order of its tables."""
    rows = study.results().values()
    return sorted(rows, key=lambda row: (row.arch, row.shortcut, row.depth, row.protocol, row.seed))


def compare(folder: Path) -> None:
    """Write transfer.csv; the same studies give the same bytes."""
    write_csv(folder / TRANSFER.file, TRANSFER, compared(folder))


def faults_of(folder: Path) -> list[str]:
    """What transfer.csv says otherwise than the studies; empty if nothing."""
    path = folder / TRANSFER.file
    try:
        found = read_csv(path, TRANSFER)
        expected = compared(folder)
    except UsageError as error:
        return [str(error)]
    faults = [f"{path}: run {row.run_id} is not what its study holds" for row in found if row not in expected]
    return faults + [f"{path}: run {row.run_id} is missing" for row in expected if row not in found]


def _row(study: StudyFolder, run: RunRow) -> TransferRow:
    train, validation = run.train_images or 0, run.validation_images or 0
    return TransferRow(
        mode=_mode_of_name(study.path.name),
        images_per_class=(train + validation) / run.num_classes,
        family=run.family,
        arch=run.arch,
        depth=run.depth,
        shortcut=run.shortcut,
        protocol=run.protocol,
        seed=run.seed,
        study=study.path.name,
        run_id=run.run_id,
        dataset=run.dataset,
        dataset_digest=run.dataset_digest,
        weights=run.weights,
        weights_origin=run.weights_origin,
        frozen_parts=run.frozen_parts,
        train_images=train,
        validation_images=validation,
        test_images=run.final_test_images,
        selected_epoch=run.selected_step and run.selected_step * run.batch_size / train,
        val_top1_err=run.selected_validation_top1_err,
        test_top1_err=run.selected_test_top1_err,
        last_test_top1_err=run.final_test_top1_err,
    )
