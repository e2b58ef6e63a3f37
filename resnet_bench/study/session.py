"""What all runs of one sweep share: the study's folder, the data on the device, where the code runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from resnet_bench import __version__
from resnet_bench.complexity import Complexity, complexity
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import Fingerprint, fingerprint
from resnet_bench.execution import EAGER, Execution
from resnet_bench.git import git_state
from resnet_bench.models.own import Findings, try_out
from resnet_bench.models.weights import Weights
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import DataShape
from resnet_bench.study.stopping import StopRequest
from resnet_bench.training.state import Job, own_network


@dataclass(frozen=True)
class Session:
    """What all runs of one sweep share: the study's folder, the data on the device, where the code runs."""

    study: StudyFolder
    dataset: Dataset
    data: DeviceData
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
        return cls(
            study,
            dataset,
            DeviceData.of(dataset, device, weights.inputs if weights else None),
            here,
            replace(execution, threads=here.threads if device.type == "cpu" else None),
            checkpoint_seconds,
            StopRequest() if stop is None else stop,
            jobs,
            weights,
        )

    def job(self, config: RunConfig, execution: Execution | None = None) -> Job:
        """What a run works on, executed as the session says or otherwise."""
        weights = self.weights if config.weights else None
        return Job.of(config, self.data, execution or self.execution, weights)

    def about(self) -> dict[str, Any]:
        """What one must know of a network that is trained here, to use it."""
        return {"classes": list(self.dataset.classes), "inputs": self.data.inputs.to_json()}

    def software_and_hardware(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to be bit-exact."""
        version = {"resnet_bench": __version__, "git_commit": self.git[0], "git_dirty": self.git[1]}
        execution = asdict(replace(self.execution, threads=None))  # the fingerprint says how many
        del execution["threads"]
        return {**version, **asdict(self.fingerprint), "execution": execution}

    def identity(self, config: RunConfig) -> dict[str, Any]:
        """What a run is: its configuration, the digest of its data, and of the shapes that a builder of one's own gave.

        Raises:
            UsageError: such a network cannot be trained, see models.own.
        """
        own = {"network_digest": self.tried_out(config).shapes_digest} if config.builder else {}
        return {
            "run_id": config.run_id,
            "dataset_digest": self.dataset.digest,
            **own,
            "config": json.loads(config.canonical_json()),
        }

    def tried_out(self, config: RunConfig) -> Findings:
        """What trying out the network of a run that has a builder shows; done once in a process."""
        return tried_out(config, self.dataset.image_shape, len(self.dataset.classes))

    def size(self, config: RunConfig) -> Complexity:
        """Parameters and multiply-adds of a run's network: by closed form, or as torch counts them."""
        if config.builder:
            return self.tried_out(config).size
        channels, height, width = self.dataset.image_shape
        return complexity(
            config.network,
            in_channels=channels,
            num_classes=len(self.dataset.classes),
            image_size=(height, width),
        )


def tried_out(config: RunConfig, image_shape: tuple[int, int, int], num_classes: int) -> Findings:
    """What trying out the network of a run that has a builder shows. UsageError if it cannot be trained."""
    return try_out(own_network(config, image_shape[0], num_classes), image_shape)


def shape_of(dataset: Dataset, runs: Iterable[RunConfig]) -> DataShape:
    """What the cost of runs on these data depends on; networks that the user's functions build are tried out for it.

    Raises:
        UsageError: one of them cannot be trained, see models.own.
    """
    shape, num_classes = dataset.image_shape, len(dataset.classes)
    own = {(run.network, shape): tried_out(run, shape, num_classes).size for run in runs if run.builder}
    return DataShape(shape, len(dataset.train_labels), len(dataset.test_labels), own)
