"""What a study found, in a few lines of plain text for the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pandas as pd

from resnet_bench.config import Arm
from resnet_bench.report import wording
from resnet_bench.report.load import StudyFrames, select

WIDTH = 100  # characters
THRESHOLD = 0.5  # points of clean training error
TRAIN, TEST = "final_train_clean_top1_err", "final_test_top1_err"
MEANING = (
    "Degradation = higher training error with more depth. It shows on the images trained on, so it is not overfitting."
)


@dataclass(frozen=True)
class Comparison:
    """The shallowest and the deepest finished depth of an arm, paired by seed."""

    shallow: int
    deep: int
    pairs: pd.DataFrame  # index seed; columns train_shallow, train_deep, test_shallow, test_deep

    @property
    def rises(self) -> pd.Series[float]:
        """Points of training error by which the deep net is worse, per seed."""
        return self.pairs["train_deep"] - self.pairs["train_shallow"]

    @property
    def verdict(self) -> str:
        """Degraded, not degraded or unclear, by the rule of `summary`."""
        if (self.rises > THRESHOLD).all():
            return "degraded"
        return "not degraded" if self.rises.mean() <= THRESHOLD else "unclear"


def summary(frames: StudyFrames) -> str:
    """What was trained on what, and which arm degraded by how much.

    Rule: of each arm the shallowest and the deepest finished depth are compared, paired by seed. The arm degraded if
    every pair's training error (last step, eval mode, not augmented) rises by more than 0.5 points, it did not if
    the mean rise is at most 0.5 points, and else it is unclear. One pair is reported as no more than that.
    """
    finished, planned = len(frames.finished), len(frames.plan)
    paragraphs = [f"Study {frames.name}: {finished} of {wording.count(planned, 'planned run')} finished."]
    if len(frames.runs):
        paragraphs.append(wording.conditions(frames))
    if finished:
        paragraphs += [line for arm in frames.arms for line in _arm_lines(frames, arm)] + [MEANING]
    else:
        paragraphs.append("No run has finished, so there is nothing to compare yet.")
    paragraphs += wording.excluded(frames)
    return "\n".join(line for paragraph in paragraphs for line in _wrap(paragraph))


def _wrap(paragraph: str) -> list[str]:
    indent = "  " if paragraph.startswith("  ") else ""
    return textwrap.wrap(
        paragraph.strip(), WIDTH, initial_indent=indent, subsequent_indent="  ", break_on_hyphens=False
    )


def compare(frames: StudyFrames, arm: Arm) -> Comparison | None:
    """The comparison of an arm; None if it has finished at fewer than two depths."""
    runs = select(frames.finished, arm).dropna(subset=[TRAIN])
    depths = sorted({int(depth) for depth in runs["depth"]})
    if len(depths) < 2:
        return None
    shallow, deep = (
        runs[runs["depth"] == depth].set_index("seed")[[TRAIN, TEST]].set_axis([f"train_{end}", f"test_{end}"], axis=1)
        for depth, end in ((depths[0], "shallow"), (depths[-1], "deep"))
    )
    return Comparison(depths[0], depths[-1], shallow.join(deep, how="inner"))


def _arm_lines(frames: StudyFrames, arm: Arm) -> list[str]:
    name, found = wording.arm_name(arm), compare(frames, arm)
    if found is None:
        depths = sorted({int(depth) for depth in select(frames.finished, arm)["depth"]})
        which = f"only depth {depths[0]} has finished" if depths else "no run has finished"
        return [f"{name}: {which}; the comparison needs two depths."]
    between = f"from depth {found.shallow} to {found.deep}"
    if found.pairs.empty:
        return [f"{name}: {between}: no seed has finished at both depths, so they are not compared."]
    train = _change(found.pairs["train_shallow"].mean(), found.pairs["train_deep"].mean())
    points = f"{_points(found.rises.mean())}{_in_seeds(found)}"
    lines = [f"{name}: {between} the training error {train} ({points}): {_judgement(found)}."]
    tests = found.pairs[["test_shallow", "test_deep"]].dropna()
    if len(tests):
        shallow, deep = tests["test_shallow"].mean(), tests["test_deep"].mean()
        lines.append(f"  Its test error {_change(shallow, deep)} ({_points(deep - shallow)}).")
    return lines


def _change(before: float, after: float) -> str:
    if f"{before:.1f}" == f"{after:.1f}":
        return f"stayed at {after:.1f} %"
    return f"{'rose' if after > before else 'fell'} from {before:.1f} % to {after:.1f} %"


def _points(difference: float) -> str:
    return f"{round(difference, 1) + 0.0:+.1f} points"  # + 0.0 makes -0.0 positive


def _in_seeds(found: Comparison) -> str:
    """How many seeds agree, where the rise is what matters."""
    number = int((found.rises > THRESHOLD).sum())
    many = number and len(found.pairs) > 1
    return f", in {number} of {len(found.pairs)} seeds" if many else ""


def _judgement(found: Comparison) -> str:
    return "one seed, so no judgement" if len(found.pairs) == 1 else found.verdict
