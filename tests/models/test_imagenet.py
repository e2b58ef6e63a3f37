"""ImageNet-style networks: torchvision's, their plain twins and shortcut options; counts; use in a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from resnet_bench.cli import main
from resnet_bench.complexity import Complexity, complexity, list_layers, torch_flops
from resnet_bench.cost.counting import count
from resnet_bench.cost.sized import SizedNetwork
from resnet_bench.errors import UsageError
from resnet_bench.models import Net, build_model, init_digest
from resnet_bench.models.imagenet import ImageNetNet
from resnet_bench.networks import LAYOUTS, NAMED, NetworkName
from resnet_bench.results.tables import PLAN, RUNS, read_csv
from resnet_bench.training.signals import measure_signals

FAST = ("resnet18", "resnet50", "resnext50_32x4d")


def build(name: NetworkName, seed: int = 0, **options: int) -> Net:
    return build_model(**name._asdict(), generator=torch.Generator().manual_seed(seed), **options)


def named(name: str, **changes: str) -> NetworkName:
    return NAMED[name]._replace(**changes)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_every_builder_of_torchvision_is_known_by_its_name() -> None:
    builders = {name: torchvision.models.get_model_builder(name) for name in torchvision.models.list_models()}
    assert set(LAYOUTS) == {name for name, b in builders.items() if b.__module__ == "torchvision.models.resnet"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_those_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=7)
        ours = ImageNetNet(NAMED[name], 3, 7)
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if "num_batches" not in key}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    assert complexity(NAMED[name], num_classes=7).params == sum(p.numel() for p in theirs.parameters())
    assert len(ours.weighted_layers()) == NAMED[name].depth


@pytest.mark.parametrize("name", FAST)
def test_the_same_weights_give_torchvisions_logits(name: str) -> None:
    theirs, ours = torchvision.models.get_model(name, num_classes=5).eval(), build(NAMED[name], num_classes=5).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    assert torch.equal(ours(images(2, 3, 40, 56)), theirs(images(2, 3, 40, 56)))


@pytest.mark.parametrize(("depth", "millions"), [(18, 1794.81), (34, 3644.49)])
def test_plain_and_option_a_count_the_same_as_the_paper_says(depth: int, millions: float) -> None:
    plain = complexity(named(f"plain{depth}"), num_classes=1000, image_size=(224, 224))
    assert plain == complexity(named(f"resnet{depth}", shortcut="a"), num_classes=1000, image_size=(224, 224))
    assert round(plain.macs / 1e6, 2) == millions  # table 1: 1.8 and 3.6 x 10^9


def test_resnet34_for_five_classes_is_what_people_know() -> None:
    row, layers = count(SizedNetwork(NAMED["resnet34"], (3, 224, 224), 5))
    assert (row.params, row.macs, row.fvcore_total) == (21_287_237, 3_663_251_968, 3_670_753_280)
    assert (row.family, row.input_size, row.num_classes) == ("imagenet", "224x224x3", 5)
    assert sum(layer.macs for layer in layers) == row.macs


@pytest.mark.parametrize("family", ["imagenet", "imagenet-small"])
@pytest.mark.parametrize(
    ("name", "shortcut"), [("plain18", "none"), ("resnet18", "a"), ("resnet18", "c"), *((n, "b") for n in FAST)]
)
@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 45, 33)])
def test_layers_sum_to_the_closed_form(family: str, name: str, shortcut: str, shape: tuple[int, int, int]) -> None:
    network = SizedNetwork(named(name, family=family, shortcut=shortcut), shape, 7)
    model, closed = network.build().eval(), network.closed_form()
    layers = list_layers(model, shape)
    assert Complexity(sum(layer.params for layer in layers), sum(layer.macs for layer in layers)) == closed
    assert closed.params == sum(parameter.numel() for parameter in model.parameters())
    assert 2 * closed.macs == torch_flops(model, shape)
    assert ("max pool" in {layer.kind for layer in layers}) == (family == "imagenet")


@pytest.mark.parametrize("family", ["imagenet", "imagenet-small"])
def test_twins_start_bit_identical_in_all_shared_weights(family: str) -> None:
    plain = dict(build(named("plain18", family=family)).named_parameters())
    for shortcut in "abc":
        residual = dict(build(named("resnet18", family=family, shortcut=shortcut)).named_parameters())
        shared = {name: value for name, value in residual.items() if "downsample" not in name}
        assert list(shared) == list(plain) and all(torch.equal(shared[name], plain[name]) for name in plain)
    digests = {init_digest(build(named("resnet18", family=family, shortcut=shortcut))) for shortcut in "abc"}
    assert digests == {init_digest(build(named("plain18", family=family)))}


def test_plain_and_residual_differ_only_by_the_addition() -> None:
    plain, residual = build(named("plain18")), build(named("resnet18", shortcut="a"))
    assert isinstance(plain, ImageNetNet) and isinstance(residual, ImageNetNet)
    for at, channels in ((0, 64), (1, 64)):  # the same shapes, and where they change
        block, twin = plain.get_submodule(f"layer{at + 1}.0"), residual.get_submodule(f"layer{at + 1}.0")
        x = images(2, channels, 9, 8).relu()
        y = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        padded = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1) if at else x
        assert torch.equal(block(x), torch.relu(y))
        assert torch.equal(twin(x), torch.relu(y + padded))


def test_zero_init_residual_begins_with_the_identity() -> None:
    name = named("resnet18", shortcut="a", family="imagenet-small")
    model = build_model(**name._asdict(), generator=torch.Generator(), zero_init_residual=True)
    block, x = model.get_submodule("layer1.1"), images(2, 64, 5, 5).relu()
    assert torch.equal(block(x), x)
    with pytest.raises(UsageError, match="for residual networks"):
        build_model("plain", 18, "none", family="imagenet", generator=torch.Generator(), zero_init_residual=True)


@pytest.mark.parametrize("name", ["plain18", "resnet50"])
def test_signals_of_every_weighted_layer_are_measured(name: str) -> None:
    model = build(named(name, family="imagenet-small"))
    signals = measure_signals(model, images(4, 3, 16, 16), torch.arange(4), "fp32")
    assert len(signals) == NAMED[name].depth
    assert all(0 <= (signal.dead_fraction or 0) <= 1 and signal.response_std > 0 for signal in signals)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_a_train_step_is_three_forward_passes_without_the_first_gradient(name: str) -> None:
    """For groups of channels torch's counter would say more; a network without them shows what is meant."""
    model = build(named(name, family="imagenet-small"))
    first = list_layers(model, (3, 32, 32))[0]
    forward, train = (torch_flops(model.train(), (3, 32, 32), train_step=step) for step in (False, True))
    assert first.kind == "conv" and train == 3 * forward - 2 * first.macs


UNKNOWN = [
    (NetworkName("cifar", "residual", 18, "a"), "depth 18 is not 6n"),
    (NetworkName("imagenet", "plain", 50, "none"), "depth 50 is unknown for plain.*18, 34"),
    (NetworkName("imagenet", "residual", 50, "a"), "shortcut 'a' is unknown .* one of b"),
    (NetworkName("imagenet", "vgg", 16, "b"), "arch 'vgg' is unknown in family imagenet"),
    (NetworkName("cifar", "wide_resnet50_2", 50, "b"), "arch 'wide_resnet50_2' is unknown in family cifar"),
    (NetworkName("none", "plain", 20, "none"), "family 'none' is unknown"),
]


@pytest.mark.parametrize(("name", "message"), UNKNOWN)
def test_unknown_networks_are_refused(name: NetworkName, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name)


# ---------------------------------------------------------------------------------------------- in a study


def test_a_network_called_by_name_is_trained_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    words = ["run", "--study", str(file), "--results", str(tmp_path), "--device", "cpu", "--quiet"]
    for arch in ("plain18", "resnext50_32x4d"):
        assert main([*words, "--arch", arch]) == 0
    folder = tmp_path / "tiny"
    rows = read_csv(folder / RUNS.file, RUNS)
    assert [(row.family, row.arch, row.depth, row.shortcut) for row in rows] == [
        ("imagenet-small", "plain", 18, "none"),
        ("imagenet-small", "resnext50_32x4d", 50, "b"),
    ]
    assert rows[0].batches_digest == rows[1].batches_digest
    assert {row.family for row in read_csv(folder / PLAN.file, PLAN)} == {"imagenet-small"}
    report = (folder / "README.md").read_text()
    assert "resnext50_32x4d" in report
    assert main(["verify", str(folder)]) == 0
    capsys.readouterr()
    assert main([*words, "--arch", "plain", "--depth", "8"]) == 2
    assert "has family imagenet-small, this sweep has cifar; a study never mixes them" in capsys.readouterr().err


TINY = """
name = "tiny"
data = "digits"
seeds = [0]
[networks]
arms = ["plain"]
depths = [8]
[protocol]
steps = 2
batch_size = 16
lr = 0.01
augmentation = "none"
rows = 1
row_train_images = 16
row_test_images = 16
final_train_images = 16
"""


BAD = {
    "a depth of its own": (
        ["--arch", "resnet18", "--depth", "20"],
        "has a depth of its own; leave --depth out",
    ),
    "no depth": (["--arch", "plain"], "--arch plain needs --depth, as in --depth 20, and no --stem"),
    "a stem": (["--arch", "plain", "--depth", "20", "--stem", "7x7"], "and no --stem"),
    "shortcut": (
        ["--arch", "resnet50", "--shortcut", "a"],
        "'a' is unknown for residual networks of 50 layers",
    ),
    "plain with a shortcut": (["--arch", "plain18", "--shortcut", "a"], "shortcut 'a' is unknown for plain networks"),
    "not 6n+2": (["--arch", "plain", "--depth", "21"], "depth 21 is not 6n+2"),
    "rate": (["--arch", "resnet18", "--lr", "0"], "'0' is not a positive number (learning rate)"),
    "optimizer": (["--arch", "resnet18", "--optimizer", "lion"], "invalid choice: 'lion'"),
    "arch": (["--arch", "vgg16"], "invalid choice: 'vgg16'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = BAD[case]
    try:
        code: object = main(["run", "--study", "demo", "--results", str(tmp_path / "results"), *words])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()
