"""What a run is (a frozen, content-addressed configuration) and the named studies as functions that return runs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from resnet_bench.errors import UsageError

ARCHS = ("plain", "residual")
SHORTCUTS = ("a", "b", "c")
DEPTHS = (20, 32, 44, 56, 110)
AUGMENTATIONS = ("crop-flip", "crop", "none")
# A mirrored digit or letter is another one or none; images of 8x8 pixels are too small to be shifted.
AUGMENTATION_OF = {"mnist": "crop", "kmnist": "crop", "svhn": "crop", "digits": "none"}


def check_depth(depth: int) -> None:
    """Raise UsageError, naming the nearest legal depths, unless depth = 6n+2 with n >= 1."""
    if depth >= 8 and depth % 6 == 2:
        return
    below = max(8, (depth - 2) // 6 * 6 + 2)
    nearest = "8" if depth < 8 else f"{below} and {below + 6}"
    raise UsageError(f"depth {depth} is not 6n+2 (the networks of the paper, section 4.2); nearest: {nearest}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run. Two runs with equal configurations are the same run.

    Paths, device, threads and checkpoint interval are no part of it. Defaults are the paper's (section 4.2).
    """

    protocol: str  # name and version of the rules below; results are compared only within one
    dataset: str  # name of the data really used
    arch: str  # "plain" | "residual"
    depth: int  # 6n+2
    shortcut: str  # "a" | "b" | "c"; "none" for plain
    seed: int
    steps: int  # optimizer updates
    batch_size: int = 128
    lr: float = 0.1
    lr_drops: tuple[int, ...] = ()  # steps at which lr is divided by 10
    lr_warmup: float | None = None  # lr until the windowed training error is below lr_warmup_error
    lr_warmup_error: float = 80.0  # percent
    lr_warmup_window: int = 100  # steps in a window; windows do not overlap
    momentum: float = 0.9
    weight_decay: float = 1e-4  # on every parameter, BN and biases included
    augmentation: str = "crop-flip"  # zero-pad 4, random crop, random flip; "crop" without the flip; or "none"
    row_every: int = 400  # steps between two rows of the error curves
    row_train_images: int | None = None  # fixed training images evaluated for a row; None: all
    row_test_images: int | None = None  # fixed test images evaluated for a row; None: all
    final_train_images: int | None = None  # fixed training images evaluated at the last step; None: all

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if self.arch not in ARCHS:
            raise UsageError(f"arch {self.arch!r} is unknown; one of {', '.join(ARCHS)}")
        legal = ("none",) if self.arch == "plain" else SHORTCUTS
        if self.shortcut not in legal:
            raise UsageError(f"shortcut {self.shortcut!r} is unknown for {self.arch}; one of {', '.join(legal)}")
        if self.augmentation not in AUGMENTATIONS:
            raise UsageError(f"augmentation {self.augmentation!r} is unknown; one of {', '.join(AUGMENTATIONS)}")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed {self.seed} is not between 0 and {2**31 - 1}")

    def canonical_json(self) -> str:
        """The configuration as JSON with sorted keys and no spaces: equal text means equal run."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def run_id(self) -> str:
        """`<arch>-<shortcut>-d<depth>-s<seed>-<first 8 hex digits of the SHA-256 of canonical_json()>`."""
        digest = hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]
        return f"{self.arch}-{self.shortcut}-d{self.depth}-s{self.seed}-{digest}"


def display_name(arch: str, depth: int, shortcut: str = "a") -> str:
    """`plain-20`, `ResNet-20`; options B and C are named."""
    if arch == "plain":
        return f"plain-{depth}"
    return f"ResNet-{depth}" + ("" if shortcut == "a" else f" ({shortcut.upper()})")


# ---------------------------------------------------------------------------------------------- studies


@dataclass(frozen=True)
class Study:
    """A named set of runs: what it is trained on by default, and a function that returns its runs."""

    name: str
    dataset: str
    meaning: str
    make_runs: Callable[[str, Sequence[int] | None, Sequence[int] | None], list[RunConfig]]

    def runs(
        self, dataset: str | None = None, depths: Sequence[int] | None = None, seeds: Sequence[int] | None = None
    ) -> list[RunConfig]:
        """The runs on `dataset`, all depths and seeds of the study unless named; sorted by cost, twins together."""
        return self.make_runs(dataset or self.dataset, depths, seeds)

    def folder_name(self, dataset: str) -> str:
        """The results folder: it carries the name of the data really used (`cifar10-jpeg-short`)."""
        if dataset == self.dataset:
            return self.name
        if self.name.startswith(f"{self.dataset}-"):
            return dataset + self.name.removeprefix(self.dataset)
        return f"{self.name}-{dataset}"


Arm = tuple[str, str]  # (arch, shortcut)
TWINS: tuple[Arm, ...] = (("plain", "none"), ("residual", "a"))
RESIDUAL_ARMS: tuple[Arm, ...] = tuple(("residual", shortcut) for shortcut in SHORTCUTS)


def _grid(depths: Iterable[int], arms: Iterable[Arm], seeds: Iterable[int], base: dict[str, Any]) -> list[RunConfig]:
    product = itertools.product(sorted(depths), sorted(seeds), arms)
    return [RunConfig(arch=arch, depth=d, shortcut=s, seed=seed, **base) for d, seed, (arch, s) in product]


def cifar10_paper(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """Section 4.2 of the paper: 64k steps, drops at 32k and 48k; depth 110 starts at lr 0.01."""
    base = dict(
        protocol="paper-64k/1", dataset=dataset, augmentation=AUGMENTATION_OF.get(dataset, "crop-flip"), steps=64_000,
        lr_drops=(32_000, 48_000), row_train_images=10_000,
    )  # fmt: skip
    runs = _grid(depths or DEPTHS, TWINS, range(5) if seeds is None else seeds, base)
    return [replace(run, lr_warmup=0.01) if run.depth >= 110 else run for run in runs]


def cifar10_short(dataset: str, depths: Sequence[int] | None, seeds: Sequence[int] | None) -> list[RunConfig]:
    """1/160 of the schedule, for CPU; evaluation on fixed subsets keeps it under a quarter of the time."""
    base = dict(
        protocol="short-400/1",
        dataset=dataset,
        augmentation=AUGMENTATION_OF.get(dataset, "crop-flip"),
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
        Study("digits-full", "digits", "plain and residual, 5 depths, 5 seeds, on digits", digits_full),
        Study("digits-shortcuts", "digits", "shortcut options A, B, C at 20, 56, 110, 3 seeds", digits_shortcuts),
    )
}


def find_study(name: str) -> Study:
    """The study of that name; UsageError names the known ones."""
    if name not in STUDIES:
        raise UsageError(f"study {name!r} is unknown; one of {', '.join(STUDIES)} (or auto: paper on CUDA, else short)")
    return STUDIES[name]
