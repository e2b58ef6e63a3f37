"""The figures of a study's errors: StudyFrames -> Figure. Here the twins of the paper's figures 6 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import PLAIN, arm_name, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, panels, styled
from resnet_bench.report.curve_data import CLEAN, RUNNING, TEST, TRAININGS, Curve, MeanCurve, curves_of, image_words
from resnet_bench.report.curve_lines import (
    MOST,
    axes_scale,
    curve_handles,
    curves_axis,
    finish_panel,
    limit_steps,
    longest_label,
    plot_curves,
    single_words,
)
from resnet_bench.report.depth_figure import draw_depth
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.mpl import Figure


@styled
def draw_curves(frames: StudyFrames, training: str = "clean") -> Figure:
    """Twin of the paper's figure 6: training and test error over steps, one panel per arm, one line per depth.

    Args:
        frames: of one setting.
        training: which training error: "clean" (eval mode, not augmented, as in tables and claims) or "running" (as
            trained on, augmented: the paper's).
    """
    metrics = (TRAININGS[training], TEST)
    cells = {arm: {metric: curves_of(frames, metric, arm) for metric in metrics} for arm in frames.arms}
    curves = [curve for by_metric in cells.values() for group in by_metric.values() for curve in group]
    axis = curves_axis(curves, wording.chance(frames))
    caption = _caption(frames, curves, axis, metrics, "Error during training.")
    titles = [wording.arm_title(arm) for arm in frames.arms]
    figure, all_axes = panels(titles, caption, longest_label(curves, axis))
    limit_steps(all_axes, curves)
    for axes, (arm, by_metric) in zip(all_axes, cells.items(), strict=True):
        axis.draw(axes)
        for group in by_metric.values():
            plot_curves(axes, group, frames.depths, axes_scale(axes))
        drawn = by_metric[TEST] or by_metric[metrics[0]]
        finish_panel(axes, axis, drawn, frames.depths, f"no finished {arm_name(arm)} run")
    legend_above(figure, [*curve_handles(curves, _several_seeds(frames), metrics), *axis.handles()])
    return figure


@styled
def draw_degradation(frames: StudyFrames) -> Figure:
    """Twin of the paper's figure 1: a shallow and a deep plain net, clean training error left, test error right."""
    pair = degradation_depths(frames)
    groups = {m: [c for c in curves_of(frames, m, PLAIN) if c.depth in pair] for m in (CLEAN, TEST)}
    curves = [curve for group in groups.values() for curve in group]
    axis = curves_axis(curves, wording.chance(frames))
    caption = _caption(frames, curves, axis, tuple(groups), _degradation_head(frames, pair))
    figure, all_axes = panels(["training error", "test error"], caption, longest_label(curves, axis))
    limit_steps(all_axes, curves)
    for axes, group in zip(all_axes, groups.values(), strict=True):
        axis.draw(axes)
        plot_curves(axes, group, frames.depths, axes_scale(axes))
        finish_panel(axes, axis, group, frames.depths, "no finished plain run")
    legend_above(figure, [*curve_handles(curves, _several_seeds(frames), tuple(groups)), *axis.handles()])
    return figure


def degradation_depths(frames: StudyFrames) -> list[int]:
    """The shallowest plain depth, and 56 as in the paper, or else the deepest; fewer if there are not two.

    Of those that have finished, or, before there are two, of those that have begun.
    """
    finished = _plain_depths(frames, TEST, only_finished=True)
    depths = finished if len(finished) > 1 else _plain_depths(frames, TEST, only_finished=False)
    if len(depths) < 2:
        return depths
    return [depths[0], 56 if 56 in depths[1:] else depths[-1]]


def _plain_depths(frames: StudyFrames, metric: str, *, only_finished: bool) -> list[int]:
    curves = curves_of(frames, metric, PLAIN)
    return sorted({curve.depth for curve in curves if isinstance(curve, MeanCurve) or not only_finished})


def _degradation_head(frames: StudyFrames, pair: Sequence[int]) -> str:
    if len(pair) == 2:
        return f"Plain nets of {pair[0]} and {pair[1]} layers: does the deeper one have the higher training error?"
    finished = sorted({int(depth) for depth in select(frames.finished, PLAIN)["depth"]})
    there = f"depth {finished[0]}" if finished else "none"
    return f"Plain nets; finished: {there} (the comparison needs two depths)."


def _caption(frames: StudyFrames, curves: Sequence[Curve], axis: ErrorAxis, metrics: Sequence[str], head: str) -> str:
    parts = [head]
    if curves:
        parts += [_what_is_shown(frames, metrics), *single_words(curves), *_above(curves, axis), *axis.words()]
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from curves.csv of study {frames.name}."


def _what_is_shown(frames: StudyFrames, metrics: Sequence[str]) -> str:
    """Which errors, on how many images, and what stands apart at the last step."""
    training, test = metrics
    tested, tested_apart = image_words([frames], test)
    if training == RUNNING:
        said, trained_apart = "running, train mode, on the images as trained on (augmented) since the last point", ""
    else:
        trained, trained_apart = image_words([frames], training)
        said = f"clean, eval mode, not augmented, on {trained} training images"
    sentence = f"The deeper the darker. Training error: {said}; test error: eval mode, on {tested} test images."
    apart = [f"{n} {name} images" for n, name in ((trained_apart, "training"), (tested_apart, "test")) if n]
    if apart:
        sentence += f" Markers apart at the last step: on {' and '.join(apart)}, as in the tables."
    return sentence


def _above(curves: Sequence[Curve], axis: ErrorAxis) -> list[str]:
    """What a long study's axis leaves out, in words; nothing if it shows all."""
    if axis.high >= max(error for curve in curves for error in curve.errors):
        return []
    names = sorted({display_name(c.arm[0], c.depth, c.arm[1]) for c in curves if c.end[1] > axis.high})
    ending = (
        f", and {', '.join(names)} (above {MOST:.0f} % at the end; the paper leaves such a net out too)"
        if names
        else ""
    )
    return [f"Above the axis: the first steep fall{ending}."]


def _several_seeds(frames: StudyFrames) -> bool:
    return bool(frames.finished.groupby(["arch", "shortcut", "depth"]).size().max() > 1)


FIGURES: dict[str, Callable[[StudyFrames], Figure]] = {
    "curves": draw_curves,
    "degradation": draw_degradation,
    "depth": draw_depth,
}


def error_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, those of `FIGURES` that the study can fill: plain nets of two depths, where it plans them."""
    plain = set(select(frames.plan, PLAIN)["depth"]) | set(select(frames.runs, PLAIN)["depth"])
    return {name: draw for name, draw in FIGURES.items() if name != "degradation" or len(plain) > 1}
