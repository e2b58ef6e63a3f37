"""A dataset on the device that trains: images, labels, and how pixels are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_bench.data.batches import PAD, make_batch, normalise, pixel_mean, resized_crops
from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.inputs import Inputs


@dataclass(frozen=True)
class DeviceData:
    """A dataset on the training device.

    Attributes:
        train_images: uint8 [N, C, H, W], as they are evaluated.
        train_labels: int64 [N].
        test_images: uint8 [M, C, H, W].
        test_labels: int64 [M].
        mean: float32, of the training pixels scaled to 0..1: [C, H, W], or [C, 1, 1] for images that were resized.
        num_classes: length of the logits.
        inverse_std: float32 [C, 1, 1] for images that were resized; others are not divided.
        sources: uint8 [N, C, S, S], what boxes are cut out of; None if the images are what they were.
        aspects: float32 [N] on the CPU, width / height of the sources; None without them.
        validation_images: uint8, by which a state of the run is chosen; None: the last one is.
        validation_labels: int64.
        crop_padding: zero pixels on each side of an image before it is cropped.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    num_classes: int
    inverse_std: Tensor | None = None
    sources: Tensor | None = None
    aspects: Tensor | None = None
    validation_images: Tensor | None = None
    validation_labels: Tensor | None = None
    crop_padding: int = PAD

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device, inputs: Inputs | None = None) -> DeviceData:
        """Copy the dataset to the device, once.

        Args:
            dataset: the images.
            device: where to.
            inputs: what a network was trained on that is to be trained further; None: pixels are normalised by what
                these training images are like.
        """
        train_images = torch.from_numpy(dataset.train_images).to(device)
        resized = dataset.resized
        if inputs is not None:
            inputs = inputs.for_images(dataset.image_shape, resized is not None)
            mean = inputs.mean.to(device)
            inverse_std = None if inputs.inverse_std is None else inputs.inverse_std.to(device)
        else:
            mean, inverse_std = (pixel_mean(train_images), None) if resized is None else _by_channel(resized, device)
        return cls(
            train_images=train_images,
            train_labels=torch.from_numpy(dataset.train_labels).to(device),
            test_images=torch.from_numpy(dataset.test_images).to(device),
            test_labels=torch.from_numpy(dataset.test_labels).to(device),
            mean=mean,
            num_classes=len(dataset.classes),
            inverse_std=inverse_std,
            sources=None if resized is None else torch.from_numpy(resized.sources).to(device),
            aspects=None if resized is None else torch.from_numpy(resized.aspects),
            validation_images=_to(dataset.validation_images, device),
            validation_labels=_to(dataset.validation_labels, device),
        )

    @property
    def inputs(self) -> Inputs:
        """What a network that is trained on these takes."""
        channels, height, width = self.train_images.shape[1:]
        inverse_std = None if self.inverse_std is None else self.inverse_std.cpu()
        return Inputs((channels, height, width), self.sources is not None, self.mean.cpu(), inverse_std)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.train_images.device

    def normalise(self, images: Tensor) -> Tensor:
        """Values in 0..255 -> the network's input, float32."""
        return normalise(images, self.mean, self.inverse_std)

    def make_batch(self, draws: Tensor) -> Tensor:
        """The network's input for one step, from what BatchStream drew, on the data's device."""
        if self.sources is None or draws.shape[1] == 4:
            return make_batch(self.train_images, self.mean, draws, self.inverse_std, self.crop_padding)
        return self.normalise(resized_crops(self.sources, draws, self.train_images.shape[-1]))

    def no_confusion(self) -> Tensor:
        """Zero counts, int64 [true class, predicted class], on the device."""
        return torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self.device)


def _to(array: NDArray[Any] | None, device: torch.device) -> Tensor | None:
    return None if array is None else torch.from_numpy(array).to(device)


def _by_channel(resized: Resized, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and 1 / std of the training pixels, each float32 [C, 1, 1]."""
    mean, std = torch.from_numpy(resized.statistics)
    return mean.float().view(-1, 1, 1).to(device), (1 / std.clamp_min(1e-3)).float().view(-1, 1, 1).to(device)
