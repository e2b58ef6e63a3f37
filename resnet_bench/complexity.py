"""How large a network is: closed forms that need no torch, and the counts of two public counters beside them."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Complexity:
    """Counts of one network."""

    params: int  # trainable parameters
    macs: int  # multiply-adds of convolutions and the classifier, per image, forward; FLOPs = 2 x MACs


def complexity(
    depth: int, shortcut: str, *, in_channels: int = 3, num_classes: int = 10, image_size: tuple[int, int] = (32, 32)
) -> Complexity:
    """Exact counts of a 6n+2 network on images of (height, width) pixels.

    Convolutions have no bias; BN has scale and shift; the classifier has a bias. BN, ReLU, pooling and additions
    have no multiply-adds in this convention, so a plain network and its twin with option A ("a") count the same.
    """
    num_blocks = (depth - 2) // 6
    pixels_by_stage = [ceil(image_size[0] / stride) * ceil(image_size[1] / stride) for stride in (1, 2, 4)]
    params = 9 * in_channels * WIDTHS[0] + 2 * WIDTHS[0]
    macs = 9 * in_channels * WIDTHS[0] * pixels_by_stage[0]
    channels = WIDTHS[0]
    for width, pixels in zip(WIDTHS, pixels_by_stage, strict=True):
        for _ in range(num_blocks):
            weights = 9 * channels * width + 9 * width * width
            params += weights + 4 * width
            macs += weights * pixels
            if shortcut == "c" or (shortcut == "b" and channels != width):
                params += channels * width + 2 * width
                macs += channels * width * pixels
            channels = width
    return Complexity(params + channels * num_classes + num_classes, macs + channels * num_classes)


def fvcore_total(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """fvcore's "flops" of one image in eval mode: multiply-adds, plus 2 per element for BN and 1 for pooling."""
    import torch

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore uses torch.jit, which is deprecated
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, *image_shape))
        return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def torch_flops(model: nn.Module, image_shape: tuple[int, int, int], *, train_step: bool = False) -> int:
    """FlopCounterMode's FLOPs of one image (2 per multiply-add, BN not counted): forward, or forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        logits = model(torch.zeros(1, *image_shape))
        if train_step:
            logits.sum().backward()
    return int(counter.get_total_flops())
