"""The learning rate of every step."""

from __future__ import annotations

import math

from resnet_bench.config.run import RunConfig


def learning_rate(config: RunConfig, step: int, lr_warmup_steps: int | None) -> float:
    """The learning rate of 0-based step `step`.

    Args:
        config: holds the schedule.
        step: optimizer updates done before this one.
        lr_warmup_steps: steps that the warm-up phase took, None while it lasts. Warm-up steps count in the schedule.
    """
    base: float = config.lr_warmup if config.lr_warmup is not None and lr_warmup_steps is None else config.lr
    if config.schedule == "cosine":
        return base * (1 + math.cos(math.pi * step / config.steps)) / 2
    return base / 10.0 ** sum(step >= drop for drop in config.lr_drops)  # dividing: 0.1 * 0.1 is not 0.01
