"""A network for images of one size and number of classes: what counts and times are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from resnet_bench.complexity import Complexity, complexity
from resnet_bench.errors import UsageError
from resnet_bench.models import Net, build_model
from resnet_bench.networks import (
    NetworkName,
    display_name,
)
from resnet_bench.results.rows import PlanRow, input_size_of
from resnet_bench.study.folder import StudyFolder

ImageShape: TypeAlias = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True, order=True)
class SizedNetwork:
    """A network, and the images and classes that it is for; sorts as the rows of every CSV file do."""

    family: str
    arch: str
    shortcut: str
    depth: int
    image_shape: ImageShape
    num_classes: int

    @classmethod
    def of(cls, name: NetworkName, image_shape: ImageShape, num_classes: int) -> SizedNetwork:
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


def planned_networks(study: StudyFolder, images: tuple[ImageShape, int]) -> list[SizedNetwork]:
    """The networks of a study's plan, for images of that shape and number of classes."""
    return sorted({SizedNetwork(row.family, row.arch, row.shortcut, row.depth, *images) for row in read_plan(study)})


def read_plan(study: StudyFolder) -> list[PlanRow]:
    """The plan of a study. UsageError if the folder holds none."""
    plan = study.read_plan()
    if not plan:
        raise UsageError(f"{study.path}: not a study, for plan.csv is missing or empty; run it first")
    return plan
