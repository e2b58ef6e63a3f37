"""A dataset as a run takes it: a few images of each class, or images that are averaged to a smaller side.

That is decided by the run's configuration, whatever the source is. A folder of images may also be resized when it is
read (FOLDER@64, see `folder`): the ImageNet way, with crops of the whole images. The two do not go together.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np

from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.data.select import first_images
from resnet_bench.data.summary import CHUNK
from resnet_bench.errors import UsageError

SMALLEST_SIDE = 4  # pixels: the last stage of a 6n+2 network has a quarter of them


def prepare(dataset: Dataset, image_side: int | None = None, images_per_class: int | None = None) -> Dataset:
    """The dataset with fewer training images, or smaller images; the same object if nothing is asked for.

    Args:
        dataset: as its source gives it.
        image_side: pixels of the shorter side of all images; each is the mean of a square box (see `box_means`).
        images_per_class: training images of each class, the first ones; the test set stays.

    Raises:
        UsageError: a class has fewer images; the images cannot be averaged to that side.
    """
    selected, box = _planned(dataset, image_side, images_per_class)
    return selected if box == 1 else _averaged(selected, box)


def check_preparable(dataset: Dataset, image_side: int | None, images_per_class: int | None) -> None:
    """Raise the UsageError that `prepare` would, in less time."""
    _planned(dataset, image_side, images_per_class)


def _planned(dataset: Dataset, image_side: int | None, images_per_class: int | None) -> tuple[Dataset, int]:
    """The dataset with the images that are chosen, and the side of the boxes that they are to be averaged over."""
    if images_per_class is not None:
        dataset = first_images(dataset, images_per_class)
    if image_side is None:
        return dataset, 1
    if dataset.resized is not None:
        raise UsageError(
            f"{dataset.name}: image_side averages images that are kept as they are; these are resized when they are "
            f"read, and cropped: leave image_side out and write FOLDER@{image_side} for the data"
        )
    return dataset, box_side(dataset.image_shape, image_side)


def box_side(image_shape: tuple[int, int, int], side: int) -> int:
    """Side of the boxes over which images (channels, height, width) are averaged, so that the shorter side is `side`.

    Raises:
        UsageError: no whole number of pixels gives that; names the sides that can be had.
    """
    height, width = image_shape[1:]
    shorter, common = min(height, width), math.gcd(height, width)
    legal = {shorter // box: box for box in range(1, common + 1) if common % box == 0}
    if side not in legal:
        sides = [str(one) for one in sorted(legal) if one >= SMALLEST_SIDE]
        told = " or ".join([", ".join(sides[:-1]), sides[-1]] if len(sides) > 1 else sides)
        raise UsageError(
            f"image_side {side}: images of {height}x{width} pixels are averaged over boxes of whole pixels, which "
            f"gives a side of {told}"
        )
    return legal[side]


def averaged_shape(image_shape: tuple[int, int, int], side: int | None) -> tuple[int, int, int]:
    """(channels, height, width) of such images when they are averaged to that side. Raises as `box_side` does."""
    channels, height, width = image_shape
    box = 1 if side is None else box_side(image_shape, side)
    return channels, height // box, width // box


def _averaged(dataset: Dataset, box: int) -> Dataset:
    validation = dataset.validation_images
    return replace(
        dataset,
        train_images=box_means(dataset.train_images, box),
        test_images=box_means(dataset.test_images, box),
        validation_images=None if validation is None else box_means(validation, box),
    )


def box_means(images: Images, box: int) -> Images:
    """Means of the box x box squares that images [N, C, H, W] consist of, as uint8 [N, C, H / box, W / box].

    Halves are rounded to even. All is done in whole numbers, so every machine gives the same bits.
    """
    count, channels, height, width = images.shape
    means = np.empty((count, channels, height // box, width // box), np.uint8)
    step = max(1, CHUNK // math.prod(images.shape[1:]))
    for start in range(0, count, step):
        part = images[start : start + step].astype(np.int32)
        # Slices are added: along so short an axis a sum takes several times as long.
        rows = functools.reduce(np.add, (part[:, :, k::box] for k in range(box)))
        sums = functools.reduce(np.add, (rows[..., k::box] for k in range(box)))
        whole = sums // (box * box)
        rest = sums - whole * (box * box)
        means[start : start + step] = whole + (2 * rest + (whole & 1) > box * box)
    return means
