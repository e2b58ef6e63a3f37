"""The figure of final test error against what training cost, in multiply-adds and in seconds: StudyFrames -> Figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import Arm
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, legend_above, log_axis, panels, say, styled
from resnet_bench.report.depth_figure import ARM_STYLES, arm_handle
from resnet_bench.report.mpl import Axes, Figure
from resnet_bench.report.point_labels import label_points

ERROR, COST = "final_test_top1_err", "cost"
BACKWARD_AND_FORWARD = 3  # the backward pass takes two products for each one of the forward pass
UNIT = 1e12  # multiply-adds
MACHINE = ["device", "threads", "compile"]  # seconds are compared only where all of it is equal


@styled
def draw_cost(frames: StudyFrames) -> Figure:
    """Final test error against total training multiply-adds (left) and seconds (right), through the depths."""
    runs = frames.finished.dropna(subset=[ERROR])
    timed = comparable_seconds(runs)
    figure, all_axes = panels(["multiply-adds", "seconds"], _caption(frames, runs, timed), "", ylabel="test error (%)")
    top = max(1.07 * max(runs[ERROR], default=100 / 1.07), 1.0)
    all_axes[0].set_ylim(-0.09 * top, top)  # below 0 is room for the labels of points near 0 %
    for axes, points, label in zip(
        all_axes,
        (runs.assign(cost=training_macs(runs) / UNIT), timed.assign(cost=timed["train_seconds"])),
        ("training multiply-adds (1e12)", "training time (s)"),
        strict=True,
    ):
        axes.set_xlabel(label)
        _plot_panel(figure, axes, points[points[COST] > 0])
    if runs.empty:
        say(all_axes[0], "no finished run")
    if timed.empty:
        say(all_axes[1], "no finished run" if runs.empty else "no finished run is known\nto have been exclusive")
    legend_above(figure, [arm_handle(arm) for arm in arms_in(runs)])
    return figure


def training_macs(runs: pd.DataFrame) -> pd.Series[float]:
    """Multiply-adds of a whole training: 3 x MACs x batch size x steps."""
    return BACKWARD_AND_FORWARD * runs["macs"].astype(float) * runs["batch_size"] * runs["steps"]


def comparable_seconds(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that had the machine to themselves; of several machines only those of the one with the most.

    `exclusive` is known of the last attempt alone, so runs that were broken off are no part of it.
    """
    alone = runs[runs["exclusive"].eq(True) & runs["attempts"].eq(1) & (runs["train_seconds"] > 0)]
    groups = [group for _, group in alone.groupby(MACHINE, sort=True)]
    return max(groups, key=len) if groups else runs.iloc[:0]


def _plot_panel(figure: Figure, axes: Axes, points: pd.DataFrame) -> None:
    """Every seed's point, and a line through the means of each arm, whose points are labelled with their depth."""
    if points.empty:
        return
    log_axis(axes, "x", list(points[COST]), margin=0.14)  # room for labels at both ends
    labels = [label for arm in arms_in(points) for label in _plot_arm(axes, arm, select(points, arm))]
    label_points(figure, axes, labels)


def _plot_arm(axes: Axes, arm: Arm, points: pd.DataFrame) -> Sequence[EndLabel]:
    color, marker = ARM_STYLES[arm]
    means = points.groupby("depth")[[COST, ERROR]].mean()
    axes.scatter(points[COST], points[ERROR], s=12, marker=marker, color=color, alpha=0.35, linewidth=0, zorder=2)
    axes.plot(means[COST], means[ERROR], color=color, linewidth=1.5, marker=marker, markersize=4.5, zorder=3)
    return [
        EndLabel(str(depth), float(cost), float(error), color)
        for depth, cost, error in zip(means.index, means[COST], means[ERROR], strict=True)
    ]


def _caption(frames: StudyFrames, runs: pd.DataFrame, timed: pd.DataFrame) -> str:
    several = runs.duplicated(["arch", "shortcut", "depth"]).any()
    points = ("means over seeds", "; pale points: every seed") if several else ("one seed", "")
    parts = [
        f"Test error at the last step against what training cost: {points[0]}, joined through the depths that stand "
        f"beside the points{points[1]}.",
        "Left: 3 x MACs x batch size x steps, as forward and backward together are counted as 3 forward passes.",
    ]
    if len(timed):
        device, threads, compiled = timed[MACHINE].iloc[0]
        parts.append(
            f"Right: seconds in training steps of {len(timed)} of {wording.count(len(runs), 'finished run')}: those "
            f"made in one go with the machine to themselves (exclusive), on {device}, "
            f"{wording.count(int(threads), 'thread')}, {compiled}."
        )
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from runs.csv of study {frames.name}."
