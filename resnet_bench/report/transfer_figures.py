"""The figures of a transfer folder: the modes' errors beside each other, their curves, and their confusions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from resnet_bench.analysis.statistics import Interval
from resnet_bench.config.run import EXTRACTION, FINE_TUNE, SCRATCH, TRANSFER_MODES
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import Arm, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import legend_above, panels, styled
from resnet_bench.report.confusion_figure import confusions, draw_matrices, drawn_depth
from resnet_bench.report.curve_data import CLEAN, TEST, VALIDATION, curves_of, image_words
from resnet_bench.report.curve_lines import (
    axes_scale,
    curve_handles,
    curves_axis,
    finish_panel,
    limit_steps,
    longest_label,
    plot_curves,
    single_words,
)
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.mpl import Figure, FixedLocator, FuncFormatter, Line2D, NullLocator
from resnet_bench.results.tables import CONFUSION, CURVES, TRANSFER

# Colour and marker. Greys, as hues are of networks, which the modes share.
STYLES = {SCRATCH: ("#A0A0A0", "s"), EXTRACTION: ("#606060", "D"), FINE_TUNE: ("#111111", "o")}
DODGE = 0.06  # between modes, as a share of the images by class
METRICS = (CLEAN, VALIDATION, TEST)
ByMode = Mapping[str, StudyFrames]  # the studies of one number of images a class


@styled
def draw_transfer(groups: list[tuple[str, pd.DataFrame]], name: str, chance: float) -> Figure:
    """Test error by images a class: every seed's point, the mean, and its 95 % interval, for each (mode, its rows)."""
    means = [(mode, rows, Interval.of(rows["test_top1_err"])) for mode, rows in groups]
    errors = [e for _, rows, found in means for e in (*rows["test_top1_err"], found.low, found.high)]
    axis = ErrorAxis.of([max(0.0, error) for error in errors], chance)
    caption = (
        "Test error of the state with the lowest validation error. Small: every seed; large, with a bar: mean and 95 % "
        "interval over seeds (Student's t). Modes are set apart sideways to be visible. "
        f"{''.join(f'{words} ' for words in axis.words() if groups)}Made from {TRANSFER.file} of {name}."
    )
    figure, (axes,) = panels([""], caption, "", ylabel="test error (%)")
    axis.draw(axes)
    axes.set_xlabel("images a class")
    levels: set[float] = set()
    for mode, rows, found in means:
        color, marker = STYLES[mode]
        levels |= set(rows["images_per_class"])
        x = rows["images_per_class"] * (1 + DODGE) ** (TRANSFER_MODES.index(mode) - 1)
        beside = x * (1 + DODGE / 4)
        axes.scatter(beside, rows["test_top1_err"], s=9, marker=marker, color=color, alpha=0.45, linewidth=0)
        reach = None if math.isnan(found.low) else found.high - found.mean
        axes.errorbar(
            x.iloc[0], found.mean, yerr=reach, color=color, marker=marker, markersize=6, capsize=3, linewidth=1.4,
            zorder=3,
        )  # fmt: skip
    axes.set_xscale("log")
    if levels:
        axes.set_xlim(min(levels) / 1.35, max(levels) * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(sorted(levels)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: images(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    present = [mode for mode in TRANSFER_MODES if mode in {mode for mode, _ in groups}]
    handles = [Line2D([], [], color=STYLES[m][0], marker=STYLES[m][1], linestyle="none", label=m) for m in present]
    legend_above(figure, [*handles, *axis.handles()])
    return figure


def images(value: float) -> str:
    """A number of images a class, which is a mean where classes differ."""
    return f"{value:,.10g}" if value == int(value) else f"{value:,.1f}"


@styled
def draw_transfer_curves(studies: ByMode, name: str) -> Figure:
    """Training, validation and test error over steps, one panel per mode."""
    cells = {
        mode: {metric: [c for arm in frames.arms for c in curves_of(frames, metric, arm)] for metric in METRICS}
        for mode, frames in studies.items()
    }
    curves = [curve for by_metric in cells.values() for group in by_metric.values() for curve in group]
    depths = sorted({depth for frames in studies.values() for depth in frames.depths})
    axis = curves_axis(curves, max(wording.chance(frames) for frames in studies.values()))
    caption = _curves_caption(studies, [*single_words(curves), *(axis.words() if curves else [])], name)
    figure, all_axes = panels(list(studies), caption, longest_label(curves, axis))
    limit_steps(all_axes, curves)
    for axes, (mode, by_metric) in zip(all_axes, cells.items(), strict=True):
        axis.draw(axes)
        for group in by_metric.values():
            plot_curves(axes, group, depths, axes_scale(axes))
        finish_panel(axes, axis, by_metric[TEST], depths, f"no finished {mode} run")
    several = any(len(set(frames.finished["seed"])) > 1 for frames in studies.values())
    legend_above(figure, [*curve_handles(curves, several, METRICS), *axis.handles()])
    return figure


def _curves_caption(studies: ByMode, more: list[str], name: str) -> str:
    frames = list(studies.values())
    trained, tested = image_words(frames, CLEAN), image_words(frames, TEST)
    apart = [f"{n} {what} images" for (_, n), what in ((trained, "training"), (tested, "test")) if n]
    validated = wording.range_of(pd.concat([f.finished["validation_images"] for f in frames]))
    parts = [
        f"Error during training, eval mode, not augmented. Training error: clean, on {trained[0]} training images; "
        f"validation error: on {validated} images, by which the state is selected; test error: on {tested[0]} test "
        "images.",
        *([f"Markers apart at the last step: on {' and '.join(apart)}."] if apart else []),
        *more,
        _conditions(studies),
        *(sentence for f in frames for sentence in wording.excluded(f)),
    ]
    return " ".join(parts) + f" Made from {CURVES.file} of the studies in {name}."


@styled
def draw_transfer_confusion(studies: ByMode, name: str) -> Figure:
    """Which classes are taken for which, one panel per mode, for the deepest network that all modes have trained."""
    counts = {mode: confusions(frames) for mode, frames in studies.items()}
    rows = pd.concat(counts.values())
    depth = drawn_depth(rows)
    arm: Arm = [arm for arm in arms_in(rows) if len(select(rows, arm, depth))][-1]
    caption = (
        f"Which classes are taken for which by {display_name(arm[0], depth, arm[1])}: percent of the test images of a "
        "class (row) that the net calls by each class (column), in the state with the lowest validation error, over "
        f"all seeds. {_conditions(studies)} Made from {CONFUSION.file} of the studies in {name}."
    )
    chosen = {mode: select(found, arm, depth) for mode, found in counts.items()}
    return draw_matrices({mode: found for mode, found in chosen.items() if len(found)}, caption)


def _conditions(studies: ByMode) -> str:
    """One sentence: dataset, protocols, device, n."""
    frames = list(studies.values())
    told = [
        f"Dataset {_different(f.dataset for f in frames)}",
        f"protocols {_different(f.protocol for f in frames)}",
        f"{_different(f'{f.precision}, {f.mode}' for f in frames)}",
        f"device {_different(wording.devices(f) for f in frames)}",
        _different(wording.num_seeds(f) for f in frames),
    ]
    return "; ".join(told) + "."


def _different(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
