"""How arms and depths look in every figure of a report: a hue and a marker by arm, lightness and a marker by depth.

Orange is plain and blue residual, wherever a network is drawn; other arms have hues of their own. Depth is never told
by a hue: within an arm's the deeper network is the darker one, and each depth has a marker, so that greys tell it too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from resnet_bench.networks import DEPTHS, OTHERS, Arm, arm_name
from resnet_bench.report.mpl import Line2D, to_rgb

NEUTRAL = "#444444"  # of legend entries that are about no arm
OTHER_LOOKS = (("#117733", "v"), ("#AA4499", "P"), ("#999933", "X"), ("#882255", "*"), ("#777777", "h"))
OWN_LOOKS = (
    ("#B23A6B", "p"), ("#44AA99", "<"), ("#7B4FA3", ">"), ("#117733", "d"), ("#AA4499", "H"), ("#999933", "8"),
)  # fmt: skip
DEPTH_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "<", ">", "h")
PALEST, DARKEST = 0.64, 0.17  # luma of the shallowest and the deepest network
LUMA = (0.299, 0.587, 0.114)  # what a picture without colours keeps of red, green and blue


class Styles(dict[Arm, tuple[str, str]]):
    """Those of the user's own arms are a function of their names: a study always looks the same."""

    def __missing__(self, arm: Arm) -> tuple[str, str]:
        return OWN_LOOKS[zlib.crc32(arm[0].encode()) % len(OWN_LOOKS)]


# Colour and marker; hues that the colour-blind can tell apart, with lightness that differs in grey.
ARM_STYLES = Styles(
    {
        ("plain", "none"): ("#E8702A", "s"),
        ("residual", "a"): ("#1F5A96", "o"),
        ("residual", "b"): ("#5FB0E5", "^"),
        ("residual", "c"): ("#0B2C5C", "D"),
        **{(name, "b"): look for name, look in zip(OTHERS, OTHER_LOOKS, strict=True)},
    }
)


def arm_handle(arm: Arm) -> Line2D:
    """The legend entry of an arm."""
    color, marker = ARM_STYLES[arm]
    return Line2D([], [], color=color, marker=marker, markersize=4.5, label=arm_name(arm))


def shade(arm: Arm, depth: int, depths: Sequence[int]) -> str:
    """The arm's hue, darker the deeper the network is, in even steps of grey."""
    place, count = depth_place(depth, depths)
    wanted = PALEST + (DARKEST - PALEST) * (place / (count - 1) if count > 1 else 0.5)
    color = to_rgb(ARM_STYLES[arm][0])
    luma = sum(share * part for share, part in zip(LUMA, color, strict=True))
    if luma > wanted:
        mixed = [part * wanted / luma for part in color]
    else:
        white = (wanted - luma) / (1 - luma)
        mixed = [part + white * (1 - part) for part in color]
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


def depth_marker(depth: int, depths: Sequence[int]) -> str:
    """The marker of a depth, where arms have panels of their own."""
    return DEPTH_MARKERS[depth_place(depth, depths)[0] % len(DEPTH_MARKERS)]


def depth_place(depth: int, depths: Sequence[int]) -> tuple[int, int]:
    """A depth's place among the depths, and their number; the paper's depths always have the same look."""
    known = list(DEPTHS) if depth in DEPTHS and set(depths) <= set(DEPTHS) else sorted({*depths, depth})
    return known.index(depth), len(known)
