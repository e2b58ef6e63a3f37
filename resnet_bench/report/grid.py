"""Rows of panels that share their y axis, and an x axis of numbers or of names."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from resnet_bench.report.canvas import CAPTION_LINE, CAPTION_SIZE, CHARACTER, LABEL_SIZE, LEFT, PANEL_WIDTHS, TOP, Shown
from resnet_bench.report.mpl import Axes, Figure, FigureCanvasAgg, MaxNLocator

HEIGHTS = {1: 2.9, 2: 2.5}  # inches of a panel by the number of rows
LOWEST, BETWEEN = 2.0, 0.78  # of a panel in more rows, and below each panel
TICK_SIZE = 8.0  # points
NAMES_UPRIGHT = 0.9  # of the panel's width; names that need more stand upright


def grid(
    titles: Sequence[Sequence[str]], caption: str, longest_label: str, *, ylabels: Sequence[str], names: Sequence[str]
) -> tuple[Figure, list[list[Axes]]]:
    """Panels in rows, the last of which may be shorter.

    Args:
        titles: of every panel.
        caption: below all.
        longest_label: of those that stand right of a panel.
        ylabels: of each row.
        names: at the ticks of the x axis, where these are names.
    """
    columns = max(map(len, titles))
    panel, height = PANEL_WIDTHS[columns], HEIGHTS.get(len(titles), LOWEST)
    pitch = panel + 0.3 + len(longest_label) * LABEL_SIZE * CHARACTER / 72
    width = LEFT + columns * pitch
    size = 10 if columns < 3 else 9
    room = int(0.95 * pitch * 72 / (size * CHARACTER))
    wrapped = [["\n".join(textwrap.wrap(title, room)) for title in in_row] for in_row in titles]
    more = 0.16 * max(title.count("\n") for in_row in wrapped for title in in_row)
    lines = textwrap.wrap(caption, int((width - 0.3) * 72 / (CAPTION_SIZE * CHARACTER)), break_on_hyphens=False)
    below = BETWEEN + more + (_length(max(names, key=len)) if are_upright(names, panel) else 0)
    bottom = len(lines) * CAPTION_LINE
    whole = bottom + len(titles) * (height + below) + TOP + more - 0.2
    figure = Shown(figsize=(width, whole))
    FigureCanvasAgg(figure)
    rows: list[list[Axes]] = []
    for row, (in_row, ylabel) in enumerate(zip(wrapped, ylabels, strict=True)):
        y = bottom + (len(titles) - row) * (height + below) - height - 0.2
        rows.append([])
        for column, title in enumerate(in_row):
            box = ((LEFT + column * pitch) / width, y / whole, panel / width, height / whole)
            axes = figure.add_axes(box, sharey=rows[0][0] if rows[0] else None)
            axes.set_title(title, fontsize=size)
            axes.tick_params(labelleft=column == 0)
            rows[-1].append(axes)
        rows[-1][0].set_ylabel(ylabel)
    rows[0][0].yaxis.set_major_locator(MaxNLocator(7 if len(titles) == 1 else 5, steps=[1, 2, 5, 10]))
    figure.text(0.15 / width, 0.1 / whole, "\n".join(lines), size=CAPTION_SIZE, color="#333333", gid="caption")
    return figure, rows


def panel_size(axes: Axes) -> tuple[float, float]:
    """Width and height in inches."""
    figure, box = axes.get_figure(), axes.get_position()
    assert isinstance(figure, Figure)
    return box.width * figure.get_figwidth(), box.height * figure.get_figheight()


def are_upright(names: Sequence[str], panel: float) -> bool:
    """Do names not fit side by side below a panel of that width in inches."""
    return bool(names) and len(names) * _length(max(names, key=len)) > NAMES_UPRIGHT * panel


def fitting(places: Sequence[float], names: Sequence[str], panel: float) -> list[int]:
    """Which ticks have room for their names, the first and the last among them.

    Args:
        places: of the ticks, ascending shares of the panel's width.
        names: of the ticks.
        panel: its width in inches.
    """
    if not places:
        return []
    reach = [0.55 * _length(name) / panel for name in names]
    last, kept = len(places) - 1, [0]
    for index in range(1, last):
        room = places[index] - reach[index] - reach[kept[-1]] - places[kept[-1]]
        if room > 0 and places[index] + reach[index] + reach[last] < places[last]:
            kept.append(index)
    return [*kept, last] if last else kept


def _length(name: str) -> float:
    return (len(name) + 1) * TICK_SIZE * CHARACTER / 72
