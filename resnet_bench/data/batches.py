"""Batches as a function of (seed, epoch, position): the same bits for plain and residual twins, on any device.

The draws of an epoch are one integer table on the CPU, a row per position: image index, row offset, column offset,
flip. From a row and the images, a batch is made on the device in one vectorised pass. Steps run over epoch borders:
every batch is full, and every image is seen once per epoch.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_bench.environment import generator

PAD = 4  # zero pixels on each side before the random crop (section 4.2)
INDEX, ROW, COLUMN, FLIP = range(4)


class BatchStream:
    """The endless sequence of draws of one run.

    Args:
        num_images: size of the training set.
        batch_size: images per step.
        seed: the run's seed.
        augmentation: "crop-flip", "crop" or "none".
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, augmentation: str) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.crop = augmentation in ("crop-flip", "crop")
        self.flip = augmentation == "crop-flip"
        self._epochs: dict[int, Tensor] = {}

    def draws(self, step: int) -> Tensor:
        """The int32 table [batch_size, 4] of 0-based step `step`."""
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
        table = torch.empty(n, 4, dtype=torch.int32)
        table[:, INDEX] = torch.randperm(n, generator=generator(self.seed, "order", epoch))
        table[:, ROW:] = torch.tensor([PAD, PAD, 0])  # the crop that gives the image back
        if self.crop:
            stream = generator(self.seed, "augmentation", epoch)
            table[:, ROW : COLUMN + 1] = torch.randint(2 * PAD + 1, (n, 2), generator=stream, dtype=torch.int32)
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


def normalise(images: Tensor, mean: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32: scaled to 0..1, per-pixel mean of the training set subtracted."""
    return images.float().mul_(1 / 255).sub_(mean)


def make_batch(images: Tensor, mean: Tensor, draws: Tensor) -> Tensor:
    """The network's input for one step, made where `images` lives.

    Args:
        images: the whole training set, uint8 [N, C, H, W].
        mean: per-pixel mean, float32 [C, H, W].
        draws: int32 [B, 4] on the same device.

    Returns:
        float32 [B, C, H, W]: normalised, then zero-padded (so that a padded pixel is the mean), cropped and flipped.
    """
    height, width = images.shape[-2:]
    batch = F.pad(normalise(images[draws[:, INDEX].long()], mean), (PAD, PAD, PAD, PAD))
    rows = torch.arange(height, device=draws.device) + draws[:, ROW, None]  # [B, H]
    columns = torch.arange(width, device=draws.device).expand(len(draws), width)
    columns = torch.where(draws[:, FLIP, None].bool(), width - 1 - columns, columns) + draws[:, COLUMN, None]  # [B, W]
    pixels = rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]  # [B, H, W], flat index into a padded plane
    planes = batch.flatten(2)  # [B, C, (H + 8) * (W + 8)]
    flat = pixels.flatten(1)[:, None, :].expand(-1, planes.shape[1], -1).long()
    return planes.gather(2, flat).view(-1, planes.shape[1], height, width)


def fixed_subset(size: int, count: int | None, stream: str) -> Tensor:
    """Indices of the images that every run evaluates: `count` of `size`, the same for all runs; None means all."""
    if count is None or count >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator(0, stream))[:count].sort().values
