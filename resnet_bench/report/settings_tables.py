"""The tables over all settings of a study that varies fields: final errors, and the verdict on every claim."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import arm_name
from resnet_bench.report import wording
from resnet_bench.report.claim_words import AT_BUDGET, OF_TRAINED, both, by_kind, by_networks, measured, not_measured
from resnet_bench.report.claims_table import scopes
from resnet_bench.report.tables import FINAL_TEST, FINAL_TRAIN, PM, TextTable, mean_std
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.settings import number, parse


def final_errors(frames: StudyFrames) -> TextTable:
    """Final training and test error of every arm, a row for each setting and depth."""
    header = [*frames.axes, "depth"]
    header += [f"{arm_name(arm)} {split}" for arm in frames.arms for split in ("train", "test")]
    rows = []
    for setting in frames.settings:
        values, part = parse(setting), frames.within(setting)
        for depth in part.depths:
            cells = [select(part.finished, arm, depth) for arm in frames.arms]
            errors = [mean_std(cell[metric]) for cell in cells for metric in (FINAL_TRAIN, FINAL_TEST)]
            rows.append([*(number(values[name]) for name in frames.axes), str(depth), *errors])
    notes = [
        wording.conditions(frames),
        "Errors at the last step, eval mode, not augmented. std is the sample standard deviation over seeds; - means "
        "no finished run.",
        *wording.excluded(frames),
        f"Made from runs.csv and plan.csv of study {frames.name}.",
    ]
    caption = f"Final error (%) by {', '.join(frames.axes)} and depth, study {frames.name}: mean {PM} std (n seeds)"
    return TextTable(caption, header, rows, notes)


def verdicts(frames: StudyFrames, rows: Sequence[ClaimRow]) -> TextTable:
    """A row for each claim, a column for each setting; without the claims that nothing was measured for anywhere."""
    groups: dict[int, str] = {}
    cells: list[list[str]] = []
    for title, group in by_kind(measured(rows)).items():
        groups[len(cells)] = title
        for found in by_networks(group):
            verdict_at = {row.setting: both(row) for row in found}
            cells.append([found[0].statement, found[0].subject, *(verdict_at.get(s, "-") for s in frames.settings)])
    notes = [
        f"Each setting is judged by itself: {AT_BUDGET} / {OF_TRAINED}, where a claim is about training; the evidence "
        "stands in the table of claims.",
        *scopes(rows),
        *([silent] if (silent := not_measured(rows)) else []),
        f"Made from claims.csv of study {frames.name}.",
    ]
    header = ["claim", "networks", *frames.settings]
    return TextTable(f"The claims by setting, study {frames.name}", header, cells, notes, groups)
