"""How large a network is: closed forms for parameters and multiply-adds. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Complexity:
    """Counts of one network."""

    params: int  # trainable parameters
    macs: int  # multiply-adds of convolutions and the classifier, per image, forward; FLOPs = 2 x MACs


def complexity(depth: int, shortcut: str, *, in_channels: int = 3, num_classes: int = 10, side: int = 32) -> Complexity:
    """Exact counts of a 6n+2 network on images of side x side pixels.

    Convolutions have no bias; BN has scale and shift; the classifier has a bias. BN, ReLU, pooling and additions
    have no multiply-adds in this convention, so a plain network and its twin with option A ("a") count the same.
    """
    num_blocks = (depth - 2) // 6
    sides = (side, ceil(side / 2), ceil(ceil(side / 2) / 2))
    params = 9 * in_channels * WIDTHS[0] + 2 * WIDTHS[0]
    macs = 9 * in_channels * WIDTHS[0] * sides[0] ** 2
    channels = WIDTHS[0]
    for width, stage_side in zip(WIDTHS, sides, strict=True):
        pixels = stage_side**2
        for _ in range(num_blocks):
            weights = 9 * channels * width + 9 * width * width
            params += weights + 4 * width
            macs += weights * pixels
            if shortcut == "c" or (shortcut == "b" and channels != width):
                params += channels * width + 2 * width
                macs += channels * width * pixels
            channels = width
    return Complexity(params + channels * num_classes + num_classes, macs + channels * num_classes)
