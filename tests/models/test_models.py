"""Networks: option A against NumPy, twins that start identical."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_bench.errors import UsageError
from resnet_bench.models import CifarNet, build_model, init_digest
from resnet_bench.models.cifar import SubsampleAndPad


def build(arch: str, depth: int, shortcut: str, seed: int = 0, **sizes: int) -> CifarNet:
    return build_model(arch, depth, shortcut, generator=torch.Generator().manual_seed(seed), **sizes)


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
