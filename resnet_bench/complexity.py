"""How large a network is: closed forms that need no torch, beside two public counters and the sum over layers."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Layer:
    """One layer as it ran: a convolution, a BN layer, the pooling or the classifier."""

    name: str  # in the network
    kind: str  # "conv" | "batch norm" | "pool" | "linear"
    window: str  # of a convolution: kernel, and stride if it is not 1, as in "3x3 /2"; else empty
    output_shape: tuple[int, ...]  # of one image: (channels, height, width), or (classes,)
    params: int
    macs: int  # 0 for BN and pooling

    @property
    def activations(self) -> int:
        """Elements that it puts out, if it has multiply-adds (the convention of pycls and fvcore); else 0."""
        return prod(self.output_shape) if self.macs else 0


def list_layers(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Layer]:
    """The layers of a network in the order in which one image of (channels, height, width) passes them, in eval mode.

    Seen by forward hooks, so shapes are what the network really put out. ReLU, additions and the shortcuts without
    parameters are no layers in this sense.
    """
    import torch
    from torch import nn

    kinds = {nn.Conv2d: "conv", nn.BatchNorm2d: "batch norm", nn.AdaptiveAvgPool2d: "pool", nn.Linear: "linear"}
    names = {module: name for name, module in model.named_modules() if type(module) in kinds}
    layers: list[Layer] = []

    def record(module: Any, _: Any, output: torch.Tensor) -> None:
        shape, kind = tuple(output.shape[1:]), kinds[type(module)]
        macs = module.weight.numel() * prod(shape[1:]) if kind in ("conv", "linear") else 0
        params = sum(parameter.numel() for parameter in module.parameters())
        layers.append(Layer(names[module], kind, _window(module) if kind == "conv" else "", shape, params, macs))

    hooks = [module.register_forward_hook(record) for module in names]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *image_shape))
    for hook in hooks:
        hook.remove()
    return layers


def _window(conv: nn.Conv2d) -> str:
    kernel, stride = "x".join(map(str, conv.kernel_size)), conv.stride[0]
    return kernel if stride == 1 else f"{kernel} /{stride}"


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
