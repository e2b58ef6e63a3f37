"""What a run depends on: what it works on, and its state between two steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import BatchStream
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import generator
from resnet_bench.errors import UsageError
from resnet_bench.execution import EAGER, Execution
from resnet_bench.models import Net, build_model, init_digest
from resnet_bench.models.weights import Weights, adopt
from resnet_bench.results.rows import CurveRow, SignalRow
from resnet_bench.timing import Stopwatch
from resnet_bench.training.evaluation import EvalSets, all_finite
from resnet_bench.training.optimizers import make_optimizer
from resnet_bench.training.step import Meter, TrainStep


@dataclass(frozen=True)
class Selected:
    """The state of a run whose validation error is the lowest so far.

    Attributes:
        step: of the state.
        validation_top1_err: its error in percent.
        validation_loss: which decides between states of one error.
        model: its state dict, on the CPU.
        test_top1_err: its error on all test images, once the run is finished.
    """

    step: int
    validation_top1_err: float
    validation_loss: float
    model: dict[str, Tensor]
    test_top1_err: float | None = None


@dataclass
class TrainState:
    """Everything that the rest of a run depends on."""

    model: Net
    optimizer: Optimizer
    meter: Meter
    train_clock: Stopwatch
    eval_clock: Stopwatch
    batch_size: int
    init_digest: str
    batches_digest: str
    step: int = 0
    lr: float = 0.0  # of the last step
    lr_warmup_steps: int | None = None
    window_wrong: int = 0  # meter.wrong when the warm-up window began
    row_step: int = 0  # step of the last row
    row_wrong: int = 0  # meter.wrong at the last row
    diverged_step: int | None = None
    rows: list[CurveRow] = field(default_factory=list)
    signals: list[SignalRow] = field(default_factory=list)
    confusion: list[list[int]] | None = None  # test images by true and predicted class: selected state, or last step
    selected: Selected | None = None  # the state with the lowest validation error so far; None: nothing to choose by

    @classmethod
    def initial(
        cls,
        config: RunConfig,
        data: DeviceData,
        dataset_digest: str,
        memory_format: str = "nchw",
        weights: Weights | None = None,
    ) -> TrainState:
        """The state before the first step; `weights` are those that the configuration names, if it does.

        Raises:
            UsageError: they are not.
        """
        if config.weights != (weights.digest if weights else ""):
            raise UsageError(f"run {config.run_id} begins with weights that were not given")
        model = build_model(
            config.arch,
            config.depth,
            config.shortcut,
            in_channels=data.train_images.shape[1],
            num_classes=data.num_classes,
            generator=generator(config.seed_of_init, "init"),
            family=config.family,
            zero_init_residual=config.zero_init_residual,
        )
        if weights is not None:
            adopt(model, weights, head=False)
        model.freeze(config.frozen_parts)
        digest = init_digest(model)
        model.to(data.device)
        if memory_format == "nhwc":
            model.to(memory_format=torch.channels_last)
        return cls(
            model=model,
            optimizer=make_optimizer(model, config.momentum, config.weight_decay, config.optimizer),
            meter=Meter(data.device),
            train_clock=Stopwatch(data.device),
            eval_clock=Stopwatch(data.device),
            batch_size=config.batch_size,
            init_digest=digest,
            batches_digest=dataset_digest,
        )

    def running_error(self) -> float:
        """Training error (%) since the last row; waits for the device."""
        images = (self.step - self.row_step) * self.batch_size
        return 100 * (int(self.meter.wrong) - self.row_wrong) / images

    def is_finite(self) -> bool:
        """Was every loss so far finite, and is every weight and BN statistic; waits for the device."""
        return int(self.meter.finite_steps) == self.step and all_finite(self.model)


@dataclass(frozen=True)
class Job:
    """What a run works on, beside its state: the same from the first step to the last."""

    config: RunConfig
    data: DeviceData
    stream: BatchStream
    eval_sets: EvalSets
    execution: Execution
    weights: Weights | None = None

    @classmethod
    def of(
        cls, config: RunConfig, data: DeviceData, execution: Execution = EAGER, weights: Weights | None = None
    ) -> Job:
        """The batches and evaluated images of `config` on `data`."""
        stream = BatchStream(
            len(data.train_images),
            config.batch_size,
            config.seed_of_batches,
            config.augmentation,
            data.aspects,
            config.crop_padding,
        )
        data = replace(data, crop_padding=config.crop_padding)
        return cls(config, data, stream, EvalSets.of(config, data), execution, weights)

    def initial_state(self, dataset_digest: str) -> TrainState:
        """The state before the first step."""
        return TrainState.initial(self.config, self.data, dataset_digest, self.execution.memory_format, self.weights)

    def make_step(self, state: TrainState) -> TrainStep:
        """The train step of a state, to be built before its first use."""
        return TrainStep(
            state.model,
            state.optimizer,
            self.data,
            state.meter,
            self.execution,
            self.config.batch_size,
            self.stream.columns,
        )
