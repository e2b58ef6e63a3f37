"""What a run is: a frozen, content-addressed configuration."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

from resnet_bench.config.builders import is_function
from resnet_bench.errors import UsageError
from resnet_bench.networks import (
    CIFAR,
    OWN,
    NetworkName,
    check_network,
)
from resnet_bench.schema import Rule, from_json

# Fields that older runs have not.
LATER = (
    "family", "optimizer", "schedule", "zero_init_residual", "weights", "frozen_parts", "crop_padding", "image_side",
    "images_per_class", "init_seed", "batch_seed", "builder", "builder_digest",
)  # fmt: skip
# What twins differ in: the shortcut, which alone makes a network plain or residual, and of the user's own networks
# the function that builds each.
OF_THE_ARM = ("arch", "shortcut", "builder", "builder_digest")
AUGMENTATIONS = ("crop-flip", "crop", "resized-crop-flip", "none")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("step", "cosine")
# Learning rate and weight decay; those of adamw are torch's defaults. None: the study's own.
USUAL = {"sgd": None, "adam": (1e-3, 1e-4), "adamw": (1e-3, 1e-2)}
# How a network is trained on new data: from scratch, or from another's weights, the classifier alone or all of it.
SCRATCH, EXTRACTION, FINE_TUNE = TRANSFER_MODES = ("scratch", "feature-extraction", "fine-tune")
POSITIVE = Rule(1)
SEEDS = (0, 2**31 - 1)
LIMITS = {
    "seed": SEEDS, "init_seed": SEEDS, "batch_seed": SEEDS, "crop_padding": (0, 16), "image_side": (4, 4096),
    "images_per_class": (1, 10**9),
}  # fmt: skip
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
    arch: str  # "plain" | "residual" | another builder of torchvision, by its name | of family "own" any name
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
    # "crop-flip": zero-pad, random crop, random flip; "crop" without the flip; "resized-crop-flip": of large images,
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
    crop_padding: int = 4  # zero pixels on each side before the random crop
    image_side: int | None = None  # pixels of the shorter side that images are averaged to; None: as they are
    images_per_class: int | None = None  # training images of each class, the first ones; None: all
    init_seed: int | None = None  # of the initial weights; None: the seed
    batch_seed: int | None = None  # of order and augmentation of the batches; None: the seed
    builder: str = ""  # of family "own": package.module:function, called with (depth, in_channels, num_classes)
    builder_digest: str = ""  # SHA-256 of the file that the function's module is in

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
        self._check_builder()
        for name, (low, high) in LIMITS.items():
            number = getattr(self, name)
            if number is not None and not low <= number <= high:
                raise UsageError(f"{name} {number} is not between {low} and {high}")
        if self.image_side is not None:
            self.check_crop(self.image_side)

    def check_crop(self, image_side: int) -> None:
        """Raise UsageError if a random crop could miss images whose shorter side has that many pixels."""
        if self.augmentation in ("crop-flip", "crop") and self.crop_padding >= image_side:
            raise UsageError(
                f"crop_padding {self.crop_padding}: crops of images of {image_side} pixels a side could be padding "
                f"alone; it must be less than {image_side}"
            )

    def _check_builder(self) -> None:
        if (self.family == OWN) != bool(self.builder) or (self.builder_digest and not self.builder):
            raise UsageError("a builder, the digest of its source and family 'own' belong together")
        if self.builder and not is_function(self.builder):
            raise UsageError(f"builder {self.builder!r}: write package.module:function, as in mynets:plain")
        if self.builder_digest and not re.fullmatch("[0-9a-f]{64}", self.builder_digest):
            raise UsageError(f"builder_digest {self.builder_digest!r} is not a SHA-256 (64 hex digits)")
        if self.builder and (self.zero_init_residual or self.frozen_parts or self.weights):
            raise UsageError(
                f"{self.builder}: of a network of your own it is not known where its residual functions, stages and "
                "classifier are: no zero_init_residual, weights or frozen parts"
            )

    @property
    def network(self) -> NetworkName:
        """What is trained."""
        return NetworkName(self.family, self.arch, self.depth, self.shortcut)

    @property
    def seed_of_init(self) -> int:
        """What the initial weights are drawn from."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def seed_of_batches(self) -> int:
        """What order and augmentation of the batches are drawn from."""
        return self.seed if self.batch_seed is None else self.batch_seed

    def canonical_json(self, but: Collection[str] = ()) -> str:
        """The configuration as JSON with sorted keys and no spaces: equal text means equal run.

        Args:
            but: fields that are left out.
        """
        told = [f.name for f in fields(self) if f.name not in LATER or getattr(self, f.name) != f.default]
        values = {name: getattr(self, name) for name in told if name not in but}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, value: Any) -> RunConfig:
        """The run that a JSON object describes, as `canonical_json` has it. Raises schema.Invalid."""
        run: RunConfig = from_json(cls, value)
        return run

    @functools.cached_property
    def run_id(self) -> str:
        """`<arch>-<shortcut>-d<depth>-s<seed>-<first 8 hex digits of the SHA-256 of canonical_json()>`."""
        digest = hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]
        return f"{self.arch}-{self.shortcut}-d{self.depth}-s{self.seed}-{digest}"

    @functools.cached_property
    def twin_digest(self) -> str:
        """SHA-256 of what twins have in common: `canonical_json` without OF_THE_ARM.

        Two runs of one depth, seed and setting are a fair comparison only if it is equal: steps, learning rate,
        warm-up, batches, data and all else that was decided before the runs are then the same.
        """
        return hashlib.sha256(self.canonical_json(but=OF_THE_ARM).encode()).hexdigest()

    @property
    def title(self) -> str:
        """What a reader calls it: `ResNet-56 seed 0`."""
        return f"{self.network.title} seed {self.seed}"


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
