"""How the gradient grows towards the input before the first step, and how that goes with the final error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from resnet_bench.analysis.signals import NETWORK, layers, times
from resnet_bench.analysis.statistics import Interval
from resnet_bench.frames import error_of_guessing

FEWEST = 5  # networks that an interval of a rank correlation needs
ARM_DEPTH = ["arch", "shortcut", "depth"]


def growth_by_run(runs: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Of each run the growth of its gradient norm before the first step, in natural logarithms.

    Mean field theory (Yang et al. 2019, "A Mean Field Theory of Batch Normalization", of wide fully connected nets)
    says that BN without shortcuts makes gradients grow by a factor at every layer that they pass on their way back,
    which no choice of initial variances removes, so that they are exponential in depth. `growth` is the logarithm of
    that factor: minus the slope of least-squares lines through the logarithms of gradient norms over the index of the
    convolutions, one slope for all stages and a level for each: where a stage begins, weights have another shape and
    images another size, which moves the norm by itself. `ratio` is that of the first convolution's norm to the last
    one's, with these jumps.

    Args:
        runs: the columns of runs.csv.
        recorded: the columns of signals.csv.

    Returns:
        run_id, arch, shortcut, depth, seed, growth, ratio; a row for each run, diverged ones too, whose gradients at
        step 0 are all finite and not 0, and which has two convolutions.
    """
    rows = layers(runs, recorded)
    rows = rows[rows["step"] == 0]
    made = []
    for net, part in rows.groupby(["run_id", *NETWORK]):
        norms = part["grad_norm"].to_numpy(dtype=np.float64)
        if len(norms) > 1 and np.isfinite(norms).all() and (norms > 0).all():
            logs = np.log(norms)
            made.append((*net, -slope(part["layer_index"], logs, stages(part["layer"])), float(logs[0] - logs[-1])))
    names = {"run_id": "object", "arch": "object", "shortcut": "object", "depth": "int64", "seed": "int64"}
    types = {**names, "growth": "float64", "ratio": "float64"}
    return pd.DataFrame(made, columns=list(types)).astype(types)


def stages(names: pd.Series[str]) -> list[str]:
    """The stage that each layer is in: its name without block and layer, `stages.0` of `stages.0.3.conv1`.

    Where no two layers have a stage in common, the names tell nothing of stages, and all are in one.
    """
    found = list(names.str.rsplit(".", n=2).str[0])
    return found if len(set(found)) < len(found) else [""] * len(found)


def slope(x: ArrayLike, y: ArrayLike, groups: Sequence[str]) -> float:
    """Of least-squares lines y over x that are parallel, one for each group."""
    apart = np.array([x, y], dtype=np.float64)  # [2, n], then from the means of its group
    for group in set(groups):
        inside = np.array(groups) == group
        apart[:, inside] -= apart[:, inside].mean(axis=1, keepdims=True)
    return float(apart[0] @ apart[1] / (apart[0] @ apart[0]))


def growth_by_network(by_run: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds of each arm and depth the geometric means, with 95 % intervals of Student's t on logarithms.

    Args:
        by_run: what `growth_by_run` gives.

    Returns:
        arch, shortcut, depth, n, growth, growth_low, growth_high, ratio, ratio_low, ratio_high: factors; the ends of
        intervals are NaN for one seed.
    """
    made = []
    for net, part in by_run.groupby(ARM_DEPTH):
        intervals = [times(Interval.of(part[name])) for name in ("growth", "ratio")]
        made.append((*net, len(part), *(end for i in intervals for end in (i.mean, i.low, i.high))))
    names = [name + end for name in ("growth", "ratio") for end in ("", "_low", "_high")]
    return pd.DataFrame(made, columns=[*ARM_DEPTH, "n", *names])


def growth_and_error(runs: pd.DataFrame, by_network: pd.DataFrame) -> pd.DataFrame:
    """The networks of `growth_by_network` that have a final training error, with its mean over seeds: `train_error`.

    A diverged run counts as one that guesses, as in the claims.
    """
    guessing = error_of_guessing(runs["num_classes"])
    error = runs["final_train_clean_top1_err"].where(runs["status"] == "ok", guessing)
    means = runs.assign(train_error=error).groupby(ARM_DEPTH)["train_error"].mean().dropna().reset_index()
    return by_network.merge(means, on=ARM_DEPTH)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of n pairs and its interval; NaN where there is none."""

    r: float
    low: float
    high: float
    n: int


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Correlation:
    """Spearman's rank correlation: Pearson's of ranks, equal values share their mean rank.

    The interval is Fisher's, with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of Bonett and Wright (2000),
    "Sample size requirements for estimating Pearson, Kendall and Spearman correlations". It takes the pairs for a
    random sample, and is rough for few of them. With fewer than `FEWEST` there is none, nor at r = -1 and 1.

    Args:
        x: [n] finite numbers.
        y: [n] the same.
        confidence: of the interval.
    """
    ranks = [stats.rankdata(np.asarray(values, dtype=np.float64)) for values in (x, y)]
    n = len(ranks[0])
    if n < 2 or any(np.ptp(each) == 0 for each in ranks):
        return Correlation(math.nan, math.nan, math.nan, n)
    r = float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))
    if n < FEWEST or abs(r) > 1 - 1e-12:
        return Correlation(r, math.nan, math.nan, n)
    reach = float(stats.norm.isf((1 - confidence) / 2)) * math.sqrt((1 + r**2 / 2) / (n - 3))
    return Correlation(r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach), n)
