"""Weights from elsewhere: read safely from the files that people have, and put into a network of ours.

    our runs           results/<study>/runs/<run_id>, or its checkpoint.pt
    safetensors        *.safetensors, ours (with provenance) or any other
    torch              a state dict as torch.save writes it, torchvision's say; nothing in it is executed
    default            what torchvision publishes for the network
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_bench.architectures import CIFAR, NAMED, NetworkName
from resnet_bench.errors import Failure, UsageError
from resnet_bench.models.build import Net, is_shortcut

DEFAULT = "default"
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the state dict
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
COUNTERS = "num_batches_tracked"  # what we have no use for
MOST_BYTES = 4 << 30
MOST_NAMED = 8  # faults in one message


@dataclass(frozen=True)
class Weights:
    """A state dict, and what is known of it.

    Attributes:
        tensors: by name, on the CPU; without prefixes and counters of batches.
        origin: where it is from, as one can say it.
        facts: what its file says of itself (classes, network, run), as text by name; empty if it says nothing.
    """

    tensors: Mapping[str, Tensor]
    origin: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and values."""
        sha256 = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            sha256.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            sha256.update(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
        return sha256.hexdigest()


def read_weights(place: str, name: NetworkName) -> Weights:
    """The weights at `place`: a file, or "default" for what torchvision publishes for the network `name`.

    Raises:
        UsageError: no such file, or it holds no weights.
        Failure: the published ones cannot be had.
    """
    if place == DEFAULT:
        return _published(name)
    path = Path(place).expanduser()
    if not path.is_file():
        raise UsageError(f"--weights {place}: no such file (or {DEFAULT!r}, for what torchvision publishes)")
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path}: larger than {MOST_BYTES >> 30} GB; not the weights of one of these networks")
    stored, facts = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), {})
    return Weights(_plain_names(path, stored), str(path), facts)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"{path}: not a file of safetensors ({_first_line(error)})") from None


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path}: holds more than tensors, so it is not read: code in it would be executed; store the state dict "
            "alone (torch.save(model.state_dict(), ...)), or as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a file of weights ({_first_line(error)})") from None
    if isinstance(stored, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(stored.get(wrapper), Mapping):
                return dict(stored[wrapper])
        return dict(stored)
    raise UsageError(f"{path}: holds a {type(stored).__name__}, not a state dict")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _plain_names(path: Path, stored: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = {}
    for name, value in stored.items():
        while isinstance(name, str) and name.startswith(PREFIXES):
            name = name.removeprefix(next(prefix for prefix in PREFIXES if name.startswith(prefix)))  # noqa: PLW2901
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UsageError(f"{path}: {str(name)[:60]!r} is no tensor; not a state dict")
        if not name.endswith(COUNTERS):
            tensors[name] = value
    if not tensors:
        raise UsageError(f"{path}: holds no weights")
    return tensors


def _published(name: NetworkName) -> Weights:
    short = next((short for short, other in NAMED.items() if other == name), None)
    if short is None or name.arch == "plain":
        known = ", ".join(short for short, other in NAMED.items() if other.arch != "plain")
        raise UsageError(f"--weights {DEFAULT}: published are those of {known}, with the 7x7 stem and option B")
    if os.environ.get("RESNET_BENCH_OFFLINE"):
        raise Failure(f"--weights {DEFAULT}: RESNET_BENCH_OFFLINE forbids to fetch them; {_by_hand(short)}")
    from torchvision.models import get_model_weights

    published = get_model_weights(short)["DEFAULT"]
    try:
        tensors = published.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise Failure(
            f"--weights {DEFAULT}: {published.url} cannot be had ({_first_line(error)}); {_by_hand(short)}"
        ) from None
    classes = json.dumps(published.meta["categories"])
    origin = f"torchvision {short} {published.name}"
    return Weights(_plain_names(Path(published.url), tensors), origin, {"classes": classes})


def _by_hand(short: str) -> str:
    return f"fetch them elsewhere (torchvision's {short}) and give the file: --weights FILE"


# ---------------------------------------------------------------------------------------------- into a network


def head_of(model: Net) -> str:
    """The name of the classifier."""
    return "head" if hasattr(model, "head") else "fc"


@torch.no_grad()
def adopt(model: Net, weights: Weights, *, head: bool) -> None:
    """Give the network these weights.

    Args:
        model: whose values are replaced.
        weights: all that the network has, BN statistics included.
        head: the classifier too; without it the model keeps its own, for other classes, say.

    Raises:
        UsageError: weights of another network; names the layers that are missing, left over or of another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if head or not _is_head(model, name)}
    given = {name: value for name, value in weights.tensors.items() if head or not _is_head(model, name)}
    faults = [f"{name} is missing" for name in own if name not in given]
    faults += [f"{name} is not in the network" for name in given if name not in own]
    faults += [
        f"{name} is {_shape(given[name])}, in the network {_shape(value)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    if faults:
        more = f"; and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise UsageError(f"{weights.origin}: weights of another network: {'; '.join(faults[:MOST_NAMED])}{more}")
    for name, value in own.items():
        value.copy_(given[name])


def _is_head(model: Net, name: str) -> bool:
    return name.startswith(f"{head_of(model)}.")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
