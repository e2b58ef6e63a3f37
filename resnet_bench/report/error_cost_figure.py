"""The figure of final test error against what training cost, in multiply-adds and in seconds: StudyFrames -> Figure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd

from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import Arm, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, legend_above, log_axis, panels, say, styled
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.looks import ARM_STYLES, NEUTRAL, arm_handle
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D
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
    counted = runs.assign(cost=training_macs(runs) / UNIT)
    counted = counted[counted[COST] > 0]
    timed = timed.assign(cost=timed["train_seconds"])
    axis = ErrorAxis.of(runs[ERROR], wording.chance(frames), below=0.09)  # labels have room below the lowest points
    figure, all_axes = panels(
        ["multiply-adds", "seconds"], _caption(frames, runs, counted, timed, axis), "", ylabel="test error (%)"
    )
    axis.draw(all_axes[0])
    axis.draw(all_axes[1])
    all_axes[0].set_xlabel("training multiply-adds (1e12)")
    all_axes[1].set_xlabel("training time (s)")
    drawn = [_plot_panel(figure, axes, p, runs) for axes, p in zip(all_axes, (counted, timed), strict=True)]
    if counted.empty:
        say(all_axes[0], "no finished run" if runs.empty else "no number of multiply-adds is known")
    if timed.empty:
        say(all_axes[1], "no finished run" if runs.empty else "no finished run is known\nto have been exclusive")
    legend_above(figure, [*_handles(runs, some_fewer=any(drawn)), *axis.handles()])
    return figure


def _handles(runs: pd.DataFrame, *, some_fewer: bool) -> list[Artist]:
    handles: list[Artist] = [arm_handle(arm) for arm in arms_in(runs)]
    if some_fewer:
        fewer = Line2D([], [], color=NEUTRAL, linestyle="none", marker="o", markerfacecolor="white", markersize=4.5)
        fewer.set_label("mean of some of the seeds")
        handles.append(fewer)
    return handles


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


def left_out(runs: pd.DataFrame, timed: pd.DataFrame) -> list[str]:
    """Sentences that name the finished runs without comparable seconds, why, and what that does to the points."""
    gone = runs[~runs["run_id"].isin(timed["run_id"])]
    if gone.empty:
        return []
    exclusive, once = gone["exclusive"].eq(True), gone["attempts"].eq(1)
    reasons = {
        "not known to have been exclusive": ~exclusive,
        "broken off and resumed": exclusive & ~once,
        "made on another machine, or without a time": exclusive & once,
    }
    why = ", ".join(f"{int(chosen.sum())} {reason}" for reason, chosen in reasons.items() if chosen.any())
    sentences = [f"Not on the right: {wording.count(len(gone), 'run')} ({why}): {wording.name_runs(gone)}."]
    parts = []
    none, some = _by_presence(runs, timed)
    if none:
        parts.append(f"no point there, and no line over it: {', '.join(none)}")
    if some:
        parts.append(f"a mean of some of the seeds (hollow): {', '.join(some)}")
    text = "; ".join(parts)
    return [*sentences, f"{text[0].upper()}{text[1:]}."]


def _by_presence(runs: pd.DataFrame, timed: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Networks of which no run is timed, and those of which some are: `plain-20 (1 of 3)`."""
    none, some = [], []
    for arm in arms_in(runs):
        for depth in sorted(set(select(runs, arm)["depth"])):
            of, there = len(select(runs, arm, depth)), len(select(timed, arm, depth))
            name = display_name(arm[0], int(depth), arm[1])
            if not there:
                none.append(name)
            elif there < of:
                some.append(f"{name} ({there} of {of})")
    return none, some


def _plot_panel(figure: Figure, axes: Axes, points: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Every seed's point, and a line through the means of each arm, whose points are labelled with their depth.

    Returns:
        Whether some mean lacks a seed.
    """
    if points.empty:
        return False
    log_axis(axes, "x", list(points[COST]), margin=0.14)  # room for labels at both ends
    labels: list[EndLabel] = []
    lacking = False
    for arm in arms_in(points):
        mine = select(points, arm)
        labels += _plot_arm(axes, arm, mine, sorted(set(select(runs, arm)["depth"])))
        lacking |= _whiten(axes, arm, mine, select(runs, arm))
    label_points(figure, axes, labels)
    return lacking


def _plot_arm(axes: Axes, arm: Arm, points: pd.DataFrame, depths: Sequence[int]) -> Sequence[EndLabel]:
    """The points of an arm and lines that join them; none leads over a depth that has no point here."""
    color, marker = ARM_STYLES[arm]
    means = points.groupby("depth")[[COST, ERROR]].mean()
    axes.scatter(points[COST], points[ERROR], s=12, marker=marker, color=color, alpha=0.35, linewidth=0, zorder=2)
    for there, piece in itertools.groupby(depths, means.index.__contains__):
        if there:
            joined = means.loc[list(piece)]
            axes.plot(joined[COST], joined[ERROR], color=color, linewidth=1.5, marker=marker, markersize=4.5, zorder=3)
    return [
        EndLabel(str(depth), float(cost), float(error), color)
        for depth, cost, error in zip(means.index, means[COST], means[ERROR], strict=True)
    ]


def _whiten(axes: Axes, arm: Arm, points: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Make the points of means hollow that lack a seed; whether there are such."""
    color, marker = ARM_STYLES[arm]
    there, of = points.groupby("depth").size(), runs.groupby("depth").size()
    lacking = [depth for depth in there.index if there[depth] < of[depth]]
    means = points.groupby("depth")[[COST, ERROR]].mean().loc[lacking]
    axes.scatter(
        means[COST], means[ERROR], s=20, marker=marker, facecolor="white", edgecolor=color, linewidth=1.0, zorder=4
    )
    return bool(lacking)


def _caption(
    frames: StudyFrames, runs: pd.DataFrame, counted: pd.DataFrame, timed: pd.DataFrame, axis: ErrorAxis
) -> str:
    several = runs.duplicated(["arch", "shortcut", "depth"]).any()
    points = ("means over seeds", "; pale points: every seed") if several else ("one seed", "")
    parts = [
        f"Test error at the last step against what training cost: {points[0]}, joined through the depths, which are "
        f"written beside the points{points[1]}.",
        "Left: 3 x MACs x batch size x steps, as forward and backward together are counted as 3 forward passes.",
    ]
    uncounted = runs[~runs["run_id"].isin(counted["run_id"])]
    if len(uncounted):
        parts.append(f"Not on the left, for their multiply-adds are not known: {wording.name_runs(uncounted)}.")
    if len(timed):
        device, threads, compiled = timed[MACHINE].iloc[0]
        parts.append(
            f"Right: seconds in training steps of {len(timed)} of {wording.count(len(runs), 'finished run')}: those "
            f"made in one go with the machine to themselves (exclusive), on {device}, "
            f"{wording.count(int(threads), 'thread')}, {compiled}."
        )
        parts += left_out(runs, timed)
    if len(runs):
        parts += axis.words()
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from runs.csv of study {frames.name}."
