"""What the networks of both families are made of."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class SubsampleAndPad(nn.Module):
    """Shortcut option A where shapes change: every second pixel, new channels zero. No parameters (section 3.3)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C + new_channels, ceil(H / stride), ceil(W / stride)]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BN without its counter of batches."""
    norm = nn.BatchNorm2d(channels)
    # The counter is read only when momentum is None; updating it would be one more operation per layer and step.
    norm.num_batches_tracked = None
    return norm


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 1x1 layer with BN: shortcut options B and C."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), batch_norm(out_channels))


class Freezable(nn.Module):
    """A network whose first layers may be kept as they are while the others train."""

    frozen: tuple[str, ...] = ()  # names of modules

    def parts(self) -> list[list[str]]:
        """The names of its modules, first to last: the stem, each stage, the classifier."""
        raise NotImplementedError

    def freeze(self, num_parts: int) -> None:
        """Keep the first parts as they are: no gradients, and BN uses its statistics and leaves them alone."""
        self.frozen = tuple(name for part in self.parts()[:num_parts] for name in part)
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Freezable:
        """As always, but for what is frozen."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class WeightedLayer(NamedTuple):
    """A layer with weights, and where what it does can be seen."""

    name: str
    weights: nn.Conv2d | nn.Linear
    response: nn.Module  # puts out the layer's response: after BN, before addition and ReLU
    activated: nn.Module | None  # puts out what is 0 after ReLU where it is not positive; None: no ReLU follows
