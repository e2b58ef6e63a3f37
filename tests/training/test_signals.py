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
from resnet_bench.models import CifarNet, build_model
from resnet_bench.training import loop
from resnet_bench.training.evaluation import EvalSet, evaluate
from resnet_bench.training.signals import measure_signals, signal_steps
from tests.training.test_training import assert_same, train

CPU = torch.device("cpu")


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
        (400, 40, [0, 40, 200, 400]),
        (220, 20, [0, 20, 120, 220]),
        (100, 100, [0, 100]),
        (90, 40, [0, 40, 80, 90]),
        (64_000, 400, [0, 400, 9600, 18400, 27600, 36800, 46000, 54800, 64_000]),
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
