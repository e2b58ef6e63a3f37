"""Training: the schedule at every boundary, the warm-up rule, determinism, divergence, rows."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from resnet_bench.config import RunConfig, find_study
from resnet_bench.data.dataset import Dataset
from resnet_bench.training.engine import DeviceData, EvalSet, evaluate
from resnet_bench.training.loop import Job, TrainState, fit, learning_rate

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]


class NoSink:
    def built(self, seconds: float) -> None:
        pass

    def step(self, state: TrainState) -> None:
        pass

    def row(self, state: TrainState) -> None:
        pass

    def wants_pause(self) -> bool:
        return False

    def pause(self, state: TrainState) -> None:
        pass

    def poll(self) -> None:
        pass


def train(config: RunConfig, dataset: Dataset, device: torch.device = CPU) -> TrainState:
    data = DeviceData.of(dataset, device)
    state = Job.of(config, data).initial_state(dataset.digest)
    fit(state, Job.of(config, data), NoSink())
    return state


def weights(state: TrainState) -> dict[str, torch.Tensor]:
    momentum = {f"momentum{i}": buffer["momentum_buffer"] for i, buffer in enumerate(state.optimizer.state.values())}
    return {**state.model.state_dict(), **momentum}


def without_seconds(state: TrainState) -> list[object]:
    return [dataclasses.replace(row, train_seconds=0.0, eval_seconds=0.0) for row in state.rows]


def assert_same(one: TrainState, other: TrainState) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    assert without_seconds(one) == without_seconds(other)
    assert one.batches_digest == other.batches_digest


def test_learning_rate_at_every_boundary_of_the_paper() -> None:
    config = find_study("cifar10-paper").runs(depths=[20], seeds=[0])[0]
    expected = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    assert {step: learning_rate(config, step, None) for step in expected} == expected
    assert config.steps == 64_000


def test_learning_rate_of_110_layers() -> None:
    config = find_study("cifar10-paper").runs(depths=[110], seeds=[0])[0]
    assert [learning_rate(config, step, None) for step in (0, 399, 32_000)] == [0.01, 0.01, 0.001]
    assert [learning_rate(config, step, 400) for step in (400, 31_999, 32_000, 48_000)] == [0.1, 0.1, 0.01, 0.001]


def test_the_run_really_uses_the_schedule(small_run: RunConfig, small_data: Dataset) -> None:
    state = train(dataclasses.replace(small_run, row_every=1), small_data)
    assert [row.lr for row in state.rows] == [0.05] * 6 + [0.005] * 3 + [0.0005] * 3


def test_warmup_ends_after_the_first_whole_window_with_low_error(small_run: RunConfig, small_data: Dataset) -> None:
    config = dataclasses.replace(small_run, lr_warmup=0.001, lr_warmup_window=5, lr_drops=(), row_every=1)
    always = train(dataclasses.replace(config, lr_warmup_error=100.1), small_data)
    assert always.lr_warmup_steps == 5
    assert [row.lr for row in always.rows] == [0.001] * 5 + [0.05] * 7
    never = train(dataclasses.replace(config, lr_warmup_error=0.0), small_data)
    assert never.lr_warmup_steps is None
    assert {row.lr for row in never.rows} == {0.001}


def test_warmup_looks_at_the_window_not_at_one_batch(small_run: RunConfig, small_data: Dataset) -> None:
    """The rule must use all images of the window: found by recomputing the error of each window from the rows."""
    config = dataclasses.replace(small_run, lr_warmup=0.05, lr_warmup_window=3, lr_drops=(), row_every=1, steps=30)
    rows = train(config, small_data).rows
    windows = [sum(row.train_top1_err for row in rows[i : i + 3]) / 3 for i in range(0, 30, 3)]
    threshold = sorted(windows)[len(windows) // 2]
    state = train(dataclasses.replace(config, lr_warmup_error=threshold), small_data)
    assert state.lr_warmup_steps == 3 * (1 + next(i for i, error in enumerate(windows) if error < threshold))


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_are_bit_identical(small_run: RunConfig, small_data: Dataset, device: torch.device) -> None:
    assert_same(train(small_run, small_data, device), train(small_run, small_data, device))


def test_another_seed_differs_in_weights_and_batches(small_run: RunConfig, small_data: Dataset) -> None:
    one, other = train(small_run, small_data), train(dataclasses.replace(small_run, seed=1), small_data)
    assert one.init_digest != other.init_digest
    assert one.batches_digest != other.batches_digest


def test_twins_share_initial_weights_and_batches(small_run: RunConfig, small_data: Dataset) -> None:
    residual = train(small_run, small_data)
    for arch, shortcut in (("plain", "none"), ("residual", "b"), ("residual", "c")):
        twin = train(dataclasses.replace(small_run, arch=arch, shortcut=shortcut), small_data)
        assert (twin.init_digest, twin.batches_digest) == (residual.init_digest, residual.batches_digest)


def test_how_often_rows_are_written_changes_no_weight(small_run: RunConfig, small_data: Dataset) -> None:
    often, once = (train(dataclasses.replace(small_run, row_every=every), small_data) for every in (1, 12))
    for name, value in weights(often).items():
        assert torch.equal(value, weights(once)[name]), name
    assert (len(often.rows), len(once.rows)) == (12, 1)
    errors = [row.train_top1_err for row in often.rows]
    assert once.rows[0].train_top1_err == pytest.approx(sum(errors) / 12)  # images weigh the same
    assert once.rows[0].train_loss == pytest.approx(sum(row.train_loss for row in often.rows) / 12)


def test_rows_say_what_was_evaluated(small_run: RunConfig, small_data: Dataset) -> None:
    rows = train(small_run, small_data).rows
    assert [row.step for row in rows] == [4, 8, 12]
    assert [row.train_clean_images for row in rows] == [20, 20, 96]
    assert [row.test_images for row in rows] == [32, 32, 32]
    assert rows[-1].epoch == 12 * 16 / 96


def test_evaluation_is_exact_and_leaves_the_network_alone(small_run: RunConfig, small_data: Dataset) -> None:
    state = train(small_run, small_data)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    data = DeviceData.of(small_data, CPU)
    loss, error = evaluate(state.model, data, EvalSet.test(data, None))
    assert state.model.training
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    state.model.eval()
    with torch.no_grad():
        logits = state.model(data.test_images.float() * (1 / 255) - data.mean)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, data.test_labels).item(), rel=1e-5)
    assert error == 100 * (logits.argmax(1) != data.test_labels).double().mean().item()


@pytest.mark.parametrize("device", DEVICES)
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(
    small_run: RunConfig, small_data: Dataset, device: torch.device
) -> None:
    state = train(dataclasses.replace(small_run, lr=1e18, row_every=6, lr_drops=()), small_data, device)
    assert state.diverged_step is not None and 2 <= state.diverged_step <= 6
    assert state.rows == []
    assert state.step == 6


def test_momentum_and_decay_are_the_papers_update() -> None:
    """Two steps against the update written out: v = 0.9 v + (g + 1e-4 w); w = w - lr v, on every parameter."""
    from resnet_bench.training.engine import make_optimizer

    layer = torch.nn.BatchNorm1d(3)
    optimizer = make_optimizer(layer, 0.9, 1e-4)
    w, v = torch.ones(3), torch.zeros(3)
    for lr, gradient in ((0.1, 2.0), (0.01, -1.0)):
        optimizer.param_groups[0]["lr"] = lr
        layer.weight.grad = torch.full((3,), gradient)
        optimizer.step()
        v = 0.9 * v + (gradient + 1e-4 * w)
        w = w - lr * v
    assert torch.allclose(layer.weight, w, atol=1e-7)
