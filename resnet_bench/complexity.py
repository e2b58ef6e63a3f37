"""How large a network is: closed forms that need no torch, beside two public counters and the sum over layers."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_bench.networks import CIFAR, IMAGENET, NetworkName, layout_of

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (16, 32, 64)


@dataclass(frozen=True)
class Complexity:
    """Counts of one network."""

    params: int  # trainable parameters
    macs: int  # multiply-adds of convolutions and the classifier, per image, forward; FLOPs = 2 x MACs


def complexity(
    name: NetworkName, *, in_channels: int = 3, num_classes: int = 10, image_size: tuple[int, int] = (32, 32)
) -> Complexity:
    """Exact counts of a network on images of (height, width) pixels.

    Convolutions have no bias; BN has scale and shift; the classifier has a bias. BN, ReLU, pooling and additions
    have no multiply-adds in this convention, so a plain network and its twin with option A ("a") count the same.
    """
    convs = _cifar(name, in_channels, image_size) if name.family == CIFAR else _imagenet(name, in_channels, image_size)
    channels = convs[-1].out_channels
    return Complexity(
        sum(conv.weights + 2 * conv.out_channels for conv in convs) + (channels + 1) * num_classes,
        sum(conv.weights * conv.pixels for conv in convs) + channels * num_classes,
    )


class _Conv(NamedTuple):
    """A convolution, which BN follows. The last one of a network is on its main path."""

    out_channels: int
    weights: int
    pixels: int  # height x width of what it puts out


def _cifar(name: NetworkName, in_channels: int, image_size: tuple[int, int]) -> list[_Conv]:
    num_blocks = (name.depth - 2) // 6
    pixels_by_stage = [ceil(image_size[0] / stride) * ceil(image_size[1] / stride) for stride in (1, 2, 4)]
    convs = [_Conv(WIDTHS[0], 9 * in_channels * WIDTHS[0], pixels_by_stage[0])]
    channels = WIDTHS[0]
    for width, pixels in zip(WIDTHS, pixels_by_stage, strict=True):
        for _ in range(num_blocks):
            if name.shortcut == "c" or (name.shortcut == "b" and channels != width):
                convs.append(_Conv(width, channels * width, pixels))
            convs += [_Conv(width, 9 * channels * width, pixels), _Conv(width, 9 * width * width, pixels)]
            channels = width
    return convs


def _imagenet(name: NetworkName, in_channels: int, image_size: tuple[int, int]) -> list[_Conv]:
    layout, height, width = layout_of(name), *image_size
    channels, kernel = 64, 7 if name.family == IMAGENET else 3
    if name.family == IMAGENET:  # stride 2, with 3 pixels of padding on each side of a kernel of 7
        height, width = ceil(height / 2), ceil(width / 2)
    convs = [_Conv(channels, kernel * kernel * in_channels * channels, height * width)]
    if name.family == IMAGENET:  # max pooling, stride 2
        height, width = ceil(height / 2), ceil(width / 2)
    for stage, num_blocks in enumerate(layout.blocks):
        planes = 64 * 2**stage
        out = 4 * planes if layout.bottleneck else planes
        for number in range(num_blocks):
            before = height * width
            if stage and number == 0:
                height, width = ceil(height / 2), ceil(width / 2)
            pixels = height * width
            if name.shortcut == "c" or (name.shortcut == "b" and channels != out):
                convs.append(_Conv(out, channels * out, pixels))
            if layout.bottleneck:
                inner = layout.width * layout.groups * 2**stage
                convs += [
                    _Conv(inner, channels * inner, before),
                    _Conv(inner, 9 * inner * inner // layout.groups, pixels),
                    _Conv(out, inner * out, pixels),
                ]
            else:
                convs += [_Conv(out, 9 * channels * out, pixels), _Conv(out, 9 * out * out, pixels)]
            channels = out
    return convs


@dataclass(frozen=True)
class Layer:
    """One layer as it ran: a convolution, a BN layer, the pooling or the classifier."""

    name: str  # in the network
    kind: str  # "conv" | "batch norm" | "max pool" | "pool" | "linear"
    window: str  # of a convolution or max pooling: kernel, and what is unusual, as in "3x3 /2 g32"; else empty
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

    kinds = {
        nn.Conv2d: "conv",
        nn.BatchNorm2d: "batch norm",
        nn.MaxPool2d: "max pool",
        nn.AdaptiveAvgPool2d: "pool",
        nn.Linear: "linear",
    }
    names = {module: name for name, module in model.named_modules() if type(module) in kinds}
    layers: list[Layer] = []

    def record(module: Any, _: Any, output: torch.Tensor) -> None:
        shape, kind = tuple(output.shape[1:]), kinds[type(module)]
        macs = module.weight.numel() * prod(shape[1:]) if kind in ("conv", "linear") else 0
        params = sum(parameter.numel() for parameter in module.parameters())
        layers.append(
            Layer(names[module], kind, _window(module) if kind in ("conv", "max pool") else "", shape, params, macs)
        )

    hooks = [module.register_forward_hook(record) for module in names]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *image_shape))
    for hook in hooks:
        hook.remove()
    return layers


def _window(layer: nn.Conv2d | nn.MaxPool2d) -> str:
    """Kernel, stride if it is not 1, groups if there are several."""
    sides, strides = (v if isinstance(v, tuple) else (v, v) for v in (layer.kernel_size, layer.stride))
    groups = getattr(layer, "groups", 1)
    return (
        "x".join(map(str, sides))
        + (f" /{strides[0]}" if strides[0] != 1 else "")
        + (f" g{groups}" if groups > 1 else "")
    )


def fvcore_total(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """fvcore's "flops" of one image in eval mode: multiply-adds, plus 2 per element for BN and 1 for pooling."""
    import torch

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore uses torch.jit, which is deprecated
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, *image_shape))
        return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def fvcore_activations(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """fvcore's "activations" of one image in eval mode: elements that convolutions and linear layers put out."""
    import torch

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        from fvcore.nn import ActivationCountAnalysis

        analysis = ActivationCountAnalysis(model.eval(), torch.zeros(1, *image_shape))
        return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def torch_flops(model: nn.Module, image_shape: tuple[int, int, int], *, train_step: bool = False) -> int:
    """FlopCounterMode's FLOPs of one image (2 per multiply-add, BN not counted): forward, or forward and backward.

    The counter takes the backward pass of a convolution with groups of channels for one without. There it is what it is
    without groups: twice the forward pass, but no gradient for the images.
    """
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if train_step and any(conv.groups > 1 for conv in convs):
        first = next(layer for layer in list_layers(model, image_shape) if layer.macs)
        return 3 * torch_flops(model, image_shape) - 2 * first.macs
    num_images = 2 if train_step else 1  # BN in train mode needs two values, and a last stage may have one pixel
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.zeros(num_images, *image_shape))
        if train_step:
            logits.sum().backward()
    return int(counter.get_total_flops()) // num_images
