"""Weights from elsewhere: read safely from the files that people have, and put into a network of ours.

our runs           results/<study>/runs/<run_id>, or its checkpoint.pt
safetensors        *.safetensors, ours (with provenance) or any other
torch              a state dict as torch.save writes it, torchvision's say; nothing in it is executed
default            what torchvision publishes for the network
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_bench.architectures import CIFAR, IMAGENET, NAMED, NetworkName, check_network, display_name
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import Failure, UsageError
from resnet_bench.models.build import Net, build_model

DEFAULT = "default"
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the state dict
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
COUNTERS = "num_batches_tracked"  # what we have no use for
MOST_BYTES = 4 << 30
MOST_NAMED = 8  # faults in one message
OURS = "resnet-bench "  # what facts in a file of ours begin with


@dataclass(frozen=True)
class Weights:
    """A state dict, and what is known of it.

    Attributes:
        tensors: by name, on the CPU; without prefixes and counters of batches.
        origin: where it is from, for messages.
        network: what it is the state of, if known.
        classes: what its logits stand for, if known.
        inputs: the images that it was trained on, if known.
        provenance: of the run that made it, as text by name.
    """

    tensors: Mapping[str, Tensor]
    origin: str
    network: NetworkName | None = None
    classes: tuple[str, ...] | None = None
    inputs: Inputs | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Where it is from, without the place on this machine."""
        run = [self.provenance[name] for name in ("study", "run_id") if name in self.provenance]
        return ", run ".join(run) or Path(self.origin).name

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over names, types, shapes and values, and how images are normalised."""
        sha256 = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            sha256.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            sha256.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        sha256.update(self.inputs.to_json().encode() if self.inputs else b"")
        return sha256.hexdigest()

    def build(self) -> Net:
        """The network with these weights, its classifier included, in eval mode, on the CPU.

        Raises:
            UsageError: the network, its classes or its images are not known, or the weights are another one's.
        """
        if self.network is None or self.inputs is None:
            raise UsageError(
                f"{self.origin}: says not of which network it is and what images it takes; files that "
                "resnet-bench export writes do, and --arch names one of torchvision's"
            )
        if self.classes is None:
            raise UsageError(f"{self.origin}: has no classifier")
        model = build_model(
            self.network.arch,
            self.network.depth,
            self.network.shortcut,
            in_channels=self.inputs.shape[0],
            num_classes=len(self.classes),
            generator=torch.Generator(),
            family=self.network.family,
        )
        adopt(model, self, head=True)
        return model.eval()


def read_weights(place: str, name: NetworkName | None = None) -> Weights:
    """The weights at `place`: a file, or "default" for what torchvision publishes.

    Args:
        place: of the weights.
        name: the network that they are meant to be of; None: the file says it, or nobody knows.

    Raises:
        UsageError: no such file, it holds no weights, or says that they are of another network.
        Failure: the published ones cannot be had.
    """
    if place == DEFAULT:
        if name is None:
            raise UsageError(f"{DEFAULT}: of which network? Name it with --arch, as in --arch resnet18")
        return _published(name)
    path = Path(place).expanduser()
    if not path.is_file():
        raise UsageError(f"{place}: no such file, and no run's folder (or {DEFAULT!r}: what torchvision publishes)")
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path}: larger than {MOST_BYTES >> 30} GB; not the weights of one of these networks")
    stored, facts = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), {})
    weights = _with_facts(Weights(_plain_names(path, stored), str(path)), facts)
    if name is not None and weights.network not in (None, name):
        raise UsageError(f"{path}: weights of {called(weights.network)}, not of {called(name)}")
    return weights if weights.network else _guessed(weights, name)


def to_safetensors(weights: Weights) -> bytes:
    """A file of these weights, from which `read_weights` makes the same again, and safetensors the state dict."""
    from safetensors.torch import save

    known = {
        "network": json.dumps(weights.network) if weights.network else "",
        "classes": json.dumps(weights.classes) if weights.classes else "",
        "inputs": weights.inputs.to_json() if weights.inputs else "",
        "provenance": json.dumps(dict(weights.provenance)),
    }
    facts = {f"{OURS}{name}": text for name, text in known.items() if text}
    tensors = {name: tensor.contiguous() for name, tensor in weights.tensors.items()}
    return save(tensors, {"format": "pt", **facts})


def _with_facts(weights: Weights, facts: Mapping[str, str]) -> Weights:
    """With what a file of ours says of itself."""
    told = {name.removeprefix(OURS): text for name, text in facts.items() if name.startswith(OURS)}
    if not told:
        return weights
    try:
        network = NetworkName(*json.loads(told["network"]))
        classes = tuple(map(str, json.loads(told["classes"])))
        provenance = {str(name): str(text) for name, text in json.loads(told["provenance"]).items()}
        check_network(network)
        inputs = Inputs.from_json(told["inputs"], weights.origin)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{weights.origin}: what it says of itself is not understood ({error!r})") from None
    return replace(weights, network=network, classes=classes, inputs=inputs, provenance=provenance)


def _guessed(weights: Weights, name: NetworkName | None) -> Weights:
    """Of a file that says nothing: that it is what the user says, and from torchvision's own training if it can be."""
    if name is None:
        return weights
    head = weights.tensors.get("fc.bias" if name.family != CIFAR else "head.bias")
    classes = tuple(f"class {number}" for number in range(len(head))) if head is not None and head.ndim == 1 else None
    first = weights.tensors.get("conv1.weight")
    usual = name.family == IMAGENET and first is not None and first.ndim == 4 and first.shape[1] == 3
    return replace(weights, network=name, classes=classes, inputs=Inputs.imagenet() if usual else None)


def called(name: NetworkName | None) -> str:
    """A network for a message: `ResNet-20 (cifar)`."""
    if name is None:
        return "an unknown network"
    return f"{display_name(name.arch, name.depth, name.shortcut)} ({name.family})"


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
    except pickle.UnpicklingError as error:
        if not any(word in str(error) for word in ("Unsupported global", "Unsupported class", "GLOBAL", "REDUCE")):
            raise UsageError(f"{path}: not a file of weights ({_first_line(error)})") from None
        raise UsageError(
            f"{path}: holds more than tensors, so it is not read: code in it would be executed; store the state dict "
            "alone (torch.save(model.state_dict(), ...)), or as safetensors"
        ) from None
    except Exception as error:  # a file that is none, or made on purpose, can raise anything
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
    origin = f"torchvision {short} {published.name}"
    tensors = _plain_names(Path(published.url), tensors)
    return Weights(tensors, origin, name, tuple(published.meta["categories"]), Inputs.imagenet())


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
