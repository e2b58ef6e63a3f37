"""Which networks a user means: those of a study, or of a family; each for images of one size."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from resnet_bench.cost.counting import SIZE, read_counts
from resnet_bench.cost.sized import ImageShape, SizedNetwork, planned_networks, read_plan
from resnet_bench.data.sources import find_source
from resnet_bench.errors import UsageError
from resnet_bench.networks import (
    ARCHS,
    CIFAR,
    DEPTHS,
    IMAGENET,
    NAMED,
    PLAIN,
    RESIDUAL_ARMS,
    NetworkName,
    check_network,
)
from resnet_bench.results.tables import RUNS, read_csv
from resnet_bench.study.folder import StudyFolder

# ---------------------------------------------------------------------------------------------- which networks


def find_networks(
    study: StudyFolder | None,
    images: tuple[ImageShape, int],
    depths: Sequence[int] | None = None,
    archs: Sequence[str] | None = None,
    shortcut: str | None = None,
    family: str = IMAGENET,
) -> list[SizedNetwork]:
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
    planned = {network.network: network for network in planned_networks(study, images)} if study else {}
    known = list(planned)
    if not study:
        known = _without_study(depths or DEPTHS, archs, shortcut, family)
    found = [name for name in known if _is_wanted(name, depths, archs, shortcut)]
    missing = [f"depth {depth}" for depth in depths or [] if depth not in {name.depth for name in found}]
    missing += [arch for arch in archs or [] if not any(arch in _calls(name) for name in found)]
    if missing or not found:
        asked = [*missing, *(archs or []), f"shortcut {shortcut}" if shortcut else ""]
        where = f"{study.path}: plan.csv has" if study else "there is"
        raise UsageError(f"{where} no such network: {', '.join(dict.fromkeys(filter(None, asked)))}")
    ordered = sorted(found, key=lambda name: (name.depth, name))
    return [planned.get(name) or SizedNetwork(name, *images) for name in ordered]


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
    read_plan(study)  # what is no study at all has no data either
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
