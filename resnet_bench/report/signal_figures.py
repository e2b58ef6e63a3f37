"""Figures of what happens inside the networks: the twin of the paper's figure 7, and gradients by layer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import CIFAR, Arm, arm_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, log_axis, panels, styled
from resnet_bench.report.depth_figure import ARM_STYLES
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D, MaxNLocator

MAX_PANELS = 3
MOST_LINEAR = 30  # times the lowest response; more is drawn on a logarithmic axis
HEAD = "head"  # the classifier: it has no BN, and its response are the logits


def signal_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has signals for."""
    return {"responses": draw_responses, "gradients": draw_gradients} if len(signals_of(frames)) else {}


def signals_of(frames: StudyFrames) -> pd.DataFrame:
    """Signals of the convolutions of finished runs, with arch, depth, shortcut and seed."""
    what = frames.finished[["run_id", "arch", "depth", "shortcut", "seed"]]
    rows = frames.signals.merge(what, on="run_id", how="inner")
    return rows[rows["layer"] != HEAD]


def _layers(frames: StudyFrames) -> str:
    return "3x3 layers" if frames.family == CIFAR else "convolutions"


@styled
def draw_responses(frames: StudyFrames) -> Figure:
    """Twin of figure 7: standard deviation of every 3x3 layer's response, first layer left, at the last step."""
    rows = signals_of(frames)
    head = (
        f"Standard deviation of the responses of {_layers(frames)} at the last step, after BN, before addition and "
        "ReLU, for a fixed batch in train mode, not augmented."
    )
    figure, by_depth = _layer_panels(frames, rows, head, ylabel="std of responses")
    for depth, axes in by_depth.items():
        for arm in arms_in(rows):
            _plot(axes, arm, _at_end(select(rows, arm, depth), last=True), "response_std", dashed=False)
    shown = _at_end(rows[rows["depth"].isin(by_depth)], last=True)["response_std"]
    low, high = float(shown.min()), float(shown.max())
    shared = next(iter(by_depth.values()))
    if low > 0 and high > MOST_LINEAR * low:
        log_axis(shared, "y", [low, high], short=True)
    else:
        shared.set_ylim(0, None)
    legend_above(figure, [_handle(arm) for arm in arms_in(rows)])
    return figure


@styled
def draw_gradients(frames: StudyFrames) -> Figure:
    """Norm of the gradient by each layer's weights, before the first step and at the last."""
    rows = signals_of(frames)
    head = (
        f"L2 norm of the loss's gradient by the weights of {_layers(frames)}, for a fixed batch in train mode, not "
        "augmented. Vanishing gradients would fall towards the left by orders of magnitude."
    )
    figure, by_depth = _layer_panels(frames, rows, head, ylabel="gradient norm")
    for depth, axes in by_depth.items():
        for arm in arms_in(rows):
            for last in (False, True):
                _plot(axes, arm, _at_end(select(rows, arm, depth), last=last), "grad_norm", dashed=not last)
    positive = rows.loc[rows["depth"].isin(by_depth) & (rows["grad_norm"] > 0), "grad_norm"]
    if len(positive):
        lowest, highest = float(positive.min()), float(positive.max())
        log_axis(next(iter(by_depth.values())), "y", [lowest, highest], short=True)
    moments: list[Artist] = [
        Line2D([], [], color="#444444", linestyle="--", linewidth=0.9, label="before the first step"),
        Line2D([], [], color="#444444", linewidth=1.6, label="at the last step"),
    ]
    legend_above(figure, [*(_handle(arm) for arm in arms_in(rows)), *moments])
    return figure


def chosen_depths(rows: pd.DataFrame) -> list[int]:
    """The shallowest and the deepest, and 56 as in the paper, or else the middle one."""
    depths = sorted({int(depth) for depth in rows["depth"]})
    if len(depths) <= MAX_PANELS:
        return depths
    between = 56 if 56 in depths[1:-1] else depths[len(depths) // 2]
    return [depths[0], between, depths[-1]]


def _layer_panels(frames: StudyFrames, rows: pd.DataFrame, head: str, ylabel: str) -> tuple[Figure, dict[int, Axes]]:
    """A figure with a panel for each chosen depth, layers along x, and the panels by depth; they share the y axis."""
    depths = chosen_depths(rows)
    figure, all_axes = panels([f"{depth} layers" for depth in depths], _caption(frames, rows, head), "", ylabel=ylabel)
    for axes, depth in zip(all_axes, depths, strict=True):
        axes.set_xlabel("layer index")
        axes.set_xlim(0, depth)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure, dict(zip(depths, all_axes, strict=True))


def _at_end(rows: pd.DataFrame, *, last: bool) -> pd.DataFrame:
    """The rows of each run's last recorded step, or of its first."""
    if rows.empty:
        return rows
    return rows[rows["step"] == rows.groupby("run_id")["step"].transform("max" if last else "min")]


def _plot(axes: Axes, arm: Arm, rows: pd.DataFrame, column: str, *, dashed: bool) -> None:
    if rows.empty:
        return
    color = ARM_STYLES[arm][0]
    by_layer = rows.groupby("layer_index")[column].agg(["median", "min", "max"])
    style, width, alpha = ("--", 0.9, 0.10) if dashed else ("-", 1.6, 0.20)
    axes.plot(by_layer.index, by_layer["median"], style, linewidth=width, color=color, zorder=3)
    axes.fill_between(by_layer.index, by_layer["min"], by_layer["max"], color=color, alpha=alpha, linewidth=0)


def _handle(arm: Arm) -> Line2D:
    return Line2D([], [], color=ARM_STYLES[arm][0], linewidth=1.6, label=arm_name(arm))


def _caption(frames: StudyFrames, rows: pd.DataFrame, head: str) -> str:
    several = rows.groupby(["arch", "shortcut", "depth"])["seed"].nunique().max() > 1
    lines = "Lines: medians over seeds, bands from the lowest to the highest." if several else "One seed."
    parts = [head, lines, wording.conditions(frames)]
    return " ".join(parts) + f" Made from signals.csv of study {frames.name}."
