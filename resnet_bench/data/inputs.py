"""What a trained network takes: how its images were made and normalised, so that any picture can be made like them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_bench.data.batches import normalise
from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.data.picture import central_square, check_lengths, read_picture
from resnet_bench.data.prepare import box_means, prepare
from resnet_bench.errors import UsageError

# Mean and std of ImageNet's training pixels, which torchvision's published weights were trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_SIDE = 224
MOST_VALUES = 3 * 512 * 512


@dataclass(frozen=True, eq=False)
class Inputs:
    """The images of a network's training data.

    Attributes:
        shape: (channels, height, width).
        resized: were they the central squares of larger images, or else whole images.
        mean: float32 [C, H, W] or [C, 1, 1], of pixels scaled to 0..1; it is subtracted.
        inverse_std: float32 [C, 1, 1], multiplied with; None: nothing is.
        box: each pixel is the mean of a box of so many pixels a side of the images as they came (see `box_means`).
    """

    shape: tuple[int, int, int]
    resized: bool
    mean: Tensor
    inverse_std: Tensor | None = None
    box: int = 1

    @classmethod
    def imagenet(cls, side: int = IMAGENET_SIDE) -> Inputs:
        """Those of torchvision's published weights."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return cls((3, side, side), True, mean, 1 / std)

    def for_images(self, shape: tuple[int, int, int], resized: bool) -> Inputs:
        """The same normalisation for images of another size.

        Raises:
            UsageError: another number of channels.
        """
        if shape[0] != self.shape[0]:
            raise UsageError(f"the network takes images of {self.shape[0]} channels, these have {shape[0]}")
        mean = self.mean
        if mean.shape[1:] not in ((1, 1), shape[1:]):  # by pixel, of other pixels
            mean = mean.mean(dim=(1, 2), keepdim=True)
        return Inputs(shape, resized, mean, self.inverse_std)

    def prepare(self, dataset: Dataset) -> Dataset:
        """The dataset with images of this shape: as it is, or averaged as the training images were.

        Raises:
            UsageError: its images are of another shape.
        """
        if dataset.image_shape == self.shape:
            return dataset
        if dataset.image_shape == self._source_shape:
            return prepare(dataset, min(self.shape[1:]))
        shapes = dataset.image_shape, self.shape, self._source_shape
        theirs, ours, source = ("x".join(map(str, shape)) for shape in shapes)
        averaged = f", averaged from {source}" if self.box > 1 else ""
        raise UsageError(
            f"{dataset.name}: images of {theirs} (channels x height x width); the network takes {ours}{averaged}"
        )

    @property
    def _source_shape(self) -> tuple[int, int, int]:
        """Of images before they are averaged."""
        channels, height, width = self.shape
        return channels, height * self.box, width * self.box

    def read(self, path: Path) -> Images:
        """A picture, made what the training images were: uint8 [C, H, W].

        The central part is taken: as in evaluation if the training images were cut out of larger ones, else as large
        as it can be.

        Raises:
            UsageError: no readable image, or one too long and narrow.
        """
        channels, height, width = self._source_shape
        picture = read_picture(path)
        picture = central_square(picture, height, path) if self.resized else _largest(picture, height, width, path)
        pixels = np.array(picture.convert("L" if channels == 1 else "RGB"))
        whole = np.atleast_3d(pixels).transpose(2, 0, 1)
        averaged: Images = box_means(whole[None], self.box)[0]
        return averaged

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] -> the network's input, on the same device."""
        there = images.device
        inverse_std = None if self.inverse_std is None else self.inverse_std.to(there)
        return normalise(images, self.mean.to(there), inverse_std)

    def to_json(self) -> str:
        """As text; the values are exact."""
        inverse_std = None if self.inverse_std is None else self.inverse_std.flatten().tolist()
        value = {
            "shape": self.shape,
            "resized": self.resized,
            "mean_shape": tuple(self.mean.shape),
            "mean": self.mean.flatten().tolist(),
            "inverse_std": inverse_std,
            **({"box": self.box} if self.box > 1 else {}),  # networks that were kept before keep their digest
        }
        return json.dumps(value)

    @classmethod
    def from_json(cls, text: str, where: str) -> Inputs:
        """The inverse. UsageError, which begins with `where`, for anything else."""
        try:
            value: dict[str, Any] = json.loads(text)
            shape = channels, height, width = tuple(map(int, value["shape"]))
            mean_shape = tuple(map(int, value["mean_shape"]))
            box = int(value.get("box", 1))
            legal = min(*shape, box) >= 1 and channels * height * width * box * box <= MOST_VALUES
            if not legal or mean_shape not in (shape, (channels, 1, 1)):
                raise ValueError(f"images of {shape}, a mean of {mean_shape}")
            mean = torch.tensor(value["mean"], dtype=torch.float32).view(mean_shape)
            std = value["inverse_std"]
            inverse_std = None if std is None else torch.tensor(std, dtype=torch.float32).view(channels, 1, 1)
            if not mean.isfinite().all() or (inverse_std is not None and not inverse_std.isfinite().all()):
                raise ValueError("a value that is not finite")
            return cls((channels, height, width), bool(value["resized"]), mean, inverse_std, box)
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, RecursionError) as error:
            raise UsageError(f"{where}: what it says of its images is not understood ({error})") from None


def _largest(picture: Image.Image, height: int, width: int, path: Path) -> Image.Image:
    """The largest central part of that shape, resized."""
    if picture.size == (width, height):
        return picture
    check_lengths(picture, path)
    scale = max(width / picture.width, height / picture.height)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return picture.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))
