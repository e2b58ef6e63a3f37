"""What a verdict is about: how much training on what data, and whether that reaches trained networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from resnet_bench.analysis.rules import EPOCH_SHARE, FALL_SHARE, LAST_SHARE, MARGIN, PAPER_EPOCHS, PAPER_STEPS
from resnet_bench.networks import display_name

CLEAN, IMAGES = "train_clean_top1_err", "train_clean_images"
NETWORK = ["arch", "shortcut", "depth"]
SCOPE_RULES = (
    "A verdict is about its scope: so many steps on these data. Of trained networks it speaks too only if the "
    f"protocol reaches them: every run has at least {EPOCH_SHARE:.0%} of the paper's {PAPER_EPOCHS:.0f} epochs, and "
    f"over the last {LAST_SHARE:.0%} of the steps no network's clean training error (mean over seeds, on the same "
    f"images) still falls by more than {MARGIN} points and {FALL_SHARE:.0%} of itself. Otherwise the claim about "
    "trained networks is not testable by this protocol, whatever its runs show.",
)


@dataclass(frozen=True)
class Scope:
    """Of one setting of a study.

    Attributes:
        words: `after 400 steps of batch 128 (1/160 of the paper's steps, 1.0 of its 164 epochs), on cifar10-jpeg`.
        trained: are the networks trained to the end, as far as the curves tell.
        because: why, or why not.
    """

    words: str
    trained: bool
    because: str


def scope_of(runs: pd.DataFrame, curves: pd.DataFrame) -> Scope:
    """The scope of runs of one setting.

    Args:
        runs: with the columns of runs.csv.
        curves: with those of curves.csv.
    """
    finished = runs[runs["status"] == "ok"]
    if finished.empty:
        return Scope("", False, "no run has finished")
    rows = curves.merge(finished[["run_id", *NETWORK, "seed", "steps"]], on="run_id")
    epochs = float(rows.groupby("run_id")["epoch"].max().min()) if len(rows) else math.nan
    trained, because = _trained(rows, epochs, runs)
    return Scope(_words(finished, epochs), trained, because)


def _words(finished: pd.DataFrame, epochs: float) -> str:
    steps, batches = sorted(set(finished["steps"])), sorted(set(finished["batch_size"]))
    how_many = " to ".join(f"{n:,}" for n in dict.fromkeys((steps[0], steps[-1])))
    batch = " and ".join(map(str, batches))
    return f"after {how_many} steps of batch {batch} ({_shares(steps[-1], epochs)}), on {finished['dataset'].iloc[0]}"


def _shares(steps: int, epochs: float) -> str:
    of_steps = "the paper's number of steps" if steps == PAPER_STEPS else f"{_share(steps)} the paper's steps"
    return of_steps if math.isnan(epochs) else f"{of_steps}, {_epochs(epochs)} of its {PAPER_EPOCHS:.0f} epochs"


def _share(steps: int) -> str:
    """`1/160 of`, `1.5 times`."""
    return f"1/{PAPER_STEPS / steps:.0f} of" if steps <= PAPER_STEPS / 2 else f"{steps / PAPER_STEPS:.2g} times"


def _epochs(epochs: float) -> str:
    return f"{epochs:.1f}" if epochs < 9.95 else f"{epochs:.0f}"


def _trained(rows: pd.DataFrame, epochs: float, runs: pd.DataFrame) -> tuple[bool, str]:
    if math.isnan(epochs):
        return False, "there are no curves to tell by"
    if epochs < EPOCH_SHARE * PAPER_EPOCHS:
        return False, (
            f"training stops after {_epochs(epochs)} of the paper's {PAPER_EPOCHS:.0f} epochs, and at least "
            f"{EPOCH_SHARE * PAPER_EPOCHS:.0f} are asked for"
        )
    falls = pd.DataFrame([{"run_id": run_id, **_fall(run)} for run_id, run in rows.groupby("run_id")])
    named = runs[runs["status"] == "ok"][["run_id", *NETWORK]].merge(falls, on="run_id", how="left")
    silent = named[named[["before", "after"]].isna().any(axis=1)]  # every finished run must tell
    by_network = named.groupby(NETWORK)[["before", "after"]].mean()
    gone = set(silent[NETWORK].itertuples(index=False, name=None))
    networks = runs[NETWORK].drop_duplicates().sort_values(NETWORK).itertuples(index=False, name=None)
    untold = [network for network in networks if network not in by_network.index or network in gone]
    if untold:
        names = ", ".join(display_name(arch, int(depth), shortcut) for arch, shortcut, depth in untold)
        return False, f"whether errors still fall is not known of {names} (diverged, or too few points in curves)"
    by_network["fall"] = by_network["before"] - by_network["after"]
    falling = by_network[by_network["fall"] > (FALL_SHARE * by_network["before"]).clip(lower=MARGIN)]
    reach = f"{_epochs(epochs)} epochs (the paper: {PAPER_EPOCHS:.0f})"
    if falling.empty:
        number = int((runs["status"] == "diverged").sum())
        but = f" ({number} diverged, which count as guessing)" if number else ""
        return True, f"{reach}, and no training error still falls over the last {LAST_SHARE:.0%} of the steps{but}"
    arch, shortcut, depth = falling.reset_index().sort_values("fall").iloc[-1][NETWORK]
    worst = falling["fall"].max()
    return False, (
        f"{reach}, but the training error of {display_name(arch, int(depth), shortcut)} still falls by {worst:.1f} "
        f"points over the last {LAST_SHARE:.0%} of the steps"
    )


def _fall(run: pd.DataFrame) -> dict[str, float]:
    """The clean training error a tenth of the steps before its last row and there, on equally many images."""
    rows = run.dropna(subset=[CLEAN]).sort_values("step")
    rows = rows[rows[IMAGES] == rows[IMAGES].iloc[0]] if len(rows) else rows  # the last row may be on all of them
    nothing = {"before": math.nan, "after": math.nan}
    if rows.empty:
        return nothing
    last = rows.iloc[-1]
    before = rows[rows["step"] <= last["step"] - LAST_SHARE * run["steps"].iloc[0]]
    return nothing if before.empty else {"before": float(before.iloc[-1][CLEAN]), "after": float(last[CLEAN])}
