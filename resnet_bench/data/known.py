"""The datasets that are known by name and come from files, whether they are here or are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from resnet_bench.data.cifar import CIFAR10, CIFAR100
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import DEFAULT_LIMITS, Limits, Progress
from resnet_bench.data.idx import FASHION_MNIST, KMNIST, MNIST
from resnet_bench.data.kaggle import CIFAR10_KAGGLE
from resnet_bench.data.stl10 import STL10
from resnet_bench.data.svhn import SVHN


class Files(Protocol):
    """How such a dataset is found, fetched and read."""

    @property
    def title(self) -> str:
        """Its name as people write it."""

    @property
    def system(self) -> tuple[Path, ...]:
        """Folders of this machine where packages of the distribution put it."""

    @property
    def origin(self) -> str:
        """Where it would come from, if it is not here: "will be fetched from HOST", say."""

    def note(self, path: Path) -> str:
        """What the user has to know of how it lies there; "" if nothing."""

    def recognises(self, path: Path) -> bool:
        """Is what `find` found by its names really this dataset, as far as a quick look tells."""

    def find(self, places: Sequence[tuple[str, Path]]) -> Path | None:
        """Where it lies at the first of the (label, path) places that has it, by names alone."""

    def obtain(
        self,
        places: Sequence[tuple[str, Path]],
        cache: Path,
        *,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Path:
        """Where it lies, fetched into the cache if it must be."""

    def read(self, path: Path) -> Dataset:
        """The dataset, every file checked."""


@dataclass(frozen=True)
class Known:
    """What is known of a dataset before it is read."""

    files: Files
    image_shape: tuple[int, int, int]  # (channels, height, width)
    num_classes: int


KNOWN = {
    "cifar10": Known(CIFAR10, (3, 32, 32), 10),
    "cifar10-kaggle": Known(CIFAR10_KAGGLE, (3, 32, 32), 10),
    "cifar100": Known(CIFAR100, (3, 32, 32), 100),
    "mnist": Known(MNIST, (1, 28, 28), 10),
    "fashion-mnist": Known(FASHION_MNIST, (1, 28, 28), 10),
    "kmnist": Known(KMNIST, (1, 28, 28), 10),
    "svhn": Known(SVHN, (3, 32, 32), 10),
    "stl10": Known(STL10, (3, 96, 96), 10),
}
