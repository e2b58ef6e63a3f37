"""What happens inside the networks, in numbers: StudyFrames -> TextTable."""

from __future__ import annotations

import math

import pandas as pd

from resnet_bench.analysis.growth import growth_by_network, growth_by_run
from resnet_bench.analysis.signals import extremes, figures, layers, range_in_figures, responses
from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import display_name
from resnet_bench.report import wording
from resnet_bench.report.tables import TextTable

HEADER = [
    "network", "n", "lowest gradient x weight norm", "norm alone at the lowest", "highest gradient x weight norm",
    "norm alone at the highest", "growth per layer, step 0", "first / last, step 0", "response at the end",
]  # fmt: skip


def signals_table(frames: StudyFrames) -> TextTable:
    """Extremes of the gradients over layers and steps, their growth before the first step, and responses at the end."""
    rows = layers(frames.runs, frames.signals)
    growth = growth_by_network(growth_by_run(frames.runs, frames.signals))
    at_end = responses(rows)
    cells = []
    for depth in sorted(set(rows["depth"])):
        for arm in arms_in(rows):
            part = select(rows, arm, depth)
            if len(part):
                sizes = [display_name(arm[0], depth, arm[1]), str(part["seed"].nunique())]
                cells.append([
                    *sizes, *_extreme(part, lowest=True), *_extreme(part, lowest=False),
                    *_growth(select(growth, arm, depth)), _response(select(at_end, arm, depth)),
                ])  # fmt: skip
    notes = [
        "Gradient x weight norm: of each convolution, in times that of the last one at the same step; the lowest and "
        "the highest of all layers and recorded steps, as a range over the n seeds, with layer and step of the most "
        "extreme one, and the gradient norm alone there, also in times the last one's.",
        "Growth: factor of the gradient norm per layer towards the input, one for all stages; first / last: that norm "
        "at the first convolution over the last one's; both before the first step: geometric mean (95 % interval, "
        "Student's t over seeds).",
        "Response: standard deviation after BN, geometric mean over layers at the last step, median over finished "
        "seeds (lowest to highest); BN makes it 1 at the start.",
        wording.conditions(frames),
        *_not_finite(rows),
        *wording.excluded(frames),
        f"Made from signals.csv of study {frames.name}.",
    ]
    return TextTable(f"Gradients and responses inside the networks, study {frames.name}", HEADER, cells, notes)


def _extreme(rows: pd.DataFrame, *, lowest: bool) -> list[str]:
    """Range over seeds with layer and step of the most extreme one, and the gradient norm alone there."""
    nets = extremes(rows, "flow", lowest=lowest).sort_values("flow", ascending=lowest)
    if nets.empty:
        return ["-", "-"]
    at = nets.to_dict("records")[0]
    where = f"layer {at['layer_index']}, step {at['step']}"
    return [f"{range_in_figures(nets['flow'])} ({where})", figures(at["raw"])]


def _growth(network: pd.DataFrame) -> list[str]:
    if network.empty:
        return ["-", "-"]
    (net,) = network.to_dict("records")
    per_layer, ratio = f"{net['growth']:.3f}", figures(net["ratio"])
    if not math.isnan(net["growth_low"]):
        per_layer += f" ({net['growth_low']:.3f} to {net['growth_high']:.3f})"
        ratio += f" ({figures(net['ratio_low'])} to {figures(net['ratio_high'])})"
    return [per_layer, ratio]


def _response(nets: pd.DataFrame) -> str:
    known = [math.exp(value) for value in nets["response"].dropna()]
    if not known:
        return "-"
    spread = f" ({min(known):.3f} to {max(known):.3f})" if len(known) > 1 else ""
    return f"{pd.Series(known).median():.3f}{spread}"


def _not_finite(rows: pd.DataFrame) -> list[str]:
    lost = rows[~rows["flow"].abs().lt(math.inf)]
    if lost.empty:
        return []
    runs = lost.drop_duplicates("run_id")
    return [f"Gradients that were not finite, in no number here: {len(lost):,} of {len(rows):,}, of "
            f"{wording.name_runs(runs)}."]  # fmt: skip
