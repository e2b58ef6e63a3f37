"""What a checkout offers to the gate: its file of benchmarks defines `BENCHMARKS`, a dictionary from name to maker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Benchmark:
    """A piece of work that can be repeated, and what it works on.

    Attributes:
        step: does it once; it need not wait for the device.
        images: how many images a step works on; rates are images per second.
        network: what is trained or run, if anything is.
        example: images as the network takes them, float32 [B, C, H, W].
    """

    step: Callable[[], object]
    images: int
    network: nn.Module | None = None
    example: Tensor | None = None
