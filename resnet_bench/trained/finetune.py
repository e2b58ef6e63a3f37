"""Train a network on new data, from the weights of another and from scratch, each way a study of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.config.run import AUGMENTATION_OF, FINE_TUNE, SCRATCH
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.find import find_data
from resnet_bench.data.select import few_images, only_classes, part_name, with_validation
from resnet_bench.data.sources import Source
from resnet_bench.errors import Failure, UsageError
from resnet_bench.executors import Sweep, TrainOptions, train
from resnet_bench.models.weights import Weights
from resnet_bench.networks import NetworkName
from resnet_bench.places import user_path
from resnet_bench.study.checks import Incomplete
from resnet_bench.study.stopping import StopRequest
from resnet_bench.terminal import progress_line, sayer
from resnet_bench.text import one_line
from resnet_bench.trained.runs import find_weights
from resnet_bench.trained.transfer import Recipe, begin, folder_name


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What is to be learnt, by which network, in which ways.

    Attributes:
        data: a folder of images, or a dataset's name.
        modes: of `config.run.TRANSFER_MODES`.
        named: the network for [C, H, W] images; None of it: that of the weights.
        weights: what it begins with, unless from scratch: a run's folder, a file, or "default".
        epochs: passes over the training images.
        batch_size: images per step.
        lr: first learning rate; None: the mode's.
        optimizer: sgd, adam or adamw.
        freeze_until: the last stage that fine-tuning keeps as it is, 0 for the stem alone; None: all is trained.
        classes: only these; None: all.
        images_per_class: so many, those for validation included; None: all.
        name: of the folder under the results; None: by the data.
    """

    data: str
    modes: Sequence[str]
    named: Callable[[tuple[int, int, int]], NetworkName | None]
    weights: str | None = None
    epochs: int = 30
    batch_size: int = 32
    lr: float | None = None
    optimizer: str = "sgd"
    freeze_until: int | None = None
    classes: Sequence[str] | None = None
    images_per_class: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", self.name):
            raise UsageError(f"--name {self.name!r}: letters, digits, dots, dashes and underscores")
        transferring = [mode for mode in self.modes if mode != SCRATCH]
        if transferring and not self.weights:
            raise UsageError(f"--mode {transferring[0]} needs --weights: a finished run's folder, a file, or default")
        if self.weights and not transferring:
            raise UsageError("--weights: training from scratch begins with none; leave them out")
        if self.freeze_until is not None and FINE_TUNE not in self.modes:
            raise UsageError("--freeze-until is for --mode fine-tune")
        place = user_path(self.data)
        if place.is_dir() and not any(place.iterdir()):
            raise UsageError(f"{place}: an empty folder; expected train/<class>/* and test/<class>/*, or <class>/*")

    def part(self, dataset: Dataset) -> Dataset:
        """The images to be learnt from, with validation images."""
        if self.classes:
            dataset = only_classes(dataset, self.classes)
        if self.images_per_class:
            dataset = few_images(dataset, self.images_per_class)
        return with_validation(dataset)


def fine_tune(transfer: Transfer, options: TrainOptions, stop: StopRequest) -> Path:
    """Train in each mode; gives the folder of the studies, which are not compared yet.

    Raises:
        UsageError: bad data or weights, or a folder with what these must not be compared with.
        Incomplete: the work of a mode failed; what is finished is kept in `folder`.
        Stopped: asked to stop; everything is saved.
    """
    sweeps = _sweeps(transfer, options)
    folder = sweeps[0].folder.parent
    try:
        for sweep in sweeps:
            train(sweep, options, stop)
    except Failure as failure:
        raise Incomplete(str(failure), folder) from None
    return folder


def _sweeps(transfer: Transfer, options: TrainOptions) -> list[Sweep]:
    """One for each mode, in a folder that is made for them all."""
    source, say = find_data("cifar10", transfer.data, options.quiet), sayer(options.quiet)
    recipe, weights = _recipe(transfer, source)
    if weights and weights.inputs is None:
        how = "it is done by what the new images are like"
        say(one_line(f"{weights.origin}: does not say how its pixels were normalised; {how}"))
    say(str(source))
    name = part_name(source.name, transfer.classes, transfer.images_per_class)
    part = transfer.part(source.load(progress_line("reading", options.quiet)))
    dataset = dataclasses.replace(part, name=name)
    augmentation = source.augmentation or AUGMENTATION_OF.get(source.name, "crop-flip")
    given = {mode: None if mode == SCRATCH else weights for mode in transfer.modes}
    seeds = options.seeds or (0,)
    runs = {mode: recipe.runs(mode, dataset, augmentation, seeds, given[mode]) for mode in transfer.modes}
    folder = user_path(options.results) / (transfer.name or f"transfer-{source.name}")
    begin(folder, runs, dataset, weights, transfer.images_per_class)
    told = f"(epochs: {transfer.epochs}, images per step: {transfer.batch_size})"
    names = {mode: folder_name(mode, transfer.images_per_class) for mode in transfer.modes}
    return [
        Sweep(f"{folder.name}/{name} {told}", folder / name, runs[mode], dataset, weights=given[mode])
        for mode, name in names.items()
    ]


def _recipe(transfer: Transfer, source: Source) -> tuple[Recipe, Weights | None]:
    """How networks are trained, and what they begin with; found before anything is read."""
    network = transfer.named(source.image_shape)
    weights = find_weights(transfer.weights, network) if transfer.weights else None
    network = network or (weights.network if weights else None)
    if network is None:
        raise UsageError("--arch is needed: the weights do not say of which network they are")
    recipe = Recipe(
        network, transfer.epochs, transfer.batch_size, transfer.lr, transfer.optimizer, transfer.freeze_until
    )
    for mode in transfer.modes:
        recipe.frozen_parts(mode)
    return recipe, weights
