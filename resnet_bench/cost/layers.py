"""The layers of networks, equal blocks folded; as a file: CSV or Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from resnet_bench.complexity import Layer
from resnet_bench.cost.counting import LAYER_HEADER, LAYER_NOTES, count_layers, shape_text, to_rows, total_of
from resnet_bench.cost.sized import SizedNetwork
from resnet_bench.errors import UsageError
from resnet_bench.files import write_atomically
from resnet_bench.networks import IMAGENET_SMALL
from resnet_bench.results.tables import LAYERS, to_csv


def write_layers(path: Path, networks: Sequence[SizedNetwork]) -> None:
    """Write the layers of the networks to a file: each by itself as CSV, or folded by block as Markdown.

    Raises:
        UsageError: another suffix; there is no such network.
        Failure: the counters disagree with the closed form, or the file cannot be written.
    """
    formats = {".csv": _to_csv, ".md": _to_markdown}
    if path.suffix not in formats:
        raise UsageError(f"{path}: layers are written as {' or '.join(formats)}; let the name end in one of these")
    write_atomically(path, formats[path.suffix](networks).encode())


def _to_csv(networks: Sequence[SizedNetwork]) -> str:
    return to_csv(LAYERS, [row for network in networks for row in to_rows(network, count_layers(network))])


def _to_markdown(networks: Sequence[SizedNetwork]) -> str:
    """A section with the folded table for each network."""
    sections = []
    for network in networks:
        lines = [LAYER_HEADER, ["---"] * 3 + ["---:"] * 4, *folded_rows(network)]
        text = "".join(f"| {' | '.join(line)} |\n".replace("|   ", "| &nbsp;&nbsp;") for line in lines)
        sections.append(f"### {layer_title(network)}\n\n{text}")
    return "\n".join([*sections, f"{' '.join(LAYER_NOTES)}\n"])


def layer_title(network: SizedNetwork) -> str:
    """What stands above a network's layers: which, and for what images."""
    stem = " with a 3x3 stem" if network.network.family == IMAGENET_SMALL else ""
    return f"{network.name}{stem}, per image of {network.input_size}, {network.num_classes} classes"


def folded_rows(network: SizedNetwork) -> list[list[str]]:
    """The cells below LAYER_HEADER, those of a block's layers indented; the total is last."""
    layers, whole = count_layers(network), network.closed_form()
    rows = []

    def add(name: str, kind: str, shape: str, part: Sequence[Layer], times: int = 1) -> None:
        params, macs = times * total_of(part).params, times * total_of(part).macs
        shares = [f"{100 * params / whole.params:.1f}", f"{100 * macs / whole.macs:.1f}"]
        rows.append([name, kind, shape, f"{params:,}", shares[0], f"{macs:,}", shares[1]])

    for block, times, part in _folded(layers):
        if block:
            add(block, f"{times} blocks" if times > 1 else "block", shape_text(part[-1]), part, times)
        for layer in part:
            kind = f"{layer.kind} {layer.window}".rstrip()
            indent = "  " if block else ""
            add(indent + layer.name, f"{times} x {kind}" if times > 1 else kind, shape_text(layer), [layer], times)
    add("total", "", "", layers)
    return rows


def _folded(layers: Sequence[Layer]) -> Iterator[tuple[str, int, list[Layer]]]:
    """(name, number, layers of one) of equal blocks that follow each other; ("", 1, layers) of what is in no block."""
    blocks = []
    for block, part in groupby(layers, _block):
        blocks.append((block, [replace(layer, name=layer.name.removeprefix(f"{block}.")) for layer in part]))
    for (_, inner), equal in groupby(blocks, lambda item: (item[0].rpartition(".")[0], item[1])):
        names = [name for name, _ in equal]
        last = names[-1].rpartition(".")[2]
        yield names[0] if len(names) == 1 else f"{names[0]}-{last}", len(names), inner


def _block(layer: Layer) -> str:
    """`stages.1.0` of `stages.1.0.conv1`, `layer2.0` of `layer2.0.conv1`; empty for a layer in no block."""
    match = re.match(r"(stages\.\d+|layer\d+)\.\d+", layer.name)
    return match[0] if match else ""
