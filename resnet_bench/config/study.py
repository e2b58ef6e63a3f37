"""What a study is: a named set of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from resnet_bench.config.run import AUGMENTATION_OF, LARGE_SIDE, RunConfig
from resnet_bench.networks import (
    CIFAR,
    IMAGENET,
    IMAGENET_SMALL,
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
