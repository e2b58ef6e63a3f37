"""What a study can and cannot show, from its protocol: StudyFrames and verdicts -> sentences beside the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_bench.analysis.findings import NOT_TESTABLE
from resnet_bench.analysis.rules import DATE, UNRECORDED, VERSION
from resnet_bench.frames import StudyFrames
from resnet_bench.report import wording
from resnet_bench.report.claim_words import because, of_trained
from resnet_bench.report.verdict import SHORT
from resnet_bench.results.rows import ClaimRow
from resnet_bench.text import counted

# What the data are, where they are not the paper's.
DATA = {
    "digits": "handwritten digits of 8x8 pixels instead of CIFAR-10; they are few and easy, not photographs",
    "synthetic": "made-up images instead of CIFAR-10; nothing on them holds for real ones",
    "cifar10-jpeg": "photographs of CIFAR-10 from JPEG files, a lossy copy; errors are not those of CIFAR-10",
    "cifar10-kaggle": "images of CIFAR-10 as Kaggle has them; the split may not be the original one",
}


@dataclass(frozen=True)
class Limit:
    """What it is about, in a word or two, and what it limits."""

    about: str
    text: str


def limitations(frames: StudyFrames, rows: Sequence[ClaimRow]) -> list[Limit]:
    """What the verdict can and cannot say, most important first."""
    found = [Limit("Unfinished or diverged", text) for text in wording.excluded(frames)]
    if len(frames.runs):
        found += [*_reach(rows), Limit("Data", _data(frames)), Limit("Seeds", _seeds(frames, rows))]
        found += [Limit("Errors", text) for text in _errors(frames)]
        found += [Limit("Learning rate", text) for text in _rate(frames)]
        found.append(Limit("Machine", _machine(frames)))
        found.append(Limit("Otherwise than the paper", "; ".join(wording.deviations(frames)) + "."))
    return [*found, Limit("Rules", planned_under(frames.plan["rules"]))]


def _reach(rows: Sequence[ClaimRow]) -> list[Limit]:
    """What the amount of training lets one say; in several settings of the first and the last."""
    about = [row for row in rows if row.scope and of_trained(row)]
    if not about:
        return []
    scopes = list(dict.fromkeys(row.scope for row in about))
    scope = scopes[0] if len(scopes) == 1 else f"within each setting, the first {scopes[0]}, the last {scopes[-1]}"
    found = [Limit("Can show", f"how these networks compare {scope}.")]
    out = [row for row in about if row.trained == NOT_TESTABLE]
    if out:
        at = "" if len(out) == len(about) else f"in {len({row.setting for row in out})} of the settings "
        found.append(Limit("Cannot show", f"{at}what trained networks do: {because(out)}."))
    return found


def _data(frames: StudyFrames) -> str:
    """What the images are that are not the paper's, and how many."""
    number = _train_images(frames.runs, frames.curves)
    images = f"{number:,} training images" if number else "the training images"
    of = list(dict.fromkeys(frames.runs["dataset"]))
    kinds = [
        DATA.get(name, f"{name} instead of CIFAR-10; what holds on it need not hold there")
        for name in of
        if name != "cifar10"
    ]
    what = "; ".join(kinds) or "CIFAR-10, as in the paper"
    return f"{what}; {images}, the same ones for all seeds."


def _train_images(runs: pd.DataFrame, curves: pd.DataFrame) -> int | None:
    """How many training images there are, if all runs have as many; of older runs as the epochs of their curves say."""
    known = set(runs["train_images"].dropna())
    if not known and len(curves):
        last = curves[curves["epoch"] > 0].sort_values("step").groupby("run_id").tail(1)
        batches = last["run_id"].map(runs.set_index("run_id")["batch_size"])
        known = set((last["step"] * batches / last["epoch"]).dropna().round())
    return int(known.pop()) if len(known) == 1 else None


def _seeds(frames: StudyFrames, rows: Sequence[ClaimRow]) -> str:
    if frames.runs["seed"].nunique() == 1:
        return "one; luck cannot be told from effect, so nothing that depends on chance is judged."
    widths = [
        ((row.high - row.low) / 2, row)
        for row in rows
        if row.claim in SHORT and row.low is not None and row.high is not None
    ]
    text = f"{wording.num_seeds(frames).removeprefix('n = ')}; they vary initial weights and batches, not the data."
    if not widths:
        return text
    half, widest = max(widths, key=lambda width: width[0])
    named = f'"{SHORT[widest.claim]}"{_which(widest, rows)}'
    return f"{text} The widest 95 % interval behind the verdict, that of {named}, reaches {half:.1f} points either way."


def _which(row: ClaimRow, rows: Sequence[ClaimRow]) -> str:
    """On which networks and at which setting, where a claim is judged on several."""
    several = len({other.subject for other in rows if other.claim == row.claim}) > 1
    return f"{f' for {row.subject}' if several else ''}{f' at {row.setting}' if row.setting else ''}"


def _errors(frames: StudyFrames) -> list[str]:
    """On how many images they were measured, if any run has finished."""
    finished = frames.finished
    if finished.empty:
        return []
    train, test = (finished[f"final_{split}_images"] for split in ("train_clean", "test"))
    number = _train_images(frames.runs, frames.curves)
    of = f" of {number:,}" if number and (train.dropna() < number).any() else ""
    return [
        f"training error on {wording.range_of(train)}{of} training images, test error on {wording.range_of(test)} test "
        f"images; one test image is {100 / float(test.max()):.2g} points."
    ]


def _rate(frames: StudyFrames) -> list[str]:
    rates = list(dict.fromkeys(frames.runs["lr"]))
    if len(rates) != 1:  # the study varies it
        return []
    return [f"{rates[0]:g} for all networks; it was not sought for each, so another may change the comparison."]


def _machine(frames: StudyFrames) -> str:
    kinds = frames.unique("device")
    where = f"one kind ({kinds[0]})" if len(kinds) == 1 else f"{len(kinds)} kinds ({', '.join(kinds)})"
    return f"{where}, {frames.precision}, {frames.mode}; on others rounding differs, and so do the numbers."


def planned_under(planned: pd.Series[int]) -> str:
    """By which version of the rules a study is judged, and which stood when it was planned.

    Args:
        planned: the version for each planned run, 0 where it was not recorded.
    """
    ours = f"rules {VERSION} ({DATE})"
    counts = Counter(sorted(map(int, planned)))
    if counts.keys() <= {VERSION}:
        return f"planned under {ours}, and judged by them."
    if len(counts) == 1:
        (version,) = counts
        stood = "the version was not recorded" if version == UNRECORDED else f"rules {version} stood"
        return f"judged afterwards by {ours}; when it was planned, {stood}."
    told = [
        f"{number} {'before the version was recorded' if version == UNRECORDED else f'under rules {version}'}"
        for version, number in counts.items()
    ]
    return f"judged by {ours}; of {counted(len(planned), 'planned run')} {', '.join(told)} were planned."
