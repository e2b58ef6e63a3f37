"""The train step: no host reads, bit-equal to the naive loop, its modes, precision, and what a build leaves behind."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import PAD, BatchStream
from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.summary import channel_statistics
from resnet_bench.environment import configure, generator
from resnet_bench.execution import EAGER, Execution
from resnet_bench.gate.counters import host_read
from resnet_bench.models import build_model
from resnet_bench.training import checkpoint
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.loop import fit
from resnet_bench.training.optimizers import make_optimizer, set_learning_rate
from resnet_bench.training.state import Job, TrainState
from resnet_bench.training.step import Meter, train_step
from tests.training.test_training import NoSink, assert_same, weights

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@functools.cache
def why_no_compiler() -> str:
    """Why torch.compile does not work on this machine; "" if it does."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(3))
    except Exception as error:
        return f"torch.compile does not work here: {error!r}"[:200]
    return ""


@pytest.fixture
def compiler() -> None:
    if reason := why_no_compiler():
        pytest.skip(reason)


# ---------------------------------------------------------------------------------------------- host reads


class NoHostReads(TorchDispatchMode):
    """Raises where the host would have to wait for the device: values read, copies out, shapes that depend on data."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        assert not host_read(name, args), f"{name} makes the host wait"
        self.operations.append(name)
        if name == "_fused_sgd_" and isinstance(args[0][0], FakeTensor):
            return None  # torch has no pretended version of it; it changes its arguments and gives nothing back
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor):
                assert value.device.type == self.device.type, f"{name} leaves the device"
        return out


def test_the_watch_sees_host_reads() -> None:
    ones = torch.ones(3)
    reads: list[Any] = [ones[0].item, lambda: ones[ones > 0], lambda: bool(ones.sum() > 1), ones.nonzero]
    for read in reads:
        with pytest.raises(AssertionError, match="makes the host wait"), NoHostReads(CPU):
            read()
    with FakeTensorMode(), pytest.raises(AssertionError, match="leaves the device"), NoHostReads(torch.device("cuda")):
        torch.empty(3, device="cuda").add_(1).cpu()


def test_the_whole_step_reads_nothing_back(small_run: RunConfig, small_data: Dataset) -> None:
    job = Job.of(small_run, DeviceData.of(small_data, CPU))
    state = job.initial_state(small_data.digest)
    step, draws = job.make_step(state), job.stream.draws(0)
    with NoHostReads(CPU) as watch:
        step(draws)
    assert {"convolution_backward", "gather", "native_batch_norm_backward"} <= set(watch.operations)
    assert int(state.meter.finite_steps) == 1


def to_fake_cuda(model: nn.Module) -> nn.Module:
    """The network with parameters on a CUDA device that need not be there; call under a FakeTensorMode."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, value in store.items():
                if value is not None:
                    fake = torch.empty(value.shape, device="cuda")
                    store[name] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake
    return model


def test_the_function_captured_on_cuda_reads_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same function on pretended CUDA tensors. Backward is left out: autograd needs a real device for it."""

    def backward(loss: torch.Tensor) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    model = build_model("residual", 8, "a", generator=torch.Generator())
    with FakeTensorMode():
        cuda = functools.partial(torch.zeros, device="cuda")
        to_fake_cuda(model)
        images, labels = cuda((96, 3, 8, 8), dtype=torch.uint8), cuda(96, dtype=torch.int64)
        data = DeviceData(images, labels, images, labels, cuda((3, 8, 8)), 10)
        sources, aspects = cuda((96, 3, 9, 9), dtype=torch.uint8), cuda(96)
        resized = DeviceData(images, labels, images, labels, cuda((3, 1, 1)), 10, cuda((3, 1, 1)), sources, aspects)
        optimizer, meter = make_optimizer(model, 0.9, 1e-4), Meter(torch.device("cuda"))
        set_learning_rate(optimizer, 0.1)
        monkeypatch.setattr(torch.Tensor, "backward", backward)
        with NoHostReads(torch.device("cuda")) as watch:
            train_step(model, optimizer, data, meter, cuda((16, 4), dtype=torch.int32))
            train_step(model, optimizer, resized, meter, cuda((16, 6), dtype=torch.int32))
    assert {"convolution", "gather", "_fused_sgd_", "grid_sampler_2d", "argmax"} <= set(watch.operations)


# ---------------------------------------------------------------------------------------------- F0: bit-equal


def naive_batch(dataset: Dataset, draws: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """One image after the other, in NumPy."""
    batch = []
    for index, row, column, flip in draws:
        image = dataset.train_images[index].astype(np.float32) * np.float32(1 / 255) - mean
        padded = np.pad(image, ((0, 0), (PAD, PAD), (PAD, PAD)))
        crop = padded[:, row : row + 8, column : column + 8]
        batch.append(crop[:, :, ::-1] if flip else crop)
    return np.stack(batch)


def naive_training(config: RunConfig, dataset: Dataset, steps: int) -> tuple[nn.Module, list[float], int]:
    """The loop as it is usually written: everything that the engine leaves out or does in another way is here."""
    model = build_model("residual", 8, "a", num_classes=4, generator=generator(config.seed, "init"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = torch.tensor(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9, weight_decay=1e-4, foreach=False)
    stream = BatchStream(len(dataset.train_images), config.batch_size, config.seed, config.augmentation)
    mean = (dataset.train_images.sum(0, dtype=np.int64) / (255 * len(dataset.train_images))).astype(np.float32)
    losses, wrong = [], 0
    for step in range(steps):
        draws = stream.draws(step).numpy()
        labels = torch.from_numpy(dataset.train_labels[draws[:, 0]])
        optimizer.zero_grad(set_to_none=False)
        logits = model(torch.from_numpy(naive_batch(dataset, draws, mean)))
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        wrong += int((logits.argmax(1) != labels).sum())
    return model, losses, wrong


def test_the_step_is_bit_equal_to_the_naive_loop(small_run: RunConfig, small_data: Dataset) -> None:
    config = dataclasses.replace(small_run, lr_drops=(), steps=9, row_every=9)
    naive, losses, wrong = naive_training(config, small_data, 9)
    job = Job.of(config, DeviceData.of(small_data, CPU))
    state = job.initial_state(small_data.digest)
    fit(state, job, NoSink())
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, naive.state_dict()[name]), name
    assert int(state.meter.wrong) == wrong
    assert state.rows[0].train_loss == pytest.approx(sum(losses) / 9, rel=1e-12)


# ---------------------------------------------------------------------------------------------- modes


class Broken(Exception):
    pass


class BreakSink(NoSink):
    """Breaks the run off after a step."""

    def __init__(self, at: int) -> None:
        self.at, self.now = at, 0

    def step(self, state: TrainState) -> None:
        self.now = state.step

    def wants_pause(self) -> bool:
        return self.now == self.at

    def pause(self, state: TrainState) -> None:
        raise Broken


def trained(
    config: RunConfig, dataset: Dataset, execution: Execution, device: torch.device = CPU, break_at: int | None = None
) -> TrainState:
    """The state after a whole run; with `break_at`, it went through a checkpoint into another network there."""
    job = Job.of(config, DeviceData.of(dataset, device), execution)
    state = job.initial_state(dataset.digest)
    if break_at is not None:
        with pytest.raises(Broken):
            fit(state, job, BreakSink(break_at))
        stored = checkpoint.decode(checkpoint.encode(checkpoint.capture(state, {})))
        state = job.initial_state(dataset.digest)
        checkpoint.restore(state, check_stored(stored, Expected.of_state(state, config, {}, len(dataset.classes))))
    fit(state, job, NoSink())
    return state


def assert_build_leaves_nothing(
    config: RunConfig, dataset: Dataset, execution: Execution, device: torch.device
) -> None:
    job = Job.of(config, DeviceData.of(dataset, device), execution)
    state, untouched = job.initial_state(dataset.digest), job.initial_state(dataset.digest)
    assert job.make_step(state).build() > 0
    assert_same(state, untouched)
    assert int(state.meter.wrong) == int(state.meter.finite_steps) == 0 and bool(state.meter.finite)
    assert all(parameter.grad is None for parameter in state.model.parameters())


def assert_close(config: RunConfig, dataset: Dataset, one: Execution, other: Execution, device: torch.device) -> None:
    """F1: what three steps change differs by rounding only, and does differ; the batches are the same."""
    short = dataclasses.replace(config, steps=3, lr=0.01)
    start = trained(dataclasses.replace(short, lr=0.0), dataset, one, device)
    first, second = trained(short, dataset, one, device), trained(short, dataset, other, device)
    x, y, zero = (torch.cat([p.detach().flatten() for p in s.model.parameters()]) for s in (first, second, start))
    assert 0 < (x - y).norm() < 0.01 * (x - zero).norm()
    assert first.batches_digest == second.batches_digest


def test_compiled_training(small_run: RunConfig, small_data: Dataset, compiler: None) -> None:
    """F1: close to eager over a few steps; bit-identical to itself, broken off or not; a build leaves no trace."""
    compiled = Execution("compile")
    assert_build_leaves_nothing(small_run, small_data, compiled, CPU)
    whole = trained(small_run, small_data, compiled)
    assert_same(whole, trained(small_run, small_data, compiled))
    assert_same(whole, trained(small_run, small_data, compiled, break_at=5))
    assert_close(small_run, small_data, EAGER, compiled, CPU)


@pytest.mark.parametrize("break_at", [1, 4, 7])
def test_a_broken_off_run_ends_the_same(small_run: RunConfig, small_data: Dataset, break_at: int) -> None:
    assert_same(trained(small_run, small_data, EAGER), trained(small_run, small_data, EAGER, break_at=break_at))


def test_bf16_is_another_precision_of_the_network_only(small_run: RunConfig, small_data: Dataset) -> None:
    fp32, bf16 = (trained(small_run, small_data, Execution("eager", name)) for name in ("fp32", "bf16"))
    assert {value.dtype for value in weights(bf16).values()} == {torch.float32}
    assert bf16.rows[0].train_loss == pytest.approx(fp32.rows[0].train_loss, rel=0.05)
    assert bf16.rows[0].train_loss != fp32.rows[0].train_loss
    assert bf16.rows[0].test_loss != fp32.rows[0].test_loss
    assert bf16.batches_digest == fp32.batches_digest


def test_channels_last_is_the_same_mathematics(small_run: RunConfig, small_data: Dataset) -> None:
    last = Execution(memory_format="nhwc")
    state = Job.of(small_run, DeviceData.of(small_data, CPU), last).initial_state(small_data.digest)
    assert state.model.get_parameter("stages.0.0.conv1.weight").is_contiguous(memory_format=torch.channels_last)
    assert_close(small_run, small_data, EAGER, last, CPU)


def test_evaluation_does_not_use_the_compiled_step(
    small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last evaluated batch has another size, for which the network would be compiled again."""
    shapes: list[torch.Size] = []

    def fake_compile(forward: Any, **_: Any) -> Any:
        return lambda images: shapes.append(images.shape) or forward(images)

    monkeypatch.setattr(torch, "compile", fake_compile)
    assert_same(trained(small_run, small_data, Execution("compile")), trained(small_run, small_data, EAGER))
    assert set(shapes) == {torch.Size((16, 3, 8, 8))} and len(shapes) == small_run.steps + 1


# ---------------------------------------------------------------------------------------------- CUDA


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("memory_format", ["nchw", "nhwc"])
@pytest.mark.parametrize("arch", ["plain", "residual"])
def test_a_graph_gives_the_bits_of_eager(
    small_run: RunConfig, small_data: Dataset, precision: str, memory_format: str, arch: str
) -> None:
    """Over learning rates that change, rows, and a checkpoint."""
    device = torch.device("cuda")
    configure(device, 1, precision)
    config = dataclasses.replace(small_run, arch=arch, shortcut="none" if arch == "plain" else "a", depth=20)
    graph = Execution("graph", precision, memory_format)
    assert_build_leaves_nothing(config, small_data, graph, device)
    eager = trained(config, small_data, dataclasses.replace(graph, mode="eager"), device)
    captured = trained(config, small_data, graph, device)
    assert_same(eager, captured)
    assert_same(captured, trained(config, small_data, graph, device, break_at=5))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_graph_gives_the_bits_of_eager_for_every_optimizer_and_boxes_of_photographs(
    small_run: RunConfig, small_data: Dataset, optimizer: str
) -> None:
    device = torch.device("cuda")
    configure(device, 1, "fp32")
    whole = np.random.default_rng(0).integers(0, 256, (96, 3, 9, 9), dtype=np.uint8)
    resized = Resized(whole, np.linspace(0.5, 2, 96, dtype=np.float32), channel_statistics(small_data.train_images))
    photos = dataclasses.replace(small_data, resized=resized)
    config = dataclasses.replace(small_run, optimizer=optimizer, schedule="cosine", augmentation="resized-crop-flip")
    graph = Execution("graph")
    assert_build_leaves_nothing(config, photos, graph, device)
    captured = trained(config, photos, graph, device)
    assert_same(trained(config, photos, Execution("eager"), device), captured)
    assert_same(captured, trained(config, photos, graph, device, break_at=5))


@pytest.mark.cuda
@needs_cuda
def test_no_synchronisation_on_cuda(small_run: RunConfig, small_data: Dataset) -> None:
    device = torch.device("cuda")
    configure(device, 1)
    job = Job.of(small_run, DeviceData.of(small_data, device))
    state = job.initial_state(small_data.digest)
    step, draws = job.make_step(state), job.stream.draws(0)
    step(draws)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(draws)
        set_learning_rate(state.optimizer, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@needs_cuda
def test_compiled_training_on_cuda(small_run: RunConfig, small_data: Dataset) -> None:
    device, compiled = torch.device("cuda"), Execution("compile")
    configure(device, 1, "fp32")
    assert_build_leaves_nothing(small_run, small_data, compiled, device)
    assert_close(small_run, small_data, EAGER, compiled, device)
