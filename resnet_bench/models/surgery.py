"""Operations on trained 6n+2 networks: identity layers put in (section 1 of the paper), blocks taken out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.models.cifar import Block, CifarNet


class Shortcut(nn.Module):
    """What is left of a block without its two layers."""

    def __init__(self, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> what the block would put out."""
        return F.relu(self.shortcut(x))


def without_block(model: CifarNet, stage: int, number: int) -> CifarNet | None:
    """A copy in which the input of that block goes past its layers; None for a plain block that changes shapes.

    Veit et al. (2016, section 4.1) do the same with residual networks and VGG.
    """
    lesioned = copy.deepcopy(model)
    blocks = lesioned.stages[stage]
    assert isinstance(blocks, nn.Sequential)
    chosen = blocks[number]
    assert isinstance(chosen, Block)
    if chosen.shortcut is None and chosen.conv1.weight.shape[0] != chosen.conv1.weight.shape[1]:
        return None
    blocks[number] = Shortcut(chosen.shortcut)
    return lesioned


@torch.no_grad()
def deepen(shallow: CifarNet, deep: CifarNet) -> list[tuple[int, Block]]:
    """Make a deep plain net the shallow one plus identity layers, at the end of each stage; (stage, block) of each.

    A convolution with a Dirac kernel passes its input on, so does BN with the statistics 0 and 1, and so does the
    ReLU behind them, as what comes in is after a ReLU. In eval mode the two nets are the same function.
    """
    deep.stem.load_state_dict(shallow.stem.state_dict())
    deep.stem_bn.load_state_dict(shallow.stem_bn.state_dict())
    deep.head.load_state_dict(shallow.head.state_dict())
    inserted = []
    for stage, (few, many) in enumerate(zip(shallow.stages, deep.stages, strict=True)):
        assert isinstance(few, nn.Sequential) and isinstance(many, nn.Sequential)
        for source, target in zip(few, many, strict=False):
            target.load_state_dict(source.state_dict())
        for block in many[len(few) :]:
            assert isinstance(block, Block)
            for convolution, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(convolution.weight)
                pass_through(norm, torch.zeros_like(norm.bias), torch.ones_like(norm.bias))
            inserted.append((stage, block))
    return inserted


def pass_through(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set BN's statistics [C] as given, and its scale and shift so that they are undone."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)


@torch.no_grad()
def calibrate(deep: CifarNet, inserted: Iterable[tuple[int, Block]], batches: Iterable[Tensor]) -> None:
    """Give the inserted layers the statistics of what passes through them, so that they do so in train mode too.

    Args:
        deep: from `deepen`; the function that it is in eval mode does not change.
        inserted: its new blocks.
        batches: images as the network takes them.
    """
    deep.eval()
    inserted = list(inserted)
    sums: dict[int, list[Tensor]] = {}
    counts: dict[int, int] = {}
    first = dict(reversed(inserted))
    hooks = []
    for stage, block in first.items():

        def add(module: nn.Module, inputs: tuple[Tensor, ...], stage: int = stage) -> None:
            values = inputs[0].double()
            total = sums.setdefault(
                stage, [torch.zeros((), device=values.device), torch.zeros((), device=values.device)]
            )
            total[0] = total[0] + values.sum(dim=(0, 2, 3))
            total[1] = total[1] + values.square().sum(dim=(0, 2, 3))
            counts[stage] = counts.get(stage, 0) + math.prod(values.shape) // values.shape[1]

        hooks.append(block.register_forward_pre_hook(add))
    for batch in batches:
        deep(batch)
    for hook in hooks:
        hook.remove()
    for stage, block in inserted:
        mean = sums[stage][0] / counts[stage]
        variance = (sums[stage][1] / counts[stage] - mean.square()).clamp_min(0)
        for norm in (block.bn1, block.bn2):
            pass_through(norm, mean.float(), variance.float())
