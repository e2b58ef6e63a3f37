"""The phrases that captions, table notes and the summary share, so that they name things alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from resnet_bench.frames import StudyFrames, error_of_guessing
from resnet_bench.networks import Arm, arm_name, display_name

LONGEST = 500  # characters that name runs of several settings


def chance(frames: StudyFrames) -> float:
    """Error (%) of guessing; of 10 classes while no run has finished."""
    if frames.runs.empty:
        return 90.0
    return float(error_of_guessing(int(frames.runs["num_classes"].max())))


def arm_title(arm: Arm) -> str:
    """`plain`, `residual (shortcut option A)`."""
    return arm_name(arm) if arm[0] != "residual" else f"{arm[0]} (shortcut option {arm[1].upper()})"


def name_runs(runs: pd.DataFrame) -> str:
    """`plain-20 seeds 0, 1; ResNet-20 seed 0`, in the order of arms and depths."""
    seeds: dict[str, list[int]] = {}
    ordered = runs.sort_values(["arch", "shortcut", "depth", "seed"])
    for arch, depth, shortcut, seed in zip(*(ordered[c] for c in ("arch", "depth", "shortcut", "seed")), strict=True):
        seeds.setdefault(display_name(arch, int(depth), shortcut), []).append(int(seed))
    return "; ".join(f"{name} {_seeds(numbers)}" for name, numbers in seeds.items())


def _seeds(numbers: list[int]) -> str:
    return ("seed " if len(numbers) == 1 else "seeds ") + ", ".join(map(str, numbers))


def _named(frames: StudyFrames, runs: pd.DataFrame) -> str:
    """The runs by name; where the study varies fields, of each setting, and in numbers only if they are many."""
    if not frames.settings:
        return name_runs(runs)
    of = {setting: runs[runs["setting"] == setting] for setting in frames.settings}
    of = {setting: rows for setting, rows in of.items() if len(rows)}
    planned = frames.plan["setting"].value_counts()
    named = "; ".join(
        f"all at {setting}" if len(rows) == planned[setting] else f"at {setting}: {name_runs(rows)}"
        for setting, rows in of.items()
    )
    if len(named) <= LONGEST:
        return named
    numbers = "; ".join(f"{len(rows)} at {setting}" for setting, rows in of.items())
    return numbers if len(numbers) <= LONGEST else f"in {len(of)} of {len(frames.settings)} settings"


def count(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def protocol(frames: StudyFrames) -> str:
    """The protocol's name, labelled as reduced or changed if it is not the paper's."""
    return frames.protocol + ("" if frames.is_paper_protocol else f" ({not_the_papers(frames)})")


def not_the_papers(frames: StudyFrames) -> str:
    """What a protocol is that is not the paper's."""
    whole = len(frames.finished) and (frames.finished["steps"] >= PAPER["steps"]).all()
    return "not the paper's" if whole else "reduced, not the paper's 64k steps"


# Section 4.2 of the paper.
PAPER: dict[str, Any] = {"steps": 64_000, "batch_size": 128, "lr": 0.1, "optimizer": "sgd", "schedule": "step"}
NAMES = {
    "steps": "steps", "batch_size": "images in a batch", "lr": "as the first learning rate",
    "optimizer": "as the optimizer", "schedule": "as the schedule",
}  # fmt: skip
WARM_FROM = 110  # layers, from which on the paper begins at a lower rate


def deviations(frames: StudyFrames) -> list[str]:
    """What these runs do otherwise than the paper, from runs.csv; docs/protocol.md has what all runs do."""
    found = []
    for column, theirs in PAPER.items():
        planned = frames.finished if column == "steps" else frames.runs  # a diverged run has fewer steps
        ours = sorted(set(planned[column]) - {theirs})
        if ours:
            found.append(f"{', '.join(map(_said, ours))} {NAMES[column]} instead of {_said(theirs)}")
    if (frames.runs["depth"][frames.runs["lr_warmup_steps"].isna()] == WARM_FROM).any():
        found.append(f"no warm-up at a lower rate with {WARM_FROM} layers")
    return [*found, "where the paper leaves a choice, as docs/protocol.md of the package says"]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def num_seeds(frames: StudyFrames) -> str:
    """`n = 5 seeds`, or `n = 1 to 5 seeds` where cells differ."""
    counts = sorted(set(frames.finished.groupby(["arch", "shortcut", "depth", "setting"]).size()))
    if not counts:
        return "n = 0 seeds"
    if len(counts) == 1:
        return f"n = {count(counts[0], 'seed')}"
    return f"n = {counts[0]} to {counts[-1]} seeds"


def range_of(values: Iterable[float]) -> str:
    """`500`, or `500 to 10,000` where runs differ; `an unknown number of` if not recorded."""
    known = sorted({int(value) for value in values if not pd.isna(value)})
    if not known:
        return "an unknown number of"
    return f"{known[0]:,}" + (f" to {known[-1]:,}" if len(known) > 1 else "")


def devices(frames: StudyFrames) -> str:
    """The processors or GPUs that the runs were made on."""
    return ", ".join(frames.unique("device")) or "unknown"


def conditions(frames: StudyFrames) -> str:
    """One sentence: dataset, protocol, precision, device, n."""
    if frames.runs.empty:
        return f"No run of study {frames.name} has finished; {count(len(frames.plan), 'run')} planned."
    varied = {name: len(values) for name, values in frames.axes.items() if len(values) > 1}
    within = [f"Setting {frames.setting}"] if frames.setting else []
    within += [f"Varied: {', '.join(f'{name} ({n} values)' for name, n in varied.items())}"] if varied else []
    return (
        f"{'; '.join([*within, 'dataset' if within else 'Dataset'])} {frames.dataset}; protocol {protocol(frames)}; "
        f"{frames.precision}, {frames.mode}; device {devices(frames)}; {num_seeds(frames)}."
    )


def excluded(frames: StudyFrames) -> list[str]:
    """Sentences that name the diverged and missing runs; none if there are none."""
    sentences = []
    if len(frames.diverged):
        steps = [int(step) for step in frames.diverged["diverged_step"].dropna()]
        when = f", at step {', '.join(map(str, sorted(steps)))}" if steps else ""
        sentences.append(
            f"Diverged (the loss was not finite{when}), in no mean of figures and tables, at chance in the claims: "
            f"{count(len(frames.diverged), 'run')}: {_named(frames, frames.diverged)}."
        )
    if len(frames.missing):
        total = count(len(frames.plan), "planned run")
        sentences.append(f"Missing: {len(frames.missing)} of {total}: {_named(frames, frames.missing)}.")
    return sentences
