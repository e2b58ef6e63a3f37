"""A picture of predictions: each image, what the network says, and what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from resnet_bench.errors import UsageError
from resnet_bench.report.canvas import CHARACTER, styled

if TYPE_CHECKING:
    from resnet_bench.study.predict import Prediction

COLUMNS, MOST = 8, 400  # tiles in a row, and in a picture
TILE, GAP, TEXT, MARGIN = 1.1, 0.12, 0.36, 0.12  # inches
SIZE = 7.5  # points
RIGHT, WRONG, UNKNOWN = ("#28609A", 1.2, "-"), ("#D4581A", 3.0, "--"), ("#777777", 0.8, "-")


@styled
def draw_predictions(predictions: Sequence[Prediction]) -> Figure:
    """A tile for each; a wrong one is told by its mark, its dashed thick frame and its colour."""
    columns = min(COLUMNS, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    width = 2 * MARGIN + columns * (TILE + GAP) - GAP
    height = 2 * MARGIN + rows * (TILE + TEXT)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for number, prediction in enumerate(predictions):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (TILE + GAP), MARGIN + row * (TILE + TEXT)
        box = (left / width, 1 - (top + TILE) / height, TILE / width, TILE / height)
        axes = figure.add_axes(box)
        axes.imshow(_pixels(prediction), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        color, line, style = {True: RIGHT, False: WRONG, None: UNKNOWN}[prediction.correct]
        axes.add_patch(
            Rectangle(
                (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=color, linewidth=line, linestyle=style,
                clip_on=False,
            )
        )  # fmt: skip
        mark = {True: "✓ ", False: "✗ ", None: ""}[prediction.correct]
        said = f"{mark}{prediction.predicted}", f" {100 * prediction.probability:.0f} %"
        figure.text(left / width, 1 - (top + TILE + 0.06) / height, _fit(*said), size=SIZE, va="top", color=color)
        if prediction.correct is False:
            actual = _fit(f"is {prediction.example.actual}", "")
            figure.text(left / width, 1 - (top + TILE + 0.19) / height, actual, size=SIZE, va="top", color="#333333")
    return figure


def write_predictions(predictions: Sequence[Prediction], path: Path) -> None:
    """Write the picture as PNG, of the first 400. UsageError if it cannot be written."""
    figure = draw_predictions(predictions[:MOST])
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place with --out") from None


def _pixels(prediction: Prediction) -> Any:
    image = prediction.example.pixels
    return image[0] if image.shape[0] == 1 else image[:3].transpose(1, 2, 0)


def _fit(name: str, after: str) -> str:
    """The name, shortened if it and what follows would be wider than a tile."""
    room = int((TILE + GAP) * 72 / (SIZE * CHARACTER)) - len(after)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + after
