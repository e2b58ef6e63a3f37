"""A picture of predictions: each image, what the network says, and what it is."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_bench.files import write_atomically
from resnet_bench.report.canvas import CHARACTER, styled
from resnet_bench.report.mpl import Figure, FigureCanvasAgg, Rectangle
from resnet_bench.text import one_line

COLUMNS, MOST = 8, 400  # tiles in a row, and in a picture
TILE, GAP, TEXT, MARGIN = 1.1, 0.12, 0.36, 0.12  # inches
SIZE = 7.5  # points
# Colour, width and line of a frame; neither is the colour of a kind of network.
RIGHT, WRONG, UNKNOWN = ("#333333", 1.2, "-"), ("#B3002D", 3.0, "--"), ("#777777", 0.8, "-")


@dataclass(frozen=True)
class Tile:
    """An image and what is said of it.

    Attributes:
        pixels: uint8 [C, H, W].
        predicted: class.
        probability: of that, 0 to 1.
        actual: class, where it is known.
        correct: is it that class; None where that is not known, or none of the network's.
    """

    pixels: Any
    predicted: str
    probability: float
    actual: str | None
    correct: bool | None


@styled
def draw_predictions(tiles: Sequence[Tile]) -> Figure:
    """A tile for each; a wrong one is told by its mark, its dashed thick frame and its colour."""
    columns = min(COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = 2 * MARGIN + columns * (TILE + GAP) - GAP
    height = 2 * MARGIN + rows * (TILE + TEXT)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (TILE + GAP), MARGIN + row * (TILE + TEXT)
        box = (left / width, 1 - (top + TILE) / height, TILE / width, TILE / height)
        axes = figure.add_axes(box)
        axes.imshow(_pixels(tile.pixels), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        color, line, style = {True: RIGHT, False: WRONG, None: UNKNOWN}[tile.correct]
        axes.add_patch(
            Rectangle(
                (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=color, linewidth=line, linestyle=style,
                clip_on=False,
            )
        )  # fmt: skip
        mark = {True: "✓ ", False: "✗ ", None: ""}[tile.correct]
        said = f"{mark}{tile.predicted}", f" {100 * tile.probability:.0f} %"
        figure.text(left / width, 1 - (top + TILE + 0.06) / height, _fit(*said), size=SIZE, va="top", color=color)
        if tile.actual is not None and not tile.correct:
            actual = _fit(f"is {tile.actual}", "")
            figure.text(left / width, 1 - (top + TILE + 0.19) / height, actual, size=SIZE, va="top", color="#333333")
    return figure


def write_predictions(tiles: Sequence[Tile], path: Path) -> int:
    """Write the picture as PNG, of the first 400; gives how many. Failure if it cannot be written."""
    drawn, content = tiles[:MOST], io.BytesIO()
    draw_predictions(drawn).savefig(content, format="png", dpi=150)
    write_atomically(path, content.getvalue())
    return len(drawn)


def _pixels(image: Any) -> Any:
    return image[0] if image.shape[0] == 1 else image[:3].transpose(1, 2, 0)


def _fit(name: str, after: str) -> str:
    """The name, shortened if it and what follows would be wider than a tile."""
    name = one_line(name)
    room = int((TILE + GAP) * 72 / (SIZE * CHARACTER)) - len(after)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + after
