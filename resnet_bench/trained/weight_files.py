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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from resnet_bench.busy import busy
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import read_regular
from resnet_bench.models.state_dict import tensors_of
from resnet_bench.models.weights import Weights, called
from resnet_bench.networks import CIFAR, IMAGENET, NAMED, NetworkName, check_network
from resnet_bench.places import cache_folder, can_be, user_path

DEFAULT = "default"
MOST_BYTES = 4 << 30
DEEPEST = 1202  # layers; table 6
OURS = "resnet-bench "  # what facts in a file of ours begin with


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
    path = user_path(place)
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise UsageError(
            f"{place}: no such file, and no run's folder (or {DEFAULT!r}: what torchvision publishes)"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    tensors, facts = tensors_of(str(path), content, path.suffix == ".safetensors")
    weights = _with_facts(Weights(tensors, str(path)), facts)
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
    tensors = {name: tensor.contiguous().clone() for name, tensor in weights.tensors.items()}  # none shares storage
    return save(tensors, {"format": "pt", **facts})


def _with_facts(weights: Weights, facts: Mapping[str, str]) -> Weights:
    """With what a file of ours says of itself."""
    told = {name.removeprefix(OURS): text for name, text in facts.items() if name.startswith(OURS)}
    if not told:
        return weights
    try:
        network = _network(json.loads(told["network"])) if "network" in told else None
        classes = tuple(map(str, json.loads(told["classes"]))) if "classes" in told else None
        provenance = {str(name): str(text) for name, text in json.loads(told.get("provenance", "{}")).items()}
        inputs = Inputs.from_json(told["inputs"], weights.origin) if "inputs" in told else None
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{weights.origin}: what it says of itself is not understood ({error!r})") from None
    return replace(weights, network=network, classes=classes, inputs=inputs, provenance=provenance)


def _network(value: Any) -> NetworkName:
    family, arch, depth, shortcut = value
    if type(depth) is not int or not 0 < depth <= DEEPEST:
        raise ValueError(f"a depth of {depth}")
    name = NetworkName(str(family), str(arch), depth, str(shortcut))
    check_network(name)
    return name


def _guessed(weights: Weights, name: NetworkName | None) -> Weights:
    """Of a file that says nothing: that it is what the user says, and from torchvision's own training if it can be."""
    if name is None:
        return weights
    head = weights.tensors.get("fc.bias" if name.family != CIFAR else "head.bias")
    classes = tuple(f"class {number}" for number in range(len(head))) if head is not None and head.ndim == 1 else None
    first = weights.tensors.get("conv1.weight")
    usual = name.family == IMAGENET and first is not None and first.ndim == 4 and first.shape[1] == 3
    return replace(weights, network=name, classes=classes, inputs=Inputs.imagenet() if usual else None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _published(name: NetworkName) -> Weights:
    """Of the recipe that `Inputs.imagenet` is of; newer ones, where there are any, cut their images otherwise."""
    short = next((short for short, other in NAMED.items() if other == name), None)
    if short is None or name.arch == "plain":
        known = ", ".join(short for short, other in NAMED.items() if other.arch != "plain")
        raise UsageError(
            f"--weights {DEFAULT}: published are those of {known}, with the 7x7 stem (--stem 7x7), option B"
        )
    from torchvision.models import get_model_weights

    published = get_model_weights(short)["IMAGENET1K_V1"]
    origin = f"torchvision {short} {published.name}"
    tensors, _ = tensors_of(origin, _fetched(published.url, short))
    return Weights(tensors, origin, name, tuple(published.meta["categories"]), Inputs.imagenet())


@busy("fetching the published weights")
def _fetched(url: str, short: str) -> bytes:
    """What is at `url`, from torch's cache or the net; its name holds the first digits of its SHA-256."""
    path = _torch_folder() / url.rsplit("/", 1)[1]
    begin = path.stem.rsplit("-", 1)[1]
    if not path.exists():
        if os.environ.get("RESNET_BENCH_OFFLINE", "0") not in ("", "0"):
            raise Failure(f"--weights {DEFAULT}: RESNET_BENCH_OFFLINE=1 forbids downloading; {_by_hand(short)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=begin, progress=False)
        except (OSError, RuntimeError) as error:
            why = _first_line(error)
            raise Failure(f"--weights {DEFAULT}: {url} cannot be had ({why}); {_by_hand(short)}") from None
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}; remove it") from None
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(begin):
        raise Failure(f"{path}: not what was published (its SHA-256 begins with {found[:8]}, not {begin}); remove it")
    return content


def _torch_folder() -> Path:
    """Where torch keeps what it fetches; where it has no such place, one of ours."""
    folder = Path(torch.hub.get_dir(), "checkpoints")
    # Without a home torch takes ~ for the name of a folder.
    return folder if not str(folder).startswith("~") and can_be(folder) else cache_folder() / "weights"


def _by_hand(short: str) -> str:
    return f"fetch them elsewhere (torchvision's {short}) and give the file: --weights FILE"
