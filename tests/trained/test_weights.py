"""Weights files as people write them, and as nobody should: read, or refused with one line, in bounded memory."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import json
import os
import pathlib
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from resnet_bench.errors import UsageError
from resnet_bench.models.torch_file import MOST_PICKLED, Other, Refused, loads
from resnet_bench.models.weights import Weights, adopt
from resnet_bench.networks import NAMED
from resnet_bench.trained.weight_files import read_weights
from tests.trained.test_transfer import SMALL, network

RESNET18 = NAMED["resnet18"]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Torchvision's resnet18 for three classes."""
    return dict(torchvision.models.resnet18(num_classes=3).state_dict())


def stored(tmp_path: Path, value: Any, **how: Any) -> str:
    """A file of torch.save."""
    torch.save(value, tmp_path / "w.pth", **how)
    return str(tmp_path / "w.pth")


def is_same(weights: Weights, state: dict[str, Tensor]) -> bool:
    wanted = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return weights.tensors.keys() == wanted.keys() and all(
        torch.equal(value, wanted[name]) for name, value in weights.tensors.items()
    )


# ---------------------------------------------------------------------------------------------- as people write them


BESIDE: dict[str, Any] = {
    "epoch": 3, "arch": "resnet18", "best_acc1": np.float64(71.5), "history": np.arange(4.0), "seen": np.int64(5),
    "args": argparse.Namespace(lr=0.1, milestones=[30, 60]), "out": pathlib.PurePosixPath("/data"),
    "classes": {"a", "b"},
    "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "counts": collections.defaultdict(int, a=1),
    "device": torch.device("cpu"), "size": torch.Size([1, 2]), "dtype": torch.float16, "loss": torch.tensor(0.3),
}  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}], ids=str)
def test_a_training_script_keeps_more_than_weights(
    how: dict[str, Any], tmp_path: Path, state: dict[str, Tensor]
) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict()
    others = {"optimizer": optimizer.state_dict(), "scheduler": schedule, **BESIDE}
    weights = read_weights(stored(tmp_path, {"state_dict": state, **others}, **how), RESNET18)
    assert is_same(weights, state) and weights.build().training is False


@pytest.mark.parametrize(
    "value", [np.float64(1.5), np.float32(1.5), np.arange(3), np.str_("x"), np.bool_(True)], ids=repr
)
def test_values_of_numpy_stand_beside_the_weights(value: Any, tmp_path: Path, state: dict[str, Tensor]) -> None:
    assert is_same(read_weights(stored(tmp_path, {**state, "best_acc1": value}), RESNET18), state)


def test_values_of_older_and_newer_numpy_are_known() -> None:
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        content = zipped(b"\x80\x02c" + module + b"\nscalar\n)R.")
        assert isinstance(loads(content), Other)


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "net": lambda state: {"net": state, "acc": 91.2},
    "model": lambda state: {"model": state, "model_ema": state},
    "any name, if it is the only one": lambda state: {"student": state, "epoch": 3},
    "a module of its own": lambda state: {f"model.{name}": value for name, value in state.items()},
    "a backbone": lambda state: {f"backbone.{name}": value for name, value in state.items()},
    "several": lambda state: {"state_dict": {f"module.model.net.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "parameters": lambda state: {name: torch.nn.Parameter(v, v.is_floating_point()) for name, v in state.items()},
    "averaged": lambda state: {"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in state.items()}},
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrappers_and_prefixes_are_taken_off(case: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    assert is_same(read_weights(stored(tmp_path, WRAPPED[case](state)), RESNET18), state)


def test_of_several_state_dicts_none_is_guessed(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match=r"holds 2 state dicts \('student', 'teacher'\) and does not say which"):
        read_weights(stored(tmp_path, {"student": state, "teacher": state}))
    with pytest.raises(UsageError, match="holds two tensors of one name"):
        read_weights(stored(tmp_path, {**state, "module.conv1.weight": state["conv1.weight"]}))


def test_a_mismatch_shows_both_sides(state: dict[str, Tensor]) -> None:
    renamed = {f"encoder_{name}": value for name, value in state.items()}
    with pytest.raises(UsageError) as caught:
        adopt(network(), Weights(renamed, "a test"), head=False)
    message = str(caught.value)
    assert "stem.weight is missing" in message and "; and 1" in message and "\n" not in message
    assert "there are 122 tensors (encoder_conv1.weight 64x3x7x7, encoder_bn1.weight 64" in message
    assert "the network has 35 tensors (stem.weight 16x3x3x3, stem_bn.weight 16" in message


def test_a_classifier_of_several_layers_is_shown_and_left_out(tmp_path: Path) -> None:
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(512, 3))
    weights = read_weights(stored(tmp_path, model.state_dict()), RESNET18)
    with pytest.raises(
        UsageError, match=r"its classifier is not one linear layer.*fc\.1\.weight 3x512.*finetune"
    ) as said:
        weights.build()
    assert "has no classifier" not in str(said.value)
    weights.check()  # what finetune asks
    body = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    with pytest.raises(UsageError, match="has no classifier"):
        read_weights(stored(tmp_path, body), RESNET18).build()


def test_a_weight_is_never_spread_over_a_larger_one() -> None:
    given = network().state_dict()
    given["stem.weight"] = torch.ones(16, 3, 1, 1)
    for weights in (Weights(given, "a test"), Weights({**given, "stem.weight": torch.ones(())}, "a test")):
        model = network()
        before = model.stem.weight.clone()
        with pytest.raises(UsageError, match=r"stem.weight is (16x3x1x1|a number), in the network 16x3x3x3"):
            adopt(model, weights, head=False)
        assert torch.equal(model.stem.weight, before)


# ---------------------------------------------------------------------------------------------- as nobody should


def zipped(pickled: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> bytes:
    """A file as torch.save writes it, with this for its object."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for key, content in records.items():
            archive.writestr(f"archive/data/{key.removeprefix('_')}", content)
    return file.getvalue()


def claimed(size: tuple[Any, ...], stride: tuple[Any, ...], length: Any, offset: Any = 0, kind: str = "Float") -> bytes:
    """The pickle of {"stem.weight": a tensor}, with what it says of itself."""

    def written(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    name = b"(" + written("storage") + b"ctorch\n" + kind.encode() + b"Storage\n" + written("0") + written("cpu")
    storage = name + written(length) + b"tQ"
    arguments = b"(" + storage + written(offset) + written(size) + written(stride) + b"\x89}t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    return b"\x80\x02}" + written("stem.weight") + tensor + b"s."


def test_what_is_claimed_is_read_where_it_is_true() -> None:
    content = zipped(claimed((2, 3), (1, 2), 6), _0=struct.pack("<6f", *range(6)))
    assert loads(content)["stem.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert torch.equal(loads(content)["stem.weight"], torch.load(io.BytesIO(content), weights_only=True)["stem.weight"])


CLAIMS: dict[str, tuple[bytes, str]] = {
    "8 billion values by a stride of 0": (claimed((2**33,), (0,), 1), "of which it holds 1"),
    "as many as there are atoms": (claimed((2**47, 2**47, 2**47), (0, 0, 0), 1), "of which it holds 1"),
    "a size of 2^50": (claimed((2**50,), (1,), 1), "impossible shape"),
    "a storage of 2^40": (claimed((1,), (1,), 2**40), "a storage of 4 bytes that should hold 1,099,511,627,776"),
    "a storage of 2^62": (claimed((1,), (1,), 2**62), "not what torch.save writes"),
    "a length that is a text": (claimed((1,), (1,), "1"), "not what torch.save writes"),
    "an end outside": (claimed((1,), (1,), 1, offset=1), "of which it holds 1"),
    "a negative place": (claimed((1,), (1,), 1, offset=-1), "impossible shape"),
    "a negative size": (claimed((-1,), (1,), 1), "impossible shape"),
    "a size that is true": (claimed((True,), (1,), 1), "impossible shape"),
    "a size without strides": (claimed((1,), (), 1), "too many dimensions"),
    "99 dimensions": (claimed((1,) * 99, (1,) * 99, 1), "too many dimensions"),
    "another type of storage": (claimed((1,), (1,), 1, kind="Quantum"), "holds torch.QuantumStorage"),
    "a tuple for a tensor": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n()(tt(tR.", "not what torch.save writes"),
    "a billion bytes": (b"\x80\x02cbuiltins\nbytearray\nJ\x00\xca\x9a;\x85R.", ""),
    "a tensor of a trillion": (b"\x80\x02ctorch\nTensor\n\x8a\x05\x00\x00\x00\x00\x01\x85R.", "holds torch.Tensor"),
    "a memory of a billion places": (b"\x80\x02]r\xff\xff\xff\x3b.", ""),
    "a text of 2 GB that is not there": (b"\x80\x02X\xff\xff\xff\x7fabc.", "not what torch.save writes"),
    "an opcode that asks for memory": (b"\x80\x05\x96\x00\x00\x00\x00\x00\x10\x00\x00.", "not what torch.save writes"),
    "a call of what is no function": (b"\x80\x02X\x01\x00\x00\x00a)R.", "not what torch.save writes"),
    "a call with a thousand arguments": (
        b"\x80\x02cbuiltins\nset\n(" + b"K\x01" * 1000 + b"tR.", "not what torch.save writes"),
    "a key of many levels": (b"\x80\x02})" + b"\x85" * 50_000 + b"K\x01s.", "not what torch.save writes"),
    "a system call": (b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00exit\x85R.", "holds posix.system, .* executed"),
    "nothing at all": (b"", "not what torch.save writes"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLAIMS)
def test_a_file_gets_no_more_memory_than_it_has(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place where memory is asked for: no tensor is made of more bytes than the file has."""
    content, message = zipped(CLAIMS[case][0], _0=b"\x00" * 4), CLAIMS[case][1]
    asked: list[int] = []
    for name in ("zeros", "frombuffer", "empty"):
        made = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, made=made, **k: (asked.append((t := made(*a, **k)).nbytes), t)[1])
    if not message:
        loads(content)  # what is asked for stands beside the weights: it is not made
    else:
        with pytest.raises(Refused, match=message) as caught:
            loads(content)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert sum(asked) <= len(content)


def test_a_storage_that_is_compressed_is_not_unpacked(tmp_path: Path) -> None:
    content = zipped(claimed((1 << 20,), (1,), 1 << 20), zipfile.ZIP_DEFLATED, _0=b"\x00" * (4 << 20))
    (tmp_path / "w.pt").write_bytes(content)
    assert len(content) < 10_000
    with pytest.raises(UsageError, match=r"w.pt: not a state dict .*its records are compressed"):
        read_weights(str(tmp_path / "w.pt"))


def test_records_that_overlap_and_too_much_beside_tensors_are_refused() -> None:
    content = zipped(b"\x80\x02}.", _0=b"\x00" * 1000)
    directory = content.index(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entry = content[content.rindex(b"PK\x01\x02") : end]
    many = content[directory:end] + entry * 50
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 52, 52, len(many), directory, 0)
    with pytest.raises(Refused, match="its records are larger than the file"):
        loads(content[:directory] + many + tail)
    with pytest.raises(Refused, match="8 MB of it are no tensors"):
        loads(zipped(b"\x80\x02" + b"]" * MOST_PICKLED + b"."))


def test_the_form_before_zip_is_bounded_too() -> None:
    file = io.BytesIO()
    torch.save({"a": torch.arange(4.0), "b": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    content = file.getvalue()
    assert loads(content)["a"].tolist() == [0, 1, 2, 3]
    large = re.sub(rb"(cpuq.)K\x04", lambda found: found[1] + b"J\xff\xff\xff\x7f", content)
    assert large != content
    for cut in (large, content[:-1], content[: len(content) // 2], content[:60]):
        with pytest.raises(Refused, match=r"smaller than its tensors|ends before its tensors|not what torch.save"):
            loads(cut)


FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.int8, torch.bool]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_other_types_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    value = {"stem.weight": torch.zeros(2, dtype=dtype)}
    save_file(value, tmp_path / "w.safetensors") if dtype != torch.complex64 else None
    for place in (stored(tmp_path, value), *map(str, tmp_path.glob("*.safetensors"))):
        with pytest.raises(UsageError, match=rf"'stem.weight' is {dtype}, .*numbers of 16, 32 or 64 bits"):
            read_weights(place)


def test_a_value_that_is_too_large_for_the_network_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'stem.weight' holds values that are not finite"):
        read_weights(stored(tmp_path, {"stem.weight": torch.tensor([1e300], dtype=torch.float64)}))


HEADERS = {
    "longer than any file": struct.pack("<Q", 2**63) + b"{}",
    "longer than the file": struct.pack("<Q", 1000) + b"{}",
    "a tensor that is not there": b'{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}',
    "a shape of another size": b'{"a":{"dtype":"F32","shape":[9,9],"data_offsets":[0,4]}}',
    "an unknown type": b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
    "a list": b"[1]",
    "deep": b"{" + b'"a":{' * 5000,
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_of_safetensors_are_not_believed(case: str, tmp_path: Path) -> None:
    header = HEADERS[case]
    content = header if "longer" in case else struct.pack("<Q", len(header)) + header + b"\x00" * 4
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"w.safetensors: not a file of safetensors") as caught:
        read_weights(str(tmp_path / "w.safetensors"))
    assert "\n" not in str(caught.value)


def test_a_network_that_a_file_says_to_be_huge_is_not_built(tmp_path: Path) -> None:
    inputs = {"shape": [700_000, 1, 1], "resized": False, "mean_shape": [700_000, 1, 1], "mean": [0] * 700_000}
    facts = {"network": json.dumps(SMALL), "classes": '["a", "b", "c", "d"]', "provenance": "{}"}
    facts |= {"inputs": json.dumps({**inputs, "inverse_std": None})}
    save_file(
        dict(network().state_dict()), tmp_path / "w.safetensors", {f"resnet-bench {k}": v for k, v in facts.items()}
    )
    weights = read_weights(str(tmp_path / "w.safetensors"))
    for use in (weights.build, weights.check):
        with pytest.raises(UsageError, match=r"stem.weight is 16x3x3x3, in the network 16x700000x3x3"):
            use()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", ["a pipe", "a device", "larger than any"])
def test_only_a_plain_file_holds_weights(kind: str, suffix: str, tmp_path: Path) -> None:
    place = tmp_path / f"w{suffix}"
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a device":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(5 << 30)
    with pytest.raises(UsageError, match=r"cannot be read: is (no plain file|larger than 4,294,967,296 bytes)"):
        read_weights(str(place))
