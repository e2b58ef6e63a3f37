"""What networks cost, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from resnet_bench.cost.counting import LAYER_HEADER, LAYER_NOTES, Count, count
from resnet_bench.cost.layers import folded_rows, layer_title
from resnet_bench.cost.sized import SizedNetwork
from resnet_bench.networks import (
    IMAGENET_SMALL,
)
from resnet_bench.terminal import to_text

# ---------------------------------------------------------------------------------------------- tables


def complexity_table(networks: Sequence[SizedNetwork], counts: Mapping[SizedNetwork, Count]) -> str:
    """Parameters, multiply-adds and activations of networks; those not among `counts` are counted now (see `count`)."""
    table = _table("network", "params", "MACs", "fvcore\ntotal", "FLOPs\nforward", "FLOPs\ntrain", "activations")
    for network in networks:
        row, _ = counts.get(network) or count(network)
        numbers = row.params, row.macs, row.fvcore_total, row.flops_forward, row.flops_train_step, row.activations
        table.add_row(network.name, *(f"{number:,}" for number in numbers))
    note = "ImageNet-style networks have the 3x3 stem for small images here; --stem 7x7: torchvision's."
    small = any(network.network.family == IMAGENET_SMALL for network in networks)
    return to_text(
        table,
        "",
        f"Per image of {networks[0].input_size}, {networks[0].num_classes} classes.",
        *([note] if small else []),
        "MACs: multiply-adds of convolutions and classifier, by closed form.",
        "fvcore total: MACs, 2 per element for BN, 1 for average pooling.",
        "FLOPs: by torch's FlopCounterMode, 2 per MAC; train: forward and backward.",
        "Activations: elements that convolutions and classifier put out, as in pycls.",
    )


def layer_tables(networks: Sequence[SizedNetwork]) -> str:
    """A table of layers per network; equal blocks of a stage are one entry, so that all rows still sum to the total."""
    tables = [to_text(_layer_table(network)) for network in networks]
    return "\n".join([*tables, *LAYER_NOTES, "Every layer by itself: --out FILE.csv", ""])


def _layer_table(network: SizedNetwork) -> Table:
    table = _table(*LAYER_HEADER, texts=3)
    table.title = layer_title(network)
    *rows, total = folded_rows(network)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*total)
    return table


def _table(*header: str, texts: int = 1) -> Table:
    """An empty table; the first columns are text, the others numbers."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
        title_justify="left",
        title_style="bold",
    )
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < texts else "right")
    return table
