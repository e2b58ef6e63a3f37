"""Training: the schedule at every boundary, the warm-up rule, determinism, divergence, rows."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from resnet_bench.config.run import RunConfig, Variation
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.studies import find
from resnet_bench.training import checkpoint
from resnet_bench.training.evaluation import EvalSet, evaluate
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.loop import fit
from resnet_bench.training.optimizers import make_optimizer, optimizer_tensors, set_learning_rate
from resnet_bench.training.schedule import learning_rate
from resnet_bench.training.state import Job, TrainState

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
    kept = {f"optimizer{i}": tensor for i, tensor in enumerate(optimizer_tensors(state.optimizer))}
    return {**state.model.state_dict(), **kept}


def without_seconds(state: TrainState) -> list[object]:
    return [dataclasses.replace(row, train_seconds=0.0, eval_seconds=0.0) for row in state.rows]


def assert_same(one: TrainState, other: TrainState) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    assert without_seconds(one) == without_seconds(other)
    assert one.batches_digest == other.batches_digest


def test_learning_rate_at_every_boundary_of_the_paper() -> None:
    config = find("cifar10-paper").runs(depths=[20], seeds=[0])[0]
    expected = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    assert {step: learning_rate(config, step, None) for step in expected} == expected
    assert config.steps == 64_000


def test_learning_rate_of_110_layers() -> None:
    config = find("cifar10-paper").runs(depths=[110], seeds=[0])[0]
    assert [learning_rate(config, step, None) for step in (0, 399, 32_000)] == [0.01, 0.01, 0.001]
    assert [learning_rate(config, step, 400) for step in (400, 31_999, 32_000, 48_000)] == [0.1, 0.1, 0.01, 0.001]


def test_a_cosine_goes_from_the_rate_to_zero() -> None:
    config = find("cifar10-paper").varied(Variation(schedule="cosine")).runs(depths=[110], seeds=[0])[0]
    rates = [learning_rate(config, step, 400) for step in (0, 16_000, 32_000, 48_000, 63_999)]
    assert rates[:4] == pytest.approx([0.1, 0.1 * (2 + 2**0.5) / 4, 0.05, 0.1 * (2 - 2**0.5) / 4])
    assert 0 < rates[4] < 1e-9 and learning_rate(config, 0, None) == 0.01  # the warm-up is the paper's


VARIATIONS = {
    "-adam": (Variation("adam"), ("adam", "step", 1e-3, 1e-4, None)),
    "-adamw-cosine": (Variation("adamw", "cosine"), ("adamw", "cosine", 1e-3, 1e-2, None)),
    "-lr0.05": (Variation(lr=0.05), ("sgd", "step", 0.05, 1e-4, 0.01)),
    "-cosine-zero-init": (Variation(schedule="cosine", zero_init_residual=True), ("sgd", "cosine", 0.1, 1e-4, 0.01)),
}


@pytest.mark.parametrize("label", VARIATIONS)
def test_what_leaves_the_papers_protocol_has_another_name(label: str) -> None:
    variation, expected = VARIATIONS[label]
    study = find("cifar10-paper").varied(variation)
    plain, changed = study.runs(depths=[110], seeds=[0])
    assert changed.protocol == f"paper-64k{label}/1" and variation.label == label
    assert (changed.optimizer, changed.schedule, changed.lr, changed.weight_decay, changed.lr_warmup) == expected
    assert changed.zero_init_residual == variation.zero_init_residual
    assert not plain.zero_init_residual and study.name == f"cifar10-paper{label}"
    assert study.varied(Variation()) is study


def test_fields_that_came_later_leave_older_names_alone() -> None:
    run = find("cifar10-paper").runs(depths=[20], seeds=[0])[0]
    assert run.run_id == "plain-none-d20-s0-c9322ced"
    cosine = dataclasses.replace(run, schedule="cosine")
    assert "optimizer" not in run.canonical_json() and '"schedule":"cosine"' in cosine.canonical_json()


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_optimizers_are_torchs_from_the_first_step(kind: str) -> None:
    """What was put into their state beforehand must be what they would have put there themselves."""
    nets = [torch.nn.Linear(5, 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    ours = make_optimizer(nets[0], 0.9, 0.01, kind)
    parameters = nets[1].parameters()
    theirs: torch.optim.Optimizer = {
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        "adam": lambda: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.01),
        "adamw": lambda: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.01),
    }[kind]()
    luck = torch.Generator().manual_seed(0)
    for _ in range(4):
        set_learning_rate(ours, 0.1)
        x = torch.randn(7, 5, generator=luck)
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_other_optimizers_go_on_bit_identical_from_a_checkpoint(
    kind: str, small_run: RunConfig, small_data: Dataset, device: torch.device
) -> None:
    config = dataclasses.replace(small_run, optimizer=kind, schedule="cosine", lr=0.01)
    whole = train(config, small_data, device)
    job = Job.of(config, DeviceData.of(small_data, device))

    class Stop(NoSink):
        def wants_pause(self) -> bool:
            return half.step == 6

        def pause(self, state: TrainState) -> None:
            raise KeyboardInterrupt

    half = job.initial_state(small_data.digest)
    with pytest.raises(KeyboardInterrupt):
        fit(half, job, Stop())
    stored = checkpoint.decode(checkpoint.encode(checkpoint.capture(half, {})))
    resumed = job.initial_state(small_data.digest)
    checkpoint.restore(resumed, check_stored(stored, Expected.of_state(resumed, config, {}, 4)))
    fit(resumed, job, NoSink())
    assert_same(whole, resumed)
    assert whole.rows[-1].train_loss < whole.rows[0].train_loss


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
    from resnet_bench.training.optimizers import make_optimizer

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
