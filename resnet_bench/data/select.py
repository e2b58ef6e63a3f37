"""Parts of a dataset: some classes, a few images of each, a validation set. The same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.listing import few
from resnet_bench.data.summary import channel_statistics
from resnet_bench.errors import UsageError

Indices = NDArray[np.int64]
MOST_NAMED = 32  # characters of classes in a name
MOST_TOLD = 100  # classes in a message
VALIDATION_SHARE, MOST_VALIDATION = 0.2, 200  # of a class's training images


def part_name(name: str, classes: Sequence[str] | None, images_per_class: int | None) -> str:
    """What a part of a dataset is called, so as not to pose as the whole: `cifar10-cat+dog-100each`.

    Many classes, or such whose names are not plain, are told by their number and a hash: `cifar10-8classes-1f0c`.
    """
    if classes:
        told = "+".join(classes)
        plain = len(told) <= MOST_NAMED and all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in classes)
        name += f"-{told if plain else _hashed(classes)}"
    return name + (f"-{images_per_class}each" if images_per_class else "")


def _hashed(classes: Sequence[str]) -> str:
    return f"{len(classes)}classes-{hashlib.sha256(chr(0).join(classes).encode()).hexdigest()[:4]}"


def only_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The images of these classes, which are numbered in the order of `names`.

    Raises:
        UsageError: there is no such class, one is named twice, or fewer than two are.
    """
    by_form = {normalize("NFC", name): name for name in dataset.classes}  # a keyboard and a disk may not agree
    names = [by_form.get(normalize("NFC", name), name) for name in names]
    unknown = [name for name in names if name not in dataset.classes]
    if unknown:
        raise UsageError(f"{dataset.name} has no class {unknown[0]!r}; it has {few(dataset.classes, MOST_TOLD)}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise UsageError(f"classes {few(names, MOST_TOLD)}: name two or more, each once")
    numbers = np.full(len(dataset.classes), -1, np.int64)
    for number, name in enumerate(names):
        numbers[dataset.classes.index(name)] = number
    train, test = (np.flatnonzero(numbers[labels] >= 0) for labels in (dataset.train_labels, dataset.test_labels))
    part = _of_train(dataset, train)
    if dataset.validation_images is not None and dataset.validation_labels is not None:
        kept = np.flatnonzero(numbers[dataset.validation_labels] >= 0)
        images, labels = dataset.validation_images[kept], numbers[dataset.validation_labels[kept]]
        part = replace(part, validation_images=images, validation_labels=labels)
    return replace(
        part,
        classes=tuple(names),
        train_labels=numbers[part.train_labels],
        test_images=dataset.test_images[test],
        test_labels=numbers[dataset.test_labels[test]],
        split=tuple(row for row in part.split if row[1] in names),
    )


def few_images(dataset: Dataset, images_per_class: int) -> Dataset:
    """That many training images of each class, chosen by a hash of their places.

    Raises:
        UsageError: a class has fewer.
    """
    return _of_train(dataset, _choose(dataset, lambda _: images_per_class, "few", least=images_per_class))


def first_images(dataset: Dataset, images_per_class: int) -> Dataset:
    """The first training images of each class, so many: of a folder those whose file names come first.

    Raises:
        UsageError: a class has fewer.
    """
    return _of_train(dataset, _choose(dataset, lambda _: images_per_class, None, least=images_per_class))


def with_validation(dataset: Dataset) -> Dataset:
    """With a fifth of each class's training images, at least one and at most 200, kept for validation.

    A dataset that has validation images of its own stays as it is.

    Raises:
        UsageError: a class has fewer than two training images.
    """

    if dataset.validation_images is not None:
        return dataset

    def wanted(count: int) -> int:
        return max(1, min(MOST_VALIDATION, round(VALIDATION_SHARE * count)))

    chosen = _choose(dataset, wanted, "validation", least=2)
    rest = np.setdiff1d(np.arange(len(dataset.train_labels)), chosen)
    train = [row for row in dataset.split if row[2] == "train"]
    kept = tuple((*train[index][:2], "validation") for index in chosen) if train else ()
    part = _of_train(dataset, rest)
    return replace(
        part,
        validation_images=dataset.train_images[chosen],
        validation_labels=dataset.train_labels[chosen],
        split=(*part.split, *kept),
    )


def _choose(dataset: Dataset, wanted: Callable[[int], int], stream: str | None, least: int) -> Indices:
    """Of each class as many training images as `wanted` says of their number: by a hash, or (None) the first ones."""
    chosen = []
    for label, name in enumerate(dataset.classes):
        places = np.flatnonzero(dataset.train_labels == label)
        if len(places) < least:
            raise UsageError(f"{dataset.name}: class {name!r} has {len(places)} training images; {least} are needed")
        if stream is not None:
            order = sorted(range(len(places)), key=lambda k: hashlib.sha256(f"{stream}:{label}:{k}".encode()).digest())
            places = places[order]
        chosen.append(places[: wanted(len(places))])
    return np.sort(np.concatenate(chosen))


def _of_train(dataset: Dataset, indices: Indices) -> Dataset:
    """These training images only, in that order."""
    images, resized = dataset.train_images[indices], dataset.resized
    if resized is not None:
        resized = Resized(resized.sources[indices], resized.aspects[indices], channel_statistics(images))
    train = [row for row in dataset.split if row[2] == "train"]
    others = [row for row in dataset.split if row[2] != "train"]
    return replace(
        dataset,
        train_images=images,
        train_labels=dataset.train_labels[indices],
        resized=resized,
        split=(*(train[index] for index in indices if train), *others),
    )
