"""What every source returns: uint8 images and labels in memory, with a digest of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resnet_bench.errors import UsageError

Images = NDArray[np.uint8]  # [N, C, H, W]
Labels = NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Resized:
    """What training images of all sizes and shapes are cropped from.

    Attributes:
        sources: uint8 [N, C, S, S]: each whole image, squeezed into a square.
        aspects: float32 [N]: its true width / height.
        statistics: float64 [2, C]: mean and std of the training pixels as they are evaluated, scaled to 0..1.
    """

    sources: Images
    aspects: NDArray[np.float32]
    statistics: NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split into train and test. Nothing here is normalised or augmented.

    Attributes:
        name: of the data.
        classes: names, in the order of the labels.
        train_images: as they are evaluated: uint8 [N, C, H, W].
        train_labels: int64 [N].
        test_images: uint8 [M, C, H, W].
        test_labels: int64 [M].
        resized: what the training images are cropped from, where they were made of larger ones; pixels are then
            normalised by channel (mean and std), not by pixel.
        split: (image, class, "train" or "test") for each, where the split was made here.
        validation_images: kept from training, to choose among the states of a run; None: there are none.
        validation_labels: int64, as many.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    resized: Resized | None = None
    split: tuple[tuple[str, str, str], ...] = ()
    validation_images: Images | None = None
    validation_labels: Labels | None = None

    def __post_init__(self) -> None:
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            assert images.dtype == np.uint8 and images.ndim == 4, (images.dtype, images.shape)
            assert labels.dtype == np.int64 and labels.shape == images.shape[:1], (labels.dtype, labels.shape)
        assert self.train_images.shape[1:] == self.test_images.shape[1:]
        for split, labels in (("training", self.train_labels), ("test", self.test_labels)):
            if not len(labels):
                raise UsageError(f"{self.name}: no {split} images")

    def checked(self, where: str) -> Self:
        """Itself; UsageError, which says where, if a label is none of the classes."""
        for split, labels in (("training", self.train_labels), ("test", self.test_labels)):
            for label in (labels.min(), labels.max()):
                if not 0 <= label < len(self.classes):
                    raise UsageError(
                        f"{where}: label {label} of a {split} image is none of {len(self.classes)} classes"
                    )
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shapes, pixels and labels of both splits, as 64 hex digits. The name is no part of it."""
        sha256 = hashlib.sha256()
        arrays: list[NDArray[Any]] = [self.train_images, self.train_labels, self.test_images, self.test_labels]
        arrays += [self.resized.sources, self.resized.aspects] if self.resized else []
        arrays += [a for a in (self.validation_images, self.validation_labels) if a is not None]
        for array in arrays:
            sha256.update(repr(array.shape).encode())
            sha256.update(np.ascontiguousarray(array).data)
        return sha256.hexdigest()
