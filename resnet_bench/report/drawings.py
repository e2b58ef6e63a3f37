"""Which figures a study has: StudyFrames -> by name, a title and a function that draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from resnet_bench.frames import StudyFrames
from resnet_bench.report.axis_figure import axis_figures, words
from resnet_bench.report.confusion_figure import confusion_figures
from resnet_bench.report.cost_figures import cost_figures
from resnet_bench.report.figures import FIGURES, error_figures
from resnet_bench.report.mpl import Figure
from resnet_bench.report.signal_figures import signal_figures
from resnet_bench.report.surgery_figures import surgery_figures
from resnet_bench.results.settings import file_names

MOST_SETTINGS = 4  # that have figures and tables of their own
TITLES = {
    "curves": "Error during training",
    "degradation": "Plain nets: training and test error of a shallow and a deep one",
    "depth": "Final error against depth",
    "responses": "Layer responses",
    "gradients": "Gradients by layer",
    "growth": "Growth of the gradient before training, and final error",
    "continuation": "Trained on from the constructed solution",
    "lesions": "Error without one block",
    "confusion": "Which classes are taken for which",
    "cost": "Final test error against what training cost",
    "throughput": "Images per second against depth",
    "utilisation": "Achieved FLOP/s in percent of the measured peak",
}
Draw = Callable[[StudyFrames], Figure]


@dataclass(frozen=True)
class Drawing:
    """A figure that is not drawn yet."""

    title: str
    draw: Callable[[], Figure]


def drawings(frames: StudyFrames) -> dict[str, Drawing]:
    """By file name, the figures of a study; where it varies fields, those over all settings, and a few of each."""
    if frames.settings:
        return _over_settings(frames) | _of_settings(frames)
    draws: dict[str, Draw] = {
        **error_figures(frames),
        **signal_figures(frames),
        **confusion_figures(frames),
        **surgery_figures(frames),
        **cost_figures(frames),
    }
    return {name: Drawing(_title(name), partial(draw, frames)) for name, draw in draws.items()}


def _title(name: str) -> str:
    """A figure's title; of one that has none here the first line of its function."""
    return TITLES.get(name) or (FIGURES[name].__doc__ or name).partition("\n")[0].rstrip(".")


def single_settings(frames: StudyFrames) -> dict[str, StudyFrames]:
    """The settings that have figures and tables of their own, by what ends the names of their files."""
    if not 0 < len(frames.settings) <= MOST_SETTINGS:
        return {}
    names = file_names(frames.settings)
    return {names[part.setting]: part for part in frames.parts}


def _over_settings(frames: StudyFrames) -> dict[str, Drawing]:
    made = {
        name: Drawing(f"Final error against {words(name.removeprefix('axis-'))}", partial(draw, frames))
        for name, draw in axis_figures(frames).items()
    }
    # Speed is that of networks, whatever is varied; what training cost is that of runs.
    speed = {name: draw for name, draw in cost_figures(frames).items() if name != "cost"}
    return made | {name: Drawing(TITLES[name], partial(draw, frames)) for name, draw in speed.items()}


def _of_settings(frames: StudyFrames) -> dict[str, Drawing]:
    made = {}
    for ending, part in single_settings(frames).items():
        for name, draw in {**error_figures(part), **signal_figures(part)}.items():
            made[f"{name}-{ending}"] = Drawing(f"{_title(name)}, {part.setting}", partial(draw, part))
    return made
