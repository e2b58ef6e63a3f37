"""Error curves: what curves.csv holds, as means over the seeds, and as single runs that are in no mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm
from resnet_bench.report import wording

RUNNING, CLEAN = "train_top1_err", "train_clean_top1_err"
VALIDATION, TEST = "validation_top1_err", "test_top1_err"
TRAININGS = {"clean": CLEAN, "running": RUNNING}
IMAGES = {CLEAN: "train_clean_images", TEST: "test_images"}  # which column says on how many images a row is
UNFINISHED, DIVERGED = "unfinished", "diverged"
WHAT = ["run_id", "arch", "depth", "shortcut", "seed"]


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """An error over steps: mean, min and max over the seeds that have a value at that step.

    Attributes:
        arm: of the networks.
        depth: of the networks.
        metric: the column of curves.csv.
        points: index step; columns mean, min, max. All of them on the same images.
        whole: the same of the rows, at the last step, that are on more images than those before.
    """

    arm: Arm
    depth: int
    metric: str
    points: pd.DataFrame
    whole: pd.DataFrame

    @property
    def end(self) -> tuple[int, float]:
        """Step and mean of the last value."""
        last = self.points if self.whole.empty or self.points.index[-1] > self.whole.index[-1] else self.whole
        return int(last.index[-1]), float(last["mean"].iloc[-1])

    @property
    def errors(self) -> list[float]:
        """Everything that the axis has to show."""
        return [float(e) for part in (self.points, self.whole) for column in ("min", "max") for e in part[column]]


@dataclass(frozen=True, eq=False)
class SingleRun:
    """One run that is in no mean: its error so far, by step, and why."""

    arm: Arm
    depth: int
    seed: int
    metric: str
    state: str  # UNFINISHED or DIVERGED
    points: pd.Series[float]  # index step, ascending; finite

    @property
    def end(self) -> tuple[int, float]:
        """Step and value of the last finite point."""
        return int(self.points.index[-1]), float(self.points.iloc[-1])

    @property
    def errors(self) -> list[float]:
        """Everything that the axis has to show."""
        return [float(error) for error in self.points]


Curve = MeanCurve | SingleRun


def mean_curves(frames: StudyFrames, metric: str, arm: Arm) -> list[MeanCurve]:
    """One curve per depth of the arm's finished runs."""
    rows = _known(select(frames.finished_curves, arm), metric)
    by_depth = ((d, rows[rows["depth"] == d]) for d in sorted(set(rows["depth"])))
    curves = []
    for depth, part in by_depth:
        same = _on_same_images(part, metric)
        points, whole = (p.groupby("step")[metric].agg(["mean", "min", "max"]) for p in (part[same], part[~same]))
        curves.append(MeanCurve(arm, int(depth), metric, points, whole))
    return curves


def single_runs(frames: StudyFrames, metric: str, arm: Arm) -> list[SingleRun]:
    """The arm's unfinished and diverged runs, those that have a value."""
    diverged = frames.curves.merge(frames.diverged[WHAT], on="run_id", how="inner")
    found = []
    for state, rows in ((UNFINISHED, frames.unfinished_curves), (DIVERGED, diverged)):
        known = _known(select(rows, arm), metric)
        for _, run in known.sort_values(["depth", "seed", "step"]).groupby("run_id", sort=False):
            depth, seed = int(run["depth"].iloc[0]), int(run["seed"].iloc[0])
            found.append(SingleRun(arm, depth, seed, metric, state, run.set_index("step")[metric]))
    return found


def curves_of(frames: StudyFrames, metric: str, arm: Arm) -> list[Curve]:
    """All that is drawn of an arm's error."""
    return [*mean_curves(frames, metric, arm), *single_runs(frames, metric, arm)]


def _known(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    known: pd.DataFrame = rows[np.isfinite(rows[metric])]
    return known


def _on_same_images(rows: pd.DataFrame, metric: str) -> pd.Series[bool]:
    """Which rows are on as many images as their run's first: others are not comparable with them."""
    if metric not in IMAGES:
        return pd.Series(True, index=rows.index)
    images = rows[IMAGES[metric]]
    same: pd.Series[bool] = images == images.groupby(rows["run_id"]).transform("first")
    return same


def image_words(frames: Sequence[StudyFrames], metric: str) -> tuple[str, str]:
    """On how many images the lines are, and the values at the last step that stand apart ("" where none do)."""
    rows = pd.concat([f.finished_curves for f in frames])
    if rows.empty:
        return wording.range_of([]), ""
    rows = _known(rows, metric)
    same = _on_same_images(rows, metric)
    apart = rows.loc[~same, IMAGES[metric]]
    return wording.range_of(rows.loc[same, IMAGES[metric]]), wording.range_of(apart) if len(apart) else ""
