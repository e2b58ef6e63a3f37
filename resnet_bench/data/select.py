"""Parts of a dataset: some classes, a few images of each, a validation set. All by seed, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.errors import UsageError

Indices = NDArray[np.int64]


def only_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The images of these classes, which are numbered in the order of `names`; the name says which are left out.

    Raises:
        UsageError: there is no such class, one is named twice, or fewer than two are.
    """
    unknown = [name for name in names if name not in dataset.classes]
    if unknown:
        raise UsageError(f"{dataset.name} has no class {unknown[0]!r}; it has {', '.join(dataset.classes)}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise UsageError(f"classes {', '.join(names)}: name two or more, each once")
    numbers = np.full(len(dataset.classes), -1, np.int64)
    for number, name in enumerate(names):
        numbers[dataset.classes.index(name)] = number
    train, test = (np.flatnonzero(numbers[labels] >= 0) for labels in (dataset.train_labels, dataset.test_labels))
    part = _train_part(dataset, train)
    return replace(
        part,
        name=f"{dataset.name}-{len(names)}of{len(dataset.classes)}",
        classes=tuple(names),
        train_labels=numbers[part.train_labels],
        test_images=dataset.test_images[test],
        test_labels=numbers[dataset.test_labels[test]],
    )


def with_validation(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Some of each class's training images kept for validation, at least one; the test images stay what they are.

    Raises:
        UsageError: a class has fewer than two training images.
    """
    chosen = _choose(dataset, lambda count: max(1, round(share * count)), f"validation:{seed}", least=2)
    rest = np.setdiff1d(np.arange(len(dataset.train_labels)), chosen)
    return replace(
        _train_part(dataset, rest),
        validation_images=dataset.train_images[chosen],
        validation_labels=dataset.train_labels[chosen],
    )


def few_images(dataset: Dataset, images_per_class: int, seed: int) -> Dataset:
    """That many training images of each class.

    Raises:
        UsageError: a class has fewer.
    """
    chosen = _choose(dataset, lambda _: images_per_class, f"few:{seed}", least=images_per_class)
    return replace(_train_part(dataset, chosen), name=f"{dataset.name}-{images_per_class}each")


def _choose(dataset: Dataset, wanted: object, stream: str, least: int) -> Indices:
    """Of each class as many training images as `wanted` says of their number, by a hash of their places."""
    assert callable(wanted)
    chosen = []
    for label, name in enumerate(dataset.classes):
        places = np.flatnonzero(dataset.train_labels == label)
        if len(places) < least:
            raise UsageError(f"{dataset.name}: class {name!r} has {len(places)} training images; {least} are needed")
        order = sorted(range(len(places)), key=lambda k: hashlib.sha256(f"{stream}:{label}:{k}".encode()).digest())
        chosen.append(places[order[: wanted(len(places))]])
    return np.sort(np.concatenate(chosen))


def _train_part(dataset: Dataset, indices: Indices) -> Dataset:
    resized = dataset.resized
    if resized is not None:
        resized = Resized(resized.sources[indices], resized.aspects[indices], resized.statistics)
    return replace(
        dataset, train_images=dataset.train_images[indices], train_labels=dataset.train_labels[indices], resized=resized
    )
