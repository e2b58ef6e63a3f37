"""The figure of final error against depth: StudyFrames -> Figure."""

from __future__ import annotations

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, panels, say, styled
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.grid import fitting, panel_size
from resnet_bench.report.looks import ARM_STYLES, NEUTRAL, arm_handle
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D

FINAL_TRAIN, FINAL_TEST = "final_train_clean_top1_err", "final_test_top1_err"


@styled
def draw_depth(frames: StudyFrames) -> Figure:
    """Final training and test error against depth: every seed's point, and a line through the means of each arm."""
    axis = _axis(frames)
    figure, all_axes = panels(["training error", "test error"], _caption(frames, axis), "")
    for axes, metric in zip(all_axes, (FINAL_TRAIN, FINAL_TEST), strict=True):
        axis.draw(axes)
        for arm in frames.arms:
            _plot_arm(axes, frames, arm, metric)
        axes.set_xlabel("depth (weighted layers)")
        if frames.finished.empty and frames.diverged.empty:
            say(axes, "no finished run")
        else:
            _limit_depths(axes, frames)
    legend_above(figure, [*_handles(frames), *axis.handles()])
    return figure


def _plot_arm(axes: Axes, frames: StudyFrames, arm: Arm, metric: str) -> None:
    color, marker = ARM_STYLES[arm]
    rows = select(frames.finished, arm).dropna(subset=[metric])
    means = rows.groupby("depth")[metric].mean()
    shift = _shift(frames, arm)
    if len(means):
        axes.plot(means.index + shift, means, color=color, linewidth=1.5, zorder=2)
    dodge = [shift + _seed_dodge(frames, seed) for seed in rows["seed"]]
    axes.scatter(
        rows["depth"] + dodge,
        rows[metric],
        s=17,
        marker=marker,
        color=color,
        edgecolor="white",
        linewidth=0.4,
        zorder=3,
    )
    gone = select(frames.diverged, arm)
    axes.scatter(gone["depth"] + shift, [wording.chance(frames)] * len(gone), s=36, marker="x", color=color, zorder=3)


def _span(frames: StudyFrames) -> float:
    return float(frames.depths[-1] - frames.depths[0]) or 12.0 if frames.depths else 12.0


def _shift(frames: StudyFrames, arm: Arm) -> float:
    """Arms stand side by side, 4 % of the axis apart, so that equal errors do not hide each other."""
    return (frames.arms.index(arm) - (len(frames.arms) - 1) / 2) * 0.04 * _span(frames)


def _seed_dodge(frames: StudyFrames, seed: int) -> float:
    seeds = sorted(set(frames.runs["seed"]))
    return (seeds.index(seed) - (len(seeds) - 1) / 2) / len(seeds) * 0.03 * _span(frames)


def _axis(frames: StudyFrames) -> ErrorAxis:
    """One axis for both panels; diverged runs are drawn at chance."""
    chance = wording.chance(frames)
    finals = [float(error) for metric in (FINAL_TRAIN, FINAL_TEST) for error in frames.finished[metric]]
    return ErrorAxis.of([*finals, *[chance] * len(frames.diverged)], chance)


def _limit_depths(axes: Axes, frames: StudyFrames) -> None:
    margin = 0.09 * _span(frames)
    low, high = frames.depths[0] - margin, frames.depths[-1] + margin
    axes.set_xlim(low, high)
    places = [(depth - low) / (high - low) for depth in frames.depths]
    shown = fitting(places, [str(depth) for depth in frames.depths], panel_size(axes)[0])
    axes.set_xticks([frames.depths[index] for index in shown])


def _handles(frames: StudyFrames) -> list[Artist]:
    handles: list[Artist] = []
    for arm in frames.arms:
        if len(select(frames.finished, arm)):
            handles.append(arm_handle(arm))
    if len(frames.diverged):
        label = f"diverged (drawn at chance, {wording.chance(frames):.0f} %)"
        handles.append(Line2D([], [], color=NEUTRAL, linestyle="none", marker="x", label=label))
    return handles


def _caption(frames: StudyFrames, axis: ErrorAxis) -> str:
    parts = ["Error at the last step against depth; a point per seed, lines through the means."]
    if len(frames.finished):
        train = wording.range_of(frames.finished["final_train_clean_images"])
        test = wording.range_of(frames.finished["final_test_images"])
        parts.append(f"Eval mode, not augmented, on {train} training and {test} test images.")
        parts += ["Arms and seeds are set apart sideways to be visible.", *axis.words()]
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from runs.csv of study {frames.name}."
