"""Weights from elsewhere, put into a network of ours."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import UsageError
from resnet_bench.models.build import build_model, structure
from resnet_bench.models.own import OwnNetwork
from resnet_bench.models.state_dict import COUNTERS, check_shapes, held, names_under
from resnet_bench.networks import OWN, NetworkName


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
        own: what builds the network, if a function of the user's does: known of his runs, never from a file, which
            would else say what is executed.
    """

    tensors: Mapping[str, Tensor]
    origin: str
    network: NetworkName | None = None
    classes: tuple[str, ...] | None = None
    inputs: Inputs | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    own: OwnNetwork | None = None

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
        if self.own:
            return  # its run was read by what builds it
        self._check_builder()
        channels = in_channels or (self.inputs.shape[0] if self.inputs else 3)
        _matched(structure(self.network, channels, len(self.classes or ()) or 1), self, head=self.classes is not None)

    def _check_builder(self) -> None:
        if self.network is not None and self.network.family == OWN and self.own is None:
            raise UsageError(
                f"{self.origin}: weights of {called(self.network)}, which a function of somebody's builds; only the "
                "folder of its run says which"
            )

    def build(self) -> nn.Module:
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
        self._check_builder()
        if self.own:
            model = self.own.build(torch.Generator())
            adopt(model, self, head=True)
            return model.eval()
        name, shape = self.network, (self.inputs.shape[0], len(self.classes))
        _matched(structure(name, *shape), self, head=True)  # before memory is taken for what a file says of its size
        ours = build_model(
            name.arch,
            name.depth,
            name.shortcut,
            in_channels=shape[0],
            num_classes=shape[1],
            generator=torch.Generator(),
            family=name.family,
        )
        adopt(ours, self, head=True)
        return ours.eval()

    def _without_classes(self) -> str:
        parts = names_under(self.tensors, ("fc", "head"))
        if not parts:
            return "has no classifier"
        return (
            "its classifier is not one linear layer (fc.weight, fc.bias; head of a 6n+2 network): there are "
            f"{held(parts)}, and what else it does is not in the file; finetune makes a new one"
        )


def called(name: NetworkName | None) -> str:
    """A network for a message: `ResNet-20 (cifar)`."""
    if name is None:
        return "an unknown network"
    return f"{name.title} ({name.family})"


# ---------------------------------------------------------------------------------------------- into a network


def head_of(model: nn.Module) -> str:
    """The name of the classifier."""
    return "head" if hasattr(model, "head") else "fc"


@torch.no_grad()
def adopt(model: nn.Module, weights: Weights, *, head: bool) -> None:
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


def _matched(model: nn.Module, weights: Weights, *, head: bool) -> list[tuple[Tensor, Tensor]]:
    """Each value of the network with its own of the weights; see `adopt`."""
    own = {
        name: value
        for name, value in model.state_dict().items()
        if (head or not _is_head(model, name)) and not name.endswith(COUNTERS)
    }
    given = {name: value for name, value in weights.tensors.items() if head or not _is_head(model, name)}
    try:
        check_shapes(own, given)
    except ValueError as error:
        raise UsageError(f"{weights.origin}: weights of another network: {error}") from None
    return [(value, given[name]) for name, value in own.items()]


def _is_head(model: nn.Module, name: str) -> bool:
    return name.startswith(f"{head_of(model)}.")
