"""The figure of how the gradient grows towards the input before the first step: StudyFrames -> Figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from resnet_bench.analysis.growth import (
    FEWEST,
    Correlation,
    growth_and_error,
    growth_by_network,
    growth_by_run,
    rank_correlation,
)
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, legend_above, log_axis, panels, say, styled
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.looks import ARM_STYLES, arm_handle
from resnet_bench.report.mpl import Axes, Figure
from resnet_bench.report.point_labels import label_points

GREY = "#777777"
CROWDED = 0.08  # of a panel, between points


def growth_of(frames: StudyFrames) -> pd.DataFrame:
    """Growth of the gradient of every run that recorded it before its first step."""
    return growth_by_run(frames.runs, frames.signals)


@styled
def draw_growth(frames: StudyFrames) -> Figure:
    """How the gradient grows towards the input before the first step, and the final training error it goes with."""
    by_run = growth_of(frames)
    networks = growth_by_network(by_run)
    points = growth_and_error(frames.runs, networks)
    found = rank_correlation(points["ratio"], points["train_error"])
    titles = ["growth of the gradient per layer", "error against first over last layer"]
    figure, (left, right) = panels(
        titles, _caption(frames, by_run, points, found), "", ylabel="factor per layer towards the input", own_y=True
    )
    _draw_per_layer(left, networks)
    # Room for labels below, and for the correlation above.
    errors = ErrorAxis.of(points["train_error"], wording.chance(frames), below=0.12, above=0.3)
    if points.empty:
        say(right, "no finished run")
    else:
        errors.draw(right)
        _draw_against_error(figure, right, points)
        right.text(
            0.03, 0.97, _in_panel(found), transform=right.transAxes, va="top", size=8, color="#333333", linespacing=1.3
        )
    arms = [arm_handle(arm) for arm in arms_in(networks)]
    legend_above(figure, [*arms, *(errors.handles() if len(points) else [])])
    return figure


def _draw_per_layer(axes: Axes, networks: pd.DataFrame) -> None:
    arms, depths = arms_in(networks), sorted(set(networks["depth"]))
    span = float(depths[-1] - depths[0]) or 12.0
    axes.axhline(1, color=GREY, linewidth=0.9, zorder=1)
    for place, arm in enumerate(arms):
        (color, marker), rows = ARM_STYLES[arm], select(networks, arm).sort_values("depth")
        x = rows["depth"] + (place - (len(arms) - 1) / 2) * 0.03 * span
        axes.vlines(x, rows["growth_low"], rows["growth_high"], color=color, linewidth=1.3, zorder=2)
        axes.plot(x, rows["growth"], color=color, marker=marker, markersize=4.5, linewidth=1.2, zorder=3)
    axes.set_xlabel("depth (weighted layers)")
    axes.set_xticks(depths)
    axes.set_xlim(depths[0] - 0.09 * span, depths[-1] + 0.09 * span)


def _draw_against_error(figure: Figure, axes: Axes, points: pd.DataFrame) -> None:
    shown = [*points["ratio"], 1.0]
    decades = [10.0**n for n in range(math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown))) + 1)]
    log_axis(axes, "x", shown, decades[:: 1 + len(decades) // 6], margin=0.12, short=True)
    axes.set_xlabel("gradient norm, first over last layer")
    axes.set_ylabel("final training error (%)")
    labels = []
    for arm in arms_in(points):
        (color, marker), rows = ARM_STYLES[arm], select(points, arm).sort_values("depth")
        axes.plot(rows["ratio"], rows["train_error"], color=color, marker=marker, markersize=5, linewidth=0.7,
                  markeredgecolor="white", markeredgewidth=0.4, zorder=3)  # fmt: skip
        places = zip(rows["depth"], rows["ratio"], rows["train_error"], strict=True)
        labels += [EndLabel(str(depth), ratio, error, color) for depth, ratio, error in places]
    label_points(figure, axes, _told_apart(axes, labels))


def _told_apart(axes: Axes, labels: Sequence[EndLabel]) -> list[EndLabel]:
    """Those of points that stand alone, and of a crowd's only the ends of each arm, which lines lead through."""
    places = axes.transAxes.inverted().transform(axes.transData.transform([(label.x, label.y) for label in labels]))
    kept = []
    for index, label in enumerate(labels):
        others = np.delete(places, index, axis=0)
        crowded = len(others) and np.hypot(*(others - places[index]).T).min() < CROWDED
        same_arm = [
            other.color == label.color for other in (*labels[index - 1 : index], *labels[index + 1 : index + 2])
        ]
        if not crowded or sum(same_arm) < 2:
            kept.append(label)
    return kept


def _in_panel(found: Correlation) -> str:
    if math.isnan(found.low):
        return f"rank correlation {found.r:.2f}" if found.n >= FEWEST and not math.isnan(found.r) else ""
    return f"rank correlation {found.r:.2f}\n({found.low:.2f} to {found.high:.2f}), {found.n} networks"


def _in_words(found: Correlation) -> str:
    if found.n < FEWEST:
        return f"{wording.count(found.n, 'network')}: too few for a correlation."
    if math.isnan(found.r):
        return "All errors are equal, so there is no correlation."
    interval = f" (95 % interval {found.low:.2f} to {found.high:.2f}, Bonett and Wright 2000)"
    interval = "" if math.isnan(found.low) else interval
    return (
        f"Spearman's rank correlation over {found.n} networks: {found.r:.2f}{interval}. It describes these networks "
        "and gets no verdict: they were chosen, not drawn at random, and depth changes more than the gradient."
    )


def _caption(frames: StudyFrames, by_run: pd.DataFrame, points: pd.DataFrame, found: Correlation) -> str:
    several = by_run.groupby(["arch", "shortcut", "depth"]).size().max() > 1
    parts = [
        "Before the first step. Left: factor by which the norm of the gradient by a convolution's weights grows per "
        "layer towards the input (least-squares lines through its logarithms over the layer index, one slope for all "
        "stages); grey: no growth.",
        "Points: geometric means over seeds, bars: 95 % intervals (Student's t)." if several else "One seed.",
        "Mean field theory of fully connected nets: with BN and without shortcuts gradients grow exponentially with "
        "depth, whatever the initial variances (Yang et al. 2019).",
    ]
    if len(points):
        parts += [
            "Right: that norm at the first convolution over the last one's, against the final training error (eval "
            "mode, not augmented; means over seeds, a diverged run at chance); numbers: depth; lines join the depths "
            "of an arm in order.",
            _in_words(found),
        ]
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from signals.csv and runs.csv of study {frames.name}."
