"""Batches as a function of (seed, epoch, position): the same bits for plain and residual twins, on any device.

The draws of an epoch are one integer table on the CPU, a row per position: image index, row offset, column offset,
flip; or, where boxes are cut out of larger images: image index, box, flip. From a row and the images, a batch is made
on the device in one vectorised pass. Steps run over epoch borders: every batch is full, and every image is seen once
per epoch.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_bench.environment import generator

PAD = 4  # zero pixels on each side before the random crop (section 4.2), unless a run has others
INDEX, ROW, COLUMN, FLIP = range(4)

# A random box of the whole image, as is usual for ImageNet (Szegedy et al. 2015, section 6).
AREA = (0.08, 1.0)  # share of the image
RATIO = (3 / 4, 4 / 3)  # width / height
TRIES = 10
TOP, LEFT, HEIGHT, WIDTH, MIRRORED = range(1, 6)  # columns after INDEX; the box in UNITs of the image's sides
UNIT = 1 << 16


class BatchStream:
    """The endless sequence of draws of one run.

    Args:
        num_images: size of the training set.
        batch_size: images per step.
        seed: of the run's batches.
        augmentation: "crop-flip", "crop", "resized-crop-flip" or "none".
        aspects: width / height of each image, float32 [num_images]; needed for "resized-crop-flip".
        padding: zero pixels on each side before the random crop.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        seed: int,
        augmentation: str,
        aspects: Tensor | None = None,
        padding: int = PAD,
    ) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.crop = augmentation in ("crop-flip", "crop")
        self.flip = augmentation == "crop-flip"
        self.padding = padding
        self.aspects = aspects if augmentation == "resized-crop-flip" else None
        self.columns = 4 if self.aspects is None else 6  # of the table
        self._epochs: dict[int, Tensor] = {}

    def draws(self, step: int) -> Tensor:
        """The int32 table [batch_size, columns] of 0-based step `step`."""
        parts, position, missing = [], step * self.batch_size, self.batch_size
        while missing:
            epoch, offset = divmod(position, self.num_images)
            part = self._epoch(epoch)[offset : offset + missing]
            parts.append(part)
            position, missing = position + len(part), missing - len(part)
        return torch.cat(parts)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            kept = {e: table for e, table in self._epochs.items() if e == epoch - 1}
            self._epochs = {**kept, epoch: self._draw_epoch(epoch)}
        return self._epochs[epoch]

    def _draw_epoch(self, epoch: int) -> Tensor:
        n = self.num_images
        table = torch.empty(n, self.columns, dtype=torch.int32)
        table[:, INDEX] = torch.randperm(n, generator=generator(self.seed, "order", epoch))
        if self.aspects is not None:
            stream = generator(self.seed, "augmentation", epoch)
            table[:, TOP:MIRRORED] = random_boxes(self.aspects[table[:, INDEX].long()], stream)
            table[:, MIRRORED] = torch.randint(2, (n,), generator=stream, dtype=torch.int32)
            return table
        table[:, ROW:] = torch.tensor([self.padding, self.padding, 0])  # the crop that gives the image back
        if self.crop:
            stream = generator(self.seed, "augmentation", epoch)
            table[:, ROW : COLUMN + 1] = torch.randint(
                2 * self.padding + 1, (n, 2), generator=stream, dtype=torch.int32
            )
            flips = torch.randint(2, (n,), generator=stream, dtype=torch.int32)
            table[:, FLIP] = flips if self.flip else 0
        return table


def chain_digest(previous: str, draws: Tensor) -> str:
    """SHA-256 over the previous link (64 hex digits; first the dataset's digest) and the draws of one step."""
    return hashlib.sha256(bytes.fromhex(previous) + draws.numpy().tobytes()).hexdigest()


def pixel_mean(images: Tensor) -> Tensor:
    """Per-pixel mean of uint8 images [N, C, H, W] as float32 [C, H, W] in 0..1. Exact: sums are integers."""
    total = torch.zeros(images.shape[1:], dtype=torch.int64, device=images.device)
    for chunk in images.split(10_000):
        total += chunk.sum(0, dtype=torch.int64)
    # Divided on the CPU, as below multiplied: a GPU divides by multiplying with a rounded inverse.
    return (total.cpu().double() / (255 * len(images))).float().to(images.device)


def random_boxes(aspects: Tensor, stream: torch.Generator) -> Tensor:
    """A random box for each of n images of these width / height: int32 [n, 4], TOP to WIDTH.

    Share of the area and logarithm of width / height are uniform; of TRIES draws the first one that fits is taken, else
    the largest central box of a legal shape.
    """
    n = len(aspects)
    shape = aspects.double()[:, None]
    area = torch.rand(n, TRIES, generator=stream, dtype=torch.float64) * (AREA[1] - AREA[0]) + AREA[0]
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = torch.exp(torch.rand(n, TRIES, generator=stream, dtype=torch.float64) * (high - low) + low)
    widths, heights = torch.sqrt(area * ratio / shape), torch.sqrt(area / ratio * shape)  # in the image's sides
    fits = (widths <= 1) & (heights <= 1)
    first = fits.int().argmax(1, keepdim=True)
    width, height = widths.gather(1, first)[:, 0], heights.gather(1, first)[:, 0]
    place = torch.rand(n, 2, generator=stream, dtype=torch.float64)
    none = ~fits.any(1)
    width[none] = (RATIO[1] / shape[none, 0]).clamp_max(1)
    height[none] = (shape[none, 0] / RATIO[0]).clamp_max(1)
    place[none] = 0.5
    box = torch.stack([place[:, 0] * (1 - height), place[:, 1] * (1 - width), height, width], 1)
    return (box * UNIT).round().int()


def resized_crops(sources: Tensor, draws: Tensor, side: int) -> Tensor:
    """The boxes that `draws` describes, resized to squares by bilinear interpolation, made where `sources` lives.

    Args:
        sources: all whole training images, squeezed, uint8 [N, C, S, S].
        draws: int32 [B, 6] on the same device.
        side: pixels a side of what comes out.

    Returns:
        float32 [B, C, side, side] in 0..255.
    """
    box = draws[:, TOP:MIRRORED].float() / UNIT  # exact: a power of 2
    along = (torch.arange(side, device=draws.device) + 0.5) / side
    rows = box[:, 0, None] + along * box[:, 2, None]  # [B, side], in 0..1 of the image
    columns = torch.where(draws[:, MIRRORED, None].bool(), 1 - along, along)
    columns = box[:, 1, None] + columns * box[:, 3, None]
    grid = torch.stack([columns[:, None, :].expand(-1, side, -1), rows[:, :, None].expand(-1, -1, side)], 3)
    chosen = sources[draws[:, INDEX].long()].float()
    return F.grid_sample(chosen, 2 * grid - 1, mode="bilinear", padding_mode="border", align_corners=False)


def normalise(images: Tensor, mean: Tensor, inverse_std: Tensor | None = None) -> Tensor:
    """Values in 0..255 [N, C, H, W] -> float32: scaled to 0..1, mean of the training set subtracted, divided by std."""
    images = images.float().mul_(1 / 255).sub_(mean)
    return images if inverse_std is None else images.mul_(inverse_std)


def make_batch(
    images: Tensor, mean: Tensor, draws: Tensor, inverse_std: Tensor | None = None, padding: int = PAD
) -> Tensor:
    """The network's input for one step, made where `images` lives.

    Args:
        images: the whole training set, uint8 [N, C, H, W].
        mean: float32 [C, H, W] or [C, 1, 1].
        draws: int32 [B, 4] on the same device.
        inverse_std: float32 [C, 1, 1]; None: pixels are not divided.
        padding: zero pixels on each side, as the draws were made for.

    Returns:
        float32 [B, C, H, W]: normalised, then zero-padded (so that a padded pixel is the mean), cropped and flipped.
    """
    height, width = images.shape[-2:]
    batch = F.pad(normalise(images[draws[:, INDEX].long()], mean, inverse_std), (padding,) * 4)
    rows = torch.arange(height, device=draws.device) + draws[:, ROW, None]  # [B, H]
    columns = torch.arange(width, device=draws.device).expand(len(draws), width)
    columns = torch.where(draws[:, FLIP, None].bool(), width - 1 - columns, columns) + draws[:, COLUMN, None]  # [B, W]
    pixels = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]  # [B, H, W], flat index into a padded plane
    planes = batch.flatten(2)  # [B, C, (H + 2 * padding) * (W + 2 * padding)]
    flat = pixels.flatten(1)[:, None, :].expand(-1, planes.shape[1], -1).long()
    return planes.gather(2, flat).view(-1, planes.shape[1], height, width)


def fixed_subset(size: int, count: int | None, stream: str) -> Tensor:
    """Indices of the images that every run evaluates: `count` of `size`, the same for all runs; None means all."""
    if count is None or count >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator(0, stream))[:count].sort().values
