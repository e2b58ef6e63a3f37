"""Figures of surgery on trained nets: trained on from the constructed solution, and lesions."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from resnet_bench.analysis.operations import one_depth, one_pair
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import PLAIN, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, label_ends, legend_above, panels, styled
from resnet_bench.report.depth_figure import ARM_STYLES, arm_handle
from resnet_bench.report.mpl import Artist, Figure, Line2D

CONSTRUCTED_COLOR = "#2E8B57"


def surgery_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has operations for."""
    drawn: dict[str, Callable[[StudyFrames], Figure]] = {}
    if len(frames.continuation):
        drawn["continuation"] = draw_continuation
    if len(frames.lesions):
        drawn["lesions"] = draw_lesions
    return drawn


@styled
def draw_continuation(frames: StudyFrames) -> Figure:
    """Training error from the constructed solution on, beside the same depth and the shallow net from scratch."""
    rows = one_pair(frames.continuation)
    shallow, deep = int(rows["shallow_depth"].iloc[0]), int(rows["deep_depth"].iloc[0])
    seeds = sorted(set(rows["seed"]))
    caption = (
        f"A plain net of {deep} layers made of a trained plain-{shallow} and identity layers, trained on by the whole "
        f"protocol, beside plain-{deep} and plain-{shallow} from scratch on the same batches: error on training "
        f"images, eval mode, not augmented; mean over {wording.count(len(seeds), 'seed')}. "
        f"{wording.conditions(frames)} Made from continuation.csv and curves.csv of study {frames.name}."
    )
    scratch = select(frames.finished_curves, PLAIN)
    scratch = scratch[scratch["seed"].isin(seeds)]
    lines = {
        f"plain-{deep} from scratch": (scratch[scratch["depth"] == deep], ARM_STYLES[PLAIN][0], "-"),
        f"plain-{shallow}": (scratch[scratch["depth"] == shallow], "#E8A820", "-"),
        "from construction": (rows, CONSTRUCTED_COLOR, "-"),
    }
    figure, (axes,) = panels(["training error"], caption, max(lines, key=len))
    labels, top = [], 1.0
    for name, (points, color, style) in lines.items():
        means = points.groupby("step")["train_clean_top1_err"].agg(["mean", "min", "max"])
        if means.empty:
            continue
        axes.plot(means.index, means["mean"], style, color=color, linewidth=1.7, zorder=3)
        axes.fill_between(means.index, means["min"], means["max"], color=color, alpha=0.18, linewidth=0)
        labels.append(EndLabel(name, float(means.index[-1]), float(means["mean"].iloc[-1]), color))
        top = max(top, float(means["max"].max()))
    axes.set_ylim(0, 1.04 * top)
    axes.set_xlim(0, max(label.x for label in labels))
    axes.set_xlabel("step")
    label_ends(axes, labels)
    return figure


@styled
def draw_lesions(frames: StudyFrames) -> Figure:
    """By how much the test error rises without each block; a point per seed, lines through the means."""
    what = frames.runs[["run_id", "arch", "shortcut", "depth", "seed"]]
    rows = frames.lesions.merge(what, on="run_id", how="inner")
    rows = rows.assign(rise=rows["lesioned_top1_err"] - rows["intact_top1_err"])
    depth = one_depth(rows)
    rows = rows[rows["depth"] == depth]
    images = wording.range_of(rows["test_images"])
    caption = (
        f"Rise of the test error when one block of a trained net of {depth} layers is taken out, on {images} test "
        "images; filled: blocks that keep shapes; hollow: the first of a stage, which a plain net cannot lose. "
        f"{wording.conditions(frames)} Made from lesions.csv of study {frames.name}."
    )
    arms = arms_in(rows)
    figure, (axes,) = panels(
        [display_name("plain", depth).replace("plain-", "") + " layers"],
        caption,
        "",
        ylabel="rise of test error (points)",
    )
    for arm in arms:
        color, marker = ARM_STYLES[arm]
        mine = select(rows, arm)
        for changes, face in ((False, color), (True, "white")):
            chosen = mine[mine["changes_shape"].astype(bool) == changes]
            axes.scatter(
                chosen["block"],
                chosen["rise"],
                s=15,
                marker=marker,
                facecolor=face,
                edgecolor=color,
                linewidth=0.7,
                zorder=3,
            )
        means = _means(mine)
        axes.plot(means.index, means, color=color, linewidth=1.3, zorder=2)
    axes.set_xlabel("block taken out")
    handles: list[Artist] = [arm_handle(arm) for arm in arms]
    hollow = Line2D([], [], color="#444444", linestyle="none", marker="o", markerfacecolor="white", markersize=4.5)
    hollow.set_label("changes shapes")
    legend_above(figure, [*handles, hollow])
    return figure


def _means(rows: pd.DataFrame) -> pd.Series[float]:
    return rows[~rows["changes_shape"].astype(bool)].groupby("block")["rise"].mean()
