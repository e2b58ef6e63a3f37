"""The tables of cost: speed and memory by depth with the price of the shortcut, and the size of every network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from resnet_bench.frames import INFERENCE, TRAIN_STEP, StudyFrames, arms_in, select
from resnet_bench.networks import PLAIN, Arm, arm_name, display_name, option_name
from resnet_bench.report.setups import Setup, conditions, number, peaks, setups, throttled
from resnet_bench.report.tables import TextTable

NOT_EXCLUSIVE, NOT_KNOWN = " *", " ?"  # stand behind numbers that other processes worsened, or may have worsened


def cost_tables(frames: StudyFrames) -> dict[str, TextTable]:
    """By file name, the tables that the study has rows for."""
    made: dict[str, TextTable] = {}
    if len(frames.throughput):
        made["throughput"] = throughput(frames)
    if len(frames.complexity):
        made["complexity"] = complexity(frames)
    return made


# ---------------------------------------------------------------------------------------------- speed and memory


@dataclass(frozen=True, eq=False)
class Measurement:
    """One network in one mode and setup: its row of throughput.csv, or none."""

    rows: pd.DataFrame

    def value(self, column: str) -> float:
        """A measured number; NaN if it is missing or 0, which is how the schema says that there was nothing."""
        values = self.rows[column]
        return float(values.iloc[0]) if len(values) and values.iloc[0] > 0 else float("nan")

    def timed(self, column: str) -> str:
        """The cell of a number that other processes can worsen."""
        return _marked(number(self.value(column)), [self])


def _marked(cell: str, made_from: Sequence[Measurement]) -> str:
    exclusive = [value for measurement in made_from for value in measurement.rows["exclusive"]]
    if cell == "-" or all(value is True for value in exclusive):
        return cell
    return cell + (NOT_EXCLUSIVE if any(value is False for value in exclusive) else NOT_KNOWN)


def throughput(frames: StudyFrames) -> TextTable:
    """Speed, memory and utilisation by depth: plain, residual, and by how much the residual network costs more."""
    measured = setups(frames)
    residual = [arm for arm in arms_in(frames.throughput) if arm != PLAIN]
    rows = []
    for setup in measured:
        for depth in setup.depths:
            arms = [arm for arm in residual if len(select(setup.rows, arm, depth))]
            for arm in arms or residual[:1] or [PLAIN]:
                names = {"depth": str(depth)} | ({"setup": setup.label} if setup.label else {})
                names |= {"shortcut": option_name(arm)} if len(residual) > 1 else {}
                rows.append(names | _cells(frames, setup, depth, arm))
    caption = f"Speed and memory by depth, study {frames.name}: medians over rounds"
    cells = [list(row.values()) for row in rows]
    return TextTable(caption, list(rows[0]), cells, _throughput_notes(frames, measured, cells))


def _cells(frames: StudyFrames, setup: Setup, depth: int, arm: Arm) -> dict[str, str]:
    """By column, plain beside one residual arm at one depth; only plain, or no plain, where the study has no other."""
    arms = arms_in(frames.throughput)
    twins = [PLAIN, arm] if PLAIN in arms and arm != PLAIN else [arm]
    train, inference = (
        {_name(which, arms): _find(setup, which, depth, mode) for which in twins} for mode in (TRAIN_STEP, INFERENCE)
    )
    cells = {f"{name} train img/s": measurement.timed("img_per_sec") for name, measurement in train.items()}
    if len(twins) == 2:
        cells["price in time %"] = _marked(_price(train, "step_ms"), list(train.values()))
    cells |= {f"{name} inference img/s": measurement.timed("img_per_sec") for name, measurement in inference.items()}
    cells |= {f"{name} memory MB": number(found.value("peak_memory_bytes") / 1e6) for name, found in train.items()}
    if len(twins) == 2:
        cells["price in memory %"] = _price(train, "peak_memory_bytes")
    cells |= {f"{name} utilisation %": measurement.timed("utilisation") for name, measurement in train.items()}
    if _anything_compiled(frames):
        cells |= {f"{name} compile s": measurement.timed("compile_seconds") for name, measurement in train.items()}
    return cells


def _name(arm: Arm, arms: Sequence[Arm]) -> str:
    several = len(set(arms) - {PLAIN}) > 1
    return "residual" if several and arm != PLAIN else arm_name(arm)


def _find(setup: Setup, arm: Arm, depth: int, mode: str) -> Measurement:
    rows = select(setup.rows, arm, depth)
    return Measurement(rows[rows["mode"] == mode])


def _price(twins: dict[str, Measurement], column: str) -> str:
    """`+12.5`: by how many percent the residual network's number is above the plain one's."""
    plain, residual = (measurement.value(column) for measurement in twins.values())
    price = 100 * (residual / plain - 1)
    return "-" if pd.isna(price) else f"{round(price, 1) + 0.0:+.1f}"  # + 0.0 makes -0.0 positive


def _anything_compiled(frames: StudyFrames) -> bool:
    return bool((frames.throughput["compile_seconds"] > 0).any())


def _throughput_notes(frames: StudyFrames, measured: Sequence[Setup], cells: Sequence[Sequence[str]]) -> list[str]:
    notes = []
    for setup in measured:
        about = [conditions(setup), f"Peak: {peaks(setup.rows)}.", *throttled(setup.rows)]
        notes.append((f"{setup.label}: " if setup.label else "") + " ".join(about))
    for sign, meaning in (
        (NOT_EXCLUSIVE, "other processes used 5 % of the processors or more while this was measured."),
        (NOT_KNOWN, "nothing tells whether other processes used the processors while this was measured."),
    ):
        if any(cell.endswith(sign) for row in cells for cell in row):
            notes.append(f"{sign.strip()} {meaning}")
    notes.append("train: batch, forward, backward, update, error counting; inference: forward.")
    arms = arms_in(frames.throughput)
    if PLAIN in arms and len(arms) > 1:
        notes.append(
            "price: by how much the residual network's median time of a train step, or its memory, is above the plain "
            "one's, in percent of that."
        )
        if set(arms) - {PLAIN, ("residual", "a")}:
            notes.append("plain has the parameters of option A; the price of B and C includes their projections.")
    notes.append(
        "memory: highest during train steps: weights, optimizer and what a step allocates, without the dataset; "
        "1 MB = 1e6 bytes."
    )
    notes.append("utilisation: FLOP/s achieved in train steps (2 per multiply-add, BN not counted) in % of the peak.")
    if _anything_compiled(frames):
        notes.append("compile: seconds to compile or capture the train step before the first one; - means nothing was.")
    return [*notes, f"Made from throughput.csv of study {frames.name}."]


# ---------------------------------------------------------------------------------------------- size


COUNTS = {
    "params": "params",
    "macs": "MACs",
    "fvcore_total": "fvcore total",
    "flops_forward": "FLOPs forward",
    "flops_train_step": "FLOPs train step",
    "activations": "activations",
}


def complexity(frames: StudyFrames) -> TextTable:
    """Parameters, multiply-adds, FLOPs and activations of every network, as each convention counts them."""
    networks = frames.complexity.sort_values(["depth", "arch", "shortcut", "input_size", "num_classes"])
    several = len(networks[["input_size", "num_classes"]].drop_duplicates()) > 1
    rows = []
    for _, network in networks.iterrows():
        name = display_name(network["arch"], int(network["depth"]), network["shortcut"])
        images = [network["input_size"], str(network["num_classes"])] if several else []
        rows.append([name, *images, *(_counted(network[column]) for column in COUNTS)])
    caption = f"Size of every network, study {frames.name}: counts per image"
    header = ["network", *(["image", "classes"] if several else []), *COUNTS.values()]
    return TextTable(caption, header, rows, _complexity_notes(frames))


def _counted(count: int) -> str:
    """`1,234`; `-` for 0, which says that it was not counted."""
    return f"{count:,}" if count else "-"


def _complexity_notes(frames: StudyFrames) -> list[str]:
    sizes = sorted(set(zip(frames.complexity["input_size"], frames.complexity["num_classes"], strict=True)))
    images = " and ".join(f"images of {size} (height x width x channels), {classes} classes" for size, classes in sizes)
    return [
        f"Counted for {images}.",
        "params: trainable parameters, BN's scale and shift included.",
        "MACs: multiply-adds of convolutions and the classifier, forward; BN, ReLU, pooling and additions have none.",
        "fvcore total: fvcore's count in eval mode, which is MACs, 2 per element for BN, 1 for average pooling.",
        "FLOPs forward: torch's FlopCounterMode, which is 2 per multiply-add; BN is not counted.",
        "FLOPs train step: the same counter over forward and backward, without a gradient for the images.",
        "activations: elements that convolutions and the classifier put out, forward.",
        f"Made from complexity.csv of study {frames.name}.",
    ]
