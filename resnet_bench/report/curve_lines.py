"""How panels of error curves are drawn, labelled and explained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from resnet_bench.networks import display_name
from resnet_bench.report.canvas import EndLabel, label_ends, say
from resnet_bench.report.curve_data import (
    CLEAN,
    DIVERGED,
    RUNNING,
    TEST,
    UNFINISHED,
    VALIDATION,
    Curve,
    MeanCurve,
    SingleRun,
)
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.looks import NEUTRAL, depth_marker, depth_place, shade
from resnet_bench.report.mpl import Artist, Axes, Line2D, MaxNLocator, Patch

NAMES = {
    CLEAN: "training error, clean", RUNNING: "training error, running", VALIDATION: "validation error",
    TEST: "test error",
}  # fmt: skip
# Line, its width, and how dark the band of the seeds is.
LOOKS: dict[str, tuple[Any, float, float]] = {
    CLEAN: ("--", 0.9, 0.08), RUNNING: ("--", 0.9, 0.08), VALIDATION: (":", 1.3, 0.0), TEST: ("-", 1.9, 0.18)
}  # fmt: skip
SINGLE: dict[str, tuple[Any, float]] = {TEST: ((0, (1, 1)), 1.1)}  # line and width of one run; of other errors:
SINGLE_OTHER: tuple[Any, float] = ((0, (1, 3)), 0.9)
PLACES = 2  # markers on a line, beside the one at its end
MOST = 60.0  # percent at the end: a long study's axis leaves out the networks that are above it, as the paper's does
LONG = 20_000  # steps from which on the axes are the paper's: "iter. (1e4)", and the first steep fall is cut off
MOST_NAMED = 8  # runs by name


# ---------------------------------------------------------------------------------------------- axes


def curves_axis(curves: Sequence[Curve], chance: float) -> ErrorAxis:
    """All data in a short study. In a long one the ends decide, as in the paper, or the fall would fill the panel."""
    errors = [error for curve in curves for error in curve.errors]
    above = {(curve.arm, curve.depth) for curve in curves if curve.end[1] > MOST}
    ends = [curve.end[1] for curve in curves if (curve.arm, curve.depth) not in above]
    cap = max(20.0, 1.6 * max(ends)) if is_long(curves) and ends else math.inf
    return ErrorAxis.of(errors, chance, cap=cap)


def is_long(curves: Sequence[Curve]) -> bool:
    """Are steps counted in ten thousands."""
    return max((curve.end[0] for curve in curves), default=0) >= LONG


# ---------------------------------------------------------------------------------------------- one panel


def plot_curves(axes: Axes, curves: Sequence[Curve], depths: Sequence[int], scale: float) -> None:
    """Means as lines, thin and broken but for the test error, and bands from the lowest to the highest seed."""
    for curve in curves:
        if isinstance(curve, MeanCurve):
            _plot_mean(axes, curve, depths, scale)
        else:
            _plot_single(axes, curve, depths, scale)


def _plot_mean(axes: Axes, curve: MeanCurve, depths: Sequence[int], scale: float) -> None:
    style, width, alpha = LOOKS[curve.metric]
    color, x = shade(curve.arm, curve.depth, depths), curve.points.index / scale
    marker = _marker(curve, depths)
    axes.plot(
        x, curve.points["mean"], style, linewidth=width, color=color, zorder=3,
        markevery=_places(len(x), *depth_place(curve.depth, depths)), **marker,
    )  # fmt: skip
    if alpha:
        axes.fill_between(x, curve.points["min"], curve.points["max"], color=color, alpha=alpha, linewidth=0)
    plot_apart(axes, curve.whole, scale, {**marker, "color": color, "markersize": 1.5 * marker["markersize"]})


def plot_apart(axes: Axes, whole: pd.DataFrame, scale: float, look: dict[str, Any]) -> None:
    """The points that are on more images than their line: mean, and a bar from the lowest to the highest seed."""
    if len(whole):
        reach = [(whole["mean"] - whole["min"]).clip(lower=0), (whole["max"] - whole["mean"]).clip(lower=0)]
        axes.errorbar(
            whole.index / scale, whole["mean"], yerr=reach, zorder=4, elinewidth=0.9, linestyle="none", **look
        )


def _marker(curve: Curve, depths: Sequence[int]) -> dict[str, Any]:
    """By depth; filled on the line of the test error, hollow and small on others."""
    color, test = shade(curve.arm, curve.depth, depths), curve.metric == TEST
    return {
        "marker": depth_marker(curve.depth, depths), "markersize": 4.6 if test else 3.4,
        "markerfacecolor": color if test else "white", "markeredgecolor": "white" if test else color,
        "markeredgewidth": 0.5 if test else 0.7,
    }  # fmt: skip


def _places(points: int, place: int, count: int) -> list[int]:
    """Which points have markers: a few, at other places for each depth, so that lines at one height are told apart."""
    shares = [(index + (place + 0.5) / count) / PLACES for index in range(PLACES)]
    return sorted({round(share * (points - 1)) for share in shares} | {points - 1})


def _plot_single(axes: Axes, curve: SingleRun, depths: Sequence[int], scale: float) -> None:
    style, width = SINGLE.get(curve.metric, SINGLE_OTHER)
    color, x = shade(curve.arm, curve.depth, depths), curve.points.index / scale
    axes.plot(x, curve.points, linestyle=style, linewidth=width, color=color, zorder=2.5)
    if curve.state == DIVERGED:
        axes.plot(x[-1:], curve.points.iloc[-1:], "x", color=color, markersize=7, markeredgewidth=1.8, zorder=5)
    else:
        axes.plot(x[-1:], curve.points.iloc[-1:], linestyle="none", zorder=5, **_marker(curve, depths))


def finish_panel(axes: Axes, axis: ErrorAxis, drawn: Sequence[Curve], depths: Sequence[int], empty: str) -> None:
    """The names of networks at the ends of their lines, on an axis whose limits are set; or why there are none.

    Args:
        axes: the panel.
        axis: of the errors.
        drawn: the curves of the error whose lines are named.
        depths: of the figure.
        empty: what an empty panel says.
    """
    if not drawn:
        say(axes, empty)
        return
    scale = axes_scale(axes)
    means = [curve for curve in drawn if isinstance(curve, MeanCurve)]
    alone = {(c.arm, c.depth): c for c in drawn if isinstance(c, SingleRun)}
    others = [c for key, c in alone.items() if key not in {(m.arm, m.depth) for m in means}]
    labelled: list[Curve] = [*means, *others]
    label_ends(axes, [_end_label(curve, axis, scale, depths) for curve in labelled])


def limit_steps(all_axes: Sequence[Axes], curves: Sequence[Curve]) -> None:
    """An axis of steps for all curves: of whole numbers, or, where they are many, the paper's in ten thousands."""
    long = is_long(curves)
    for axes in all_axes:
        axes.set_xlabel("iter. (1e4)" if long else "step")
        if curves:
            last = max(curve.end[0] for curve in curves) / (1e4 if long else 1)
            axes.set_xlim(0, 1.025 * last)  # markers at the last step are whole
            axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10], integer=True))


def axes_scale(axes: Axes) -> float:
    """Steps in one unit of the x axis."""
    return 1e4 if axes.get_xlabel().startswith("iter") else 1.0


def _end_label(curve: Curve, axis: ErrorAxis, scale: float, depths: Sequence[int]) -> EndLabel:
    step, error = curve.end
    return EndLabel(_label(curve, axis), step / scale, error, shade(curve.arm, curve.depth, depths))


def _label(curve: Curve, axis: ErrorAxis) -> str:
    """`plain-20`; a line that ends above the axis tells where, and a run that is in no mean what it is."""
    name, end = display_name(curve.arm[0], curve.depth, curve.arm[1]), curve.end[1]
    if isinstance(curve, SingleRun):
        return f"{name} ({curve.state})"
    return f"{name} ({end:.0f} %)" if end > axis.high else name


def longest_label(curves: Sequence[Curve], axis: ErrorAxis) -> str:
    """Of those that `finish_panel` writes."""
    return max((_label(curve, axis) for curve in curves), key=len, default="")


# ---------------------------------------------------------------------------------------------- words


def curve_handles(curves: Sequence[Curve], several: bool, metrics: Sequence[str]) -> list[Artist]:
    """The legend of `plot_curves`; `several` seeds have a mean and a band."""
    return [*_lines(curves, several, metrics), *_others(curves)]


def _lines(curves: Sequence[Curve], several: bool, metrics: Sequence[str]) -> Iterator[Artist]:
    means = [curve for curve in curves if isinstance(curve, MeanCurve)]
    if not means:
        return
    for metric in metrics:
        style, width, _ = LOOKS[metric]
        yield Line2D([], [], color=NEUTRAL, linestyle=style, linewidth=width, label=NAMES[metric])
    if several:
        yield Patch(color=NEUTRAL, alpha=0.2, linewidth=0, label="line: mean over seeds; band: min to max")
    if any(len(curve.whole) for curve in means):
        yield apart_handle(several)


def apart_handle(several: bool) -> Artist:
    """The legend entry of the points on more images."""
    bar = ", bar: min to max" if several else ""
    label = f"last step, on more images{bar}"
    return Line2D([], [], color=NEUTRAL, linestyle="none", marker="o", markersize=6.5, label=label)


def _others(curves: Sequence[Curve]) -> Iterator[Artist]:
    states = {curve.state for curve in curves if isinstance(curve, SingleRun)}
    if UNFINISHED in states:
        yield Line2D([], [], color=NEUTRAL, linestyle=SINGLE[TEST][0], linewidth=1.1, label="unfinished run so far")
    if DIVERGED in states:
        yield Line2D([], [], color=NEUTRAL, linestyle=SINGLE[TEST][0], linewidth=1.1, marker="x", markersize=6.5,
                     markeredgewidth=1.6, label="diverged run")  # fmt: skip


def single_words(curves: Sequence[Curve]) -> list[str]:
    """Sentences on the runs that are in no mean: which, and how far they are; none where there are none."""
    alone = {(c.state, c.arm, c.depth, c.seed): c for c in curves if isinstance(c, SingleRun)}
    if not alone:
        return []
    sentences = ["Dotted: a run that is in no mean (test error close, training error sparse)."]
    for state in (UNFINISHED, DIVERGED):
        runs = [curve for curve in alone.values() if curve.state == state]
        named = "; ".join(
            f"{display_name(c.arm[0], c.depth, c.arm[1])} seed {c.seed} to step {c.end[0]:,}" for c in runs
        )
        if runs:
            what = f"{state.capitalize()}{', x at its last value' if state == DIVERGED else ''}"
            sentences.append(f"{what}: {named if len(runs) <= MOST_NAMED else f'{len(runs)} runs'}.")
    return sentences
