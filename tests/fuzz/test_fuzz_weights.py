"""Mutated checkpoints, sealed again as anyone can, and mutated files of weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.select import with_validation
from resnet_bench.errors import UsageError
from resnet_bench.files import Damaged
from resnet_bench.models.state_dict import tensors_of
from resnet_bench.models.torch_file import Refused, loads
from resnet_bench.study.folder import StudyFolder
from resnet_bench.trained.weight_files import read_weights
from resnet_bench.training import checkpoint
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.state import Job
from tests.conftest import CPU
from tests.fuzz.mutations import FUZZ, mutated_bytes, mutated_value
from tests.study.test_study import do

Valid = tuple[dict[str, Any], Expected]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Valid:
    """What the checkpoint of a finished run holds, and the run."""
    data = with_validation(synthetic((3, 8, 8), num_train=48, num_test=12, num_classes=3))
    config = RunConfig(
        protocol="test/1", dataset=data.name, arch="plain", depth=8, shortcut="none", seed=0, steps=4, batch_size=8,
        row_every=2, optimizer="adam", lr=0.01,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("fuzz") / "study"
    do(place, data, [config])
    folder = StudyFolder(place).run(config.run_id)
    state = Job.of(config, DeviceData.of(data, CPU)).initial_state(data.digest)
    expected = Expected.of_state(state, config, json.loads(folder.config.read_text()), 3)
    return checkpoint.decode((folder.path / checkpoint.NEWEST).read_bytes()), expected


def is_checked(read: Callable[[], dict[str, Any]], expected: Expected) -> bool:
    """Is what was read the run's; it may be refused, in one line."""
    try:
        found = check_stored(read(), expected)
    except checkpoint.OtherRun:
        return False
    except Damaged as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        return False
    assert 0 <= found.step <= expected.config.steps
    return True


def test_the_valid_one_is_read(valid: Valid) -> None:
    assert is_checked(lambda: checkpoint.decode(checkpoint.encode(valid[0])), valid[1])


@FUZZ
@given(data=st.data())
def test_mutated_checkpoints_are_the_runs_or_damaged(valid: Valid, data: st.DataObject) -> None:
    stored, expected = valid
    mutated = data.draw(mutated_value(stored))
    is_checked(lambda: checkpoint.decode(checkpoint.encode(mutated)), expected)


@FUZZ
@given(data=st.data())
def test_each_field_of_a_checkpoint_may_be_absurd(valid: Valid, data: st.DataObject) -> None:
    """The large fields hold most of the values; so each has its turn."""
    stored, expected = valid
    field = data.draw(st.sampled_from(sorted(stored)))
    mutated = {**stored, field: data.draw(mutated_value(stored[field]))}
    is_checked(lambda: checkpoint.decode(checkpoint.encode(mutated)), expected)


@FUZZ
@given(data=st.data())
def test_mutated_bytes_in_a_good_seal_are_the_runs_or_damaged(valid: Valid, data: st.DataObject) -> None:
    stored, expected = valid
    payload = io.BytesIO()
    torch.save(stored, payload)
    mutated = data.draw(mutated_bytes(payload.getvalue()))
    is_checked(lambda: checkpoint.unpack(memoryview(mutated)), expected)


def as_torch(zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": STATE}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


STATE = {f"layer.{n}.weight": torch.full((2, n + 1), float(n)) for n in range(4)} | {"head.bias": torch.ones(3).half()}
FILES = {"zip": as_torch(True), "before zip": as_torch(False), "safetensors": save(STATE, {"format": "pt"})}


@pytest.mark.parametrize("kind", FILES)
@FUZZ
@given(data=st.data())
def test_mutated_weights_are_weights_or_refused(kind: str, data: st.DataObject) -> None:
    content = data.draw(mutated_bytes(FILES[kind]))
    try:
        tensors, _ = tensors_of("a file", content)
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    assert sum(held.values()) <= len(content) and all(value.isfinite().all() for value in tensors.values())


PICKLED = [name for name in FILES if name != "safetensors"]


@pytest.mark.parametrize("kind", PICKLED)
@FUZZ
@given(data=st.data())
def test_mutated_pickles_are_plain_data_or_refused(kind: str, data: st.DataObject) -> None:
    """Mutated where they describe the tensors, in a file that is whole otherwise."""
    content = FILES[kind]
    start = content.index(b"\x80\x02}") if kind == "zip" else 0
    end = content.index(b"R.", start) if kind == "zip" and b"R." in content[start:] else content.index(b".", start + 40)
    pickled = data.draw(mutated_bytes(content[start:end]))
    try:
        loads(content[:start] + pickled + content[end:])
    except Refused as error:
        assert "\n" not in str(error) and len(str(error)) < 500


@FUZZ
@given(data=st.data())
def test_facts_of_our_own_files_are_understood_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    facts = {
        "network": ["cifar", "residual", 8, "a"],
        "classes": ["a", "b", "c"],
        "provenance": {"run_id": "r", "study": "s"},
        "inputs": {
            "shape": [3, 8, 8], "resized": False, "mean_shape": [3, 1, 1], "mean": [0.1] * 3, "inverse_std": None,
        },
    }  # fmt: skip
    told = {name: data.draw(mutated_value(value)) for name, value in facts.items()}
    metadata = {f"resnet-bench {name}": json.dumps(value) for name, value in told.items()}
    place: Path = tmp_path_factory.mktemp("facts") / "w.safetensors"
    place.write_bytes(save(STATE, metadata))
    try:
        read_weights(str(place)).build()
    except UsageError as error:
        assert "\n" not in str(error)
