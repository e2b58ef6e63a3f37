"""What a dataset consists of: images by class, mean and spread of the pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from resnet_bench.data.dataset import Dataset, Images

CHUNK = 3_000_000  # values


def class_counts(dataset: Dataset) -> list[tuple[str, *tuple[int, ...]]]:
    """(class, training images, test images), and validation images if there are any; in the order of the classes."""
    splits = (dataset.train_labels, dataset.test_labels, dataset.validation_labels)
    counts = [np.bincount(labels, minlength=len(dataset.classes)).tolist() for labels in splits if labels is not None]
    return list(zip(dataset.classes, *counts, strict=True))


def channel_statistics(images: Images) -> NDArray[np.float64]:
    """Mean and standard deviation of pixels [N, C, H, W] scaled to 0..1, as [2, C]. Exact: sums are integers."""
    total = np.zeros(images.shape[1], np.int64)
    squares = np.zeros(images.shape[1], np.int64)
    step = max(1, CHUNK // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        chunk = images[start : start + step].astype(np.int64)
        total += chunk.sum(axis=(0, 2, 3))
        squares += (chunk * chunk).sum(axis=(0, 2, 3))
    count = images.size // images.shape[1]
    mean = total / count
    return np.stack([mean, np.sqrt(squares / count - mean**2)]) / 255
