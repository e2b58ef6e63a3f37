"""The figures of a study's report, each a function: StudyFrames -> Figure of matplotlib. Needs no torch.

A notebook shows what they return by itself; elsewhere `figure.savefig("curves.png")` writes it, as PNG, SVG or PDF.
Every figure has its caption below: conditions, what is missing, and which table it was made from. Of a study that
varies fields of its runs, `axis` draws errors against one of them; the others draw one setting (`frames.within`).

>>> import resnet_bench as rb
>>> frames = rb.load_study("results/digits-full")
>>> figure = rb.plot.curves(frames)
>>> [axes.get_title() for axes in figure.axes]
['plain', 'residual (shortcut option A)']
"""

from __future__ import annotations

import pandas as pd

from resnet_bench.analysis.axis import axis_fields
from resnet_bench.errors import UsageError
from resnet_bench.frames import StudyFrames
from resnet_bench.report.axis_figure import draw_axis
from resnet_bench.report.confusion_figure import confusions, draw_confusion
from resnet_bench.report.cost_figures import draw_throughput, draw_utilisation
from resnet_bench.report.curve_data import TRAININGS
from resnet_bench.report.depth_figure import draw_depth
from resnet_bench.report.error_cost_figure import draw_cost
from resnet_bench.report.figures import draw_curves, draw_degradation, error_figures
from resnet_bench.report.growth_figure import draw_growth, growth_of
from resnet_bench.report.mpl import Figure
from resnet_bench.report.signal_figures import draw_gradients, draw_responses, recorded, signals_of
from resnet_bench.report.surgery_figures import draw_continuation, draw_lesions

__all__ = [
    "axis", "confusion", "continuation", "cost", "curves", "degradation", "depth", "gradients", "growth", "lesions",
    "responses", "throughput", "utilisation",
]  # fmt: skip

NO_DEGRADATION = "it has no plain networks of two depths"
NO_AXIS = "it varies no field that an error can be drawn against"
NO_SIGNALS = "its runs recorded no signals of their layers"
NO_CONFUSIONS = "its finished runs recorded no confusions of classes"
NO_THROUGHPUT = "throughput was not measured (resnet-bench throughput does it)"
NO_SURGERY = "its trained networks were not operated on (resnet-bench surgery does it)"


def curves(frames: StudyFrames, training: str = "clean") -> Figure:
    """Training and test error (%) over steps, a panel for each kind of network: the paper's figure 6.

    Args:
        frames: of one setting.
        training: which training error: "clean" (eval mode, not augmented: that of tables and claims) or "running"
            (train mode, on the augmented images as trained on since the last point: that of the paper's figure).

    Raises:
        UsageError: there is no such training error.
    """
    if training not in TRAININGS:
        raise UsageError(f"training error {training!r} is unknown; one of {', '.join(TRAININGS)}")
    return draw_curves(_single(frames), training)


def axis(frames: StudyFrames, field: str | None = None) -> Figure:
    """Final training and test error (%) against the values of a field that the study varies: "steps" or "lr", say.

    Args:
        frames: of all settings of the study.
        field: which; None: the first that an error can be drawn against.

    Raises:
        UsageError: the study does not vary that field, or only to one value.
    """
    fields = axis_fields(frames)
    if not fields:
        raise UsageError(f"study {frames.name} has nothing to draw: {NO_AXIS}")
    return draw_axis(frames, field or fields[0])


def degradation(frames: StudyFrames) -> Figure:
    """A shallow and a deep plain network, training error left and test error right: the paper's figure 1.

    Raises:
        UsageError: the study has no plain networks of two depths.
    """
    if "degradation" not in error_figures(_single(frames)):
        raise UsageError(f"study {frames.name} has nothing to draw: {NO_DEGRADATION}")
    return draw_degradation(frames)


def depth(frames: StudyFrames) -> Figure:
    """Final training and test error (%) against depth: a point for each seed, lines through the means."""
    return draw_depth(_single(frames))


def responses(frames: StudyFrames) -> Figure:
    """Standard deviations of the layers' responses at the last step: the paper's figure 7.

    Raises:
        UsageError: signals.csv has no rows of finished runs.
    """
    _check(frames, signals_of(_single(frames)), NO_SIGNALS)
    return draw_responses(frames)


def gradients(frames: StudyFrames) -> Figure:
    """Gradient times weight norm by layer, in times the last convolution's, from before the first step to the last.

    Raises:
        UsageError: signals.csv has no rows of runs.
    """
    _check(frames, recorded(_single(frames)), NO_SIGNALS)
    return draw_gradients(frames)


def growth(frames: StudyFrames) -> Figure:
    """How the gradient grows towards the input before the first step, by depth, and the final error it goes with.

    Raises:
        UsageError: signals.csv has no rows of runs before the first step.
    """
    _check(frames, growth_of(_single(frames)), NO_SIGNALS)
    return draw_growth(frames)


def confusion(frames: StudyFrames) -> Figure:
    """Which classes are taken for which (percent of the true class), at depth 56 or else the deepest of all arms.

    Raises:
        UsageError: confusion.csv has no rows of finished runs.
    """
    _check(frames, confusions(_single(frames)), NO_CONFUSIONS)
    return draw_confusion(frames)


def continuation(frames: StudyFrames) -> Figure:
    """Training error of a deep plain network that was made of a trained shallow one and then trained on.

    Raises:
        UsageError: continuation.csv has no rows.
    """
    _check(frames, frames.continuation, NO_SURGERY)
    return draw_continuation(frames)


def lesions(frames: StudyFrames) -> Figure:
    """Test error (%) without each block, beside that of the intact networks: a panel for each kind of network.

    Raises:
        UsageError: lesions.csv has no rows.
    """
    _check(frames, frames.lesions, NO_SURGERY)
    return draw_lesions(frames)


def cost(frames: StudyFrames) -> Figure:
    """Final test error (%) against what training cost: multiply-adds left, seconds right.

    Raises:
        UsageError: runs.csv has no rows.
    """
    _check(frames, _single(frames).runs, "no run has finished")
    return draw_cost(frames)


def throughput(frames: StudyFrames) -> Figure:
    """Images per second against depth, of train steps and of inference.

    Raises:
        UsageError: throughput.csv has no rows.
    """
    _check(frames, frames.throughput, NO_THROUGHPUT)
    return draw_throughput(frames)


def utilisation(frames: StudyFrames) -> Figure:
    """Achieved FLOP/s in percent of a peak measured in the same session, against depth.

    Raises:
        UsageError: throughput.csv has no rows.
    """
    _check(frames, frames.throughput, NO_THROUGHPUT)
    return draw_utilisation(frames)


def _single(frames: StudyFrames) -> StudyFrames:
    """The frames; UsageError if they are of several settings, whose errors do not stand in one figure."""
    if frames.settings:
        first, number = frames.settings[0], len(frames.settings)
        raise UsageError(
            f"study {frames.name} has {number} settings: draw one of them, frames.within({first!r}), or axis(frames)"
        )
    return frames


def _check(frames: StudyFrames, rows: pd.DataFrame, what: str) -> None:
    if rows.empty:
        raise UsageError(f"study {frames.name} has nothing to draw: {what}")
