"""What networks cost, counted now: complexity.csv and layers.csv."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from torch import nn

from resnet_bench.busy import busy
from resnet_bench.complexity import Complexity, Layer, fvcore_activations, fvcore_total, list_layers, torch_flops
from resnet_bench.cost.sized import ImageShape, SizedNetwork, planned_networks
from resnet_bench.errors import Failure, UsageError
from resnet_bench.networks import OWN, NetworkName
from resnet_bench.results.rows import ComplexityRow, LayerRow
from resnet_bench.results.tables import COMPLEXITY, LAYERS, read_csv, write_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.sums import write_sums

Count: TypeAlias = tuple[ComplexityRow, list[LayerRow]]


SIZE = re.compile(r"(\d+)x(\d+)x(\d+)")  # as in the column input_size


# ---------------------------------------------------------------------------------------------- counting


@busy("counting networks")
def count(network: SizedNetwork) -> tuple[ComplexityRow, list[LayerRow]]:
    """A network and its layers by all counters.

    Raises:
        UsageError: there is no such network.
        Failure: the counters disagree with the closed form.
    """
    if network.network.family == OWN:
        return _count_own(network), []
    model, shape, closed = network.build(), network.image_shape, network.closed_form()
    train_flops = torch_flops(model, shape, train_step=True)
    layers = count_layers(network, model)
    flops = torch_flops(model.eval(), shape)
    if flops != 2 * closed.macs:
        raise Failure(f"{network.name}: closed form {closed}, but torch counted {flops} FLOPs")
    row = ComplexityRow(
        **network.columns,
        **asdict(closed),
        fvcore_total=fvcore_total(model, shape),
        flops_forward=flops,
        flops_train_step=train_flops,
        activations=sum(layer.activations for layer in layers),
    )
    return row, to_rows(network, layers)


def _count_own(network: SizedNetwork) -> ComplexityRow:
    """Of a network that a function of the user's builds there is no closed form, and its layers may be of any kind."""
    size, model, shape = network.size(), network.build(), network.image_shape
    return ComplexityRow(
        **network.columns,
        **asdict(size),
        flops_train_step=torch_flops(model, shape, train_step=True),
        flops_forward=2 * size.macs,
        fvcore_total=_if_traced(fvcore_total, model, shape),
        activations=_if_traced(fvcore_activations, model, shape),
    )


def _if_traced(counter: Callable[[nn.Module, ImageShape], int], model: nn.Module, shape: ImageShape) -> int:
    """0 if the counter cannot: it traces the network, which not all of them bear."""
    try:
        return counter(model, shape)
    except Exception:
        return 0


def count_layers(network: SizedNetwork, model: nn.Module | None = None) -> list[Layer]:
    """The layers of a network (`model`, if it is built already). Raises as `count` does."""
    if network.network.family == OWN:
        raise UsageError(f"{network.name}: layers are listed of our networks only, not of one that you have built")
    model = model or network.build()
    layers, closed = list_layers(model, network.image_shape), network.closed_form()
    params = sum(parameter.numel() for parameter in model.parameters())
    if closed != total_of(layers) or closed.params != params:
        raise Failure(
            f"{network.name}: closed form {closed}, but layers {total_of(layers)}, and {params} params in all"
        )
    return layers


def total_of(layers: Iterable[Layer | LayerRow]) -> Complexity:
    """Parameters and multiply-adds of some layers together."""
    counts = [(layer.params, layer.macs) for layer in layers]
    return Complexity(sum(params for params, _ in counts), sum(macs for _, macs in counts))


def to_rows(network: SizedNetwork, layers: Sequence[Layer]) -> list[LayerRow]:
    """The layers of a network as rows of layers.csv."""
    whole = network.closed_form()
    return [
        LayerRow(
            **network.columns,
            layer=layer.name,
            kind=layer.kind,
            output_shape=shape_text(layer),
            params=layer.params,
            params_percent=100 * layer.params / whole.params,
            macs=layer.macs,
            macs_percent=100 * layer.macs / whole.macs,
        )
        for layer in layers
    ]


def shape_text(layer: Layer) -> str:
    """What a layer puts out, as in `16x32x32`."""
    return "x".join(map(str, layer.output_shape))


# ---------------------------------------------------------------------------------------------- files


def write_complexity(study: StudyFolder, image_shape: ImageShape, num_classes: int) -> int:
    """Write complexity.csv, layers.csv and SHA256SUMS for the networks of a study's plan; takes the study's lock.

    What stands there is kept, of other images too; what cannot be read is counted again.

    Args:
        study: its folder, with a plan.csv.
        image_shape: (channels, height, width) of the study's images.
        num_classes: classes of the study's data.

    Returns:
        The number of networks counted now.

    Raises:
        UsageError: there is no plan, or it names a network that there is not.
        Failure: the counters disagree with the closed form, or the folder cannot be written.
    """
    with study.lock():
        networks, counts = planned_networks(study, (image_shape, num_classes)), read_counts(study)
        todo = [network for network in networks if network not in counts]
        counts |= {network: count(network) for network in todo}
        if todo:
            ordered = [counts[network] for network in sorted(counts)]
            write_csv(study.path / LAYERS.file, LAYERS, [row for _, layers in ordered for row in layers])
            write_csv(study.path / COMPLEXITY.file, COMPLEXITY, [row for row, _ in ordered])
            write_sums(study)
    return len(todo)


def read_counts(study: StudyFolder) -> dict[SizedNetwork, Count]:
    """What stands in complexity.csv and layers.csv, as far as it can be read and belongs together."""
    try:
        rows = read_csv(study.path / COMPLEXITY.file, COMPLEXITY)
        layers = read_csv(study.path / LAYERS.file, LAYERS)
    except UsageError:
        return {}
    by_network: dict[tuple[Any, ...], list[LayerRow]] = {}
    for layer in layers:
        by_network.setdefault(LAYERS.key_of(layer)[:-1], []).append(layer)
    counts = {}
    for row in rows:
        size = SIZE.fullmatch(row.input_size)
        own = by_network.get(COMPLEXITY.key_of(row)) or [
            replace(layer, input_size=row.input_size, num_classes=row.num_classes)
            for layer in by_network.get((row.family, row.arch, row.depth, row.shortcut, "", 0), [])  # of an older file
        ]
        # A process that was killed between the two files leaves layers of other images.
        if size and (row.family == OWN or total_of(own) == Complexity(row.params, row.macs)):
            shape = int(size[3]), int(size[1]), int(size[2])
            counts[SizedNetwork(NetworkName(row.family, row.arch, row.depth, row.shortcut), shape, row.num_classes)] = (
                row,
                own,
            )
    return counts


LAYER_HEADER = ["layer", "kind", "output", "params", "%", "MACs", "%"]
LAYER_NOTES = (
    "N x: the same layer of N equal blocks, counted together. /2: stride 2. g32: 32 groups.",
    "MACs: multiply-adds; BN and pooling have none in this convention.",
)
