"""What several commands do: take options from arguments, render a study, say where it is."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_bench import terminal
from resnet_bench.busy import busy
from resnet_bench.cli.arguments import STEMS
from resnet_bench.config.run import Variation
from resnet_bench.config.study import family_for
from resnet_bench.errors import UsageError
from resnet_bench.terminal import columns
from resnet_bench.text import command

if TYPE_CHECKING:
    from resnet_bench.executors.options import Cluster, TrainOptions


def variation(arguments: argparse.Namespace) -> Variation:
    """What the user wants done otherwise."""
    return Variation(arguments.optimizer, arguments.schedule, arguments.lr, arguments.zero_init_residual)


def family_of(stem: str, image_shape: tuple[int, int, int]) -> str:
    """The family of ImageNet-style networks with that stem, or with the one that fits the images."""
    return STEMS[stem] if stem in STEMS else family_for(min(image_shape[1:]))


def train_options(arguments: argparse.Namespace) -> TrainOptions:
    """What `add_where`, and `add_sweep_options` where that was called, have parsed."""
    from resnet_bench.executors.options import TrainOptions

    given = vars(arguments)
    fields = {field.name for field in dataclasses.fields(TrainOptions)}
    options: dict[str, Any] = {name: value for name, value in given.items() if name in fields}
    if "schedule" in given:
        options["variation"] = variation(arguments)
    return TrainOptions(**options, cluster=_cluster(given))


def _cluster(given: Mapping[str, Any]) -> Cluster | None:
    """What is asked of a cluster, if one is to be used. UsageError if something is asked of none."""
    from resnet_bench.executors.options import Cluster

    asked: dict[str, Any] = {field.name: given.get(field.name) for field in dataclasses.fields(Cluster)}
    if given.get("executor") == "ray":
        return Cluster(**asked)
    for name, value in asked.items():
        if value is not None and value is not False:
            raise UsageError(f"--{name.replace('_', '-')} is for clusters: add --executor ray")
    return None


def check_folder(folder: Path) -> None:
    """Raise UsageError, which names the studies beside it, unless the folder is there."""
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
        known = f"studies there: {', '.join(there)}" if there else "run a study first (resnet-bench demo)"
        raise UsageError(f"{folder}: no such folder; {known}")


@busy("drawing the report")
def render_transfer(folder: Path, quiet: bool) -> None:
    """Compare the studies of a transfer folder, draw that, and print the verdict."""
    from resnet_bench.report.transfer import render_transfer as draw
    from resnet_bench.report.transfer import summarize_transfer
    from resnet_bench.study.collecting import collect_late
    from resnet_bench.trained.compared import compare, studies_of

    for study in studies_of(folder):
        if study.uncollected():
            with study.lock():
                collect_late(study)
    compare(folder)
    paths = draw(folder)
    if not quiet:
        said, table = summarize_transfer(folder)
        terminal.say(f"\n{said}\n\n{columns(table.header, table.rows, texts=3)}")
        terminal.say(f"{len(paths)} files written; {command('open', folder / 'report.html')}")


def render_study(folder: Path, quiet: bool) -> None:
    """Draw what is finished of a study, and print its summary."""
    from resnet_bench.api import draw_report

    draw_report(folder, quiet)
