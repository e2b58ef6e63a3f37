"""The solution by construction in numbers: StudyFrames -> TextTable."""

from __future__ import annotations

import math

from resnet_bench.analysis.operations import SAME, one_pair
from resnet_bench.frames import StudyFrames
from resnet_bench.report import wording
from resnet_bench.report.tables import TextTable


def construction_table(frames: StudyFrames) -> TextTable:
    """A row per seed: how equal the two nets are, and what training from scratch and from construction reached."""
    rows = one_pair(frames.construction).sort_values("seed")
    shallow, deep = int(rows["shallow_depth"].iloc[0]), int(rows["deep_depth"].iloc[0])
    way = frames.continuation
    way = way[(way["shallow_depth"] == shallow) & (way["deep_depth"] == deep)].sort_values("step")
    last = dict(zip(way["seed"], way["train_clean_top1_err"], strict=True))  # of each seed the last step's stays
    header = [
        "seed", "largest logit", "largest difference", "other predictions", f"plain-{shallow} test", "constructed test",
        "constructed train", "trained on, train", f"plain-{deep} from scratch, train",
    ]  # fmt: skip
    cells = [
        [
            str(row.seed), f"{row.max_logit:.1f}", f"{row.max_logit_difference:.2g}",
            f"{row.different_predictions} of {row.test_images:,}", f"{row.shallow_test_top1_err:.2f}",
            f"{row.constructed_test_top1_err:.2f}", f"{row.constructed_train_clean_top1_err:.2f}",
            f"{last.get(row.seed, math.nan):.2f}", f"{row.scratch_train_clean_top1_err:.2f}",
        ]
        for row in rows.itertuples()
    ]  # fmt: skip
    notes = [
        f"The constructed net is plain-{shallow} with identity layers put in; in eval mode both are the same function "
        f"up to rounding (called equal up to {SAME} of the largest logit). Errors in %, eval mode, not augmented.",
        wording.conditions(frames),
        f"Made from construction.csv and continuation.csv of study {frames.name}.",
    ]
    caption = f"A plain net of {deep} layers that is plain-{shallow} by construction, study {frames.name}"
    return TextTable(caption, header, cells, notes)
