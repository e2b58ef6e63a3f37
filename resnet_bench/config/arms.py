"""Which networks a study has: what its file has in [networks]."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from resnet_bench.config.fields import check_list, ruled, told_at
from resnet_bench.config.run import LARGE_SIDE
from resnet_bench.errors import UsageError
from resnet_bench.networks import (
    CIFAR,
    IMAGENET,
    IMAGENET_SMALL,
    NAMED,
    OWN,
    PLAIN,
    RESIDUAL_ARMS,
    Arm,
    NetworkName,
    check_network,
)
from resnet_bench.schema import Invalid, Rule, settle, shown

ARMS: dict[str, Arm] = {"plain": PLAIN, **{f"residual-{option}": (arch, option) for arch, option in RESIDUAL_ARMS}}
ARM = Rule(pattern="[a-z0-9._-]{1,40}", wanted="a name of at most 40 of the characters a-z0-9._-")
BUILDER = Rule(pattern=r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", wanted="package.module:function")


def family_for(image_side: int) -> str:
    """The family of ImageNet-style networks whose stem fits images of that many pixels a side."""
    return IMAGENET if image_side >= LARGE_SIDE else IMAGENET_SMALL


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of a study: each arm at each depth; what torchvision has a name for, at its own.

    Raises:
        UsageError: a value that its field must not hold; there is no such network.
    """

    arms: tuple[str, ...] = field(metadata={"rule": ARM})  # of ARMS, a name of torchvision, or a key of builders
    depths: tuple[int, ...] = ruled(Rule(1, 100_000), ())  # weighted layers; none if all arms have their own
    family: str = ruled(Rule(among=(CIFAR, IMAGENET, IMAGENET_SMALL)), CIFAR)
    builders: Mapping[str, str] = field(default_factory=dict, metadata={"rule": BUILDER})  # arm -> module:function

    def __post_init__(self) -> None:
        with told_at("networks"):
            settle(self)
            check_list(self.arms, "arms")
            for number, arm in enumerate(self.arms):
                self._check_arm(arm, number)
            for arm in self.builders.keys() - self.arms:
                raise Invalid("there is no such arm in networks.arms", "builders", arm)
            if self.depths or not all(map(self._own_depth, self.arms)):
                check_list(self.depths, "depths")
            for number, depth in enumerate(self.depths):
                self._check_depth(depth, number)
            check_list([name[1:] for name in self.names()], "arms")

    def _check_arm(self, arm: str, number: int) -> None:
        known = (*ARMS, *NAMED)
        if arm not in (*known, *self.builders):
            near = difflib.get_close_matches(arm, known, n=1)
            nearest = f"nearest: {near[0]}; " if near else ""
            raise Invalid(
                f"there is no arm {shown(arm)}; {nearest}there are {', '.join(known)}, or give it a builder of your "
                "own in [networks.builders]",
                "arms",
                str(number),
            )
        if arm not in known and not re.fullmatch("[a-z0-9]{1,20}", arm):
            raise Invalid(
                f"{shown(arm)}: a network of your own has a name of at most 20 of a-z, 0-9", "arms", str(number)
            )
        if arm in NAMED and arm in self.builders:
            raise Invalid("is torchvision's network; give yours another name", "builders", arm)
        if self._own_depth(arm) and self.family == CIFAR:
            raise Invalid(f'{arm} is of ImageNet style: it needs family = "{IMAGENET}"', "arms", str(number))

    def _check_depth(self, depth: int, number: int) -> None:
        for arm in self.arms:
            if arm not in self.builders and not self._own_depth(arm):
                arch, shortcut = ARMS[arm]
                try:
                    check_network(NetworkName(self.family, arch, depth, shortcut))
                except UsageError as error:
                    raise Invalid(str(error), "depths", str(number)) from None

    def _own_depth(self, arm: str) -> int | None:
        """The one depth that a network with a name of its own has."""
        return NAMED[arm].depth if arm in NAMED else None

    def names(self, depths: Sequence[int] | None = None, family: str = "") -> Iterator[NetworkName]:
        """Every network, the shallowest first, twins together.

        Args:
            depths: at these only, also if they are not the study's (at all).
            family: another one than the study's.
        """
        own = [depth for arm in self.arms if (depth := self._own_depth(arm))]
        for depth in sorted({*self.depths, *own} if depths is None else set(depths)):
            for arm in self.arms:
                asked = depth in self.depths or depths is not None
                if asked if self._own_depth(arm) is None else self._own_depth(arm) == depth:
                    arch, shortcut = self._parts(arm)
                    yield NetworkName(OWN if arm in self.builders else family or self.family, arch, depth, shortcut)

    def _parts(self, arm: str) -> Arm:
        if arm in ARMS:
            return ARMS[arm]
        return (NAMED[arm].arch, NAMED[arm].shortcut) if arm in NAMED else (arm, "none")

    def builder_of(self, name: NetworkName) -> str:
        """The function that builds a network; empty: ours."""
        return next((self.builders[arm] for arm in self.builders if self._parts(arm) == (name.arch, name.shortcut)), "")


def twins(depths: Sequence[int]) -> Networks:
    """Plain networks, and their residual twins with shortcut option A: what the paper compares."""
    return Networks(arms=("plain", "residual-a"), depths=tuple(depths))
