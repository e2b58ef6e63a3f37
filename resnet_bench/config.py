"""What a run is (a frozen, content-addressed configuration) and the named studies as functions that return runs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from resnet_bench.architectures import (
    CIFAR,
    DEPTHS,
    IMAGENET,
    IMAGENET_SMALL,
    RESIDUAL_ARMS,
    TWINS,
    Arm,
    NetworkName,
    check_network,
    display_name,
)
from resnet_bench.errors import UsageError
from resnet_bench.schema import Rule

# Fields that older runs have not.
LATER = ("family", "optimizer", "schedule", "zero_init_residual", "weights", "frozen_parts")
AUGMENTATIONS = ("crop-flip", "crop", "resized-crop-flip", "none")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("step", "cosine")
# Learning rate and weight decay; those of adamw are torch's defaults. None: the study's own.
USUAL = {"sgd": None, "adam": (1e-3, 1e-4), "adamw": (1e-3, 1e-2)}
# How a network is trained on new data: from scratch, or from another's weights, the classifier alone or all of it.
SCRATCH, EXTRACTION, FINE_TUNE = TRANSFER_MODES = ("scratch", "feature-extraction", "fine-tune")
POSITIVE = Rule(1)
LARGE_SIDE = 128  # pixels: from here on ImageNet-style networks have the 7x7 stem
# A mirrored digit or letter is another one or none; images of 8x8 pixels are too small to be shifted.
AUGMENTATION_OF = {"mnist": "crop", "kmnist": "crop", "svhn": "crop", "digits": "none"}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run. Two runs with equal configurations are the same run.

    Paths, device, threads and checkpoint interval are no part of it. Defaults are the paper's (section 4.2).
    """

    protocol: str  # name and version of the rules below; results are compared only within one
    dataset: str  # name of the data really used
    arch: str  # "plain" | "residual" | another builder of torchvision, by its name
    depth: int = field(metadata={"rule": Rule(1, 100_000)})  # weighted layers
    shortcut: str  # "a" | "b" | "c"; "none" for plain
    seed: int
    steps: int = field(metadata={"rule": POSITIVE})  # optimizer updates
    batch_size: int = field(default=128, metadata={"rule": POSITIVE})
    lr: float = 0.1
    lr_drops: tuple[int, ...] = ()  # steps at which lr is divided by 10
    lr_warmup: float | None = None  # lr until the windowed training error is below lr_warmup_error
    lr_warmup_error: float = 80.0  # percent
    lr_warmup_window: int = field(default=100, metadata={"rule": POSITIVE})  # steps in a window; windows do not overlap
    momentum: float = 0.9
    weight_decay: float = 1e-4  # on every parameter, BN and biases included
    # "crop-flip": zero-pad 4, random crop, random flip; "crop" without the flip; "resized-crop-flip": of large images,
    # a box of random size and shape, resized, and a random flip; or "none"
    augmentation: str = "crop-flip"
    row_every: int = field(default=400, metadata={"rule": POSITIVE})  # steps between two rows of the error curves
    row_train_images: int | None = None  # fixed training images evaluated for a row; None: all
    row_test_images: int | None = None  # fixed test images evaluated for a row; None: all
    final_train_images: int | None = None  # fixed training images evaluated at the last step; None: all
    # LATER: at these values they are no part of canonical_json, so that older runs keep their names.
    family: str = CIFAR  # see architectures.FAMILIES
    optimizer: str = "sgd"  # with momentum; "adam", or "adamw", whose weight decay is no part of the gradient
    schedule: str = "step"  # lr_drops; or "cosine": from lr to 0 over all steps
    zero_init_residual: bool = False  # begin with every residual function at 0
    weights: str = ""  # SHA-256 of the weights that all layers but the classifier begin with; empty: drawn by the seed
    frozen_parts: int = 0  # stem and stages, from the first, that are not trained

    def __post_init__(self) -> None:
        check_network(self.network)
        for name, value, known in (
            ("augmentation", self.augmentation, AUGMENTATIONS),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r} is unknown; one of {', '.join(known)}")
        if self.zero_init_residual and self.arch == "plain":
            raise UsageError("zero_init_residual is for residual networks: a plain network would put out nothing")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed {self.seed} is not between 0 and {2**31 - 1}")

    @property
    def network(self) -> NetworkName:
        """What is trained."""
        return NetworkName(self.family, self.arch, self.depth, self.shortcut)

    def canonical_json(self) -> str:
        """The configuration as JSON with sorted keys and no spaces: equal text means equal run."""
        told = [f.name for f in fields(self) if f.name not in LATER or getattr(self, f.name) != f.default]
        values = {name: getattr(self, name) for name in told}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def run_id(self) -> str:
        """`<arch>-<shortcut>-d<depth>-s<seed>-<first 8 hex digits of the SHA-256 of canonical_json()>`."""
        digest = hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]
        return f"{self.arch}-{self.shortcut}-d{self.depth}-s{self.seed}-{digest}"

    @property
    def title(self) -> str:
        """What a reader calls it: `ResNet-56 seed 0`."""
        return f"{display_name(self.arch, self.depth, self.shortcut)} seed {self.seed}"


@dataclass(frozen=True)
class Variation:
    """What is done otherwise than a study's protocol says; it changes the protocol's name, and the study's folder."""

    optimizer: str = "sgd"
    schedule: str = "step"
    lr: float | None = None  # None: the study's, or what is usual for the optimizer
    zero_init_residual: bool = False

    @property
    def label(self) -> str:
        """`-adam-cosine`; empty if there is nothing."""
        parts = [self.optimizer] if self.optimizer != "sgd" else []
        parts += [self.schedule] if self.schedule != "step" else []
        parts += [f"lr{self.lr:g}"] if self.lr is not None else []
        parts += ["zero-init"] if self.zero_init_residual else []
        return "".join(f"-{part}" for part in parts)

    def apply(self, run: RunConfig) -> RunConfig:
        """The run with these changes; plain networks are never initialised with zeros."""
        if not self.label:
            return run
        name, version = run.protocol.rsplit("/")
        usual_lr, usual_decay = USUAL[self.optimizer] or (run.lr, run.weight_decay)
        return replace(
            run,
            protocol=f"{name}{self.label}/{version}",
            optimizer=self.optimizer,
            schedule=self.schedule,
            lr=usual_lr if self.lr is None else self.lr,
            lr_drops=run.lr_drops if self.schedule == "step" else (),
            lr_warmup=run.lr_warmup if self.optimizer == "sgd" else None,
            weight_decay=usual_decay,
            zero_init_residual=self.zero_init_residual and run.arch != "plain",
        )


# ---------------------------------------------------------------------------------------------- studies


@dataclass(frozen=True)
class Study:
    """A named set of runs: what it is trained on by default, and a function that returns its runs."""

    name: str
    dataset: str
    meaning: str
    make_runs: Callable[[str, Sequence[int] | None, Sequence[int] | None], list[RunConfig]]

    def runs(
        self,
        dataset: str | None = None,
        depths: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        *,
        augmentation: str | None = None,
        image_side: int = 32,
    ) -> list[RunConfig]:
        """The runs of the study, sorted by cost, twins together.

        Args:
            dataset: name of the data (the study's own).
            depths: only these (all).
            seeds: only these (all).
            augmentation: what fits the data, for studies that augment at all (by the data's name).
            image_side: pixels of the shorter side of the images, by which ImageNet-style networks get their stem.
        """
        dataset = dataset or self.dataset
        fitting = augmentation or AUGMENTATION_OF.get(dataset, "crop-flip")
        return [
            replace(
                run,
                augmentation="none" if run.augmentation == "none" else fitting,
                family=family_for(image_side) if run.family != CIFAR else CIFAR,
            )
            for run in self.make_runs(dataset, depths, seeds)
        ]

    def folder_name(self, dataset: str) -> str:
        """The results folder: it carries the name of the data really used (`cifar10-jpeg-short`)."""
        if dataset == self.dataset:
            return self.name
        if self.name.startswith(f"{self.dataset}-"):
            return dataset + self.name.removeprefix(self.dataset)
        return f"{self.name}-{dataset}"


def family_for(image_side: int) -> str:
    """The family of ImageNet-style networks whose stem fits images of that many pixels a side."""
    return IMAGENET if image_side >= LARGE_SIDE else IMAGENET_SMALL


def _grid(depths: Iterable[int], arms: Iterable[Arm], seeds: Iterable[int], base: dict[str, Any]) -> list[RunConfig]:
    product = itertools.product(sorted(depths), sorted(seeds), arms)
    return [RunConfig(arch=arch, depth=d, shortcut=s, seed=seed, **base) for d, seed, (arch, s) in product]


def cifar10_paper(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """Section 4.2 of the paper: 64k steps, drops at 32k and 48k; depth 110 starts at lr 0.01."""
    base = dict(
        protocol="paper-64k/1", dataset=dataset, steps=64_000, lr_drops=(32_000, 48_000), row_train_images=10_000
    )
    runs = _grid(depths or DEPTHS, TWINS, range(5) if seeds is None else seeds, base)
    return [replace(run, lr_warmup=0.01) if run.depth >= 110 else run for run in runs]


def cifar10_short(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """1/160 of the schedule, for CPU; evaluation on fixed subsets keeps it to about a quarter of the time."""
    base = dict(
        protocol="short-400/1",
        dataset=dataset,
        steps=400,
        lr=0.02,
        lr_drops=(200, 300),
        row_every=40,
        row_train_images=1_000,
        row_test_images=1_000,
        final_train_images=10_000,
    )
    return _grid(depths or DEPTHS, TWINS, range(3) if seeds is None else seeds, base)


def fashion_mnist_short(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """The short schedule on other images: one channel, 28x28."""
    return cifar10_short(dataset, depths or (20, 56), range(1) if seeds is None else seeds)


def cifar10_18_34_short(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """plain-18/34 and ResNet-18/34 with option A, the comparison of the paper's table 2, in 200 steps of 64 images."""
    base = dict(
        protocol="short-200/1",
        dataset=dataset,
        family=IMAGENET_SMALL,
        steps=200,
        batch_size=64,
        lr=0.02,
        lr_drops=(100, 150),
        row_every=20,
        row_train_images=500,
        row_test_images=500,
        final_train_images=2_000,
    )
    return _grid(depths or (18, 34), TWINS, range(1) if seeds is None else seeds, base)


DIGITS = dict(
    protocol="digits-220/1", steps=220, lr=0.02, lr_drops=(110, 165), augmentation="none", row_every=20
)  # fmt: skip


def digits_full(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """The whole phenomenon at a scale that a laptop repeats in an hour."""
    return _grid(depths or DEPTHS, TWINS, range(5) if seeds is None else seeds, {**DIGITS, "dataset": dataset})


def digits_shortcuts(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """Residual networks with shortcut options A, B and C (the question of the paper's Table 3)."""
    base = {**DIGITS, "dataset": dataset}
    return _grid(depths or (20, 56, 110), RESIDUAL_ARMS, range(3) if seeds is None else seeds, base)


def demo(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """The phenomenon in a few minutes of CPU."""
    return _grid(depths or (20, 56), TWINS, range(2) if seeds is None else seeds, {**DIGITS, "dataset": dataset})


STUDIES = {
    study.name: study
    for study in (
        Study("demo", "digits", "plain and residual 20 and 56 on scikit-learn's digits, 2 seeds", demo),
        Study("cifar10-short", "cifar10", "1/160 of the paper's schedule, for CPU: 5 depths, 3 seeds", cifar10_short),
        Study("cifar10-paper", "cifar10", "the paper's protocol, for CUDA: 5 depths, 5 seeds", cifar10_paper),
        Study(
            "fashion-mnist-short",
            "fashion-mnist",
            "the short schedule on Fashion-MNIST: 20 and 56, 1 seed",
            fashion_mnist_short,
        ),
        Study(
            "cifar10-18-34-short",
            "cifar10",
            "the paper's ImageNet-style networks with 18 and 34 layers, 200 steps of 64 images, 1 seed",
            cifar10_18_34_short,
        ),
        Study("digits-full", "digits", "plain and residual, 5 depths, 5 seeds, on digits", digits_full),
        Study("digits-shortcuts", "digits", "shortcut options A, B, C at 20, 56, 110, 3 seeds", digits_shortcuts),
    )
}


def find_study(name: str) -> Study:
    """The study of that name; UsageError names the known ones."""
    if name not in STUDIES:
        raise UsageError(f"study {name!r} is unknown; one of {', '.join(STUDIES)} (or auto: paper on CUDA, else short)")
    return STUDIES[name]
