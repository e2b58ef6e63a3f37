"""The table of network sizes: closed form beside fvcore and torch's counter, all counted now."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich import box
from rich.table import Table

from resnet_bench.complexity import complexity, fvcore_total, torch_flops
from resnet_bench.config import SHORTCUTS, display_name
from resnet_bench.errors import Failure
from resnet_bench.models import build_model
from resnet_bench.study.terminal import to_text


def complexity_table(depths: Sequence[int], image_size: int, num_classes: int) -> str:
    """Parameters and multiply-adds per image. Failure if closed form and counters disagree."""
    table = Table(
        "network", "params", "MACs", "fvcore total", "FLOPs forward", "FLOPs train", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for depth in depths:
        for arch, shortcut in (("plain", "none"), *(("residual", option) for option in SHORTCUTS)):
            name = display_name(arch, depth, shortcut)
            table.add_row(name, *(f"{count:,}" for count in _counts(arch, depth, shortcut, image_size, num_classes)))
    return to_text(
        table,
        f"Per image of {image_size}x{image_size}x3, {num_classes} classes. 1 MAC = 2 FLOPs.",
        "MACs: convolutions and classifier. fvcore total: adds BN and pooling.",
        "FLOPs by torch's counter; train: forward and backward.",
    )


def _counts(arch: str, depth: int, shortcut: str, image_size: int, num_classes: int) -> tuple[int, ...]:
    closed = complexity(depth, shortcut, num_classes=num_classes, image_size=(image_size, image_size))
    model = build_model(arch, depth, shortcut, num_classes=num_classes, generator=torch.Generator())
    shape = (3, image_size, image_size)
    train_flops = torch_flops(model, shape, train_step=True)
    flops = torch_flops(model.eval(), shape)
    params = sum(parameter.numel() for parameter in model.parameters())
    if (closed.params, 2 * closed.macs) != (params, flops):
        raise Failure(f"{arch}-{depth} ({shortcut}): closed form {closed} but counted {params} params, {flops} FLOPs")
    return closed.params, closed.macs, fvcore_total(model, shape), flops, train_flops
