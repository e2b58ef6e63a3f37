"""The figure of final error against what a study varies, plain and residual: StudyFrames -> Figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from resnet_bench.analysis.axis import (
    FINAL_TEST,
    FINAL_TRAIN,
    AxisLine,
    Held,
    along,
    axis_fields,
    axis_lines,
    others,
)
from resnet_bench.errors import UsageError
from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm, display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import EndLabel, label_ends, legend_above, log_axis, say, styled
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.grid import TICK_SIZE, are_upright, fitting, grid, panel_size
from resnet_bench.report.looks import ARM_STYLES, NEUTRAL, arm_handle, shade
from resnet_bench.report.mpl import Artist, Axes, Figure, Line2D, Patch
from resnet_bench.results.settings import REPLICATES, Value, number, text_of

LOGARITHMIC = ("steps", "lr")  # always; others from this ratio of the highest to the lowest value on
RATIO = 4
MOST_LINES = 12  # in a panel; of more depths the shallowest, 56 or the middle one, and the deepest are drawn
ASIDE = 0.014  # of the panel's width between two arms
COLUMNS, MOST_PANELS = 4, 16
WITH_TEST = 4  # combinations of other fields, up to which test errors have panels too
WORDS = {
    "lr": "learning rate", "lr_warmup": "learning rate of the warm-up", "image_side": "image side (pixels)",
    "images_per_class": "images of each class", "crop_padding": "crop padding (pixels)", "batch_size": "batch size",
}  # fmt: skip
ERRORS = {FINAL_TRAIN: "training error", FINAL_TEST: "test error"}
Panel = tuple[Held, str]  # at what the other fields are held, and which error


def words(field: str) -> str:
    """What a reader calls a field."""
    return WORDS.get(field, field.replace("_", " "))


def axis_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, a figure for each varied field that an error can be drawn against."""
    fields = [field for field in axis_fields(frames) if len(others(frames, field)) <= MOST_PANELS]
    return {f"axis-{field}": partial(draw_axis, field=field) for field in fields}


@styled
def draw_axis(frames: StudyFrames, field: str) -> Figure:
    """Final error against the values of a varied field: a line for each arm and depth, means and bands over seeds.

    Training and test error stand side by side. Where other fields are varied too, each of their combinations has a
    panel of its own.

    Raises:
        UsageError: the study does not vary that field, or has one value of it only.
    """
    if field not in axis_fields(frames):
        known = ", ".join(axis_fields(frames)) or "no field that an error can be drawn against"
        raise UsageError(f"study {frames.name} has no axis {field!r}; it varies {known}")
    combinations = others(frames, field)
    drawn = {
        (index, metric): axis_lines(frames, field, metric, held)
        for index, held in enumerate(combinations)
        for metric in ERRORS
    }
    rows = _layout(combinations)
    depths = _depths(frames, [line for lines in drawn.values() for line in lines])
    names = [number(v) for v in frames.axes[field]] if _is_named(frames.axes[field]) else []
    labels = [display_name(arm[0], depth, arm[1]) for arm in frames.arms for depth in depths]
    shown = [panel for row in rows for panel in row]
    axis = _axis(frames, [line for panel in shown for line in drawn[panel] if line.depth in depths])
    titles = [[_title(combinations, index, metric) for index, metric in row] for row in rows]
    ylabels = ["error (%)" if len(combinations) == 1 else f"{ERRORS[row[0][1]]} (%)" for row in rows]
    figure, all_axes = grid(
        titles, _caption(frames, field, depths, axis), max(labels, key=len, default=""), ylabels=ylabels, names=names
    )
    for axes, (index, metric) in zip((axes for row in all_axes for axes in row), shown, strict=True):
        lines = [line for line in drawn[index, metric] if line.depth in depths]
        axis.draw(axes)
        _draw_panel(axes, frames, field, combinations[index], lines, depths)
    legend_above(figure, [*_handles(frames, [line for lines in drawn.values() for line in lines]), *axis.handles()])
    return figure


def _layout(combinations: Sequence[Held]) -> list[list[tuple[int, str]]]:
    """Rows of panels: which combination, and which error."""
    if len(combinations) == 1:
        return [[(0, metric) for metric in ERRORS]]
    metrics = list(ERRORS) if len(combinations) <= WITH_TEST else [FINAL_TRAIN]
    begins = range(0, len(combinations), COLUMNS)
    return [
        [(index, metric) for index in range(begin, min(begin + COLUMNS, len(combinations)))]
        for begin in begins
        for metric in metrics
    ]


def _title(combinations: Sequence[Held], index: int, metric: str) -> str:
    return ERRORS[metric] if len(combinations) == 1 else text_of(combinations[index])


def _depths(frames: StudyFrames, lines: Sequence[AxisLine]) -> list[int]:
    depths = sorted({line.depth for line in lines})
    if len(depths) <= 3 or len(frames.arms) * len(depths) <= MOST_LINES:
        return depths
    return [depths[0], 56 if 56 in depths[1:-1] else depths[len(depths) // 2], depths[-1]]


# ---------------------------------------------------------------------------------------------- one panel


def _draw_panel(
    axes: Axes, frames: StudyFrames, field: str, held: Held, lines: Sequence[AxisLine], depths: Sequence[int]
) -> None:
    axes.set_xlabel(words(field))
    at = _x_axis(axes, field, frames.axes[field])
    places = {arm: _sideways(axes, at, _shift(frames, arm)) for arm in frames.arms}
    chance = wording.chance(frames)
    gone = along(frames, frames.diverged, field, held)
    if not lines and gone.empty:
        say(axes, "no finished run")
        return
    for line in lines:
        _plot(axes, line, places[line.arm], shade(line.arm, line.depth, depths))
    for arm, place in places.items():
        x = [place[value] for value in select(gone, arm)["value"]]
        axes.scatter(x, [chance] * len(x), s=30, marker="x", color=ARM_STYLES[arm][0], linewidth=1.2, zorder=4)
    label_ends(axes, [_end_label(line, places[line.arm], depths) for line in lines], panel_size(axes)[1])


def _shift(frames: StudyFrames, arm: Arm) -> float:
    """Arms stand side by side, so that equal errors do not hide each other."""
    return ASIDE * (frames.arms.index(arm) - (len(frames.arms) - 1) / 2)


def _sideways(axes: Axes, at: Mapping[Value, float], share: float) -> dict[Value, float]:
    """The places, moved by a share of the panel's width."""
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        return {value: x * (high / low) ** share for value, x in at.items()}
    return {value: x + (high - low) * share for value, x in at.items()}


def _plot(axes: Axes, line: AxisLine, place: Mapping[Value, float], color: str) -> None:
    """The line of the means, whose marker tells the arm, and the band of the seeds; broken where nothing finished."""
    x, points = list(place.values()), line.points.reindex(list(place))
    axes.fill_between(x, points["min"], points["max"], color=color, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(
        x, points["mean"], color=color, linewidth=1.4, marker=ARM_STYLES[line.arm][1], markersize=4.2,
        markeredgecolor="white", markeredgewidth=0.4, zorder=3,
    )  # fmt: skip


def _end_label(line: AxisLine, place: Mapping[Value, float], depths: Sequence[int]) -> EndLabel:
    name = display_name(line.arm[0], line.depth, line.arm[1])
    return EndLabel(
        name, place[line.points.index[-1]], float(line.points["mean"].iloc[-1]), shade(line.arm, line.depth, depths)
    )


# ---------------------------------------------------------------------------------------------- axes


def _is_named(values: Sequence[Value]) -> bool:
    return any(isinstance(value, str) for value in values)


def is_logarithmic(field: str, values: Sequence[Value]) -> bool:
    """Steps and learning rates always are; others of which the highest is more than four times the lowest."""
    known = [value for value in values if not isinstance(value, str)]
    if len(known) < len(values) or min(known) <= 0:
        return False
    return field in LOGARITHMIC or max(known) > RATIO * min(known)


def _x_axis(axes: Axes, field: str, values: Sequence[Value]) -> dict[Value, float]:
    """Set up the axis; where on it each value stands."""
    width = panel_size(axes)[0]
    if _is_named(values):
        names = [number(value) for value in values]
        axes.set_xlim(-0.4, len(names) - 0.6)
        axes.set_xticks(range(len(names)), names, rotation=90 if are_upright(names, width) else 0, size=TICK_SIZE)
        return {value: float(index) for index, value in enumerate(values)}
    place = {value: float(value) for value in values}
    at, small = list(place.values()), 0 < min(place.values()) < 0.001
    if is_logarithmic(field, values):
        log_axis(axes, "x", at, ticks=_roomy(list(map(math.log, at)), values, at, width), short=small)
    else:
        margin = 0.08 * (at[-1] - at[0])
        axes.set_xlim(at[0] - margin, at[-1] + margin)
        ticks = _roomy(at, values, at, width)
        axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.tick_params(axis="x", labelsize=TICK_SIZE)
    return place


def _roomy(scaled: Sequence[float], values: Sequence[Value], at: Sequence[float], width: float) -> list[float]:
    """Those of the values that have room for their numbers."""
    span = scaled[-1] - scaled[0]
    shares = [0.08 + 0.84 * (place - scaled[0]) / span for place in scaled]
    return [at[index] for index in fitting(shares, [number(value) for value in values], width)]


def _axis(frames: StudyFrames, lines: Sequence[AxisLine]) -> ErrorAxis:
    """One for all panels; diverged runs are drawn at chance."""
    chance = wording.chance(frames)
    errors = [float(error) for line in lines for column in ("min", "max") for error in line.points[column]]
    return ErrorAxis.of([*errors, *[chance] * len(frames.diverged)], chance, below=0.03)


# ---------------------------------------------------------------------------------------------- words


def _handles(frames: StudyFrames, lines: Sequence[AxisLine]) -> list[Artist]:
    handles: list[Artist] = [arm_handle(arm) for arm in frames.arms if any(line.arm == arm for line in lines)]
    if any((line.points["count"] > 1).any() for line in lines):
        handles.append(Patch(color=NEUTRAL, alpha=0.2, linewidth=0, label="band: min to max over seeds"))
    if len(frames.diverged):
        handles.append(Line2D([], [], color=NEUTRAL, linestyle="none", marker="x", label="diverged"))
    return handles


def _caption(frames: StudyFrames, field: str, depths: Sequence[int], axis: ErrorAxis) -> str:
    parts = [f"Error at the last step against {words(field)}: means over seeds; the deeper the darker."]
    if len(frames.finished):
        train = wording.range_of(frames.finished["final_train_clean_images"])
        test = wording.range_of(frames.finished["final_test_images"])
        parts.append(f"Eval mode, not augmented, on {train} training and {test} test images.")
        parts += ["Arms are set apart sideways to be visible.", *axis.words()]
    repeated = [name for name in REPLICATES if name in frames.axes]
    if repeated:
        parts.append(f"Means are over {' and '.join(repeated)} too.")
    left_out = [depth for depth in frames.depths if depth not in depths and len(frames.finished)]
    if left_out:
        parts.append(f"Not drawn, but in the table: depths {', '.join(map(str, left_out))}.")
    parts += [wording.conditions(frames), *wording.excluded(frames)]
    return " ".join(parts) + f" Made from runs.csv of study {frames.name}."
