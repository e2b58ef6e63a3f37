"""Labels beside points, placed where they hide the least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_bench.report.canvas import LABEL_SIZE, EndLabel, text_color
from resnet_bench.report.mpl import Axes, Figure

Array = NDArray[np.float64]

DIGIT = 0.64  # width of a digit of the default font, in units of its size
# Where a label may stand, from its point, the best first; then the same places farther away.
DIRECTIONS = ((0, 1), (-1, 1), (1, 1), (1, 0), (-1, 0), (0, -1), (-1, -1), (1, -1))
DISTANCES = (4.5, 9.0)  # points between a point's centre and its label
APART = np.array([2.5, 0.0])  # points between labels, so that two numbers beside each other do not read as one
# What it costs to hide a scattered point, a pixel of a line, or what must be seen; a label that costs more is left out.
SEED, LINE, CLASH, LIMIT = 5.0, 1.0, 1e6, 30.0


def label_points(figure: Figure, axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Write each label beside its point (x, y). The panel's limits and data must be there already.

    Greedy: each label takes the first of the places where it hides the least. Of labels with one text the highest
    looks for room above its point, the others below. One that would hide too much everywhere is left out: then points
    of the same depth with labels are near.
    """
    scale = 72 / figure.dpi  # from pixels to points
    weights, drawn = _drawn(axes)
    drawn, frame = scale * drawn, scale * axes.bbox.get_points()
    written: list[Array] = []
    for label in labels:
        at = scale * axes.transData.transform((label.x, label.y))
        half = np.array([len(label.text) * DIGIT, 1]) * LABEL_SIZE / 2
        up = 1 if label.y == max(other.y for other in labels if other.text == label.text) else -1
        offsets = [np.array([x, up * y]) * (half + far) for far in DISTANCES for x, y in DIRECTIONS]
        boxes = [np.array([at + offset - half, at + offset + half]) for offset in offsets]
        costs = [weights[_inside(drawn, box)].sum() + CLASH * _clashes(box, written, frame) for box in boxes]
        best = int(np.argmin(costs))
        if costs[best] > LIMIT:
            continue
        written.append(boxes[best])
        axes.annotate(
            label.text,
            (label.x, label.y),
            tuple(offsets[best]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            size=LABEL_SIZE,
            color=text_color(label.color),
        )


def _drawn(axes: Axes) -> tuple[Array, Array]:
    """What a label should not hide: weights (n), and places in pixels (n, 2), of points and along lines."""
    clouds = [axes.transData.transform(cloud.get_offsets()) for cloud in axes.collections]
    ends = [line.get_transform().transform(line.get_xydata()) for line in axes.lines]
    between = [
        np.linspace(start, end, 2 + int(np.abs(end - start).max()))
        for line in ends
        for start, end in itertools.pairwise(line)
    ]
    weighted = [*((SEED, c) for c in clouds), *((CLASH, e) for e in ends), *((LINE, b) for b in between)]
    weights = [np.full(len(places), weight) for weight, places in weighted]
    return np.concatenate([np.empty(0), *weights]), np.concatenate([np.empty((0, 2)), *(p for _, p in weighted)])


def _inside(places: Array, box: Array) -> NDArray[np.bool_]:
    """Which places are in a box (lower left, upper right), or so near that a marker there would reach into it."""
    return np.asarray(((places > box[0] - 2) & (places < box[1] + 2)).all(axis=1))


def _clashes(box: Array, written: Sequence[Array], frame: Array) -> bool:
    """Does the box overlap another label, stand too near beside it, or overlap the panel's edge."""
    overlapping = any(((box[0] < other[1] + APART) & (other[0] < box[1] + APART)).all() for other in written)
    return bool(overlapping or (box[0] < frame[0]).any() or (box[1] > frame[1]).any())
