"""Networks of the user's own: built by a function of his, and tried out before anything depends on them.

What is measured of a run must be a function of its configuration, and a run that was broken off must end as one that
was not. So a network may depend on one seed when it is made, and on nothing but its state dict when it is trained.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from resnet_bench.busy import busy
from resnet_bench.complexity import Complexity, torch_flops
from resnet_bench.config.builders import call, find_source, source_digest, told
from resnet_bench.errors import UsageError, is_out_of_memory

ImageShape = tuple[int, int, int]  # channels, height, width
PROBE_SEED = 0


@dataclass(frozen=True)
class OwnNetwork:
    """A function of the user's that builds a network, and what it is called with.

    Attributes:
        builder: the function, as `package.module:function`; called as function(depth, in_channels, num_classes).
        digest: SHA-256 of the source that it must have.
        depth: whatever the function makes of it.
        in_channels: of the images.
        num_classes: length of the logits.
    """

    builder: str
    digest: str
    depth: int
    in_channels: int
    num_classes: int

    def __str__(self) -> str:
        return f"{self.builder}({self.depth}, {self.in_channels}, {self.num_classes})"

    def build(self, generator: torch.Generator) -> nn.Module:
        """The network, on the CPU: a function of the generator's seed. Global generators stay as they are.

        Raises:
            UsageError: the source is not there, or another one now; it raises an error; it gives no network, or one
                that cannot be trained here.
        """
        if source_digest(self.builder) != self.digest:
            raise UsageError(
                f"{self.builder}: its source {find_source(self.builder)} is not the one that the run was begun with "
                f"(SHA-256 {self.digest[:12]}...); restore it, or begin a study of another name with the new one"
            )
        with _seeded(generator.initial_seed()):
            model = call(self.builder, self.depth, self.in_channels, self.num_classes)
        _check(self, model)
        return model  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Findings:
    """What trying a network out has shown.

    Attributes:
        shapes_digest: SHA-256 over the names, types and shapes of its state dict.
        size: its parameters, and multiply-adds as torch counts them: of convolutions and products of matrices.
    """

    shapes_digest: str
    size: Complexity


@functools.cache
@busy("trying out a network")
def try_out(network: OwnNetwork, image_shape: ImageShape) -> Findings:
    """Build a network and train it for two steps, here and from its state dict.

    Raises:
        UsageError: as `OwnNetwork.build`; it does not give logits; two networks of one seed differ; training depends
            on random numbers, or on what is not in its state dict.
    """
    model, other = (network.build(torch.Generator().manual_seed(PROBE_SEED)) for _ in range(2))
    if _bytes(model.state_dict()) != _bytes(other.state_dict()):
        raise UsageError(
            f"{network}: two calls with one seed give different weights; draw them from torch's, NumPy's or Python's "
            "global generator, which are seeded before the call"
        )
    shapes = hashlib.sha256(repr([(n, str(v.dtype), tuple(v.shape)) for n, v in model.state_dict().items()]).encode())
    first, second = torch.randn(2, 4, *image_shape, generator=torch.Generator().manual_seed(PROBE_SEED))
    with _seeded(PROBE_SEED):
        _check_logits(network, other.eval(), first[:1])
        with _raising(network, "counting its multiply-adds"):
            macs = torch_flops(other, image_shape) // 2
        _step(network, model, first)
        _copy(model, other)
        _step(network, model, second)
        _step(network, other, second)
    if _bytes(model.state_dict()) != _bytes(other.state_dict()):
        raise UsageError(
            f"{network}: two steps of training give another network if it is stored in between and read again, so it "
            "keeps something that is not in its state dict; keep that in a buffer (register_buffer)"
        )
    params = sum(parameter.numel() for parameter in model.parameters())
    return Findings(shapes.hexdigest(), Complexity(params, macs))


# ---------------------------------------------------------------------------------------------- random numbers


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, and leave them afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _drawn() -> tuple[object, ...]:
    """Where the global generators stand."""
    return random.getstate(), str(np.random.get_state(legacy=False)), torch.get_rng_state().numpy().tobytes()


# ---------------------------------------------------------------------------------------------- what is refused


@contextlib.contextmanager
def _raising(network: OwnNetwork, what: str) -> Iterator[None]:
    """Errors of the user's code as one line, which says what was done and where in his source it was raised."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UsageError(f"{network}: {what} raises {told(error, find_source(network.builder))}") from None


def _check(network: OwnNetwork, model: object) -> None:
    """Raise UsageError unless it is a network that can be trained here, and its state stored."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"{network} gives {_a(model)}, not a torch.nn.Module")
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    lazy = next((name for name, value in named.items() if is_lazy(value)), None)
    if lazy:
        raise UsageError(
            f"{network}: {lazy} has no shape before the first batch; use layers that say their inputs' size"
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            kind = str(parameter.dtype).removeprefix("torch.")
            raise UsageError(f"{network}: {name} is {kind} on {parameter.device}; parameters are float32, on the CPU")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(f"{network} has no parameters that can be trained")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
            raise UsageError(f"{network}: {name} in its state dict is {_a(value)}; only tensors of numbers are stored")
        if not value.isfinite().all():
            raise UsageError(
                f"{network}: {name} begins with values that are not finite, by which a run that diverges is known; "
                "a mask is no state: register_buffer(..., persistent=False)"
            )


def _check_logits(network: OwnNetwork, model: nn.Module, images: Tensor) -> Tensor:
    """The logits of float32 images; UsageError if they are not, or if they depend on random numbers."""
    before = _drawn()
    shape = "x".join(map(str, images.shape))
    mode = "in training" if model.training else "in eval mode"
    with _raising(network, f"a forward pass {mode} (images {shape})"):
        logits = model(images)
    wanted = (len(images), network.num_classes)
    if not isinstance(logits, Tensor) or logits.shape != wanted or logits.dtype != torch.float32:
        raise UsageError(
            f"{network}: for images {shape} it gives {_a(logits)}, not logits: float32 {wanted[0]}x{wanted[1]}"
        )
    if _drawn() != before:
        raise UsageError(
            f"{network}: a forward pass {mode} draws random numbers (dropout, say), so a run that was broken off could "
            "not go on as if it had not been; leave them out"
        )
    return logits


def _step(network: OwnNetwork, model: nn.Module, images: Tensor) -> None:
    """One step down the gradient, in train mode."""
    logits = _check_logits(network, model.train(), images)
    with _raising(network, "the backward pass"):
        F.cross_entropy(logits, torch.arange(len(images)) % network.num_classes).backward()
    if _is_detached(model):
        raise UsageError(f"{network}: no gradient reaches its parameters; are they used?")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad)
                parameter.grad = None


def _is_detached(model: nn.Module) -> bool:
    return all(parameter.grad is None for parameter in model.parameters())


@torch.no_grad()
def _copy(model: nn.Module, other: nn.Module) -> None:
    """Give another network of the same builder the state of the first, as a checkpoint does."""
    for name, value in other.state_dict().items():
        value.copy_(model.state_dict()[name])


def _bytes(state: Mapping[str, Tensor]) -> list[bytes]:
    return [value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for value in state.values()]


def _a(value: object) -> str:
    """What a value is, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {'x'.join(map(str, value.shape))}"
    return f"a {type(value).__name__}"
