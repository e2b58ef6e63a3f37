"""The 6n+2-layer networks of section 4.2 of the paper: plain, and residual with shortcut option A, B or C.

    stem    3x3, 16                  side
    stage1  2n layers of 3x3, 16     side
    stage2  2n layers of 3x3, 32     side / 2
    stage3  2n layers of 3x3, 64     side / 4
    head    global average pool, linear

Plain and residual are the same modules; they differ only in what stands in a block's `shortcut` slot.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.config import ARCHS, SHORTCUTS, check_depth
from resnet_bench.errors import UsageError

WIDTHS = (16, 32, 64)


class SubsampleAndPad(nn.Module):
    """Shortcut option A where shapes change: every second pixel, new channels zero. No parameters (section 3.3)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C + new_channels, ceil(H / stride), ceil(W / stride)]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    # The counter is read only when momentum is None; updating it would be one more operation per layer and step.
    norm.num_batches_tracked = None
    return norm


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), _batch_norm(out_channels))


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """What a block adds to its residual function: option a, b or c of section 4.1; None for a plain block."""
    same_shape = stride == 1 and in_channels == out_channels
    if option == "none":
        return None
    if option == "c" or (option == "b" and not same_shape):
        return _projection(in_channels, out_channels, stride)
    return nn.Identity() if same_shape else SubsampleAndPad(out_channels - in_channels, stride)


class Block(nn.Module):
    """Two 3x3 layers, each with BN; ReLU after the first, and after the shortcut, if any, is added (figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = _batch_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = _batch_norm(out_channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return F.relu(y)


class WeightedLayer(NamedTuple):
    """A layer with weights, and where what it does can be seen."""

    name: str
    weights: nn.Conv2d | nn.Linear
    response: nn.Module  # puts out the layer's response: after BN, before addition and ReLU
    activated: nn.Module | None  # puts out what is 0 after ReLU where it is not positive; None: no ReLU follows


class CifarNet(nn.Module):
    """Stem, three stages of n blocks, head."""

    def __init__(self, depth: int, shortcut: str, in_channels: int, num_classes: int) -> None:
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.stem = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.stem_bn = _batch_norm(WIDTHS[0])
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


def build_model(
    arch: str, depth: int, shortcut: str, *, in_channels: int = 3, num_classes: int = 10, generator: torch.Generator
) -> CifarNet:
    """Build and initialise a network, on the CPU.

    The weights are a function of the generator's seed, depth, channels and classes alone, so that twins and all
    shortcut options start from the same values in every layer they share.

    Args:
        arch: "plain" or "residual".
        depth: number of weighted layers, 6n+2.
        shortcut: "a", "b" or "c"; "none" for plain.
        in_channels: channels of the images.
        num_classes: length of the logits.
        generator: a CPU generator, used for the initial weights and nothing else.

    Raises:
        UsageError: unknown arch or shortcut; a depth that is not 6n+2.
    """
    check_depth(depth)
    if arch not in ARCHS or shortcut not in (("none",) if arch == "plain" else SHORTCUTS):
        raise UsageError(f"there is no network {arch!r} with shortcut {shortcut!r}")
    with torch.device("meta"):  # torch's own initialisation is skipped, and with it the global generator
        model = CifarNet(depth, shortcut, in_channels, num_classes)
    model.to_empty(device="cpu")
    shared = [module for name, module in model.named_modules() if "shortcut" not in name]
    own = [module for name, module in model.named_modules() if "shortcut" in name]
    for module in shared + own:  # the shared layers draw first
        _initialise(module, generator)
    return model


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He et al. 2015b for convolutions (normal, fan-out, as in the authors' own Torch code); uniform for the head."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    elif isinstance(module, nn.BatchNorm2d):
        buffers = dict(module.named_buffers())
        for ones, zeros in ((module.weight, module.bias), (buffers["running_var"], buffers["running_mean"])):
            ones.fill_(1)
            zeros.zero_()
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        module.weight.uniform_(-bound, bound, generator=generator)
        module.bias.zero_()


def init_digest(model: nn.Module) -> str:
    """SHA-256 over the parameters that twins share, in order; call before training, on the CPU."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if "shortcut" not in name:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
