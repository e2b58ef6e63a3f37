"""Which networks there are, by family, arch, depth and shortcut option: what is legal, and how each is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from resnet_bench.errors import UsageError

CIFAR, IMAGENET, IMAGENET_SMALL, OWN = "cifar", "imagenet", "imagenet-small", "own"
FAMILIES = {
    CIFAR: "6n+2 layers, three stages of 16, 32, 64 channels (section 4.2)",
    IMAGENET: "four stages of 64 to 512 channels after a 7x7 stem with stride 2 and max pooling (table 1)",
    IMAGENET_SMALL: "the same for small images: after a 3x3 stem without stride and pooling",
    OWN: "built by a function of the user's, of any depth (networks.builders of a study file)",
}
ARCHS = ("plain", "residual")
SHORTCUTS = ("a", "b", "c")
DEPTHS = (20, 32, 44, 56, 110)

Arm = tuple[str, str]  # (arch, shortcut)
PLAIN: Arm = ("plain", "none")
TWINS: tuple[Arm, ...] = (PLAIN, ("residual", "a"))
RESIDUAL_ARMS: tuple[Arm, ...] = tuple(("residual", shortcut) for shortcut in SHORTCUTS)


@dataclass(frozen=True)
class Layout:
    """An ImageNet-style network: a row of the paper's table 1, or one of its descendants in torchvision.

    Attributes:
        blocks: in each of the four stages.
        bottleneck: blocks of 1x1, 3x3, 1x1 layers instead of two of 3x3. Where a stage begins, the stride is in the
            3x3 layer, as in torchvision ("v1.5"); the paper has it in the first 1x1 layer ("v1").
        groups: of the 3x3 layers of bottlenecks.
        width: channels of a group in the first stage.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = False
    groups: int = 1
    width: int = 64

    @property
    def depth(self) -> int:
        """Weighted layers on the main path."""
        return 2 + sum(self.blocks) * (3 if self.bottleneck else 2)


# By torchvision's names.
LAYOUTS = {
    "resnet18": Layout((2, 2, 2, 2)),
    "resnet34": Layout((3, 4, 6, 3)),
    "resnet50": Layout((3, 4, 6, 3), bottleneck=True),
    "resnet101": Layout((3, 4, 23, 3), bottleneck=True),
    "resnet152": Layout((3, 8, 36, 3), bottleneck=True),
    "resnext50_32x4d": Layout((3, 4, 6, 3), bottleneck=True, groups=32, width=4),
    "resnext101_32x8d": Layout((3, 4, 23, 3), bottleneck=True, groups=32, width=8),
    "resnext101_64x4d": Layout((3, 4, 23, 3), bottleneck=True, groups=64, width=4),
    "wide_resnet50_2": Layout((3, 4, 6, 3), bottleneck=True, width=128),
    "wide_resnet101_2": Layout((3, 4, 23, 3), bottleneck=True, width=128),
}
OTHERS = tuple(name for name in LAYOUTS if not name.startswith("resnet"))  # arch is their name


class NetworkName(NamedTuple):
    """What a network is, beside its images and classes."""

    family: str
    arch: str  # "plain", "residual", or the name of another builder of torchvision
    depth: int
    shortcut: str  # "a" | "b" | "c"; "none" for plain

    @property
    def arm(self) -> Arm:
        """What it is beside its depth: arch and shortcut."""
        return self.arch, self.shortcut

    @property
    def title(self) -> str:
        """What a reader calls it: `plain-20`, `ResNet-20 (B)`."""
        return display_name(self.arch, self.depth, self.shortcut)


# The short names of ImageNet-style networks; residual ones with torchvision's option B.
NAMED = {
    **{f"plain{depth}": NetworkName(IMAGENET, "plain", depth, "none") for depth in (18, 34)},
    **{
        name: NetworkName(IMAGENET, name if name in OTHERS else "residual", layout.depth, "b")
        for name, layout in LAYOUTS.items()
    },
}


def check_depth(depth: int) -> None:
    """Raise UsageError, naming the nearest legal depths, unless depth = 6n+2 with n >= 1."""
    if depth >= 8 and depth % 6 == 2:
        return
    below = max(8, (depth - 2) // 6 * 6 + 2)
    nearest = "8" if depth < 8 else f"{below} and {below + 6}"
    raise UsageError(f"depth {depth} is not 6n+2 (the networks of the paper, section 4.2); nearest: {nearest}")


def check_network(name: NetworkName) -> None:
    """Raise UsageError, with what is legal, unless there is such a network."""
    family, arch, depth, shortcut = name
    if family == OWN:
        _check_own(name)
        return
    if family not in FAMILIES:
        raise UsageError(f"family {family!r} is unknown; one of {', '.join(FAMILIES)}")
    archs = ARCHS if family == CIFAR else (*ARCHS, *OTHERS)
    if arch not in archs:
        raise UsageError(f"arch {arch!r} is unknown in family {family}; one of {', '.join(archs)}")
    if family == CIFAR:
        check_depth(depth)
        legal: tuple[str, ...] = ("none",) if arch == "plain" else SHORTCUTS
    else:
        depths = {other.depth for other in NAMED.values() if other.arch == arch}
        if depth not in depths:
            known = ", ".join(map(str, sorted(depths)))
            raise UsageError(f"depth {depth} is unknown for {arch} in family {family}; one of {known}")
        legal = ("none",) if arch == "plain" else ("b",) if layout_of(name).bottleneck else SHORTCUTS
    if shortcut not in legal:
        raise UsageError(
            f"shortcut {shortcut!r} is unknown for {arch} networks of {depth} layers; one of {', '.join(legal)}"
        )


def is_new_name(arch: str) -> bool:
    """May a network of the user's own be called that, which is no other network's name."""
    return re.fullmatch("[a-z0-9]{1,20}", arch) is not None and arch not in (*ARCHS, *NAMED)


def _check_own(name: NetworkName) -> None:
    """An own network plays plain or residual, or has a name that no other network has."""
    if name.arch not in ARCHS and not is_new_name(name.arch):
        raise UsageError(
            f"arch {name.arch!r}: a network of your own is plain, residual, or a new name of a-z and 0-9, at most 20 "
            "characters"
        )
    if name.depth < 1:
        raise UsageError(f"depth {name.depth} of {name.arch}: depths are whole numbers from 1")
    legal = SHORTCUTS if name.arch == "residual" else ("none",)
    if name.shortcut not in legal:
        raise UsageError(f"shortcut {name.shortcut!r} is unknown for {name.arch}; one of {', '.join(legal)}")


def layout_of(name: NetworkName) -> Layout:
    """The layout of an ImageNet-style network; plain ones have that of their twin."""
    return LAYOUTS[name.arch if name.arch in OTHERS else f"resnet{name.depth}"]


def display_name(arch: str, depth: int, shortcut: str = "a") -> str:
    """`plain-20`, `ResNet-20`; options B and C are named; others as torchvision calls them; the user's `mynet-3`."""
    if arch in OTHERS:
        return arch
    if arch != "residual":
        return f"{arch}-{depth}"
    return f"ResNet-{depth}" + ("" if shortcut == "a" else f" ({shortcut.upper()})")


def arm_name(arm: Arm) -> str:
    """`plain`, `residual (A)`; others as torchvision, or the user, calls them."""
    return f"residual ({arm[1].upper()})" if arm[0] == "residual" else arm[0]


def option_name(arm: Arm) -> str:
    """What tells residual arms apart in a table: `A`; of others their name."""
    return arm[1].upper() if arm[0] == "residual" else arm[0]
