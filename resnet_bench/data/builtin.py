"""Data that need no download: scikit-learn's digits, and synthetic images for tests and timing."""

from __future__ import annotations

import hashlib

import numpy as np

from resnet_bench.data.dataset import Dataset

DIGITS_TEST_IMAGES = 360


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits at their native 8x8, grey repeated to three channels; 1437/360.

    Source: Alpaydin and Kaynak, UCI "Optical Recognition of Handwritten Digits" (1998), test part, as shipped inside
    scikit-learn. Values 0..16 are scaled to 0..255. The split orders images by a hash of their number, so it is the
    same everywhere.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    grey = np.rint(loaded.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    images = np.ascontiguousarray(np.broadcast_to(grey[:, None], (len(grey), 3, 8, 8)))
    labels = loaded.target.astype(np.int64)
    order = np.array(sorted(range(len(labels)), key=lambda i: hashlib.sha256(f"digits:{i}".encode()).digest()))
    test, train = order[:DIGITS_TEST_IMAGES], order[DIGITS_TEST_IMAGES:]
    return Dataset(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )


def synthetic(
    shape: tuple[int, int, int] = (3, 32, 32), *, num_train: int = 2048, num_test: int = 512, num_classes: int = 10
) -> Dataset:
    """Seeded random images of any shape with random labels. For tests and timing only: there is nothing to learn."""
    random = np.random.Generator(np.random.PCG64(0))

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        return images, random.integers(0, num_classes, count, dtype=np.int64)

    train_images, train_labels = split(num_train)
    test_images, test_labels = split(num_test)
    name = "synthetic" if shape == (3, 32, 32) else "synthetic-" + "x".join(map(str, shape))
    classes = tuple(f"class{i}" for i in range(num_classes))
    return Dataset(name, classes, train_images, train_labels, test_images, test_labels)
