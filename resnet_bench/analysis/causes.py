"""Claims about what happens inside the networks, from signals.csv."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from resnet_bench.analysis.blocks import complete
from resnet_bench.analysis.findings import CONTRADICTED, SUPPORTED, UNDECIDED, Finding, claim_row, one_seed, with_effect
from resnet_bench.analysis.statistics import Interval, flips_in_words, page_test, sign_flip_test

HEALTHY_STD = 0.01  # of a layer's response
HEALTHY_RATIO = 0.01  # of the first layer's gradient norm to the last one's
RESPONSE_MARGIN = 0.05  # of the logarithm of a response, which is 1 at the start
CAUSE_RULES = (
    "That signals of plain nets do not vanish: in every deepest plain net, at every recorded step, each layer's "
    f"response has a standard deviation of at least {HEALTHY_STD} (BN's own is 1 at the start), and the gradient "
    f"norm of the first convolution is at least {HEALTHY_RATIO} of the last one's; contradicted if that holds in no "
    "seed. What vanishes does so exponentially: at 0.8 a layer, 54 layers leave 0.000006.",
    "That residual functions are small: the response of a residual net's layers at the last step (geometric mean) is "
    "lower than its plain twin's (exact sign flips over pairs), and falls with depth (Page's test, seeds as blocks); "
    f"each by at least {RESPONSE_MARGIN} in natural logarithms, that is 5 %, in the mean, and contradicted if the 95 % "
    "interval over seeds lies below that. A response is 1 at the start, whatever the network, because BN makes it so; "
    "a short protocol may leave it there.",
)
HEAD = "head"
LOWEST = 1e-30  # a response that has a logarithm


def causes(runs: pd.DataFrame, signals: pd.DataFrame) -> Iterator[Finding]:
    """The findings; the frames have the columns of runs.csv and signals.csv, perhaps no rows."""
    what = ["run_id", "arch", "shortcut", "depth", "seed", "status"]
    if signals.empty or runs.empty:
        rows = pd.DataFrame(columns=[*what, "step", "layer", "layer_index", "response_std", "grad_norm"])
    else:
        # The classifier has no BN, and its response are the logits.
        rows = signals[signals["layer"] != HEAD].merge(runs[what], on="run_id")
    yield _healthy(rows[rows["arch"] == "plain"])
    yield from _small(rows)


def _healthy(rows: pd.DataFrame) -> Finding:
    """Section 4.1: with BN, forward signals have variances that are not zero and gradients have healthy norms."""
    claim, subject = "signals-healthy", "plain"
    statement, test = (
        "signals and gradients of plain nets do not vanish",
        "thresholds, at every recorded step",
    )
    if rows.empty:
        return Finding(claim_row(claim, subject, statement, test, "no signals of plain nets were recorded"))
    deepest = rows[rows["depth"] == rows["depth"].max()].fillna({"response_std": 0.0, "grad_norm": 0.0})
    lowest = deepest.groupby("seed")["response_std"].min()
    moments = deepest.sort_values("layer_index").groupby(["seed", "step"])["grad_norm"]
    # Without a gradient at either end it is not healthy.
    ratios = (moments.first() / moments.last()).replace(np.inf, 0.0).fillna(0.0)
    healthy = (lowest >= HEALTHY_STD) & (ratios.groupby("seed").min() >= HEALTHY_RATIO)
    evidence = (
        f"plain-{int(deepest['depth'].iloc[0])}: lowest response {lowest.min():.3g}, gradient norm of the first layer "
        f"{ratios.min():.2g} to {ratios.max():.2g} times the last one's; healthy in {int(healthy.sum())} of "
        f"{len(healthy)} seeds"
    )
    row = claim_row(claim, subject, statement, test, evidence, n=len(healthy))
    if len(healthy) == 1:
        return one_seed(row)
    verdict = SUPPORTED if healthy.all() else CONTRADICTED if not healthy.any() else UNDECIDED
    return Finding(replace(row, verdict=verdict))


def _small(rows: pd.DataFrame) -> Iterator[Finding]:
    """Section 4.2, analysis of layer responses, figure 7."""
    means = _responses(rows)
    arms = sorted(set(means.loc[means["arch"] == "residual", "shortcut"]))
    for shortcut in arms or ["a"]:
        residual = means[(means["arch"] == "residual") & (means["shortcut"] == shortcut)]
        name = f"residual ({shortcut.upper()})"
        yield _smaller_than_twins(name, residual, means[means["arch"] == "plain"])
        yield _smaller_with_depth(name, residual)


def _responses(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each net the mean logarithm of its layers' responses at the last step."""
    if rows.empty:
        return pd.DataFrame(columns=["arch", "shortcut", "depth", "seed", "response"])
    last = rows[rows["step"] == rows.groupby("run_id")["step"].transform("max")]
    last = last[last["status"] == "ok"]
    last = last[last.groupby("run_id")["response_std"].transform(lambda column: column.notna().all()).astype(bool)]
    return (
        last.assign(response=np.log(last["response_std"].clip(lower=LOWEST)))
        .groupby(["arch", "shortcut", "depth", "seed"])["response"]
        .mean()
        .reset_index()
    )


def _smaller_than_twins(name: str, residual: pd.DataFrame, plain: pd.DataFrame) -> Finding:
    claim, subject = "responses-small", f"plain and {name}"
    statement, test = "a residual net's layers respond less than its plain twin's", "sign flips over pairs"
    pairs = plain.merge(residual, on=["depth", "seed"], suffixes=("_plain", "_residual")) if len(plain) else plain
    if pairs.empty:
        return Finding(claim_row(claim, subject, statement, test, "no signals of twins were recorded"))
    less = (pairs["response_plain"] - pairs["response_residual"]).to_numpy(dtype=float)
    evidence = (
        f"response {_typical(pairs['response_residual'])} against {_typical(pairs['response_plain'])}, "
        f"lower in {int((less > 0).sum())} of {len(less)} pairs"
    )
    row = claim_row(claim, subject, statement, f"{flips_in_words(len(less))} (depth x seed)", evidence)
    interval = Interval.of(pairs.assign(d=less).groupby("seed")["d"].mean())
    row = with_effect(row, interval, RESPONSE_MARGIN, n=len(less))
    if interval.n == 1:
        return one_seed(row)
    return Finding(
        replace(row, p=sign_flip_test(less)),
        contradicted=interval.high < RESPONSE_MARGIN,
        matters=interval.mean >= RESPONSE_MARGIN,
    )


def _smaller_with_depth(name: str, residual: pd.DataFrame) -> Finding:
    claim, statement = "responses-fall", "a deeper residual net's layers respond less"
    test = "Page's test over depth, seeds as blocks"
    table = complete(residual.set_index(["seed", "depth"])["response"].unstack().sort_index(axis=1))
    if table.empty or table.shape[1] < 2:
        return Finding(claim_row(claim, name, statement, test, "no signals of two depths in one seed were recorded"))
    values = table.to_numpy(dtype=float)
    interval = Interval.of(values[:, 0] - values[:, -1])
    evidence = (
        f"response {_typical(table.iloc[:, 0])} at depth {table.columns[0]}, {_typical(table.iloc[:, -1])} at depth "
        f"{table.columns[-1]}"
    )
    row = with_effect(claim_row(claim, name, statement, test, evidence), interval, RESPONSE_MARGIN)
    if interval.n == 1:
        return one_seed(row)
    return Finding(
        replace(row, p=page_test(-values).p),
        contradicted=interval.high < RESPONSE_MARGIN,
        matters=interval.mean >= RESPONSE_MARGIN,
    )


def _typical(logarithms: pd.Series[float]) -> str:
    return f"{math.exp(logarithms.mean()):.3f}"
