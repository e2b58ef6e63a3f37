"""Networks: exact counts, option A against NumPy, twins that start identical."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_bench.complexity import complexity, fvcore_total, torch_flops
from resnet_bench.errors import UsageError
from resnet_bench.models import CifarNet, build_model, init_digest
from resnet_bench.models.cifar import SubsampleAndPad

IMAGE = (3, 32, 32)
# depth: (params A, MACs A, fvcore total A, forward FLOPs A, params B, MACs B, params C, MACs C, train step FLOPs A)
COUNTS = {
    20: (269_722, 40_551_040, 40_931_968, 81_102_080, 272_474, 40_813_184, 283_962, 42_648_192, 242_421_504),
    32: (464_154, 68_862_592, 69_472_896, 137_725_184, 466_906, 69_124_736, 489_594, 72_532_608, 412_290_816),
    44: (658_586, 97_174_144, 98_013_824, 194_348_288, 661_338, 97_436_288, 695_226, 102_417_024, 582_160_128),
    56: (853_018, 125_485_696, 126_554_752, 250_971_392, 855_770, 125_747_840, 900_858, 132_301_440, 752_029_440),
    110: (1_727_962, 252_887_680, 254_988_928, 505_775_360, 1_730_714, 253_149_824, 1_826_202, 266_781_312,
          1_516_441_344),
}  # fmt: skip


def build(arch: str, depth: int, shortcut: str, seed: int = 0, **sizes: int) -> CifarNet:
    return build_model(arch, depth, shortcut, generator=torch.Generator().manual_seed(seed), **sizes)


def params(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize(("arch", "shortcut"), [("plain", "none"), ("residual", "a")])
def test_plain_and_option_a_have_the_papers_counts(depth: int, arch: str, shortcut: str) -> None:
    expected = COUNTS[depth]
    model = build(arch, depth, shortcut)
    assert params(model) == expected[0]
    assert torch_flops(model, IMAGE, train_step=True) == expected[8]
    assert torch_flops(model.eval(), IMAGE) == expected[3] == 2 * expected[1]
    assert fvcore_total(model, IMAGE) == expected[2]
    assert (complexity(depth, shortcut).params, complexity(depth, shortcut).macs) == expected[:2]


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize(("shortcut", "at"), [("b", 4), ("c", 6)])
def test_projections_have_their_counts(depth: int, shortcut: str, at: int) -> None:
    model = build("residual", depth, shortcut)
    closed = complexity(depth, shortcut)
    assert (params(model), torch_flops(model.eval(), IMAGE) // 2) == COUNTS[depth][at : at + 2]
    assert (closed.params, closed.macs) == COUNTS[depth][at : at + 2]


def test_closed_form_is_the_paper_text_and_holds_for_1202_layers() -> None:
    for depth in (8, 20, 110, 1202):
        assert complexity(depth, "a").macs == 443_008 + 2_359_296 * (depth - 3)
    assert complexity(1202, "a").params == 19_421_274


@pytest.mark.parametrize(("channels", "classes", "height", "width"), [(1, 100, 28, 28), (3, 10, 8, 8), (4, 7, 9, 13)])
@pytest.mark.parametrize("shortcut", ["none", "a", "b", "c"])
def test_any_channels_classes_and_sides(channels: int, classes: int, height: int, width: int, shortcut: str) -> None:
    arch = "plain" if shortcut == "none" else "residual"
    model = build(arch, 14, shortcut, in_channels=channels, num_classes=classes).eval()
    assert model(torch.zeros(2, channels, height, width)).shape == (2, classes)
    closed = complexity(14, shortcut, in_channels=channels, num_classes=classes, image_size=(height, width))
    assert closed.params == params(model)
    assert 2 * closed.macs == torch_flops(model, (channels, height, width))


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_twins_start_bit_identical_in_all_shared_weights(depth: int) -> None:
    plain = dict(build("plain", depth, "none").named_parameters())
    for shortcut in "abc":
        residual = dict(build("residual", depth, shortcut).named_parameters())
        shared = {name: value for name, value in residual.items() if "shortcut" not in name}
        assert list(shared) == list(plain)
        assert all(torch.equal(shared[name], plain[name]) for name in plain)
    digests = {init_digest(build(arch, depth, s)) for arch, s in [("plain", "none"), *(("residual", o) for o in "abc")]}
    assert len(digests) == 1
    assert init_digest(build("plain", depth, "none", seed=1)) not in digests


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build("residual", 20, "c")
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_are_he_normal_with_fan_out() -> None:
    for name, parameter in build("residual", 20, "b").named_parameters():
        if parameter.dim() == 4 and parameter.numel() > 5000:
            expected = (2 / (parameter.shape[0] * parameter.shape[2] * parameter.shape[3])) ** 0.5
            assert abs(parameter.std().item() / expected - 1) < 0.05, name


def test_option_a_is_slice_and_pad() -> None:
    x = torch.randn(2, 16, 9, 8, generator=torch.Generator().manual_seed(0))
    sliced = x.numpy()[:, :, ::2, ::2]
    expected = np.concatenate([sliced, np.zeros_like(sliced)], axis=1)
    assert np.array_equal(SubsampleAndPad(16, 2)(x).numpy(), expected)


def test_plain_and_residual_differ_only_by_the_addition() -> None:
    plain, residual = build("plain", 8, "none"), build("residual", 8, "a")
    x = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    block, twin = plain.stages[0][0], residual.stages[0][0]
    inner = twin.bn2(twin.conv2(torch.relu(twin.bn1(twin.conv1(x)))))
    assert torch.equal(block(x), torch.relu(inner))
    assert torch.equal(twin(x), torch.relu(inner + x))


@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 21, 57])
def test_illegal_depths_name_the_nearest(depth: int) -> None:
    with pytest.raises(UsageError, match=r"20 and 26" if depth == 21 else "nearest: "):
        build("plain", depth, "none")


@pytest.mark.parametrize(("arch", "shortcut"), [("plain", "a"), ("residual", "none"), ("residual", "d"), ("x", "a")])
def test_unknown_networks_are_refused(arch: str, shortcut: str) -> None:
    with pytest.raises(UsageError, match=arch):
        build(arch, 8, shortcut)
