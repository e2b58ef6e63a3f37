"""The one stopwatch. It waits for the device only when it starts and stops, never in between."""

from __future__ import annotations

import time
from types import TracebackType

import torch

from resnet_bench.environment import synchronize


class Stopwatch:
    """Accumulates the seconds spent inside `with watch:`, everything queued on the device included."""

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self.device = device
        self.seconds = seconds
        self.started = 0.0

    def __enter__(self) -> Stopwatch:
        synchronize(self.device)
        self.started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # after an error the device may not answer
            synchronize(self.device)
        self.seconds += time.perf_counter() - self.started
