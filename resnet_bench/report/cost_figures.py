"""The figures of cost, StudyFrames -> Figure: which of them a study has; here speed and utilisation against depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from resnet_bench.frames import INFERENCE, TRAIN_STEP, StudyFrames, arms_in, select
from resnet_bench.networks import Arm
from resnet_bench.report.canvas import legend_above, log_axis, panels, say, styled
from resnet_bench.report.error_axis import beginning
from resnet_bench.report.error_cost_figure import draw_cost
from resnet_bench.report.looks import ARM_STYLES, NEUTRAL, arm_handle
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D
from resnet_bench.report.setups import Setup, conditions, peaks, setups, throttled

TITLES = {TRAIN_STEP: "train step", INFERENCE: "inference"}
SPEED, IQR, UTILISATION = "img_per_sec", "img_per_sec_iqr", "utilisation"


def cost_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has rows for."""
    drawn: dict[str, Callable[[StudyFrames], Figure]] = {}
    if len(frames.runs):
        drawn["cost"] = draw_cost
    if len(frames.throughput):
        drawn |= {"throughput": draw_throughput, "utilisation": draw_utilisation}
    return drawn


@styled
def draw_throughput(frames: StudyFrames) -> Figure:
    """Images per second against depth, both axes logarithmic: train step left, inference right."""
    setup, *others = setups(frames)
    head = (
        "Images per second against depth: medians over rounds; bars: the interquartile range, half of it to each side. "
        "Train step: batch, forward, backward, update, error counting; inference: forward."
    )
    figure, all_axes = panels(
        list(TITLES.values()), _caption(frames, setup, others, head), "", ylabel="images per second", own_y=True
    )
    for axes, mode in zip(all_axes, TITLES, strict=True):
        rows = _plot_mode(axes, setup, mode, SPEED)
        if rows.empty:
            axes.set_yticks([])
            continue
        ends = [*(rows[SPEED] - _half_iqr(rows)), *(rows[SPEED] + _half_iqr(rows))]
        log_axis(axes, "y", [speed for speed in ends if speed > 0])
    legend_above(figure, _handles(setup))
    return figure


@styled
def draw_utilisation(frames: StudyFrames) -> Figure:
    """Achieved FLOP/s against depth, in percent of what a large matrix product reached in the same session."""
    setup, *others = setups(frames)
    head = (
        "Achieved FLOP/s in percent of a measured peak. FLOPs by torch's FlopCounterMode: 2 per multiply-add of "
        f"convolutions and the classifier, nothing else. Peak: {peaks(setup.rows)}."
    )
    shares = [float(share) for share in setup.rows[UTILISATION] if share > 0] or [100 / 1.15]
    start = beginning(shares)
    if start:
        head += f" The axis begins at {start:.0f} %, not at 0."
    figure, all_axes = panels(
        list(TITLES.values()), _caption(frames, setup, others, head), "", ylabel="utilisation (% of the peak)"
    )
    for axes, mode in zip(all_axes, TITLES, strict=True):
        _plot_mode(axes, setup, mode, UTILISATION)
    length = max(max(shares) - start, 1.0)
    all_axes[0].set_ylim(start - 0.1 * length * (start > 0), start + 1.15 * length)
    legend_above(figure, _handles(setup))
    return figure


def _plot_mode(axes: Axes, setup: Setup, mode: str, column: str) -> pd.DataFrame:
    """Draw a column of one mode's rows, a line per arm; the rows that are drawn."""
    axes.set_xlabel("depth (weighted layers)")
    rows = setup.rows[(setup.rows["mode"] == mode) & (setup.rows[column] > 0)].sort_values("depth")
    if rows.empty:
        say(axes, f"{TITLES[mode]} not measured")
        return rows
    arms = arms_in(setup.rows)
    for index, arm in enumerate(arms):
        # Arms stand side by side, so that equal values do not hide each other.
        sideways = 1.03 ** (index - (len(arms) - 1) / 2)
        _plot_arm(axes, arm, select(rows, arm), column, sideways)
    depths = [float(depth) for depth in setup.depths]
    log_axis(axes, "x", depths, ticks=depths)
    return rows


def _plot_arm(axes: Axes, arm: Arm, rows: pd.DataFrame, column: str, sideways: float) -> None:
    color, marker = ARM_STYLES[arm]
    x, y = rows["depth"] * sideways, rows[column]
    bars = _half_iqr(rows) if column == SPEED else None
    axes.errorbar(x, y, yerr=bars, color=color, linewidth=1.5, elinewidth=0.9, capsize=2, zorder=2)
    faces = [color if exclusive is True else "white" for exclusive in rows["exclusive"]]
    axes.scatter(x, y, s=18, marker=marker, facecolor=faces, edgecolor=color, linewidth=0.8, zorder=3)


def _half_iqr(rows: pd.DataFrame) -> pd.Series[float]:
    return rows[IQR].fillna(0) / 2


def _handles(setup: Setup) -> list[Artist]:
    handles: list[Artist] = [arm_handle(arm) for arm in arms_in(setup.rows)]
    if not all(exclusive is True for exclusive in setup.rows["exclusive"]):
        hollow = Line2D([], [], color=NEUTRAL, linestyle="none", marker="o", markerfacecolor="white", markersize=4.5)
        hollow.set_label("not exclusive, or not known")
        handles.append(hollow)
    return handles


def _caption(frames: StudyFrames, setup: Setup, others: Sequence[Setup], head: str) -> str:
    parts = [head, "Arms are set apart sideways to be visible.", conditions(setup), *throttled(setup.rows)]
    if others:
        parts.append(
            f"Drawn is one setup of {len(others) + 1}, {setup.label} (the one with the most rows; of equals, the one "
            f"that the runs were made in); in the table stand also: {'; '.join(other.label for other in others)}."
        )
    return " ".join(parts) + f" Made from throughput.csv of study {frames.name}."
