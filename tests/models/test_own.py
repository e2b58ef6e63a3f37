"""Networks that a function of the user's builds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_bench.config.builders import find_source, load_function, source_digest
from resnet_bench.errors import UsageError
from resnet_bench.models import init_digest
from resnet_bench.models.own import OwnNetwork, try_out
from tests.conftest import WriteModule
from tests.owned import NETWORKS

IMAGES = (3, 8, 8)


@pytest.fixture
def module(write_module: WriteModule) -> str:
    return write_module(NETWORKS)


def network(builder: str, depth: int = 2) -> OwnNetwork:
    return OwnNetwork(builder, source_digest(builder), depth, IMAGES[0], 4)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_weights_are_a_function_of_the_seed_and_global_generators_stay(module: str) -> None:
    plain = network(f"{module}:plain")
    before = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    first = init_digest(plain.build(seeded(0)))
    torch.rand(3)
    assert init_digest(plain.build(seeded(0))) == first != init_digest(plain.build(seeded(1)))
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    try_out(plain, IMAGES)
    after = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    assert before == after


def test_twins_begin_alike_and_count_alike(module: str) -> None:
    plain, residual = (network(f"{module}:{name}") for name in ("plain", "residual"))
    assert init_digest(plain.build(seeded(0))) == init_digest(residual.build(seeded(0)))
    assert try_out(plain, IMAGES) == try_out(residual, IMAGES)
    size = try_out(plain, IMAGES).size
    assert size.params == sum(parameter.numel() for parameter in plain.build(seeded(0)).parameters())
    assert size.macs == 64 * (3 * 4 * 9 + 2 * 4 * 4 * 9) + 4 * 4  # stem, two layers, classifier


def test_networks_without_convolutions_and_with_tied_weights_are_networks(module: str) -> None:
    assert try_out(network(f"{module}:linear"), IMAGES).size.macs == 3 * 64 * 4
    tied, plain = (try_out(network(f"{module}:{name}"), IMAGES) for name in ("tied", "plain"))
    assert tied.size.params == plain.size.params - 4 * 4 * 9 and tied.size.macs == plain.size.macs


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("dropping", "a forward pass in training draws random numbers (dropout, say)"),
        ("shaken", "a forward pass in training draws random numbers"),
        ("counting", "keeps something that is not in its state dict"),
        ("lazy", "1.weight has no shape before the first batch"),
        ("double", "stem.weight is float64 on cpu; parameters are float32"),
        ("too_many", "for images 1x3x8x8 it gives a tensor float32 1x5, not logits: float32 1x4"),
        ("a_pair", "it gives a tuple, not logits"),
        ("raising", "raised ValueError: no net of depth 2 (line "),
        ("too_small", "a forward pass in eval mode (images 1x3x8x8) raises RuntimeError"),
        ("a_number", "gives a int, not a torch.nn.Module"),
        ("empty", "has no parameters that can be trained"),
        ("lucky", "two calls with one seed give different weights"),
        ("masked", "mask begins with values that are not finite"),
        ("detached", "the backward pass raises RuntimeError"),
        ("nowhere", "has no function 'nowhere'"),
        ("not_a_function", "has no function 'not_a_function'"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(module: str, function: str, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        try_out(network(f"{module}:{function}"), IMAGES)
    assert what in str(raised.value) and module in str(raised.value) and "\n" not in str(raised.value)


def test_another_source_is_not_the_network(module: str) -> None:
    plain = network(f"{module}:plain")
    path = find_source(plain.builder)
    path.write_text(f"{path.read_text()}\n# a remark\n")
    with pytest.raises(UsageError, match="is not the one that the run was begun with"):
        plain.build(seeded(0))
    assert source_digest(plain.builder) != plain.digest


# ---------------------------------------------------------------------------------------------- where a source lies


def test_a_source_is_found_without_being_executed(write_module: WriteModule, tmp_path: Path) -> None:
    name = write_module("raise SystemExit(3)  # plain")
    package = tmp_path / f"{name}_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(3)  # plain")
    (package / "inner.py").write_text("raise SystemExit(3)  # plain")
    for module in (name, f"{package.name}.inner"):
        assert len(source_digest(f"{module}:plain")) == 64
        assert module not in sys.modules
    with pytest.raises(UsageError, match=r"cannot be imported: SystemExit: 3 \(line 1 of"):
        load_function(f"{name}:plain")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("mynets.py", "write package.module:function, as in mynets:plain"),
        ("mynets:", "write package.module:function"),
        ("no_such_module_at_all:plain", "neither in the current folder"),
        ("tests.no_such_module:plain", "no module 'tests.no_such_module' was found"),
        ("sys:exit", "is no module with a source in Python"),
        ("tests.owned:no_such_function", "has no function 'no_such_function'"),
    ],
)
def test_where_a_source_was_looked_for_is_said(function: str, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        source_digest(function)
    assert what in str(raised.value) and "\n" not in str(raised.value)


def test_a_module_is_imported_as_it_is_now(write_module: WriteModule, tmp_path: Path) -> None:
    name = write_module("def plain(): return 1")
    assert load_function(f"{name}:plain")() == 1
    (tmp_path / f"{name}.py").write_text("def plain(): return 20")
    assert load_function(f"{name}:plain")() == 20
    (tmp_path / f"{name}.py").write_text("def plain(: return 300")
    with pytest.raises(UsageError, match="cannot be imported: SyntaxError"):
        load_function(f"{name}:plain")


def test_another_module_of_that_name_is_never_replaced(write_module: WriteModule) -> None:
    name = write_module("def plain(): return 1", name="colorsys_of_mine")
    sys.modules[name] = sys
    with pytest.raises(UsageError, match="is the name of another module"):
        load_function(f"{name}:plain")
