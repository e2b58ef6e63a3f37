"""What every source returns: uint8 images and labels in memory, with a digest of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # [N, C, H, W]
Labels = NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split into train and test. Nothing here is normalised or augmented."""

    name: str
    classes: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels

    def __post_init__(self) -> None:
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            assert images.dtype == np.uint8 and images.ndim == 4, (images.dtype, images.shape)
            assert labels.dtype == np.int64 and labels.shape == images.shape[:1], (labels.dtype, labels.shape)
        assert self.train_images.shape[1:] == self.test_images.shape[1:]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shapes, pixels and labels of both splits, as 64 hex digits. The name is no part of it."""
        sha256 = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha256.update(repr(array.shape).encode())
            sha256.update(np.ascontiguousarray(array).data)
        return sha256.hexdigest()
