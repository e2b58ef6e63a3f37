"""Error against what a study varies: StudyFrames -> lines, one for each arm and depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm
from resnet_bench.results.settings import REPLICATES, Value, parse

FINAL_TRAIN, FINAL_TEST = "final_train_clean_top1_err", "final_test_top1_err"
Held = Mapping[str, Value]  # the values at which the other varied fields stand


@dataclass(frozen=True, eq=False)
class AxisLine:
    """Final error of one arm at one depth over the values of a field: mean, min and max over the seeds, and n."""

    arm: Arm
    depth: int
    points: pd.DataFrame  # index value, in the order of the axis; columns mean, min, max, count


def axis_fields(frames: StudyFrames) -> list[str]:
    """The varied fields that an error can be drawn against: several values, and no replicate of the seed."""
    return [name for name, values in frames.axes.items() if len(values) > 1 and name not in REPLICATES]


def others(frames: StudyFrames, field: str) -> list[Held]:
    """The combinations of all other varied fields that the study plans, in its order; one without fields if none is.

    Fields that repeat a run as its seed does are left out: means are over them too.
    """
    found: dict[tuple[tuple[str, Value], ...], None] = {}
    for setting in frames.settings:
        found[tuple((n, v) for n, v in parse(setting).items() if n != field and n not in REPLICATES)] = None
    # A field with one value holds everywhere.
    return [{n: v for n, v in combination if len(frames.axes[n]) > 1} for combination in found]


def along(frames: StudyFrames, runs: pd.DataFrame, field: str, held: Held) -> pd.DataFrame:
    """Those of the runs at which all other fields are held, with their value of the field as column `value`."""
    values = {setting: parse(setting) for setting in frames.settings}
    at = {s: v[field] for s, v in values.items() if held.items() <= v.items()}
    chosen = runs[runs["setting"].isin(list(at))]
    return chosen.assign(value=chosen["setting"].map(at))


def axis_lines(frames: StudyFrames, field: str, metric: str, held: Held) -> list[AxisLine]:
    """The lines over the finished runs, by arm and depth.

    Args:
        frames: of a study that varies the field.
        field: what the error is against.
        metric: a column of runs.csv.
        held: the other varied fields, one of `others`.
    """
    runs = along(frames, frames.finished.dropna(subset=[metric]), field, held)
    lines = []
    for arm in frames.arms:
        for depth in frames.depths:
            cell = select(runs, arm, depth)
            points = cell.groupby("value")[metric].agg(["mean", "min", "max", "count"])
            if len(points):
                order = [value for value in frames.axes[field] if value in points.index]
                lines.append(AxisLine(arm, depth, points.loc[order]))
    return lines
