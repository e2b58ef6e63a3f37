"""Transfer learning: runs that begin with a trained network, beside runs that do not, and what came of them.

results/transfer-<data>/        transfer.csv and its report
    <mode>/                     an ordinary study: its runs and their tables
    <mode>-<n>each/             the same with n images of each class
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.config.run import EXTRACTION, FINE_TUNE, SCRATCH, USUAL, RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.networks import CIFAR, OWN, NetworkName
from resnet_bench.results.tables import PLAN, RUNS, TRANSFER, write_csv
from resnet_bench.study.checks import check_writable
from resnet_bench.study.folder import StudyFolder
from resnet_bench.trained.compared import Basis, check_comparable, compared

if TYPE_CHECKING:
    from resnet_bench.data.dataset import Dataset
    from resnet_bench.models.weights import Weights

MOST_ROW_IMAGES = 1_000  # evaluated for a row of the curves; at the last step all are
# First learning rates, for SGD with momentum.
RATES = {SCRATCH: 0.02, EXTRACTION: 0.1, FINE_TUNE: 0.01}
NUM_STAGES = {CIFAR: 3}  # of the others: 4


@dataclass(frozen=True)
class Recipe:
    """How networks are trained on the new data.

    Attributes:
        network: which one.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: first learning rate; None: the mode's.
        optimizer: sgd, adam or adamw.
        freeze_until: the last stage that fine-tuning keeps as it is, 0 for the stem alone; None: all is trained.
    """

    network: NetworkName
    epochs: int = 30
    batch_size: int = 32
    lr: float | None = None
    optimizer: str = "sgd"
    freeze_until: int | None = None

    def __post_init__(self) -> None:
        if self.network.family == OWN:
            raise UsageError("finetune: of a network of your own it is not known where its stages and classifier are")

    def frozen_parts(self, mode: str) -> int:
        """Stem and stages that a mode does not train.

        Raises:
            UsageError: the network has no such stage.
        """
        stages = NUM_STAGES.get(self.network.family, 4)
        if mode == EXTRACTION:
            return 1 + stages
        if mode == SCRATCH or self.freeze_until is None:
            return 0
        if self.freeze_until > stages:
            raise UsageError(f"--freeze-until {self.freeze_until}: the network has stages 1 to {stages} (0: the stem)")
        return 1 + self.freeze_until

    def protocol(self, mode: str) -> str:
        """Its name, which says all that differs between two recipes."""
        parts = [mode, f"{self.epochs}epochs"]
        parts += [f"freeze{self.freeze_until}"] if mode == FINE_TUNE and self.freeze_until is not None else []
        parts += [f"b{self.batch_size}"] if self.batch_size != Recipe.batch_size else []
        parts += [self.optimizer] if self.optimizer != Recipe.optimizer else []
        parts += [f"lr{self.lr:g}"] if self.lr is not None else []
        return "-".join(parts) + "/1"

    def runs(
        self, mode: str, dataset: Dataset, augmentation: str, seeds: Sequence[int], weights: Weights | None
    ) -> list[RunConfig]:
        """A run for each seed: a cosine schedule, a row for each epoch; from `weights`, if the mode takes any."""
        images = len(dataset.train_labels)
        batch = min(self.batch_size, images)
        row_every = max(1, round(images / batch))
        steps = max(1, round(self.epochs * images / batch))
        usual_lr, decay = USUAL[self.optimizer] or (RATES[mode], 1e-4)
        return [
            RunConfig(
                protocol=self.protocol(mode),
                dataset=dataset.name,
                arch=self.network.arch,
                depth=self.network.depth,
                shortcut=self.network.shortcut,
                family=self.network.family,
                seed=seed,
                steps=steps,
                batch_size=batch,
                lr=usual_lr if self.lr is None else self.lr,
                schedule="cosine",
                optimizer=self.optimizer,
                weight_decay=decay,
                augmentation=augmentation,
                row_every=row_every,
                row_train_images=MOST_ROW_IMAGES,
                row_test_images=MOST_ROW_IMAGES,
                weights="" if mode == SCRATCH or weights is None else weights.digest,
                frozen_parts=self.frozen_parts(mode),
            )
            for seed in sorted(seeds)
        ]


def begin(
    folder: Path,
    runs: Mapping[str, Sequence[RunConfig]],
    dataset: Dataset,
    weights: Weights | None,
    images_per_class: int | None,
) -> None:
    """Make the folder for runs, by mode, once it is known that they can be made and compared.

    Raises:
        UsageError: the folder is a study of its own, or holds what these must not be compared with; the weights are
            another network's, or for images of other channels.
        Failure: the folder cannot be written.
    """
    if any((folder / table.file).exists() for table in (RUNS, PLAN)):
        raise UsageError(f"{folder}: is a study of its own; use another --name")
    if weights is not None:
        if weights.inputs is not None:
            weights.inputs.for_images(dataset.image_shape, resized=False)
        weights.check(dataset.image_shape[0])
    there = [Basis.of_row(row) for row in compared(folder)] if folder.exists() else []
    levels = {mode: folder_name(mode, images_per_class).removeprefix(mode) for mode in runs}
    new = [Basis.of_run(run, mode, levels[mode], dataset) for mode, planned in runs.items() for run in planned]
    check_comparable(folder, [*there, *new])
    check_writable(StudyFolder(folder))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / TRANSFER.file).exists():
        write_csv(folder / TRANSFER.file, TRANSFER, [])


def folder_name(mode: str, images_per_class: int | None) -> str:
    """The folder of a mode's study within the transfer folder."""
    return mode if images_per_class is None else f"{mode}-{images_per_class}each"
