"""Data of the user's own: what a function of his returns, checked in every respect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_bench.busy import busy
from resnet_bench.config.builders import call, data_name
from resnet_bench.data.dataset import Dataset, Images, Labels
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

WANTED = "(train_images, train_labels, test_images, test_labels) and perhaps the names of the classes"
MOST_CHANNELS, SMALLEST_SIDE = 4, 8


@busy("calling the function that makes the data")
def read_function(function: str, reserved: frozenset[str] = frozenset()) -> Dataset:
    """What `package.module:function` returns: (train images, train labels, test images, test labels[, classes]).

    Images are uint8, N x H x W, N x H x W x C or N x C x H x W with up to four channels; labels are whole numbers from
    0. Without names the classes are called by their numbers. The data are called as the function is, but for names that
    are `reserved`.

    Raises:
        UsageError: there is no such function, it raises an error, or returns something else.
    """
    given = call(function)
    if not isinstance(given, tuple | list) or len(given) not in (4, 5):
        raise UsageError(f"{function}() returns {_a(given)}; wanted is {WANTED}")
    train_images, train_labels = _split(f"{function}(): train", *given[:2])
    test_images, test_labels = _split(f"{function}(): test", *given[2:4])
    if train_images.shape[1:] != test_images.shape[1:]:
        shapes = " and ".join("x".join(map(str, images.shape[1:])) for images in (train_images, test_images))
        raise UsageError(f"{function}(): training and test images differ in channels x height x width: {shapes}")
    if len(given) == 5:
        classes = _classes(f"{function}(): classes", given[4])
    else:
        classes = tuple(str(label) for label in range(_number_of(function, train_labels)))
    if len(classes) < 2:
        raise UsageError(f"{function}(): {len(classes)} class; a network learns to tell at least two apart")
    dataset = Dataset(data_name(function, reserved), classes, train_images, train_labels, test_images, test_labels)
    return dataset.checked(f"{function}()")


def _split(what: str, images: Any, labels: Any) -> tuple[Images, Labels]:
    checked = _images(f"{what}_images", images)
    return checked, _labels(f"{what}_labels", labels, len(checked))


def _images(what: str, value: Any) -> Images:
    """As [N, C, H, W], contiguous."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise UsageError(f"{what} are {_a(value)}; images are a NumPy array of uint8, from 0 to 255")
    if value.ndim not in (3, 4):
        raise UsageError(f"{what} are {_a(value)}; images are N x H x W, N x H x W x C or N x C x H x W")
    images = _channels_first(what, value) if value.ndim == 4 else value[:, np.newaxis]
    if not len(images):
        raise UsageError(f"{what}: there are none")
    if min(images.shape[2:]) < SMALLEST_SIDE:
        side = "x".join(map(str, images.shape[2:]))
        raise UsageError(f"{what} have {side} pixels; the networks need at least {SMALLEST_SIDE} a side")
    return np.ascontiguousarray(images)


def _channels_first(what: str, value: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours are the axis that is short enough for that, second or last; never guessed where both are."""
    second, last = (1 <= value.shape[axis] <= MOST_CHANNELS for axis in (1, 3))
    if second == last:
        which = "either" if second else "neither"
        raise UsageError(
            f"{what} are {_a(value)}: {which} of the second and the last axis can be colours (1 to {MOST_CHANNELS}); "
            "give N x C x H x W or N x H x W x C"
        )
    return value if second else value.transpose(0, 3, 1, 2)


def _labels(what: str, value: Any, count: int) -> Labels:
    labels = np.asarray(value) if isinstance(value, list | tuple) else value
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(f"{what} are {_a(value)}; labels are a NumPy array of whole numbers, one for each image")
    if len(labels) != count:
        raise UsageError(f"{what}: {len(labels)} for {count} images")
    if labels.min() < 0:
        raise UsageError(f"{what}: {labels.min()} is below 0; labels count the classes from 0")
    if labels.max() > np.iinfo(np.int32).max:
        raise UsageError(f"{what}: {labels.max()} is too large; labels count the classes from 0")
    return labels.astype(np.int64)


def _classes(what: str, value: Any) -> tuple[str, ...]:
    names = list(value) if isinstance(value, list | tuple | np.ndarray) else None
    if names is None or not all(isinstance(name, str) and name.strip() and one_line(name) == name for name in names):
        raise UsageError(f"{what} are {_a(value)}; they are a list of names, texts of one line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{what}: {twice!r} stands there twice")
    return tuple(map(str, names))


def _number_of(function: str, labels: Labels) -> int:
    """Classes that have no names: each label from 0 to the largest must be there."""
    there = np.unique(labels)
    if there[0] != 0 or there[-1] != len(there) - 1:
        raise UsageError(
            f"{function}(): train_labels are {len(there)} different numbers from {there[0]} to {there[-1]}; count the "
            "classes from 0 and leave none out, or return their names as a fifth value"
        )
    return len(there)


def _a(value: Any) -> str:
    """What a value is, for a message."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, {'x'.join(map(str, value.shape)) or 'a number'}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{size}"
