"""What a study found, in a few lines of plain text for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_bench.analysis.findings import UNDECIDED
from resnet_bench.analysis.rules import MARGIN
from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import Arm, arm_name
from resnet_bench.report import wording
from resnet_bench.report.claim_words import (
    AT_BUDGET,
    NO_BREAK,
    OF_TRAINED,
    both,
    by_kind,
    by_networks,
    effect_in_words,
    measured,
    not_measured,
    of_trained,
    p_of,
    together,
    verdict_in_words,
)
from resnet_bench.report.verdict import headline
from resnet_bench.results.rows import ClaimRow

WIDTH = 100  # characters, of a window at least as wide
TRAIN, TEST = "final_train_clean_top1_err", "final_test_top1_err"
MEANING = "Degradation is a higher training error with more depth; on the images trained on it cannot be overfitting."


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


def summary(frames: StudyFrames, claims: Sequence[ClaimRow], width: int = WIDTH) -> str:
    """Facts, the answer, the verdict on every claim, what is missing: lines of at most that many characters."""
    said, *more = facts(frames)
    paragraphs = [said, headline(frames, claims), *more]
    if len(frames.runs):
        paragraphs += _verdicts(claims)
    paragraphs += wording.excluded(frames)
    return "\n".join(line for paragraph in paragraphs for line in _wrap(paragraph, width))


def _verdicts(claims: Sequence[ClaimRow]) -> list[str]:
    """In three groups a line for each claim; one for all that nothing was measured for."""
    lines = []
    for title, rows in by_kind(measured(claims)).items():
        two = f" ({AT_BUDGET} / {OF_TRAINED})" if any(of_trained(row) for row in rows) else ""
        lines += [f"{title}{two}:", *map(_claim_line, by_networks(rows))]
    silent = not_measured(claims)
    return [*lines, *([silent] if silent else [])]


def facts(frames: StudyFrames, most_settings: float = math.inf) -> list[str]:
    """What was trained on what, and how the errors changed with depth, unless there are more settings than that.

    Of each arm, within each setting, the shallowest and the deepest finished depth are compared, paired by seed.
    """
    finished, planned = len(frames.finished), len(frames.plan)
    diverged = f", {len(frames.diverged)} diverged" if len(frames.diverged) else ""
    sentences = [f"Study {frames.name}: {finished} of {wording.count(planned, 'planned run')} finished{diverged}."]
    if len(frames.runs):
        sentences.append(wording.conditions(frames))
    if not finished:
        return [*sentences, "No run has finished, so there is nothing to compare yet."]
    parts = frames.parts if len(frames.settings) <= most_settings else []
    line = _setting_line if frames.settings else _arm_line
    return [*sentences, *(line(part, arm) for part in parts for arm in part.arms), MEANING]


def _wrap(paragraph: str, width: int) -> list[str]:
    """Lines of at most that many characters; a number stays with its unit, and `p` with its value."""
    indent = "  " if paragraph.startswith("  ") else ""
    kept = together(paragraph.strip())
    lines = textwrap.wrap(kept, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


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
    """`  supported / not testable: the training error of plain nets rises (plain; +51.8 points, p = 0.003)`."""
    row = rows[0]
    if row.setting:
        return f"  {verdict_in_words(rows, both)}: {row.statement} ({row.subject})"
    last = row.evidence.rpartition("; ")[2]
    needed = last if row.verdict == UNDECIDED and ("would find" in last or last.endswith("no judgement")) else ""
    numbers = [effect_in_words(row)] if row.effect is not None else []
    numbers += [p_of(row)] if row.p_holm is not None else []
    said = [row.subject, ", ".join(numbers), needed]
    return f"  {both(row)}: {row.statement} ({'; '.join(filter(None, said))})"
