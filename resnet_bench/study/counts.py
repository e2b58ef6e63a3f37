"""What networks cost, counted now: tables of whole networks and of their layers; complexity.csv and layers.csv."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import torch
from rich import box
from rich.table import Table

from resnet_bench.architectures import (
    ARCHS,
    CIFAR,
    DEPTHS,
    IMAGENET,
    IMAGENET_SMALL,
    NAMED,
    PLAIN,
    RESIDUAL_ARMS,
    NetworkName,
    check_network,
    display_name,
)
from resnet_bench.busy import busy
from resnet_bench.complexity import Complexity, Layer, complexity, fvcore_total, list_layers, torch_flops
from resnet_bench.data.sources import find_source
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import write_atomically
from resnet_bench.models import Net, build_model
from resnet_bench.results import (
    COMPLEXITY,
    LAYERS,
    RUNS,
    ComplexityRow,
    LayerRow,
    PlanRow,
    input_size_of,
    read_csv,
    to_csv,
    write_csv,
)
from resnet_bench.study.folder import StudyFolder, write_sums
from resnet_bench.terminal import to_text

ImageShape: TypeAlias = tuple[int, int, int]  # channels, height, width
Count: TypeAlias = tuple[ComplexityRow, list[LayerRow]]


@dataclass(frozen=True, order=True)
class Network:
    """A network, and the images and classes that it is for; sorts as the rows of every CSV file do."""

    family: str
    arch: str
    shortcut: str
    depth: int
    image_shape: ImageShape
    num_classes: int

    @classmethod
    def of(cls, name: NetworkName, image_shape: ImageShape, num_classes: int) -> Network:
        """The network of that name, for these images and classes."""
        return cls(name.family, name.arch, name.shortcut, name.depth, image_shape, num_classes)

    @property
    def name(self) -> str:
        """As in every table: `plain-20`, `ResNet-20 (B)`."""
        return display_name(self.arch, self.depth, self.shortcut)

    @property
    def input_size(self) -> str:
        """Height x width x channels."""
        return input_size_of(self.image_shape)

    @property
    def identity(self) -> NetworkName:
        """What it is, whatever its images are."""
        return NetworkName(self.family, self.arch, self.depth, self.shortcut)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns by which tables know it."""
        return {**self.identity._asdict(), "input_size": self.input_size, "num_classes": self.num_classes}

    def build(self) -> Net:
        """The real network, in training mode. UsageError if there is none."""
        return build_model(
            **self.identity._asdict(),
            in_channels=self.image_shape[0],
            num_classes=self.num_classes,
            generator=torch.Generator(),
        )

    def closed_form(self) -> Complexity:
        """Its parameters and multiply-adds, as a formula gives them."""
        channels, height, width = self.image_shape
        return complexity(
            self.identity,
            in_channels=channels,
            num_classes=self.num_classes,
            image_size=(height, width),
        )


# ---------------------------------------------------------------------------------------------- which networks


def find_networks(
    study: StudyFolder | None,
    images: tuple[ImageShape, int],
    depths: Sequence[int] | None = None,
    archs: Sequence[str] | None = None,
    shortcut: str | None = None,
    family: str = IMAGENET,
) -> list[Network]:
    """The networks of a study's plan, else plain and residual ones of the paper's depths; only those asked for.

    Args:
        study: a study's folder; None: no study.
        images: (channels, height, width), and the number of classes.
        depths: only these; without a study any.
        archs: only these: "plain", "residual", or short names of ImageNet-style networks, as "plain34", "resnet50".
        shortcut: of residual networks only "a", "b" or "c"; what is called by its short name has b unless said.
        family: of what is called by its short name.

    Raises:
        UsageError: there is no plan, or none of its networks is asked for, or not of each of the depths.
    """
    if study:
        known = [network.identity for network in _planned(study, images)]
    else:
        known = _without_study(depths or DEPTHS, archs, shortcut, family)
    found = [name for name in known if _is_wanted(name, depths, archs, shortcut)]
    missing = [f"depth {depth}" for depth in depths or [] if depth not in {name.depth for name in found}]
    missing += [arch for arch in archs or [] if not any(arch in _calls(name) for name in found)]
    if missing or not found:
        asked = [*missing, *(archs or []), f"shortcut {shortcut}" if shortcut else ""]
        where = f"{study.path}: plan.csv has" if study else "there is"
        raise UsageError(f"{where} no such network: {', '.join(dict.fromkeys(filter(None, asked)))}")
    return [Network.of(name, *images) for name in sorted(found, key=lambda name: (name.depth, name))]


def _without_study(
    depths: Sequence[int], archs: Sequence[str] | None, shortcut: str | None, family: str
) -> list[NetworkName]:
    names = []
    if archs is None or set(archs) & set(ARCHS):
        arms = (PLAIN, *RESIDUAL_ARMS)
        names = [NetworkName(CIFAR, arch, depth, option) for depth in depths for arch, option in arms]
    for called in dict.fromkeys(archs or []):
        if called in NAMED:
            name = NAMED[called]._replace(family=family)
            if shortcut and name.arch != "plain":
                name = name._replace(shortcut=shortcut)
            check_network(name)
            names.append(name)
    return names


def _calls(name: NetworkName) -> list[str]:
    """What it can be called by: its arch, and the short name that ImageNet-style networks have."""
    same = [short for short, other in NAMED.items() if (other.arch, other.depth) == (name.arch, name.depth)]
    return [name.arch, *(same if name.family != CIFAR else [])]


def _is_wanted(
    name: NetworkName, depths: Sequence[int] | None, archs: Sequence[str] | None, shortcut: str | None
) -> bool:
    by_short_name = bool(set(_calls(name)[1:]) & set(archs or []))
    return (
        (archs is None or by_short_name or name.arch in archs)
        and (by_short_name or not depths or name.depth in depths)
        and (shortcut in (None, name.shortcut) or (by_short_name and name.arch == "plain"))
    )


def _planned(study: StudyFolder, images: tuple[ImageShape, int]) -> list[Network]:
    return sorted({Network(row.family, row.arch, row.shortcut, row.depth, *images) for row in _read_plan(study)})


def _read_plan(study: StudyFolder) -> list[PlanRow]:
    plan = study.read_plan()
    if not plan:
        raise UsageError(f"{study.path}: not a study, for plan.csv is missing or empty; run one first (make demo)")
    return plan


SIZE = re.compile(r"(\d+)x(\d+)x(\d+)")  # as in the column input_size


def find_images(study: StudyFolder | None, input_size: int | None, num_classes: int | None) -> tuple[ImageShape, int]:
    """(channels, height, width) and the number of classes: as given, else of the study's data, else of CIFAR-10.

    Raises:
        UsageError: something is not given, and the study's data are not known here.
    """
    if input_size is not None and num_classes is not None:
        return (3, input_size, input_size), num_classes
    shape, classes = _images_of(study) if study else ((3, 32, 32), 10)
    return (3, input_size, input_size) if input_size else shape, num_classes or classes


def _images_of(study: StudyFolder) -> tuple[ImageShape, int]:
    _read_plan(study)  # what is no study at all has no data either
    runs = read_csv(study.path / RUNS.file, RUNS) if (study.path / RUNS.file).exists() else []
    if runs and (size := SIZE.fullmatch(runs[0].input_size)):
        height, width, channels = map(int, size.groups())
        return (channels, height, width), runs[0].num_classes
    if runs:
        with contextlib.suppress(UsageError):  # the name of a folder of images does not say where it lies
            return find_source(runs[0].dataset).image_shape, runs[0].num_classes
    counts = read_counts(study)  # by the sweep, which had the images, and perhaps of others since
    sizes = {(run.params, run.macs) for run in runs}
    own = [network for network, (row, _) in counts.items() if (row.params, row.macs) in sizes]
    for network in own or counts:
        return network.image_shape, network.num_classes
    why = f"the size of the images of {runs[0].dataset} is not known here" if runs else "no run of it has finished"
    raise UsageError(f"{study.path}: {why}; pass --input-size and --num-classes")


# ---------------------------------------------------------------------------------------------- counting


@busy("counting networks")
def count(network: Network) -> tuple[ComplexityRow, list[LayerRow]]:
    """A network and its layers by all counters.

    Raises:
        UsageError: there is no such network.
        Failure: the counters disagree with the closed form.
    """
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


def count_layers(network: Network, model: Net | None = None) -> list[Layer]:
    """The layers of a network (`model`, if it is built already). Raises as `count` does."""
    model = model or network.build()
    layers, closed = list_layers(model, network.image_shape), network.closed_form()
    params = sum(parameter.numel() for parameter in model.parameters())
    if closed != _sum(layers) or closed.params != params:
        raise Failure(f"{network.name}: closed form {closed}, but layers {_sum(layers)}, and {params} params in all")
    return layers


def _sum(layers: Iterable[Layer | LayerRow]) -> Complexity:
    counts = [(layer.params, layer.macs) for layer in layers]
    return Complexity(sum(params for params, _ in counts), sum(macs for _, macs in counts))


def to_rows(network: Network, layers: Sequence[Layer]) -> list[LayerRow]:
    """The layers of a network as rows of layers.csv."""
    whole = network.closed_form()
    return [
        LayerRow(
            **network.columns,
            layer=layer.name,
            kind=layer.kind,
            output_shape=_shape_text(layer),
            params=layer.params,
            params_percent=100 * layer.params / whole.params,
            macs=layer.macs,
            macs_percent=100 * layer.macs / whole.macs,
        )
        for layer in layers
    ]


def _shape_text(layer: Layer) -> str:
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
        networks, counts = _planned(study, (image_shape, num_classes)), read_counts(study)
        todo = [network for network in networks if network not in counts]
        counts |= {network: count(network) for network in todo}
        if todo:
            ordered = [counts[network] for network in sorted(counts)]
            write_csv(study.path / LAYERS.file, LAYERS, [row for _, layers in ordered for row in layers])
            write_csv(study.path / COMPLEXITY.file, COMPLEXITY, [row for row, _ in ordered])
            write_sums(study)
    return len(todo)


def read_counts(study: StudyFolder) -> dict[Network, Count]:
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
        if size and _sum(own) == Complexity(row.params, row.macs):
            shape = int(size[3]), int(size[1]), int(size[2])
            counts[Network(row.family, row.arch, row.shortcut, row.depth, shape, row.num_classes)] = row, own
    return counts


def write_layers(path: Path, networks: Sequence[Network]) -> None:
    """Write the layers of the networks to a file: each by itself as CSV, or folded by block as Markdown.

    Raises:
        UsageError: another suffix; there is no such network.
        Failure: the counters disagree with the closed form, or the file cannot be written.
    """
    formats = {".csv": _to_csv, ".md": _to_markdown}
    if path.suffix not in formats:
        raise UsageError(f"{path}: layers are written as {' or '.join(formats)}; let the name end in one of these")
    write_atomically(path, formats[path.suffix](networks).encode())


def _to_csv(networks: Sequence[Network]) -> str:
    return to_csv(LAYERS, [row for network in networks for row in to_rows(network, count_layers(network))])


def _to_markdown(networks: Sequence[Network]) -> str:
    """A section with the folded table for each network."""
    sections = []
    for network in networks:
        lines = [LAYER_HEADER, ["---"] * 3 + ["---:"] * 4, *_folded_rows(network)]
        text = "".join(f"| {' | '.join(line)} |\n".replace("|   ", "| &nbsp;&nbsp;") for line in lines)
        sections.append(f"### {_layer_title(network)}\n\n{text}")
    return "\n".join([*sections, f"{' '.join(LAYER_NOTES)}\n"])


# ---------------------------------------------------------------------------------------------- tables


def complexity_table(networks: Sequence[Network], counts: Mapping[Network, Count]) -> str:
    """Parameters, multiply-adds and activations of networks; those not among `counts` are counted now (see `count`)."""
    table = _table("network", "params", "MACs", "fvcore\ntotal", "FLOPs\nforward", "FLOPs\ntrain", "activations")
    for network in networks:
        row, _ = counts.get(network) or count(network)
        numbers = row.params, row.macs, row.fvcore_total, row.flops_forward, row.flops_train_step, row.activations
        table.add_row(network.name, *(f"{number:,}" for number in numbers))
    note = "ImageNet-style networks have the 3x3 stem for small images here; --stem 7x7: torchvision's."
    small = any(network.family == IMAGENET_SMALL for network in networks)
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


def layer_tables(networks: Sequence[Network]) -> str:
    """A table of layers per network; equal blocks of a stage are one entry, so that all rows still sum to the total."""
    tables = [to_text(_layer_table(network)) for network in networks]
    return "\n".join([*tables, *LAYER_NOTES, "Every layer by itself: --out FILE.csv", ""])


LAYER_HEADER = ["layer", "kind", "output", "params", "%", "MACs", "%"]
LAYER_NOTES = (
    "N x: the same layer of N equal blocks, counted together. /2: stride 2. g32: 32 groups.",
    "MACs: multiply-adds; BN and pooling have none in this convention.",
)


def _layer_table(network: Network) -> Table:
    table = _table(*LAYER_HEADER, texts=3)
    table.title = _layer_title(network)
    *rows, total = _folded_rows(network)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*total)
    return table


def _layer_title(network: Network) -> str:
    stem = " with a 3x3 stem" if network.family == IMAGENET_SMALL else ""
    return f"{network.name}{stem}, per image of {network.input_size}, {network.num_classes} classes"


def _folded_rows(network: Network) -> list[list[str]]:
    """The cells below LAYER_HEADER, those of a block's layers indented; the total is last."""
    layers, whole = count_layers(network), network.closed_form()
    rows = []

    def add(name: str, kind: str, shape: str, part: Sequence[Layer], times: int = 1) -> None:
        params, macs = times * _sum(part).params, times * _sum(part).macs
        shares = [f"{100 * params / whole.params:.1f}", f"{100 * macs / whole.macs:.1f}"]
        rows.append([name, kind, shape, f"{params:,}", shares[0], f"{macs:,}", shares[1]])

    for block, times, part in _folded(layers):
        if block:
            add(block, f"{times} blocks" if times > 1 else "block", _shape_text(part[-1]), part, times)
        for layer in part:
            kind = f"{layer.kind} {layer.window}".rstrip()
            indent = "  " if block else ""
            add(indent + layer.name, f"{times} x {kind}" if times > 1 else kind, _shape_text(layer), [layer], times)
    add("total", "", "", layers)
    return rows


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
