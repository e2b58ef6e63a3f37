"""What a dataset consists of: images by class, mean and spread of the pixels."""

from __future__ import annotations

import numpy as np

from resnet_bench.data.dataset import Dataset

CHUNK = 1000  # images


def class_counts(dataset: Dataset) -> list[tuple[str, int, int]]:
    """(class, training images, test images) in the order of the classes."""
    count = len(dataset.classes)
    train, test = (np.bincount(labels, minlength=count) for labels in (dataset.train_labels, dataset.test_labels))
    return [(name, int(train[index]), int(test[index])) for index, name in enumerate(dataset.classes)]


def channel_statistics(dataset: Dataset) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the training pixels, scaled to 0..1, by channel. Exact: sums are integers."""
    images = dataset.train_images
    total = np.zeros(images.shape[1], np.int64)
    squares = np.zeros(images.shape[1], np.int64)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].astype(np.int64)
        total += chunk.sum(axis=(0, 2, 3))
        squares += (chunk * chunk).sum(axis=(0, 2, 3))
    count = images.size // images.shape[1]
    mean = total / count
    return (mean / 255).tolist(), (np.sqrt(squares / count - mean**2) / 255).tolist()
