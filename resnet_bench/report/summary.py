"""What a study found, in a few lines of plain text for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_bench.analysis.claims import MARGIN
from resnet_bench.analysis.findings import NOT_MEASURED, UNDECIDED
from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm, arm_name
from resnet_bench.report import wording
from resnet_bench.report.claims_table import by_networks, verdict_in_words
from resnet_bench.results.rows import ClaimRow

WIDTH = 100  # characters
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


def summary(frames: StudyFrames, claims: Sequence[ClaimRow]) -> str:
    """The facts, the verdict on every claim, and what is missing, as lines for the terminal."""
    paragraphs = facts(frames)
    if len(frames.finished):
        within = f"within each of {len(frames.settings)} settings, " if frames.settings else ""
        paragraphs.append(f"The paper's claims, {within}by rules that are the same for every study:")
        paragraphs += _verdicts(frames, claims)
    paragraphs += wording.excluded(frames)
    return "\n".join(line for paragraph in paragraphs for line in _wrap(paragraph))


def _verdicts(frames: StudyFrames, claims: Sequence[ClaimRow]) -> list[str]:
    """A line for each claim; where there are settings, one for all claims that nothing was measured for in any."""
    groups = by_networks(claims)
    silent = [rows for rows in groups if frames.settings and all(row.verdict == NOT_MEASURED for row in rows)]
    names = ", ".join(dict.fromkeys(rows[0].claim for rows in silent))
    return [
        *(_claim_line(rows) for rows in groups if rows not in silent),
        *([f"  not measured in any setting: {names}"] if silent else []),
    ]


def facts(frames: StudyFrames, most_settings: float = math.inf) -> list[str]:
    """What was trained on what, and how the errors changed with depth, unless there are more settings than that.

    Of each arm, within each setting, the shallowest and the deepest finished depth are compared, paired by seed.
    """
    finished, planned = len(frames.finished), len(frames.plan)
    sentences = [f"Study {frames.name}: {finished} of {wording.count(planned, 'planned run')} finished."]
    if len(frames.runs):
        sentences.append(wording.conditions(frames))
    if not finished:
        return [*sentences, "No run has finished, so there is nothing to compare yet."]
    parts = frames.parts if len(frames.settings) <= most_settings else []
    line = _setting_line if frames.settings else _arm_line
    return [*sentences, *(line(part, arm) for part in parts for arm in part.arms), MEANING]


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


def _arm_line(frames: StudyFrames, arm: Arm) -> str:
    name, found = arm_name(arm), compare(frames, arm)
    if found is None:
        depths = sorted({int(depth) for depth in select(frames.finished, arm)["depth"]})
        which = f"only depth {depths[0]} has finished" if depths else "no run has finished"
        return f"{name}: {which}; the comparison needs two depths."
    between = f"from depth {found.shallow} to {found.deep}"
    if found.pairs.empty:
        return f"{name}: {between}: no seed has finished at both depths, so they are not compared."
    train = _change(found.pairs["train_shallow"].mean(), found.pairs["train_deep"].mean())
    points = f"{_points(found.rises.mean())}{_in_seeds(found)}"
    line = f"{name}: {between} the training error {train} ({points})"
    tests = found.pairs[["test_shallow", "test_deep"]].dropna()
    if len(tests):
        shallow, deep = tests["test_shallow"].mean(), tests["test_deep"].mean()
        line += f"; the test error {_change(shallow, deep)} ({_points(deep - shallow)})"
    return line + "."


def _setting_line(part: StudyFrames, arm: Arm) -> str:
    """The same in short, as there are many: `steps=400, plain: depth 20 to 56: training error 0.9 to 8.1 %, ...`."""
    name, found = f"{part.setting}, {arm_name(arm)}", compare(part, arm)
    if found is None or found.pairs.empty:
        return f"{name}: no seed has finished at two depths."
    means = found.pairs.mean()
    errors = [
        f"{name} error {means[f'{kind}_shallow']:.1f} to {means[f'{kind}_deep']:.1f} %"
        for kind, name in (("train", "training"), ("test", "test"))
        if not math.isnan(means[f"{kind}_shallow"] + means[f"{kind}_deep"])
    ]
    return f"{name}: depth {found.shallow} to {found.deep}: {', '.join(errors)}."


def _change(before: float, after: float) -> str:
    if f"{before:.1f}" == f"{after:.1f}":
        return f"stayed at {after:.1f} %"
    return f"{'rose' if after > before else 'fell'} from {before:.1f} % to {after:.1f} %"


def _points(difference: float) -> str:
    return f"{round(difference, 1) + 0.0:+.1f} points"  # + 0.0 makes -0.0 positive


def _in_seeds(found: Comparison) -> str:
    """In how many seeds it rises, where the rise is what matters."""
    number = int((found.rises > MARGIN).sum())
    if len(found.pairs) == 1:
        return ", one seed"
    return f", in {number} of {len(found.pairs)} seeds" if found.rises.mean() > MARGIN else ""


def _claim_line(rows: Sequence[ClaimRow]) -> str:
    """`  supported: the training error of plain nets rises with depth (plain; p = 0.003)`; of settings in words."""
    row = rows[0]
    if row.setting:
        return f"  {verdict_in_words(rows)}: {row.statement} ({row.subject})"
    last = row.evidence.rpartition("; ")[2]
    needed = last if row.verdict == UNDECIDED and last.endswith(("would decide", "no judgement")) else ""
    facts = [row.subject, *([f"p = {row.p_holm:.2g}"] if row.p_holm is not None else []), *([needed] if needed else [])]
    return f"  {row.verdict}: {row.statement} ({'; '.join(facts)})"
