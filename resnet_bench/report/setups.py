"""The rows of throughput.csv by setup (one machine and one way of executing), and the words for their conditions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resnet_bench.frames import INFERENCE, TRAIN_STEP, StudyFrames
from resnet_bench.report import wording

# Speeds are compared only where all of this is equal, and the way in which the train step was executed (`compile`).
SHARED = ["fingerprint", "precision", "memory_format", "optimizer", "batch_size", "input_size", "num_classes"]
EAGER = "eager"
# What may set two setups apart, in the order in which a label tries it; the fingerprint only if nothing else does.
LABELS = {
    "device": "{}",
    "threads": "{} threads",
    "compile": "{}",
    "precision": "{}",
    "memory_format": "{}",
    "optimizer": "{}",
    "batch_size": "batch {}",
    "input_size": "{}",
    "num_classes": "{} classes",
    "torch_version": "torch {}",
    "fingerprint": "{}",
}
AS_RUN = ["device", "threads", "precision", "compile", "batch_size"]  # columns that runs.csv has too


@dataclass(frozen=True, eq=False)
class Setup:
    """The rows of one setup, train steps first, and what sets it apart from the study's other setups, if there are."""

    label: str
    rows: pd.DataFrame

    @property
    def depths(self) -> list[int]:
        """Every measured depth, ascending."""
        return sorted({int(depth) for depth in self.rows["depth"]})


def setups(frames: StudyFrames) -> list[Setup]:
    """All setups, first the one that figures draw: with the most rows, and of equals the one the runs were made in."""
    groups = [part for _, rows in frames.throughput.groupby(SHARED, sort=True) for part in _by_execution(rows)]
    made_in = set(frames.runs[AS_RUN].itertuples(index=False, name=None))
    groups.sort(key=lambda rows: (-len(rows), tuple(rows[AS_RUN].iloc[0]) not in made_in))
    return [Setup(label, rows) for label, rows in zip(_labels(groups), groups, strict=True)]


def _by_execution(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """A part for each way of executing the train step; inference, if it was measured only eagerly, is in all parts."""
    train, inference = (rows[rows["mode"] == mode] for mode in (TRAIN_STEP, INFERENCE))
    ways = set(train["compile"]) | set(inference["compile"]) - {EAGER} or {EAGER}
    parts = []
    for way in sorted(ways):
        steps, own = train[train["compile"] == way], inference[inference["compile"] == way]
        eager = inference[inference["compile"] == EAGER]
        if EAGER in ways:  # which has all of them
            eager = eager[eager["depth"].isin(steps["depth"])]
        parts.append(pd.concat([steps, own if len(own) else eager]))
    return parts


def _labels(groups: list[pd.DataFrame]) -> list[str]:
    """The fewest words that tell the setups apart."""
    labels: list[tuple[str, ...]] = [()] * len(groups)
    for column, form in LABELS.items():
        values = [form.format(rows[column].iloc[0]) for rows in groups]
        longer = [(*label, value) for label, value in zip(labels, values, strict=True)]
        if len(set(longer)) > len(set(labels)):
            labels = longer
    return [", ".join(label) for label in labels]


def conditions(setup: Setup) -> str:
    """One sentence: device, threads, precision, memory format, mode of execution, batch, images, torch, rounds."""
    first = setup.rows.iloc[0]
    torch = first["torch_version"] or "unknown"
    return (
        f"Device {first['device']}; {wording.count(int(first['threads']), 'thread')}; {first['precision']}; "
        f"{first['memory_format']}; {_execution(setup.rows)}; batch size {first['batch_size']}; "
        f"images of {first['input_size']}, {first['num_classes']} classes; torch {torch}; "
        f"median over {wording.range_of(setup.rows['rounds'])} rounds; {_exclusivity(setup.rows)}."
    )


def _execution(rows: pd.DataFrame) -> str:
    """`eager`, or `train step graph, inference eager`."""
    ways = dict(zip(rows["mode"], rows["compile"], strict=True))
    if len(set(ways.values())) == 1:
        return str(rows["compile"].iloc[0])
    return f"train step {ways[TRAIN_STEP]}, inference {ways[INFERENCE]}"


def _exclusivity(rows: pd.DataFrame) -> str:
    alone, shared = int(rows["exclusive"].eq(True).sum()), int(rows["exclusive"].eq(False).sum())
    if alone == len(rows):
        return "exclusive (other processes used under 5 % of the processors)"
    parts = [f"{shared} of {len(rows)} measurements not exclusive (other processes used 5 % of the processors or more)"]
    parts = parts if shared else []
    unknown = len(rows) - alone - shared
    parts += [f"{unknown} of {len(rows)} measurements not known to be exclusive"] if unknown else []
    return "; ".join(parts)


def throttled(rows: pd.DataFrame) -> list[str]:
    """A sentence that says why and how often the GPU slowed its clocks; none if it did not."""
    slow = rows[rows["gpu_throttled"] != ""]
    reasons = ", ".join(sorted(set(slow["gpu_throttled"])))
    return [f"The GPU slowed its clocks in {len(slow)} of {len(rows)} measurements: {reasons}."] if len(slow) else []


def peaks(rows: pd.DataFrame) -> str:
    """What the machine can do: `a large matrix product 95.2 GFLOP/s (peak_gflops), a large copy 12.1 GB/s ...`."""
    return (
        f"a large matrix product in the same precision and session, {span(rows['peak_gflops'])} GFLOP/s (peak_gflops); "
        f"a large copy ran at {span(rows['peak_gbytes'])} GB/s (peak_gbytes)"
    )


def span(values: pd.Series[Any]) -> str:
    """`96.1`, or `95.0 to 97.2` where values differ; `an unknown number of` if there is none."""
    known = values.dropna()
    if known.empty:
        return "an unknown number of"
    return " to ".join(dict.fromkeys(number(float(value)) for value in (known.min(), known.max())))


def number(value: float) -> str:
    """Three digits, or all before the point if they are more; `-` for what was not measured."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"
