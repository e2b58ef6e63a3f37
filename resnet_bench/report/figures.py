"""The figures of a study: StudyFrames -> Figure. Here the twins of the paper's figures 6 and 1: error over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import DEPTHS, PLAIN, Arm, arm_name, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, label_ends, legend_above, panels, say, styled
from resnet_bench.report.depth_figure import draw_depth
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D, Patch

TRAIN, VALIDATION, TEST = "train_top1_err", "validation_top1_err", "test_top1_err"
# Line, its width, and how dark the band of the seeds is.
LOOKS: dict[str, tuple[str, float, float]] = {
    TRAIN: ("--", 0.9, 0.10), VALIDATION: (":", 1.3, 0.0), TEST: ("-", 1.9, 0.20)
}  # fmt: skip
LONG = 20_000  # steps from which on the axes are the paper's: "iter. (1e4)", and the first steep fall is cut off

# Hues that the colour-blind can tell apart, with falling lightness, so that they differ in grey too.
DEPTH_COLORS = ("#E8A820", "#4FA3D9", "#D4581A", "#28609A", "#1B1B1B")


@dataclass(frozen=True)
class MeanCurve:
    """An error over steps: mean, min and max over the seeds that have a value at that step."""

    arm: Arm
    depth: int
    points: pd.DataFrame  # index step; columns mean, min, max

    @property
    def end(self) -> float:
        """The mean at the last step."""
        return float(self.points["mean"].iloc[-1])

    @property
    def top(self) -> float:
        """The highest value."""
        return float(self.points["max"].max())

    @property
    def steps(self) -> int:
        """The last step."""
        return int(self.points.index[-1])


def mean_curves(frames: StudyFrames, metric: str, arm: Arm) -> list[MeanCurve]:
    """One curve per depth of the arm's finished runs."""
    rows = select(frames.finished_curves, arm).dropna(subset=[metric])
    by_depth = ((d, rows[rows["depth"] == d]) for d in sorted(set(rows["depth"])))
    return [MeanCurve(arm, int(d), part.groupby("step")[metric].agg(["mean", "min", "max"])) for d, part in by_depth]


def depth_color(depth: int, depths: Sequence[int]) -> str:
    """The paper's depths always have the same colour; other sets of depths are spread over the colours."""
    known = list(DEPTHS) if depth in DEPTHS and set(depths) <= set(DEPTHS) else sorted(depths)
    return DEPTH_COLORS[round(known.index(depth) * (len(DEPTH_COLORS) - 1) / max(1, len(known) - 1))]


@styled
def draw_curves(frames: StudyFrames) -> Figure:
    """Twin of the paper's figure 6: training and test error over steps, one panel per arm, one colour per depth."""
    cells = {arm: {TRAIN: mean_curves(frames, TRAIN, arm), TEST: mean_curves(frames, TEST, arm)} for arm in frames.arms}
    curves = [curve for by_metric in cells.values() for group in by_metric.values() for curve in group]
    caption = _curves_caption(frames, curves, "Training and test error during training.")
    figure, all_axes = panels([wording.arm_title(arm) for arm in frames.arms], caption, longest_label(curves))
    for axes, (arm, by_metric) in zip(all_axes, cells.items(), strict=True):
        for metric, group in by_metric.items():
            plot_curves(axes, group, frames.depths, metric)
        finish_panel(axes, curves, by_metric[TEST] or by_metric[TRAIN], frames.depths, arm_name(arm))
    legend_above(figure, curve_handles(curves, _several_seeds(frames), both=True))
    return figure


@styled
def draw_degradation(frames: StudyFrames) -> Figure:
    """Twin of the paper's figure 1: a shallow and a deep plain net, training error left, test error right."""
    pair = degradation_depths(frames)
    groups = {m: [c for c in mean_curves(frames, m, PLAIN) if c.depth in pair] for m in (TRAIN, TEST)}
    curves = [curve for group in groups.values() for curve in group]
    caption = _curves_caption(frames, curves, _degradation_head(pair))
    figure, all_axes = panels(["training error", "test error"], caption, longest_label(curves))
    for axes, (metric, group) in zip(all_axes, groups.items(), strict=True):
        plot_curves(axes, group, frames.depths, metric)
        finish_panel(axes, curves, group, frames.depths, "plain")
    legend_above(figure, curve_handles(curves, _several_seeds(frames), both=False))
    return figure


def degradation_depths(frames: StudyFrames) -> list[int]:
    """The shallowest finished plain depth, and 56 as in the paper, or else the deepest; fewer if there are not two."""
    depths = sorted({int(d) for d in select(frames.finished, PLAIN)["depth"]})
    if len(depths) < 2:
        return depths
    return [depths[0], 56 if 56 in depths[1:] else depths[-1]]


def _degradation_head(pair: Sequence[int]) -> str:
    if len(pair) == 2:
        return f"Plain nets of {pair[0]} and {pair[1]} layers: does the deeper one have the higher training error?"
    return f"Plain nets; finished: {'depth ' + str(pair[0]) if pair else 'none'} (the comparison needs two depths)."


def _curves_caption(frames: StudyFrames, curves: Sequence[MeanCurve], head: str) -> str:
    parts = [head]
    if curves:
        count = wording.range_of(frames.finished_curves["test_images"])
        parts += [
            "Training error: running, train mode, on the images as trained on since the last point; "
            f"test error: eval mode, on {count} test images.",
            *_above(curves),
        ]
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from curves.csv of study {frames.name}."


def _above(curves: Sequence[MeanCurve]) -> list[str]:
    """What a long study's axis leaves out, in words; nothing if it shows all."""
    limit = _upper_limit(curves)
    if limit >= max(curve.top for curve in curves):
        return []
    names = sorted({display_name(c.arm[0], c.depth, c.arm[1]) for c in curves if c.end > limit})
    ending = f", and {', '.join(names)} (above 60 % at the end; the paper leaves such a net out too)" if names else ""
    return [f"Above the axis: the first steep fall{ending}."]


def _upper_limit(curves: Sequence[MeanCurve]) -> float:
    """All data in a short study. In a long one the ends decide, as in the paper, or the fall would fill the panel."""
    full = 1.04 * max((curve.top for curve in curves), default=100 / 1.04)
    ends = [curve.end for curve in curves if curve.end <= 60]
    if _is_long(curves) and ends:
        return min(full, max(20.0, 1.6 * max(ends)))
    return max(full, 1.0)


def _is_long(curves: Sequence[MeanCurve]) -> bool:
    return max((curve.steps for curve in curves), default=0) >= LONG


def plot_curves(axes: Axes, curves: Sequence[MeanCurve], depths: Sequence[int], metric: str) -> None:
    """Means as lines, thin and broken but for the test error, and bands from the lowest to the highest seed."""
    scale = 1e4 if _is_long(curves) else 1
    style, width, alpha = LOOKS[metric]
    for curve in curves:
        color, x = depth_color(curve.depth, depths), curve.points.index / scale
        # A single row has no line to draw, so it gets a marker.
        marker = "." if len(x) == 1 else "None"
        axes.plot(x, curve.points["mean"], style, linewidth=width, color=color, marker=marker, zorder=3)
        axes.fill_between(x, curve.points["min"], curve.points["max"], color=color, alpha=alpha, linewidth=0)


def finish_panel(
    axes: Axes, all_curves: Sequence[MeanCurve], labelled: Sequence[MeanCurve], depths: Sequence[int], name: str
) -> None:
    """Axes that suit all curves of the figure, and the names of `labelled` at their ends."""
    limit, scale = _upper_limit(all_curves), 1e4 if _is_long(all_curves) else 1
    axes.set_ylim(0, limit)
    axes.set_xlabel("iter. (1e4)" if _is_long(all_curves) else "step")
    if not labelled:
        say(axes, f"no finished {name} run")
        return
    axes.set_xlim(0, max(curve.steps for curve in all_curves) / scale)
    label_ends(axes, [_end_label(curve, limit, scale, depths) for curve in labelled])


def _end_label(curve: MeanCurve, limit: float, scale: float, depths: Sequence[int]) -> EndLabel:
    return EndLabel(_label(curve, limit), curve.steps / scale, curve.end, depth_color(curve.depth, depths))


def _label(curve: MeanCurve, limit: float) -> str:
    """`plain-20`; a line that ends above the axis tells where."""
    name = display_name(curve.arm[0], curve.depth, curve.arm[1])
    return f"{name} ({curve.end:.0f} %)" if curve.end > limit else name


def longest_label(curves: Sequence[MeanCurve]) -> str:
    """Of those that `finish_panel` writes."""
    limit = _upper_limit(curves)
    return max((_label(curve, limit) for curve in curves), key=len, default="")


def _several_seeds(frames: StudyFrames) -> bool:
    return bool(frames.finished.groupby(["arch", "shortcut", "depth"]).size().max() > 1)


def curve_handles(
    curves: Sequence[MeanCurve], several: bool, both: bool, metrics: Sequence[str] = (TRAIN, TEST)
) -> list[Artist]:
    """The legend of `plot_curves`; `several` seeds have a mean and a band, `both` errors may stand in one panel."""
    if not curves:
        return []
    mean = "mean over seeds" if several else "one seed"
    names = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
    lines: list[Artist] = [
        Line2D([], [], color="#444444", ls=LOOKS[m][0], lw=LOOKS[m][1], label=names[m] + (" error" * both))
        for m in metrics
    ]
    band: list[Artist] = [Patch(color="#444444", alpha=0.2, linewidth=0, label=f"line: {mean}; band: min to max")]
    return lines + (band if several else [])


FIGURES: dict[str, Callable[[StudyFrames], Figure]] = {
    "curves": draw_curves,
    "degradation": draw_degradation,
    "depth": draw_depth,
}
