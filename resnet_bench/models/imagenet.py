"""The ImageNet-style networks: torchvision's, and among them the paper's plain twins and shortcut options (table 1).

They are torchvision's class with torchvision's names of layers, so that its weights fit. What differs is what a
block's `downsample` slot holds, whether anything is added at all, and the stem for small images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from resnet_bench.models.layers import Freezable, SubsampleAndPad, WeightedLayer, batch_norm, projection
from resnet_bench.networks import IMAGENET_SMALL, NetworkName, layout_of


class PlainBlock(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """Two 3x3 layers and nothing added."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None, *rest: Any, **named: Any
    ) -> None:
        super().__init__(inplanes, planes, stride, None, *rest, **named)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)]."""
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)))
        return out


class BlockA(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """Shortcut option A: where shapes change, subsampled and padded with zeros."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None, *rest: Any, **named: Any
    ) -> None:
        shortcut = None if downsample is None else SubsampleAndPad(planes - inplanes, stride)
        super().__init__(inplanes, planes, stride, shortcut, *rest, **named)


class BlockC(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """Shortcut option C: projections everywhere."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None, *rest: Any, **named: Any
    ) -> None:
        super().__init__(inplanes, planes, stride, downsample or projection(inplanes, planes, stride), *rest, **named)


BASIC_BLOCKS = {"none": PlainBlock, "a": BlockA, "b": BasicBlock, "c": BlockC}


class ImageNetNet(Freezable, ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet, or its plain twin.

    Args:
        name: a legal name of family "imagenet" or "imagenet-small".
        in_channels: channels of the images.
        num_classes: length of the logits.
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    fc: nn.Linear

    def __init__(self, name: NetworkName, in_channels: int, num_classes: int) -> None:
        layout = layout_of(name)
        block: Any = Bottleneck if layout.bottleneck else BASIC_BLOCKS[name.shortcut]
        norm: Callable[..., nn.Module] = batch_norm
        super().__init__(
            block,
            list(layout.blocks),
            num_classes=num_classes,
            groups=layout.groups,
            width_per_group=layout.width,
            norm_layer=norm,
        )
        width = self.bn1.weight.numel()
        if name.family == IMAGENET_SMALL:
            self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif in_channels != 3:
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)

    def blocks(self) -> list[tuple[str, BasicBlock | Bottleneck]]:
        """(name, block), first to last."""
        return [(n, module) for n, module in self.named_modules() if isinstance(module, BasicBlock | Bottleneck)]

    def parts(self) -> list[list[str]]:
        """The stem, stages 1 to 4, the classifier."""
        return [["conv1", "bn1"], *([f"layer{number}"] for number in range(1, 5)), ["fc"]]

    def last_norms(self) -> list[nn.BatchNorm2d]:
        """The BN layer of each block after which the shortcut is added."""
        return [_layers(block)[-1][1] for _, block in self.blocks()]

    def weighted_layers(self) -> list[WeightedLayer]:
        """The layers with weights that lie on the main path, first to last; no projections. `fc` is called head."""
        layers = [WeightedLayer("conv1", self.conv1, self.bn1, self.bn1)]
        for name, block in self.blocks():
            inner = _layers(block)
            for number, (conv, norm) in enumerate(inner, start=1):
                activated: nn.Module = block if number == len(inner) else norm
                layers.append(WeightedLayer(f"{name}.conv{number}", conv, norm, activated))
        return [*layers, WeightedLayer("head", self.fc, self.fc, None)]

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, in_channels, H, W] -> logits [N, num_classes]."""
        logits: Tensor = super().forward(x)
        return logits


def _layers(block: BasicBlock | Bottleneck) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """A block's convolutions with their BN layers, first to last."""
    pairs: list[tuple[Any, Any]] = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    return pairs
