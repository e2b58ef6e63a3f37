"""Figures of what happens inside the networks: the twin of the paper's figure 7, and gradients by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from resnet_bench.analysis.rules import EXPLODED, VANISHED
from resnet_bench.analysis.signals import layers
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import CIFAR, Arm, arm_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, log_axis, panels, styled
from resnet_bench.report.growth_figure import draw_growth, growth_of
from resnet_bench.report.looks import ARM_STYLES
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D, MaxNLocator

MAX_PANELS = 3
MOST_LINEAR = 30  # times the lowest response; more is drawn on a logarithmic axis
LEAST_SHOWN = (0.95, 1.05)  # responses that an axis has in any case: what differs by less should look alike
MARKERS = 7  # on a line, so that arms can be told apart without colours
# Line and width of the steps that are drawn: before the first, the next recorded one, and the last.
Look = tuple[Literal["--", ":", "-"], float]
STEP_LOOKS: tuple[Look, Look, Look] = (("--", 1.0), (":", 1.3), ("-", 1.6))
GREY = "#777777"


def signal_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has signals for."""
    found: dict[str, Callable[[StudyFrames], Figure]] = {}
    if len(signals_of(frames)):
        found["responses"] = draw_responses
    if len(recorded(frames)):
        found["gradients"] = draw_gradients
    if len(growth_of(frames)):
        found["growth"] = draw_growth
    return found


def signals_of(frames: StudyFrames) -> pd.DataFrame:
    """Signals of the convolutions of finished runs, with arch, depth, shortcut and seed."""
    return layers(frames.finished, frames.signals)


def recorded(frames: StudyFrames) -> pd.DataFrame:
    """The same of all runs, with those that diverged."""
    return layers(frames.runs, frames.signals)


def _names(frames: StudyFrames) -> str:
    return "3x3 layers" if frames.family == CIFAR else "convolutions"


# ---------------------------------------------------------------------------------------------- responses


@styled
def draw_responses(frames: StudyFrames) -> Figure:
    """Twin of figure 7: standard deviation of every 3x3 layer's response, first layer left, at the last step."""
    rows = signals_of(frames)
    last = rows[rows["step"] == rows.groupby("run_id")["step"].transform("max")]
    head = (
        f"Standard deviation of the responses of {_names(frames)} at the last step, after BN, before addition and "
        "ReLU, for a fixed batch in train mode, not augmented. BN makes it 1 at the start, in any network (grey line). "
        "Each panel has its own scale."
    )
    figure, by_depth = _layer_panels(frames, last, head, ylabel="std of responses")
    for depth, axes in by_depth.items():
        axes.axhline(1, color=GREY, linewidth=0.9, zorder=1)
        shown = last[(last["depth"] == depth) & np.isfinite(last["response_std"])]
        for arm in arms_in(rows):
            _plot(axes, arm, select(shown, arm), "response_std", STEP_LOOKS[-1])
        _limit_responses(axes, shown["response_std"])
    start = Line2D([], [], color=GREY, linewidth=0.9, label="at the start, by BN")
    legend_above(figure, [*map(_handle, arms_in(rows)), start])
    return figure


def _limit_responses(axes: Axes, values: pd.Series[float]) -> None:
    """A linear axis around 1, or a logarithmic one where a line would flatten all others."""
    low, high = min([*values, LEAST_SHOWN[0]]), max([*values, LEAST_SHOWN[1]])
    positive = values[values > 0]
    if len(positive) and high > MOST_LINEAR * positive.min():
        log_axis(axes, "y", [*positive, 1.0], short=True)
    else:
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin)


# ---------------------------------------------------------------------------------------------- gradients


@styled
def draw_gradients(frames: StudyFrames) -> Figure:
    """Gradient times weight norm by layer, in times the last convolution's, from the first step to the last."""
    rows = recorded(frames)
    steps = chosen_steps(rows)
    figure, by_depth = _layer_panels(frames, rows, _gradients_head(frames), ylabel="gradient x weight norm (last = 1)")
    for depth, axes in by_depth.items():
        shown = rows[(rows["depth"] == depth) & np.isfinite(rows["flow"]) & (rows["flow"] > 0)]
        for limit in (VANISHED, EXPLODED):
            axes.axhline(limit, color=GREY, linewidth=0.9, linestyle="-.", zorder=1)
        for arm in arms_in(rows):
            for step, look in steps.items():
                _plot(axes, arm, select(shown[shown["step"] == step], arm), "flow", look)
        drawn = shown.loc[shown["step"].isin(steps), "flow"]
        log_axis(axes, "y", [*drawn, VANISHED, EXPLODED], short=True)
    moments: list[Artist] = [
        Line2D([], [], color="#444444", linestyle=line, linewidth=width, label=f"step {step:,}")
        for step, (line, width) in steps.items()
    ]
    limits = Line2D([], [], color=GREY, linewidth=0.9, linestyle="-.", label="limits of the claims")
    legend_above(figure, [*map(_handle, arms_in(rows)), *moments, limits])
    return figure


def _gradients_head(frames: StudyFrames) -> str:
    return (
        f"Norm of the loss's gradient by the weights of {_names(frames)} times the norm of these weights (under BN a "
        "gradient is inversely proportional to it), in times the last convolution's; for a fixed batch in train mode, "
        "not augmented. The gradient comes from the right: lines that rise towards the left explode, lines that fall "
        f"towards the left vanish (limits {VANISHED:g} and {EXPLODED:g}). Each panel has its own scale."
    )


def chosen_steps(rows: pd.DataFrame) -> dict[int, Look]:
    """The first recorded step, the next, and the last, with their looks."""
    steps = sorted({int(step) for step in rows["step"]})
    chosen = dict(zip(steps[:2], STEP_LOOKS[:2], strict=False))
    return chosen | ({steps[-1]: STEP_LOOKS[-1]} if len(steps) > 1 else {})


# ---------------------------------------------------------------------------------------------- both


def chosen_depths(rows: pd.DataFrame) -> list[int]:
    """The shallowest and the deepest, and 56 as in the paper, or else the middle one."""
    depths = sorted({int(depth) for depth in rows["depth"]})
    if len(depths) <= MAX_PANELS:
        return depths
    between = 56 if 56 in depths[1:-1] else depths[len(depths) // 2]
    return [depths[0], between, depths[-1]]


def _layer_panels(frames: StudyFrames, rows: pd.DataFrame, head: str, ylabel: str) -> tuple[Figure, dict[int, Axes]]:
    """A figure with a panel for each chosen depth, layers along x, each with its own y axis; the panels by depth."""
    depths = chosen_depths(rows)
    titles, caption = [f"{depth} layers" for depth in depths], _caption(frames, rows, head, depths)
    figure, all_axes = panels(titles, caption, "", ylabel=ylabel, own_y=True)
    for axes, depth in zip(all_axes, depths, strict=True):
        axes.set_xlabel("layer index")
        axes.set_xlim(0, depth)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure, dict(zip(depths, all_axes, strict=True))


def _plot(axes: Axes, arm: Arm, rows: pd.DataFrame, column: str, look: Look) -> None:
    """A line through the medians over seeds, with some markers, and a band from the lowest to the highest."""
    if rows.empty:
        return
    (color, marker), (style, width) = ARM_STYLES[arm], look
    by_layer = rows.groupby("layer_index")[column].agg(["median", "min", "max"])
    every = max(1, round(len(by_layer) / MARKERS))
    axes.plot(
        by_layer.index,
        by_layer["median"],
        style,
        linewidth=width,
        color=color,
        marker=marker,
        markersize=3.5,
        markevery=(every // 2, every),
        zorder=3,
    )
    alpha = 0.20 if look == STEP_LOOKS[-1] else 0.10
    axes.fill_between(by_layer.index, by_layer["min"], by_layer["max"], color=color, alpha=alpha, linewidth=0)


def _handle(arm: Arm) -> Line2D:
    color, marker = ARM_STYLES[arm]
    return Line2D([], [], color=color, marker=marker, markersize=3.5, linewidth=1.6, label=arm_name(arm))


def _caption(frames: StudyFrames, rows: pd.DataFrame, head: str, depths: Sequence[int]) -> str:
    several = rows.groupby(["arch", "shortcut", "depth"])["seed"].nunique().max() > 1
    lines = "Lines: medians over seeds, bands from the lowest to the highest." if several else "One seed."
    parts = [head, lines, *_others(rows, depths), wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from signals.csv of study {frames.name}."


def _others(rows: pd.DataFrame, depths: Sequence[int]) -> list[str]:
    others = sorted({int(depth) for depth in rows["depth"]} - set(depths))
    return [f"Not drawn: depth {', '.join(map(str, others))}; see the table of signals."] if others else []
