"""Figures of surgery on trained nets: trained on from the constructed solution, and lesions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from resnet_bench.analysis.operations import one_depth, one_pair
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import PLAIN, Arm, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import LABEL_SIZE, EndLabel, label_ends, legend_above, panels, styled, text_color
from resnet_bench.report.curve_data import CLEAN, MeanCurve, mean_curves
from resnet_bench.report.curve_lines import apart_handle, axes_scale, limit_steps, plot_apart
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.looks import ARM_STYLES, NEUTRAL, shade
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D, MaxNLocator


def surgery_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has operations for."""
    drawn: dict[str, Callable[[StudyFrames], Figure]] = {}
    if len(frames.continuation):
        drawn["continuation"] = draw_continuation
    if len(frames.lesions):
        drawn["lesions"] = draw_lesions
    return drawn


# ---------------------------------------------------------------------------------------------- trained on


@dataclass(frozen=True, eq=False)
class Way:
    """A training error over steps, what it is called, and how it looks."""

    name: str
    curve: MeanCurve
    look: dict[str, Any]


@styled
def draw_continuation(frames: StudyFrames) -> Figure:
    """Training error from the constructed solution on, beside the same depth and the shallow net from scratch."""
    rows = one_pair(frames.continuation)
    shallow, deep = int(rows["shallow_depth"].iloc[0]), int(rows["deep_depth"].iloc[0])
    ways = _ways(frames, rows, shallow, deep)
    axis = ErrorAxis.of([error for way in ways for error in way.curve.errors], wording.chance(frames))
    caption = _continuation_caption(frames, rows, shallow, deep, axis)
    figure, (axes,) = panels(["training error, clean"], caption, max((way.name for way in ways), key=len))
    axis.draw(axes)
    limit_steps([axes], [way.curve for way in ways])
    scale = axes_scale(axes)
    for way in ways:
        points, look = way.curve.points, {"markersize": 4.6, **way.look}
        axes.plot(points.index / scale, points["mean"], linewidth=1.7, zorder=3, **look)
        axes.fill_between(
            points.index / scale, points["min"], points["max"], color=look["color"], alpha=0.15, linewidth=0
        )
        plot_apart(axes, way.curve.whole, scale, {key: look[key] for key in ("color", "marker", "markersize")})
    ends = [(way, *way.curve.end) for way in ways]
    label_ends(axes, [EndLabel(way.name, step / scale, error, way.look["color"]) for way, step, error in ends])
    apart = [apart_handle(rows["seed"].nunique() > 1)] if any(len(way.curve.whole) for way in ways) else []
    legend_above(figure, [*apart, *axis.handles()])
    return figure


def _ways(frames: StudyFrames, rows: pd.DataFrame, shallow: int, deep: int) -> list[Way]:
    """All are plain nets: their hue is one, and line and marker tell them apart."""
    of = {curve.depth: curve for curve in mean_curves(_with_seeds(frames, rows), CLEAN, PLAIN)}
    pair = (shallow, deep)
    looks: dict[int, dict[str, Any]] = {
        shallow: {"color": shade(PLAIN, shallow, pair), "marker": "o", "linestyle": "-"},
        deep: {"color": shade(PLAIN, deep, pair), "marker": "D", "linestyle": "-"},
    }
    names = {shallow: f"plain-{shallow}", deep: f"plain-{deep} from scratch"}
    scratch = [Way(names[depth], of[depth], looks[depth]) for depth in pair if depth in of]
    means = rows.groupby("step")["train_clean_top1_err"].agg(["mean", "min", "max"])
    # continuation.csv does not say on how many images a row is, but its rows are made as those of curves.csv are.
    apart = means.index.isin([step for way in scratch for step in way.curve.whole.index])
    look: dict[str, Any] = {"color": shade(PLAIN, deep, (*pair, deep + 1)), "marker": "*", "markersize": 7.0}
    look["linestyle"] = (0, (5, 1.5, 1, 1.5))
    curve = MeanCurve(PLAIN, deep, CLEAN, means[~apart], means[apart])
    return [*scratch, Way(f"plain-{deep} from construction", curve, look)]


def _with_seeds(frames: StudyFrames, rows: pd.DataFrame) -> StudyFrames:
    return replace(frames, runs=frames.runs[frames.runs["seed"].isin(set(rows["seed"]))])


def _continuation_caption(frames: StudyFrames, rows: pd.DataFrame, shallow: int, deep: int, axis: ErrorAxis) -> str:
    seeds = rows["seed"].nunique()
    parts = [
        f"A plain net of {deep} layers made of a trained plain-{shallow} and identity layers, trained on by the whole "
        f"protocol, beside plain-{deep} and plain-{shallow} from scratch on the same batches: error on training "
        f"images, eval mode, not augmented; {'mean and range over' if seeds > 1 else 'of'} "
        f"{wording.count(seeds, 'seed')}.",
        *_other_pairs(frames.continuation, shallow, deep),
        *axis.words(),
        wording.conditions(frames),
    ]
    return " ".join(parts) + f" Made from continuation.csv and curves.csv of study {frames.name}."


def _other_pairs(rows: pd.DataFrame, shallow: int, deep: int) -> list[str]:
    pairs = sorted(set(zip(rows["shallow_depth"], rows["deep_depth"], strict=True)) - {(shallow, deep)})
    if not pairs:
        return []
    return [f"Not drawn: {', '.join(f'plain-{one} deepened to {other}' for one, other in pairs)}."]


# ---------------------------------------------------------------------------------------------- lesions


@styled
def draw_lesions(frames: StudyFrames) -> Figure:
    """Test error without each block, a panel per arm: a point per seed, a line of the means, and the intact level."""
    what = frames.runs[["run_id", "arch", "shortcut", "depth", "seed"]]
    all_rows = frames.lesions.merge(what, on="run_id", how="inner")
    depth = one_depth(all_rows)
    rows = all_rows[all_rows["depth"] == depth]
    arms = arms_in(rows)
    errors = [*rows["lesioned_top1_err"], *rows["intact_top1_err"]]
    axis = ErrorAxis.of(errors, wording.chance(frames), above=0.15)  # room for the names of the worst blocks
    intact = {arm: _intact(select(rows, arm)) for arm in arms}
    caption, longest = _lesion_caption(frames, all_rows, depth, axis), max(map(_intact_name, intact.values()), key=len)
    titles = [display_name(arm[0], depth, arm[1]) for arm in arms]
    figure, all_axes = panels(titles, caption, longest, ylabel="test error (%)")
    for axes, arm in zip(all_axes, arms, strict=True):
        axis.draw(axes)
        axes.set_xlabel("block taken out")
        axes.set_xlim(rows["block"].min() - 1, rows["block"].max() + 1)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
        _plot_lesions(axes, arm, select(rows, arm), intact[arm])
        label_ends(axes, [EndLabel(_intact_name(intact[arm]), axes.get_xlim()[1], intact[arm], ARM_STYLES[arm][0])])
    legend_above(figure, [*_lesion_handles(rows), *axis.handles()])
    return figure


def _intact(rows: pd.DataFrame) -> float:
    return float(rows.groupby("seed")["intact_top1_err"].first().mean())


def _intact_name(error: float) -> str:
    return f"intact: {error:.1f} %"


def _plot_lesions(axes: Axes, arm: Arm, rows: pd.DataFrame, intact: float) -> None:
    """Points, the line of their means and the intact level; a ring around the worst block, by name."""
    color, marker = ARM_STYLES[arm]
    shaped = rows["changes_shape"].astype(bool)
    for chosen, face in ((rows[~shaped], color), (rows[shaped], "white")):
        axes.scatter(
            chosen["block"], chosen["lesioned_top1_err"], s=12, marker=marker, facecolor=face, edgecolor=color,
            linewidth=0.7, alpha=0.75, zorder=3,
        )  # fmt: skip
    means = rows[~shaped].groupby("block")["lesioned_top1_err"].mean()
    axes.plot(means.index, means, color=color, linewidth=1.5, zorder=3.5)
    axes.axhline(intact, color=color, linewidth=1.0, linestyle="--", zorder=2)
    if means.empty:
        return
    block, error = int(means.index[int(means.argmax())]), float(means.max())
    axes.plot([block], [error], "o", markersize=10, markerfacecolor="none", markeredgecolor=NEUTRAL, zorder=5)
    _name(axes, f"worst: block {block}, {error:.1f} %", block, error, color)


def _name(axes: Axes, text: str, block: int, error: float, color: str) -> None:
    """Above all points, towards the middle of the panel, with a line to the ring."""
    low, high = axes.get_xlim()
    side = "right" if block > (low + high) / 2 else "left"
    axes.annotate(
        text, (block, error), (block, axes.get_ylim()[1]), ha=side, va="top", size=LABEL_SIZE, color=text_color(color),
        arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": NEUTRAL, "shrinkA": 0, "shrinkB": 5,
                    "relpos": (1.0 if side == "right" else 0.0, 0.5)},
    )  # fmt: skip


def _lesion_handles(rows: pd.DataFrame) -> list[Artist]:
    grey: dict[str, Any] = {"color": NEUTRAL, "linestyle": "none", "marker": "o"}
    handles: list[Artist] = [
        Line2D([], [], color=NEUTRAL, linewidth=1.5, label="mean"),
        Line2D([], [], **grey, markersize=4, label="a seed"),
    ]
    if rows["changes_shape"].astype(bool).any():
        handles.append(Line2D([], [], **grey, markersize=4, markerfacecolor="white", label="changes shapes"))
    return [
        *handles,
        Line2D([], [], **grey, markersize=8, markerfacecolor="none", label="worst block"),
        Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1.0, label="intact"),
    ]


def _lesion_caption(frames: StudyFrames, rows: pd.DataFrame, depth: int, axis: ErrorAxis) -> str:
    images = wording.range_of(rows.loc[rows["depth"] == depth, "test_images"])
    others = sorted(set(rows["depth"]) - {depth})
    parts = [
        f"Test error when one block of a trained net of {depth} layers is taken out, on {images} test images: a point "
        "per seed, lines through the means over seeds, and the level of the intact nets. Hollow: the first blocks of "
        "stages, which change shapes and which a plain net cannot lose. The worst block has the highest mean of the "
        "others.",
        *([f"Not drawn: depth {', '.join(map(str, others))}."] if others else []),
        *axis.words(),
        wording.conditions(frames),
    ]
    return " ".join(parts) + f" Made from lesions.csv of study {frames.name}."
