"""How fast the networks learn, by depth: StudyFrames -> TextTable."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from resnet_bench.analysis.convergence import CHANCE_SHARE, LEVELS, Convergence, convergence
from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import display_name
from resnet_bench.report import wording
from resnet_bench.report.tables import TextTable


def convergence_table(frames: StudyFrames) -> TextTable:
    """Steps to given training errors, the mean error on the way, and steps at chance; medians over seeds."""
    by_run = {found.run_id: found for found in convergence(frames.curves, wording.chance(frames))}
    levels = [level for level in LEVELS if any(found.steps_to[level] is not None for found in by_run.values())]
    header = ["network", "n", *(f"steps to {level} %" for level in levels), "mean error %", "steps at chance"]
    cells = []
    for depth in frames.depths:
        for arm in frames.arms:
            runs = [by_run[run_id] for run_id in select(frames.finished, arm, depth)["run_id"] if run_id in by_run]
            if runs:
                cells.append([display_name(arm[0], depth, arm[1]), str(len(runs)), *_cells(runs, levels)])
    notes = [
        "Running training error (train mode, augmented) of recorded rows: the first step at or below each level, "
        "median over the seeds that got there (in how many, if not all); mean error: area under the curve over the "
        f"steps; steps at chance: until the first row with less than {100 * CHANCE_SHARE:.0f} % of the error of "
        "guessing.",
        *_spacing(frames),
        wording.conditions(frames),
        *wording.excluded(frames),
        f"Made from curves.csv of study {frames.name}.",
    ]
    return TextTable(f"How fast the networks learn, study {frames.name}", header, cells, notes)


def _spacing(frames: StudyFrames) -> list[str]:
    """How far apart the rows are, which is how fine the numbers of steps are."""
    steps = frames.finished_curves.groupby("run_id")["step"].diff().dropna()
    return [f"Rows are {wording.range_of(steps)} steps apart; numbers of steps are no finer."] if len(steps) else []


def _cells(runs: Sequence[Convergence], levels: Sequence[int]) -> list[str]:
    cells = []
    for level in levels:
        reached = [steps for run in runs if (steps := run.steps_to[level]) is not None]
        share = "" if len(reached) == len(runs) else f" ({len(reached)} of {len(runs)})"
        cells.append(f"{statistics.median(reached):,.0f}{share}" if reached else "-")
    mean = statistics.median(run.mean_error for run in runs)
    return [*cells, f"{mean:.1f}", f"{statistics.median(run.steps_at_chance for run in runs):,.0f}"]
