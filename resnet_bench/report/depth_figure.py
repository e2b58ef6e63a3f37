"""The figure of final error against depth: StudyFrames -> Figure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pandas as pd

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import OTHERS, Arm, arm_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, panels, say, styled
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D

FINAL_TRAIN, FINAL_TEST = "final_train_clean_top1_err", "final_test_top1_err"
OTHER_LOOKS = (("#117733", "v"), ("#AA4499", "P"), ("#999933", "X"), ("#882255", "*"), ("#777777", "h"))
OWN_LOOKS = (
    ("#CC6677", "p"), ("#44AA99", "<"), ("#332288", ">"), ("#117733", "d"), ("#AA4499", "H"), ("#999933", "8"),
)  # fmt: skip


class Styles(dict[Arm, tuple[str, str]]):
    """Those of the user's own arms are a function of their names: a study always looks the same."""

    def __missing__(self, arm: Arm) -> tuple[str, str]:
        return OWN_LOOKS[zlib.crc32(arm[0].encode()) % len(OWN_LOOKS)]


# Colour and marker; hues that the colour-blind can tell apart, with lightness that differs in grey.
ARM_STYLES = Styles(
    {
        ("plain", "none"): ("#D4581A", "s"),
        ("residual", "a"): ("#28609A", "o"),
        ("residual", "b"): ("#4FA3D9", "^"),
        ("residual", "c"): ("#1B1B1B", "D"),
        **{(name, "b"): look for name, look in zip(OTHERS, OTHER_LOOKS, strict=True)},
    }
)


@styled
def draw_depth(frames: StudyFrames) -> Figure:
    """Final training and test error against depth: every seed's point, and a line through the means of each arm."""
    figure, all_axes = panels(["training error", "test error"], _depth_caption(frames), "")
    for axes, metric in zip(all_axes, (FINAL_TRAIN, FINAL_TEST), strict=True):
        for arm in frames.arms:
            _plot_arm(axes, frames, arm, metric)
        axes.set_xlabel("depth (weighted layers)")
        if frames.finished.empty and frames.diverged.empty:
            say(axes, "no finished run")
    _limit_depth_axes(all_axes, frames)
    legend_above(figure, _depth_handles(frames))
    return figure


def arm_handle(arm: Arm) -> Line2D:
    """The legend entry of an arm."""
    color, marker = ARM_STYLES[arm]
    return Line2D([], [], color=color, marker=marker, markersize=4.5, label=arm_name(arm))


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


def _limit_depth_axes(all_axes: Sequence[Axes], frames: StudyFrames) -> None:
    highest = [float(frames.finished[metric].max()) for metric in (FINAL_TRAIN, FINAL_TEST)]
    shown = [error for error in highest if not pd.isna(error)] + [wording.chance(frames)] * len(frames.diverged)
    top = max(1.07 * max(shown, default=100 / 1.07), 1.0)
    all_axes[0].set_ylim(-0.02 * top, top)  # a little below 0, so that points at 0 % are whole
    for axes in all_axes:
        if not (frames.finished.empty and frames.diverged.empty):
            margin = 0.09 * _span(frames)
            axes.set_xlim(frames.depths[0] - margin, frames.depths[-1] + margin)
            axes.set_xticks(frames.depths)


def _depth_handles(frames: StudyFrames) -> list[Artist]:
    handles: list[Artist] = []
    for arm in frames.arms:
        if len(select(frames.finished, arm)):
            handles.append(arm_handle(arm))
    if len(frames.diverged):
        label = f"diverged (drawn at chance, {wording.chance(frames):.0f} %)"
        handles.append(Line2D([], [], color="#444444", linestyle="none", marker="x", label=label))
    return handles


def _depth_caption(frames: StudyFrames) -> str:
    parts = ["Error at the last step against depth; a point per seed, lines through the means."]
    if len(frames.finished):
        train = wording.range_of(frames.finished["final_train_clean_images"])
        test = wording.range_of(frames.finished["final_test_images"])
        parts.append(f"Eval mode, not augmented, on {train} training and {test} test images.")
        parts.append("Arms and seeds are set apart sideways to be visible.")
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from runs.csv of study {frames.name}."
