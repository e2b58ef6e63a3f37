"""The 6n+2-layer networks of section 4.2 of the paper: plain, and residual with shortcut option A, B or C.

    stem    3x3, 16                  side
    stage1  2n layers of 3x3, 16     side
    stage2  2n layers of 3x3, 32     side / 2
    stage3  2n layers of 3x3, 64     side / 4
    head    global average pool, linear

Plain and residual are the same modules; they differ only in what stands in a block's `shortcut` slot.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.models.layers import Freezable, SubsampleAndPad, WeightedLayer, batch_norm, projection

WIDTHS = (16, 32, 64)


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """What a block adds to its residual function: option a, b or c of section 4.1; None for a plain block."""
    same_shape = stride == 1 and in_channels == out_channels
    if option == "none":
        return None
    if option == "c" or (option == "b" and not same_shape):
        return projection(in_channels, out_channels, stride)
    return nn.Identity() if same_shape else SubsampleAndPad(out_channels - in_channels, stride)


class Block(nn.Module):
    """Two 3x3 layers, each with BN; ReLU after the first, and after the shortcut, if any, is added (figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = batch_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = batch_norm(out_channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return F.relu(y)


class CifarNet(Freezable):
    """Stem, three stages of n blocks, head."""

    def __init__(self, depth: int, shortcut: str, in_channels: int, num_classes: int) -> None:
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.stem = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.stem_bn = batch_norm(WIDTHS[0])
        channels = WIDTHS[0]
        self.stages = nn.ModuleList()
        for width in WIDTHS:
            blocks = []
            for index in range(num_blocks):
                stride = 2 if index == 0 and width != WIDTHS[0] else 1
                blocks.append(Block(channels, width, stride, make_shortcut(shortcut, channels, width, stride)))
                channels = width
            self.stages.append(nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)

    def blocks(self) -> list[tuple[int, int, Block]]:
        """(stage, place within it, block), both from 0, first to last."""
        return [
            (stage_number, number, block)
            for stage_number, stage in enumerate(self.stages)
            for number, block in enumerate(stage.children())
            if isinstance(block, Block)
        ]

    def parts(self) -> list[list[str]]:
        """The stem, stages 1 to 3, the classifier."""
        return [["stem", "stem_bn"], *([f"stages.{number}"] for number in range(len(WIDTHS))), ["head"]]

    def last_norms(self) -> list[nn.BatchNorm2d]:
        """The BN layer of each block after which the shortcut is added."""
        return [block.bn2 for _, _, block in self.blocks()]

    def weighted_layers(self) -> list[WeightedLayer]:
        """The layers with weights that lie on the main path, first to last: `depth` of them; no projections."""
        layers = [WeightedLayer("stem", self.stem, self.stem_bn, self.stem_bn)]
        for stage, number, block in self.blocks():
            name = f"stages.{stage}.{number}"
            layers.append(WeightedLayer(f"{name}.conv1", block.conv1, block.bn1, block.bn1))
            layers.append(WeightedLayer(f"{name}.conv2", block.conv2, block.bn2, block))
        return [*layers, WeightedLayer("head", self.head, self.head, None)]

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, in_channels, H, W], H and W at least 4 -> logits [N, num_classes]."""
        x = F.relu(self.stem_bn(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits
