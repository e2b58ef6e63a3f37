"""How every figure looks and is saved: style, panels with a caption, labels at line ends, PNG and SVG bytes."""

from __future__ import annotations

import functools
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from PIL import Image

from resnet_bench.files import write_atomically
from resnet_bench.report.mpl import (
    Artist,
    Axes,
    Figure,
    FigureCanvasAgg,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    Text,
    findfont,
    get_font,
    rc_context,
    rcdefaults,
    rcParams,
    to_rgb,
)
from resnet_bench.text import one_line

P = ParamSpec("P")
R = TypeVar("R")

STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "butt",
    "text.parse_math": False,  # a name may hold a $
    "svg.hashsalt": "resnet_bench",  # ids in the SVG would otherwise be random
}
LABEL_SIZE = 8.0  # points
CAPTION_SIZE = 7.5  # points
ENTRY = 5.0  # what a legend entry needs beside its text, in units of the letters' size
CHARACTER = 0.56  # mean width of a character of the default font, in units of its size

# Inches. Positions are set by hand: automatic layout would let the caption's length change the panels.
LEFT, TOP, BELOW_PANELS, PANEL_HEIGHT, CAPTION_LINE = 0.7, 0.68, 0.58, 2.9, 0.15
LEGEND_ROW = 0.21
PANEL_WIDTHS = {1: 4.8, 2: 3.0, 3: 2.5, 4: 2.2}
# More room left of the first panel and between panels, where each has tick labels of its own, up to 200,000.
MORE_LEFT, MORE_BETWEEN = 0.25, 0.42


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` under this module's style and then leave the user's matplotlib settings as they were."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with rc_context():
            rcdefaults()
            rcParams.update(STYLE)
            made = function(*args, **kwargs)
            if isinstance(made, Figure):
                for text in _texts(made):
                    text.set_text(drawable(text.get_text()))
            return made

    return call


class Shown(Figure):
    """A figure that notebooks show by themselves, and that is in this module's style wherever it is written.

    IPython shows matplotlib's own figures only once pyplot is there, which has windows in mind.
    """

    savefig = styled(Figure.savefig)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def _texts(figure: Figure) -> Iterator[Text]:
    """Everything written but the ticks, which come into being when they are drawn."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.texts
    for axes in figure.axes:
        yield from (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)


def drawable(text: str) -> str:
    """The text with characters that the default font lacks written as their codes: the name of a study may be any."""
    return "".join(c if _is_drawn(c) else f"U+{ord(c):04X}" for c in text)


def _is_drawn(character: str) -> bool:
    return character == "\n" or (ord(character) in _glyphs() and one_line(character) == character)


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def panels(
    titles: Sequence[str],
    caption: str,
    longest_label: str,
    *,
    ylabel: str = "error (%)",
    own_y: bool = False,
    longest_tick: str = "",
) -> tuple[Figure, list[Axes]]:
    """A row of panels, room for a legend above, for labels at the right and for the caption below.

    All panels have one y axis, or each its own of the same quantity (`own_y`). `longest_tick` is the longest name at
    the ticks, where these are names: upright below, level at the left.
    """
    more_left, more_between = (MORE_LEFT, MORE_BETWEEN) if own_y else (0.0, 0.0)
    names = len(longest_tick) * CAPTION_SIZE * CHARACTER / 72
    more_left += names
    left = LEFT + more_left
    gap = 0.3 + len(longest_label) * LABEL_SIZE * CHARACTER / 72 + more_between
    panel = PANEL_WIDTHS[min(len(titles), max(PANEL_WIDTHS))]
    width = left + len(titles) * (panel + gap) - more_between
    lines = textwrap.wrap(caption, int((width - 0.3) * 72 / (CAPTION_SIZE * CHARACTER)), break_on_hyphens=False)
    bottom = BELOW_PANELS + names + len(lines) * CAPTION_LINE
    height = bottom + PANEL_HEIGHT + TOP
    figure = Shown(figsize=(width, height))
    FigureCanvasAgg(figure)
    all_axes: list[Axes] = []
    for index, title in enumerate(titles):
        box = ((left + index * (panel + gap)) / width, bottom / height, panel / width, PANEL_HEIGHT / height)
        axes = figure.add_axes(box, sharey=all_axes[0] if all_axes and not own_y else None)
        axes.set_title(title)
        axes.tick_params(labelleft=index == 0 or own_y)
        all_axes.append(axes)
    all_axes[0].set_ylabel(ylabel)
    all_axes[0].yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    figure.text(0.15 / width, 0.1 / height, "\n".join(lines), size=CAPTION_SIZE, color="#333333", gid="caption")
    return figure, all_axes


def caption_of(figure: Figure) -> str:
    """The caption as one line of text."""
    return " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption").replace("\n", " ")


# Digits that have a tick, and how many times the lowest value the highest may be, so that there are two to ten ticks.
TICKS = {(1, 2, 3, 5, 7): 5, (1, 2, 3, 5): 12, (1, 2, 5): 200, (1,): math.inf}


def log_axis(
    axes: Axes,
    which: Literal["x", "y"],
    values: Sequence[float],
    ticks: Sequence[float] = (),
    margin: float = 0.08,
    short: bool = False,
) -> None:
    """Make the x or y axis logarithmic, with ticks at round numbers or at `ticks`.

    It shows the positive `values`, with a margin on both sides in units of their length on the axis. `short` writes
    10,000 as 1e4.
    """
    low, high = min(values), max(values)
    pad = max((high / low) ** margin, math.sqrt(3 * low / high))  # a factor of 3 in all has two ticks
    ratio = high * pad**2 / low
    subs = next(s for s, limit in TICKS.items() if ratio < limit)
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low / pad, high * pad)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value) if short else f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    if 0.001 <= value < 10_000:
        return f"{value:,.10g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def say(axes: Axes, message: str) -> None:
    """Write in an empty panel why it is empty."""
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color="#555555", wrap=True)
    axes.set_xticks([])
    axes.grid(False)


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """Legend entries above the panels, in as many rows as they need; for more than one the figure grows upwards."""
    rows = _in_rows(handles, figure.get_figwidth())
    _grow(figure, LEGEND_ROW * (len(rows) - 1))
    for number, row in enumerate(rows):
        y = 1 - (0.06 + LEGEND_ROW * number) / figure.get_figheight()
        figure.legend(handles=row, loc="upper center", ncols=len(row), bbox_to_anchor=(0.5, y))


def _in_rows(handles: Sequence[Artist], width: float) -> list[list[Artist]]:
    rows: list[list[Artist]] = []
    room = 0.0
    for handle in handles:
        needed = (len(str(handle.get_label())) * CHARACTER + ENTRY) * STYLE["legend.fontsize"] / 72
        if not rows or needed > room:
            rows.append([])
            room = width
        rows[-1].append(handle)
        room -= needed
    return rows


def _grow(figure: Figure, inches: float) -> None:
    """More room at the top; what is drawn keeps its size and its place above the lower edge."""
    before = figure.get_figheight()
    figure.set_figheight(before + inches)
    share = before / (before + inches)
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position((box.x0, box.y0 * share, box.width, box.height * share))
    for text in figure.texts:
        text.set_y(text.get_position()[1] * share)


@dataclass(frozen=True)
class EndLabel:
    """A label for the line that ends at (x, y)."""

    text: str
    x: float
    y: float
    color: str


def label_ends(axes: Axes, labels: Sequence[EndLabel], panel_height: float = PANEL_HEIGHT) -> None:
    """Write the labels right of the panel at the height of their line's end, moved apart until none overlap."""
    low, high = axes.get_ylim()
    height = panel_height * 72  # points
    step = (LABEL_SIZE + 2.5) / height * (high - low)
    ordered = sorted(labels, key=lambda label: label.y)
    heights = spread([min(label.y, high) for label in ordered], step, low, high)
    for label, y in zip(ordered, heights, strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, min(label.y, high)),
            xytext=(1.055, y),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            size=LABEL_SIZE,
            color=text_color(label.color),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linewidth": 0.6,
                "color": label.color,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def text_color(color: str) -> list[float]:
    """The colour of a line's label: darker than the line, as thin letters look paler."""
    return [0.75 * part for part in to_rgb(color)]


def spread(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights at least `step` apart and as near to the ascending `wanted` ones as that allows, within low and high.

    Least squares under an order: with the steps taken off the heights must not fall, so neighbours that would are
    pooled to their mean (isotonic regression).
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(wanted):
        blocks.append([height - index * step])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [_mean(block) for block in blocks for _ in block]
    ceiling = high - (len(wanted) - 1) * step
    return [min(max(level, low), ceiling) + index * step for index, level in enumerate(levels)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@styled
def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png (200 dpi) and `stem`.svg; the same figure gives the same bytes."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_atomically(png, _png(figure))
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": "resnet_bench"})
    write_atomically(svg, content.getvalue())
    return [png, svg]


def _png(figure: Figure) -> bytes:
    """256 colours are enough for lines and bands, and make files of a third: reports are sent and committed."""
    canvas: Any = FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.set_dpi(200)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(content, "PNG", dpi=(200, 200), optimize=True)
    return content.getvalue()
