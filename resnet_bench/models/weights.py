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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_bench.architectures import CIFAR, IMAGENET, NAMED, NetworkName, check_network, display_name
from resnet_bench.busy import busy
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import read_regular
from resnet_bench.models.build import Net, build_model, structure
from resnet_bench.models.state_dict import check_shapes, held, names_under, tensors_of
from resnet_bench.places import cache_folder, can_be, user_path

DEFAULT = "default"
MOST_BYTES = 4 << 30
DEEPEST = 1202  # layers; table 6
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

    @property
    def file_name(self) -> str:
        """What to call a file of it, without a suffix."""
        run = [self.provenance[name] for name in ("study", "run_id") if name in self.provenance]
        return "-".join(run).replace("/", "-") or Path(self.origin).stem.replace(" ", "-")

    def check(self, in_channels: int | None = None) -> None:
        """Raise UsageError unless the network is known and these are its weights, and take images of such channels."""
        if self.network is None:
            raise UsageError(f"{self.origin}: does not say of which network it is; name it with --arch and --depth")
        channels = in_channels or (self.inputs.shape[0] if self.inputs else 3)
        _matched(structure(self.network, channels, len(self.classes or ()) or 1), self, head=self.classes is not None)

    def build(self) -> Net:
        """The network with these weights, its classifier included, in eval mode, on the CPU.

        Raises:
            UsageError: the network, its classes or its images are not known, or the weights are another one's.
        """
        if self.network is None or self.inputs is None:
            unknown = "of which network it is" if self.network is None else "what images it takes"
            raise UsageError(
                f"{self.origin}: does not say {unknown}; the folder of a run does, and what resnet-bench export makes "
                "of it; of torchvision's networks --arch says enough"
            )
        if self.classes is None:
            raise UsageError(f"{self.origin}: {self._without_classes()}")
        name, shape = self.network, (self.inputs.shape[0], len(self.classes))
        _matched(structure(name, *shape), self, head=True)  # before memory is taken for what a file says of its size
        model = build_model(
            name.arch,
            name.depth,
            name.shortcut,
            in_channels=shape[0],
            num_classes=shape[1],
            generator=torch.Generator(),
            family=name.family,
        )
        adopt(model, self, head=True)
        return model.eval()

    def _without_classes(self) -> str:
        parts = names_under(self.tensors, ("fc", "head"))
        if not parts:
            return "has no classifier"
        return (
            "its classifier is not one linear layer (fc.weight, fc.bias; head of a 6n+2 network): there are "
            f"{held(parts)}, and what else it does is not in the file; finetune makes a new one"
        )


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


def called(name: NetworkName | None) -> str:
    """A network for a message: `ResNet-20 (cifar)`."""
    if name is None:
        return "an unknown network"
    return f"{display_name(name.arch, name.depth, name.shortcut)} ({name.family})"


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
    for value, given in _matched(model, weights, head=head):
        value.copy_(given)


def _matched(model: Net, weights: Weights, *, head: bool) -> list[tuple[Tensor, Tensor]]:
    """Each value of the network with its own of the weights; see `adopt`."""
    own = {name: value for name, value in model.state_dict().items() if head or not _is_head(model, name)}
    given = {name: value for name, value in weights.tensors.items() if head or not _is_head(model, name)}
    try:
        check_shapes(own, given)
    except ValueError as error:
        raise UsageError(f"{weights.origin}: weights of another network: {error}") from None
    return [(value, given[name]) for name, value in own.items()]


def _is_head(model: Net, name: str) -> bool:
    return name.startswith(f"{head_of(model)}.")
