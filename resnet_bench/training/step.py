"""The one train step, in its modes. Reads no value back from the device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from resnet_bench.busy import busy
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import prepare_compiler, synchronize
from resnet_bench.execution import Execution
from resnet_bench.training.optimizers import optimizer_tensors

BUILD_STEPS = 3  # eager steps before a capture, so that libraries have set themselves up
Forward = Callable[[Tensor], Tensor]  # float32 images -> float32 logits


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
