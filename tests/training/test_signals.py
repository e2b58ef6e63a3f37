"""What is recorded beside the curves: signals by layer, and confusions; and that a run is the same without them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import normalise
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.execution import Execution
from resnet_bench.models import CifarNet, build_model
from resnet_bench.results.rows import SignalRow
from resnet_bench.results.tables import SIGNALS, to_csv
from resnet_bench.training import checkpoint, loop
from resnet_bench.training.evaluation import EvalSet, evaluate
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.loop import fit
from resnet_bench.training.signals import FIRST_STEPS, measure_signals, signal_steps
from resnet_bench.training.state import Job, TrainState
from tests.training.test_training import NoSink, assert_same, train

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(arch: str = "residual", depth: int = 14, num_classes: int = 10) -> CifarNet:
    luck = torch.Generator().manual_seed(0)
    return build_model(arch, depth, "none" if arch == "plain" else "a", num_classes=num_classes, generator=luck)


def batch(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    luck = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 8, generator=luck), torch.randint(10, (count,), generator=luck)


# ---------------------------------------------------------------------------------------------- one measurement


@pytest.mark.parametrize("arch", ["plain", "residual"])
def test_every_weighted_layer_of_the_main_path_is_there(arch: str) -> None:
    signals = measure_signals(network(arch), *batch(), "fp32")
    assert [signal.layer_index for signal in signals] == list(range(1, 15))
    assert [signals[0].layer, signals[1].layer, signals[-2].layer, signals[-1].layer] == [
        "stem", "stages.0.0.conv1", "stages.2.1.conv2", "head",
    ]  # fmt: skip
    assert [signal.layer for signal in signals if signal.dead_fraction is None] == ["head"]


def test_signals_by_hand() -> None:
    model, (images, labels) = network(), batch()
    signals = {signal.layer: signal for signal in measure_signals(model, images, labels, "fp32")}
    model.train()
    block = model.stages[0][0]
    stem = model.stem_bn(model.stem(images))
    first = block.bn1(block.conv1(F.relu(stem)))
    second = block.bn2(block.conv2(F.relu(first)))
    assert signals["stem"].response_std == pytest.approx(stem.std().item(), rel=1e-5)
    assert signals["stages.0.0.conv1"].response_std == pytest.approx(first.std().item(), rel=1e-5)
    assert signals["stages.0.0.conv2"].response_std == pytest.approx(second.std().item(), rel=1e-5)  # before addition
    F.cross_entropy(model(images), labels).backward()
    for layer, parameter in (("stem", model.stem.weight), ("stages.0.0.conv2", block.conv2.weight)):
        assert signals[layer].grad_norm == pytest.approx(parameter.grad.norm().item(), rel=1e-4)
        assert signals[layer].weight_norm == pytest.approx(parameter.norm().item(), rel=1e-6)


def test_dead_channels_are_seen_before_and_after_the_addition() -> None:
    model, (images, labels) = network("plain"), batch()
    block = model.stages[1][0]
    with torch.no_grad():
        block.bn1.bias.fill_(-100)
        block.bn2.bias[:8] = -100
    signals = {signal.layer: signal for signal in measure_signals(model, images, labels, "fp32")}
    assert signals["stages.1.0.conv1"].dead_fraction == 1
    assert signals["stages.1.0.conv2"].dead_fraction == 8 / 32 or signals["stages.1.0.conv2"].dead_fraction == 1
    assert signals["stem"].dead_fraction == 0


def test_the_network_is_left_as_it_was() -> None:
    model = network().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_signals(model, *batch(), "fp32")
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_bf16_is_measured_too() -> None:
    full, half = (measure_signals(network(), *batch(), precision) for precision in ("fp32", "bf16"))
    assert half[3].response_std == pytest.approx(full[3].response_std, rel=0.05)


@pytest.mark.parametrize(
    ("steps", "row_every", "expected"),
    [
        (400, 40, [*FIRST_STEPS, 40, 200, 400]),
        (220, 20, [*FIRST_STEPS, 20, 120, 220]),
        (100, 100, [*FIRST_STEPS, 100]),
        (90, 40, [*FIRST_STEPS, 40, 80, 90]),
        (64_000, 400, [*FIRST_STEPS, 400, 9600, 18400, 27600, 36800, 46000, 54800, 64_000]),
        (6, 4, [0, 1, 2, 4, 6]),
        (1, 1, [0, 1]),
    ],
)
def test_the_chosen_steps(steps: int, row_every: int, expected: list[int]) -> None:
    assert signal_steps(steps, row_every) == expected


# ---------------------------------------------------------------------------------------------- in a run


def test_a_run_records_signals_and_is_the_same_without(
    small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_signals = train(small_run, small_data)
    steps = signal_steps(small_run.steps, small_run.row_every)
    assert [(row.step, row.layer_index) for row in with_signals.signals] == [
        (step, index) for step in steps for index in range(1, small_run.depth + 1)
    ]
    monkeypatch.setattr(loop, "_add_signals", lambda state, job: None)
    without = train(small_run, small_data)
    assert without.signals == []
    assert_same(with_signals, without)


def assert_same_signals(one: TrainState, other: TrainState) -> None:
    assert one.signals == other.signals and to_csv(SIGNALS, one.signals) == to_csv(SIGNALS, other.signals)


def stored_at(step: int, job: Job, dataset: Dataset) -> bytes:
    """The checkpoint of a run that was stopped after a step."""

    class Stop(NoSink):
        def wants_pause(self) -> bool:
            return state.step == step

        def pause(self, state: TrainState) -> None:
            raise KeyboardInterrupt

    state = job.initial_state(dataset.digest)
    with pytest.raises(KeyboardInterrupt):
        fit(state, job, Stop())
    return checkpoint.encode(checkpoint.capture(state, {}))


def gone_on(stored: bytes, job: Job, dataset: Dataset) -> TrainState:
    state = job.initial_state(dataset.digest)
    expected = Expected.of_state(state, job.config, {}, 4)
    checkpoint.restore(state, check_stored(checkpoint.decode(stored), expected))
    fit(state, job, NoSink())
    return state


def broken_off(step: int, job: Job, dataset: Dataset) -> TrainState:
    return gone_on(stored_at(step, job, dataset), job, dataset)


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_a_run_that_was_broken_off_has_the_same_signals(small_run: RunConfig, small_data: Dataset, step: int) -> None:
    """Between two measurements, at one, and where one falls on a row: at step 4."""
    whole = train(small_run, small_data)
    resumed = broken_off(step, Job.of(small_run, DeviceData.of(small_data, CPU)), small_data)
    assert_same(whole, resumed)
    assert_same_signals(whole, resumed)
    assert sorted({row.step for row in whole.signals}) == [0, 1, 2, 4, 8, 12]


def test_every_mode_measures_at_the_same_steps(
    small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here without a compiler: what is compiled is called as it is."""
    monkeypatch.setattr(torch, "compile", lambda forward, **options: forward)
    job = Job.of(small_run, DeviceData.of(small_data, CPU), Execution("compile"))
    compiled = job.initial_state(small_data.digest)
    fit(compiled, job, NoSink())
    assert_same_signals(train(small_run, small_data), compiled)
    assert_same_signals(compiled, broken_off(3, job, small_data))


@pytest.mark.cuda
@needs_cuda
def test_a_graph_measures_at_the_same_steps(small_run: RunConfig, small_data: Dataset) -> None:
    data = DeviceData.of(small_data, torch.device("cuda"))
    jobs = [Job.of(small_run, data, Execution(mode)) for mode in ("eager", "graph")]
    states = [job.initial_state(small_data.digest) for job in jobs]
    for job, state in zip(jobs, states, strict=True):
        fit(state, job, NoSink())
    assert [(row.step, row.layer) for row in states[0].signals] == [(row.step, row.layer) for row in states[1].signals]


def test_a_run_that_began_before_the_first_steps_were_measured_goes_on(
    small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.of(small_run, DeviceData.of(small_data, CPU))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "signal_steps", lambda steps, row_every: [0, 4, 8, 12])
        older = stored_at(6, job, small_data)
    resumed = gone_on(older, job, small_data)
    whole = train(small_run, small_data)
    assert_same(whole, resumed)
    assert resumed.signals == [row for row in whole.signals if row.step not in (1, 2)]


def test_a_network_that_is_not_finite_any_more_is_not_measured(small_run: RunConfig, small_data: Dataset) -> None:
    state = train(dataclasses.replace(small_run, lr=1e18, lr_drops=()), small_data)
    assert state.diverged_step is not None and state.step == 4
    assert {row.step for row in state.signals} <= set(range(state.diverged_step))


def test_a_signal_beyond_all_numbers_is_stored_and_told_as_not_measured(
    small_run: RunConfig, small_data: Dataset
) -> None:
    job = Job.of(small_run, DeviceData.of(small_data, CPU))
    state = job.initial_state(small_data.digest)
    row = SignalRow(run_id=small_run.run_id, step=0, layer="stem", layer_index=1, response_std=1.0,
                    grad_norm=float("inf"), weight_norm=1.0, dead_fraction=0.0)  # fmt: skip
    state.signals.append(row)
    expected = Expected.of_state(state, small_run, {}, 4)
    stored = check_stored(checkpoint.decode(checkpoint.encode(checkpoint.capture(state, {}))), expected)
    assert to_csv(SIGNALS, stored.signals) == to_csv(SIGNALS, [row]) and ",1.0,,1.0," in to_csv(SIGNALS, [row])


def test_twins_are_measured_on_the_same_images(small_run: RunConfig, small_data: Dataset) -> None:
    """At the start they have the same stem and see the same batch, so the stem does the same."""
    plain = dataclasses.replace(small_run, arch="plain", shortcut="none")
    first = [train(config, small_data).signals[0] for config in (small_run, plain)]
    assert first[0].layer == "stem" and first[0].response_std == first[1].response_std


def test_confusions_are_counts_of_the_test_images(small_run: RunConfig, small_data: Dataset) -> None:
    state = train(small_run, small_data)
    assert state.confusion is not None
    counts = torch.tensor(state.confusion)
    assert counts.sum() == len(small_data.test_labels)
    assert counts.sum(1).tolist() == torch.bincount(torch.from_numpy(small_data.test_labels), minlength=4).tolist()
    wrong = counts.sum() - counts.diagonal().sum()
    assert 100 * wrong / counts.sum() == pytest.approx(state.rows[-1].test_top1_err)


def test_confusions_by_hand(small_data: Dataset) -> None:
    data, model = DeviceData.of(small_data, CPU), network(depth=8, num_classes=4).eval()
    chosen, confusion = EvalSet.test(data, None), data.no_confusion()
    evaluate(model, data, chosen, confusion=confusion)
    with torch.no_grad():
        predicted = model(normalise(chosen.images, data.mean)).argmax(1)
    for true in range(4):
        for taken_for in range(4):
            expected = int(((chosen.labels == true) & (predicted == taken_for)).sum())
            assert confusion[true, taken_for] == expected
