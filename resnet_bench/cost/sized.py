"""A network for images of one size and number of classes: what counts and times are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from resnet_bench.complexity import Complexity, complexity
from resnet_bench.errors import UsageError
from resnet_bench.models import build_model
from resnet_bench.models.own import OwnNetwork, try_out
from resnet_bench.networks import (
    OWN,
    NetworkName,
)
from resnet_bench.results.rows import PlanRow, input_size_of
from resnet_bench.study.folder import StudyFolder
from resnet_bench.training.state import own_network

ImageShape: TypeAlias = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True, order=True)
class SizedNetwork:
    """A network, and the images and classes that it is for; sorts as the rows of every CSV file do."""

    network: NetworkName
    image_shape: ImageShape
    num_classes: int
    own: OwnNetwork | None = field(default=None, compare=False)  # what builds it, if a function of the user's does

    @property
    def name(self) -> str:
        """As in every table: `plain-20`, `ResNet-20 (B)`."""
        return self.network.title

    @property
    def input_size(self) -> str:
        """Height x width x channels."""
        return input_size_of(self.image_shape)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns by which tables know it."""
        return {**self.network._asdict(), "input_size": self.input_size, "num_classes": self.num_classes}

    def build(self) -> nn.Module:
        """The real network, in training mode. UsageError if there is none."""
        if self.network.family == OWN:
            return self._found().build(torch.Generator())
        return build_model(
            **self.network._asdict(),
            in_channels=self.image_shape[0],
            num_classes=self.num_classes,
            generator=torch.Generator(),
        )

    def closed_form(self) -> Complexity:
        """Its parameters and multiply-adds, as a formula gives them."""
        channels, height, width = self.image_shape
        return complexity(
            self.network,
            in_channels=channels,
            num_classes=self.num_classes,
            image_size=(height, width),
        )

    def size(self) -> Complexity:
        """Its parameters and multiply-adds: by formula; of a network of the user's own as torch counts them."""
        return try_out(self._found(), self.image_shape).size if self.network.family == OWN else self.closed_form()

    def _found(self) -> OwnNetwork:
        if self.own is None:
            raise UsageError(f"{self.name}: what builds it is said by its runs, and none has begun")
        return self.own


def planned_networks(study: StudyFolder, images: tuple[ImageShape, int]) -> list[SizedNetwork]:
    """The networks of a study's plan, for images of that shape and number of classes."""
    plan = read_plan(study)
    own = _own_networks(study, plan, images)
    names = {NetworkName(row.family, row.arch, row.depth, row.shortcut) for row in plan}
    return sorted(replace(SizedNetwork(name, *images), own=own.get(name)) for name in names)


def _own_networks(
    study: StudyFolder, plan: Sequence[PlanRow], images: tuple[ImageShape, int]
) -> dict[NetworkName, OwnNetwork]:
    """What builds the networks of the user's own, as the runs that have begun say."""
    folders = [study.run(row.run_id) for row in plan if row.family == OWN]
    configs = [folder.read_identity().config for folder in folders if folder.config.exists()]
    return {config.network: own_network(config, images[0][0], images[1]) for config in configs}


def read_plan(study: StudyFolder) -> list[PlanRow]:
    """The plan of a study. UsageError if the folder holds none."""
    plan = study.read_plan()
    if not plan:
        raise UsageError(f"{study.path}: not a study, for plan.csv is missing or empty; run it first")
    return plan
