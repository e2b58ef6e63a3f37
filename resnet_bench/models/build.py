"""`build_model`: any network of the package, with weights that are a function of one seed."""

from __future__ import annotations

import hashlib
import math
from typing import Literal, TypeAlias, overload

import torch
from torch import nn

from resnet_bench.errors import UsageError
from resnet_bench.models.cifar import CifarNet
from resnet_bench.models.imagenet import ImageNetNet
from resnet_bench.networks import CIFAR, NetworkName, check_network

Net: TypeAlias = CifarNet | ImageNetNet


@overload
def build_model(
    arch: str,
    depth: int,
    shortcut: str,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    generator: torch.Generator,
    family: Literal["cifar"] = "cifar",
) -> CifarNet: ...


@overload
def build_model(
    arch: str,
    depth: int,
    shortcut: str,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    generator: torch.Generator,
    family: str,
    zero_init_residual: bool = False,
) -> Net: ...


def build_model(
    arch: str,
    depth: int,
    shortcut: str,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    generator: torch.Generator,
    family: str = CIFAR,
    zero_init_residual: bool = False,
) -> Net:
    """Build and initialise a network, on the CPU.

    The weights are a function of the generator's seed, family, depth, channels and classes alone, so that twins and
    all shortcut options start from the same values in every layer they share.

    Args:
        arch: "plain", "residual" or, among ImageNet-style networks, another builder of torchvision by its name.
        depth: number of weighted layers: 6n+2, or of the ImageNet-style networks that there are.
        shortcut: "a", "b" or "c"; "none" for plain.
        in_channels: channels of the images.
        num_classes: length of the logits.
        generator: a CPU generator, used for the initial weights and nothing else.
        family: "cifar", "imagenet" or "imagenet-small" (see `architectures.FAMILIES`).
        zero_init_residual: begin with every residual function at 0: the last BN scale of each block is 0 (Goyal et
            al. 2017, section 5.1). For residual networks only: a plain one would put out nothing.

    Raises:
        UsageError: there is no such network.
    """
    name = NetworkName(family, arch, depth, shortcut)
    check_network(name)
    if zero_init_residual and arch == "plain":
        raise UsageError("zero_init_residual is for residual networks: a plain network would put out nothing")
    model = structure(name, in_channels, num_classes)
    model.to_empty(device="cpu")
    shared = [module for name, module in model.named_modules() if not is_shortcut(name)]
    own = [module for name, module in model.named_modules() if is_shortcut(name)]
    for module in shared + own:  # the shared layers draw first
        _initialise(module, generator)
    if zero_init_residual:
        for norm in model.last_norms():
            nn.init.zeros_(norm.weight)
    return model


def structure(name: NetworkName, in_channels: int, num_classes: int) -> Net:
    """A network without values, on torch's meta device: names and shapes, whatever their size."""
    with torch.device("meta"):  # torch's own initialisation is skipped, and with it the global generator
        if name.family == CIFAR:
            return CifarNet(name.depth, name.shortcut, in_channels, num_classes)
        return ImageNetNet(name, in_channels, num_classes)


def is_shortcut(name: str) -> bool:
    """Does a module or parameter of that name belong to a shortcut, which plain networks lack."""
    return "shortcut" in name or "downsample" in name


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He et al. 2015b for convolutions (normal, fan-out, as in the authors' own Torch code); uniform for the head."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    elif isinstance(module, nn.BatchNorm2d):
        buffers = dict(module.named_buffers())
        for ones, zeros in ((module.weight, module.bias), (buffers["running_var"], buffers["running_mean"])):
            ones.fill_(1)
            zeros.zero_()
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        module.weight.uniform_(-bound, bound, generator=generator)
        module.bias.zero_()


def init_digest(model: nn.Module) -> str:
    """SHA-256 over the parameters that twins share, in order; call before training, on the CPU."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not is_shortcut(name):
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
