"""What all runs of one sweep share: the study's folder, the data on the device, where the code runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from resnet_bench import __version__
from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.inputs import Inputs
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.prepare import prepare
from resnet_bench.environment import Fingerprint, fingerprint
from resnet_bench.execution import EAGER, Execution
from resnet_bench.git import git_state
from resnet_bench.models.weights import Weights
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.stopping import StopRequest
from resnet_bench.training.state import Job

KEPT = 3  # preparations of the data, the last ones used


@dataclass(frozen=True)
class Prepared:
    """A dataset as runs take it, here and on the device."""

    dataset: Dataset
    data: DeviceData


@dataclass(frozen=True)
class Session:
    """What all runs of one sweep share: the study's folder, the data on the device, where the code runs.

    Of data that runs take otherwise than they are (`RunConfig.image_side`, `images_per_class`), the last preparations
    are kept.
    """

    study: StudyFolder
    dataset: Dataset
    data: DeviceData
    prepared_as: Callable[[int | None, int | None], Prepared]  # image_side, images_per_class
    fingerprint: Fingerprint
    execution: Execution = EAGER
    checkpoint_seconds: float = 60.0
    stop: StopRequest = field(default_factory=StopRequest)
    jobs: int = 1  # how many processes of this sweep share the device
    weights: Weights | None = None  # that the runs which name them begin with
    git: tuple[str, bool | None] = field(default_factory=git_state)

    @classmethod
    def open(
        cls,
        study: StudyFolder,
        dataset: Dataset,
        device: torch.device,
        *,
        execution: Execution = EAGER,
        checkpoint_seconds: float = 60.0,
        stop: StopRequest | None = None,
        jobs: int = 1,
        weights: Weights | None = None,
    ) -> Session:
        """Copy the dataset to the device, take the fingerprint, and note the threads that decide the bits."""
        here = fingerprint(device)
        inputs = weights.inputs if weights else None
        source = Prepared(dataset, DeviceData.of(dataset, device, inputs))
        return cls(
            study,
            dataset,
            source.data,
            functools.lru_cache(KEPT)(functools.partial(_prepare, source, inputs)),
            here,
            replace(execution, threads=here.threads if device.type == "cpu" else None),
            checkpoint_seconds,
            StopRequest() if stop is None else stop,
            jobs,
            weights,
        )

    def prepared(self, config: RunConfig) -> Prepared:
        """The data as the run takes them.

        Raises:
            UsageError: see `data.prepare`.
        """
        return self.prepared_as(config.image_side, config.images_per_class)

    def job(self, config: RunConfig, execution: Execution | None = None) -> Job:
        """What a run works on, executed as the session says or otherwise."""
        weights = self.weights if config.weights else None
        return Job.of(config, self.prepared(config).data, execution or self.execution, weights)

    def about(self, config: RunConfig) -> dict[str, Any]:
        """What one must know of the run's network, to use it."""
        inputs = self.prepared(config).data.inputs
        box = self.dataset.image_shape[1] // inputs.shape[1]
        return {"classes": list(self.dataset.classes), "inputs": replace(inputs, box=box).to_json()}

    def software_and_hardware(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to be bit-exact."""
        version = {"resnet_bench": __version__, "git_commit": self.git[0], "git_dirty": self.git[1]}
        execution = asdict(replace(self.execution, threads=None))  # the fingerprint says how many
        del execution["threads"]
        return {**version, **asdict(self.fingerprint), "execution": execution}

    def identity(self, config: RunConfig) -> dict[str, Any]:
        """What a run is: its configuration and the digest of its data, as it takes them."""
        return {
            "run_id": config.run_id,
            "dataset_digest": self.prepared(config).dataset.digest,
            "config": json.loads(config.canonical_json()),
        }


@busy("preparing the images")
def _prepare(source: Prepared, inputs: Inputs | None, image_side: int | None, images_per_class: int | None) -> Prepared:
    dataset = prepare(source.dataset, image_side, images_per_class)
    if dataset is source.dataset:
        return source
    return Prepared(dataset, DeviceData.of(dataset, source.data.device, inputs))
