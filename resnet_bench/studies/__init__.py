"""The built-in studies: functions that return runs, by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from resnet_bench.config.run import RunConfig
from resnet_bench.config.study import Study
from resnet_bench.errors import UsageError
from resnet_bench.networks import DEPTHS, IMAGENET_SMALL, RESIDUAL_ARMS, TWINS, Arm


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
