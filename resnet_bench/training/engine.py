"""The one train step, in its modes, and the one evaluation. Neither reads a value back from the device in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer

from resnet_bench.busy import busy
from resnet_bench.data.batches import fixed_subset, make_batch, normalise, pixel_mean, resized_crops
from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.inputs import Inputs
from resnet_bench.environment import prepare_compiler, synchronize
from resnet_bench.execution import Execution

EVAL_BATCH, EVAL_PIXELS = 500, 500 * 96 * 96  # at most
BUILD_STEPS = 3  # eager steps before a capture, so that libraries have set themselves up
Forward = Callable[[Tensor], Tensor]  # float32 images -> float32 logits


@dataclass(frozen=True)
class DeviceData:
    """A dataset on the training device.

    Attributes:
        train_images: uint8 [N, C, H, W], as they are evaluated.
        train_labels: int64 [N].
        test_images: uint8 [M, C, H, W].
        test_labels: int64 [M].
        mean: float32, of the training pixels scaled to 0..1: [C, H, W], or [C, 1, 1] for images that were resized.
        num_classes: length of the logits.
        inverse_std: float32 [C, 1, 1] for images that were resized; others are not divided.
        sources: uint8 [N, C, S, S], what boxes are cut out of; None if the images are what they were.
        aspects: float32 [N] on the CPU, width / height of the sources; None without them.
        validation_images: uint8, by which a state of the run is chosen; None: the last one is.
        validation_labels: int64.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    num_classes: int
    inverse_std: Tensor | None = None
    sources: Tensor | None = None
    aspects: Tensor | None = None
    validation_images: Tensor | None = None
    validation_labels: Tensor | None = None

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device, inputs: Inputs | None = None) -> DeviceData:
        """Copy the dataset to the device, once.

        Args:
            dataset: the images.
            device: where to.
            inputs: what a network was trained on that is to be trained further; None: pixels are normalised by what
                these training images are like.
        """
        train_images = torch.from_numpy(dataset.train_images).to(device)
        resized = dataset.resized
        if inputs is not None:
            inputs = inputs.for_images(dataset.image_shape, resized is not None)
            mean = inputs.mean.to(device)
            inverse_std = None if inputs.inverse_std is None else inputs.inverse_std.to(device)
        else:
            mean, inverse_std = (pixel_mean(train_images), None) if resized is None else _by_channel(resized, device)
        return cls(
            train_images=train_images,
            train_labels=torch.from_numpy(dataset.train_labels).to(device),
            test_images=torch.from_numpy(dataset.test_images).to(device),
            test_labels=torch.from_numpy(dataset.test_labels).to(device),
            mean=mean,
            num_classes=len(dataset.classes),
            inverse_std=inverse_std,
            sources=None if resized is None else torch.from_numpy(resized.sources).to(device),
            aspects=None if resized is None else torch.from_numpy(resized.aspects),
            validation_images=_to(dataset.validation_images, device),
            validation_labels=_to(dataset.validation_labels, device),
        )

    @property
    def inputs(self) -> Inputs:
        """What a network that is trained on these takes."""
        channels, height, width = self.train_images.shape[1:]
        inverse_std = None if self.inverse_std is None else self.inverse_std.cpu()
        return Inputs((channels, height, width), self.sources is not None, self.mean.cpu(), inverse_std)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.train_images.device

    def normalise(self, images: Tensor) -> Tensor:
        """Values in 0..255 -> the network's input, float32."""
        return normalise(images, self.mean, self.inverse_std)

    def make_batch(self, draws: Tensor) -> Tensor:
        """The network's input for one step, from what BatchStream drew, on the data's device."""
        if self.sources is None or draws.shape[1] == 4:
            return make_batch(self.train_images, self.mean, draws, self.inverse_std)
        return self.normalise(resized_crops(self.sources, draws, self.train_images.shape[-1]))

    def no_confusion(self) -> Tensor:
        """Zero counts, int64 [true class, predicted class], on the device."""
        return torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self.device)


def _to(array: NDArray[Any] | None, device: torch.device) -> Tensor | None:
    return None if array is None else torch.from_numpy(array).to(device)


def _by_channel(resized: Resized, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and 1 / std of the training pixels, each float32 [C, 1, 1]."""
    mean, std = torch.from_numpy(resized.statistics)
    return mean.float().view(-1, 1, 1).to(device), (1 / std.clamp_min(1e-3)).float().view(-1, 1, 1).to(device)


class Meter:
    """Running sums of a run, on the device. Reading them waits for the device, so it is done at interval edges.

    Attributes:
        loss_sum: float64, sum over steps since the last row of the mean loss per image.
        wrong: int64, misclassified training images since the start of the run.
        finite_steps: int64, steps before the first loss that was not finite.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.wrong = torch.zeros((), dtype=torch.int64, device=device)
        self.finite_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def tensors(self) -> list[Tensor]:
        """All sums."""
        return [self.loss_sum, self.wrong, self.finite_steps, self.finite]

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one step."""
        self.loss_sum.add_(loss)
        self.wrong.add_((logits.argmax(1) != labels).sum())
        self.finite.logical_and_(loss.isfinite())
        self.finite_steps.add_(self.finite)


def make_optimizer(model: nn.Module, momentum: float, weight_decay: float, kind: str = "sgd") -> Optimizer:
    """SGD as in section 4.2, Adam or AdamW; weight decay on every parameter. `set_learning_rate` before each step.

    Args:
        model: what is trained, on its device; what is frozen in it is not.
        momentum: of SGD; the others have torch's own coefficients.
        weight_decay: part of the gradient; apart from it in AdamW.
        kind: "sgd", "adam" or "adamw".
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    fused = device.type == "cuda"
    optimizer: Optimizer
    if kind == "sgd":
        optimizer = SGD(parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=fused)
    else:
        cls = {"adam": Adam, "adamw": AdamW}[kind]
        optimizer = cls(parameters, lr=0.0, weight_decay=weight_decay, fused=fused, capturable=fused)
    if fused:  # a rate on the device, so that a captured step reads the present one; only the fused update allows that
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=device)
    for parameter in parameters:  # zeros are what the first step starts from: nothing is created later
        state = optimizer.state[parameter]
        if kind == "sgd":
            state["momentum_buffer"] = torch.zeros_like(parameter)
        else:
            state["step"] = torch.zeros((), device=device if fused else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return optimizer


def optimizer_tensors(optimizer: Optimizer) -> list[Tensor]:
    """What it remembers from step to step, in the order of the parameters."""
    return [tensor for state in optimizer.state.values() for tensor in state.values()]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """The rate of the steps to come."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def make_forward(model: nn.Module, precision: str) -> Forward:
    """The network, under autocast if the precision is bf16; logits are float32 in any case."""
    if precision != "bf16":
        return model

    def forward(images: Tensor) -> Tensor:
        # Each weight is used once in a forward pass, so there is nothing to keep; a graph must not.
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            logits: Tensor = model(images)
        return logits.float()

    return forward


def train_step(forward: Forward, optimizer: Optimizer, data: DeviceData, meter: Meter, draws: Tensor) -> None:
    """One optimizer update on the batch that `draws` (int32 [B, columns], on the data's device) describes."""
    optimizer.zero_grad(set_to_none=True)  # before the forward pass, which can then use their memory
    labels = data.train_labels[draws[:, 0].long()]
    logits = forward(data.make_batch(draws))
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    optimizer.step()
    meter.add(loss.detach(), logits.detach(), labels)


class TrainStep:
    """The train step of one network in the mode of its study: `step(draws)` with draws int32 [B, columns] on the CPU.

    Call `build` once before the first step. Nothing waits for the device.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        data: DeviceData,
        meter: Meter,
        execution: Execution,
        batch_size: int,
        columns: int = 4,
    ) -> None:
        self.mode = execution.mode
        self.model, self.optimizer, self.data, self.meter = model, optimizer, data, meter
        self.forward = make_forward(model, execution.precision)
        if self.mode == "compile":
            prepare_compiler()
            self.forward = torch.compile(self.forward, fullgraph=True, dynamic=False)
        self.draws = torch.zeros(batch_size, columns, dtype=torch.int32, device=data.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, draws: Tensor) -> None:
        """Queue one step on the device."""
        self.draws.copy_(draws, non_blocking=True)
        if self.graph is None:
            self._run()
        else:
            self.graph.replay()

    def _run(self) -> None:
        train_step(self.forward, self.optimizer, self.data, self.meter, self.draws)

    def build(self, name: str = "") -> float:
        """Compile or capture with steps that are undone, and give the seconds it took; eager mode needs none.

        `name` is what the network is called while it goes on.

        Raises whatever the compiler or the capture raises.
        """
        if self.mode == "eager":
            return 0.0
        with busy(f"{'capturing a CUDA graph of' if self.mode == 'graph' else 'compiling'} {name or 'the network'}"):
            return self._build()

    def _build(self) -> float:
        started = time.perf_counter()
        tensors = self._state()
        before = [tensor.clone() for tensor in tensors]
        try:
            if self.mode == "graph":
                self.graph = self._capture()
            else:
                self._run()
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)
            self.optimizer.zero_grad(set_to_none=True)
        synchronize(self.data.device)
        return time.perf_counter() - started

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        return [*self.model.state_dict().values(), *optimizer_tensors(self.optimizer), *self.meter.tensors()]

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self.data.device)
        stream.wait_stream(torch.cuda.current_stream(self.data.device))
        with torch.cuda.stream(stream):
            for _ in range(BUILD_STEPS):
                self._run()
        torch.cuda.current_stream(self.data.device).wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)  # the captured step makes gradients in the graph's own memory
        with torch.cuda.graph(graph, stream=stream):
            self._run()
        return graph


@dataclass(frozen=True)
class EvalSet:
    """Images evaluated together, on the device."""

    images: Tensor
    labels: Tensor
    indices: Tensor  # into the whole split, on the CPU

    @classmethod
    def train(cls, data: DeviceData, count: int | None) -> EvalSet:
        """`count` fixed training images; None means all."""
        return cls._of(data.train_images, data.train_labels, count, "evaluated-train")

    @classmethod
    def test(cls, data: DeviceData, count: int | None) -> EvalSet:
        """`count` fixed test images; None means all."""
        return cls._of(data.test_images, data.test_labels, count, "evaluated-test")

    @classmethod
    def validation(cls, data: DeviceData) -> EvalSet | None:
        """All validation images, if there are any."""
        if data.validation_images is None or data.validation_labels is None:
            return None
        return cls._of(data.validation_images, data.validation_labels, None, "evaluated-validation")

    @classmethod
    def _of(cls, images: Tensor, labels: Tensor, count: int | None, stream: str) -> EvalSet:
        indices = fixed_subset(len(images), count, stream)
        if len(indices) == len(images):
            return cls(images, labels, indices)
        there = indices.to(images.device)
        return cls(images[there], labels[there], indices)


def eval_batch(data: DeviceData) -> int:
    """How many images are evaluated at once: fewer of large ones."""
    return max(1, min(EVAL_BATCH, EVAL_PIXELS // math.prod(data.test_images.shape[-2:])))


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    data: DeviceData,
    chosen: EvalSet,
    precision: str = "fp32",
    poll: Callable[[], None] = lambda: None,
    confusion: Tensor | None = None,
) -> tuple[float, float]:
    """(mean cross-entropy, top-1 error in percent) in eval mode, on single original views; BN is left as it was.

    Always without compiling: an evaluation's last batch has another size. `poll` is called before each batch and may
    raise, to break the evaluation off. To `confusion` (int64 [true class, predicted class]) the images are added.
    """
    forward = make_forward(model, precision)
    was_training = model.training
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=data.device)
    wrong = torch.zeros((), dtype=torch.int64, device=data.device)
    try:
        size = eval_batch(data)
        for images, labels in zip(chosen.images.split(size), chosen.labels.split(size), strict=True):
            poll()
            logits = forward(data.normalise(images))
            loss_sum += F.cross_entropy(logits, labels, reduction="sum")
            predicted = logits.argmax(1)
            wrong += (predicted != labels).sum()
            if confusion is not None:
                cells = labels * data.num_classes + predicted
                confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))
    finally:
        model.train(was_training)
    count = len(chosen.labels)
    return loss_sum.item() / count, 100 * wrong.item() / count


@torch.no_grad()
def all_finite(model: nn.Module) -> bool:
    """Are all weights and BN statistics finite; waits for the device once."""
    return bool(torch.stack([value.isfinite().all() for value in model.state_dict().values()]).all())
