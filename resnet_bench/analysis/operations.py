"""Claims that surgery on trained nets decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from resnet_bench.analysis.findings import CONTRADICTED, SUPPORTED, UNDECIDED, Finding, claim_row, one_seed, with_effect
from resnet_bench.analysis.statistics import Interval

SAME = 1e-3  # of the largest logit: what rounding in some dozen layers of float32 leaves room for
MARGIN = 0.5  # points
OPERATION_RULES = (
    f"That a solution exists by construction: in every seed the constructed deep net's logits differ from the "
    f"shallow net's by at most {SAME} of the largest one, and its training error is more than {MARGIN} points below "
    "that of the same depth trained from scratch, which the optimiser could have reached and did not; contradicted if "
    "that holds in no seed.",
    "That residual nets bear lesions: in every seed, taking one block out (of those that keep shapes) raises the "
    "test error by less in the median over blocks of the residual net than of its plain twin; contradicted if by more "
    "in every seed.",
)


def operations(runs: pd.DataFrame, construction: pd.DataFrame, lesions: pd.DataFrame) -> Iterator[Finding]:
    """The findings; the frames have the columns of runs.csv, construction.csv and lesions.csv, perhaps no rows."""
    yield _exists(construction)
    yield _lesions(runs, lesions)


def one_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """Of operations on several pairs of depths those on the pair with most seeds; of equals on the deepest."""
    sizes = rows.groupby(["shallow_depth", "deep_depth"])["seed"].nunique().reset_index()
    best = sizes.sort_values(["seed", "deep_depth", "shallow_depth"]).iloc[-1]
    same = (rows["shallow_depth"] == best["shallow_depth"]) & (rows["deep_depth"] == best["deep_depth"])
    chosen: pd.DataFrame = rows[same]
    return chosen


def one_depth(rows: pd.DataFrame) -> int:
    """Of lesions at several depths that with most seeds; of equals the deepest."""
    seeds = rows.groupby("depth")["seed"].nunique()
    return int(seeds[seeds == seeds.max()].index.max())


def _exists(rows: pd.DataFrame) -> Finding:
    """Section 1: a deeper net can be the shallower one and identity layers."""
    claim, subject = "solution-exists", "plain"
    statement = "a deep plain net as good as a shallow one exists, and training does not find it"
    test = "logits and errors of the constructed net"
    rows = rows.dropna(subset=["scratch_train_clean_top1_err"]) if len(rows) else rows
    if rows.empty:
        return Finding(claim_row(claim, subject, statement, test, "no net was deepened (resnet-bench surgery)"))
    rows = one_pair(rows)
    same = rows["max_logit_difference"] <= SAME * rows["max_logit"]
    gaps = rows["scratch_train_clean_top1_err"] - rows["constructed_train_clean_top1_err"]
    evidence = (
        f"plain-{rows['shallow_depth'].iloc[0]} deepened to {rows['deep_depth'].iloc[0]}: logits differ by at most "
        f"{rows['max_logit_difference'].max():.2g} (largest {rows['max_logit'].max():.3g}), training error "
        f"{rows['constructed_train_clean_top1_err'].mean():.2f} %, from scratch "
        f"{rows['scratch_train_clean_top1_err'].mean():.2f} %"
    )
    row = with_effect(claim_row(claim, subject, statement, test, evidence), Interval.of(gaps), MARGIN)
    if len(rows) == 1:
        return one_seed(row)
    holds = same & (gaps > MARGIN)
    verdict = SUPPORTED if holds.all() else CONTRADICTED if not holds.any() else UNDECIDED
    return Finding(replace(row, verdict=verdict))


def _lesions(runs: pd.DataFrame, lesions: pd.DataFrame) -> Finding:
    """Not in the paper: Veit et al. 2016, section 4.1."""
    claim, subject = "lesions", "plain and residual"
    statement = "a residual net bears the loss of a block better than its plain twin"
    test = "median rise of the test error over blocks that keep shapes"
    if lesions.empty:
        return Finding(claim_row(claim, subject, statement, test, "no block was taken out (resnet-bench surgery)"))
    kept = lesions[~lesions["changes_shape"].astype(bool)]
    rises = (kept["lesioned_top1_err"] - kept["intact_top1_err"]).groupby(kept["run_id"]).median().rename("rise")
    by_run = runs[["run_id", "arch", "shortcut", "depth", "seed"]].merge(rises, left_on="run_id", right_index=True)
    plain = by_run[by_run["arch"] == "plain"]
    residual = by_run[by_run["arch"] == "residual"].sort_values("shortcut").drop_duplicates(["depth", "seed"])
    pairs = plain.merge(residual, on=["depth", "seed"], suffixes=("_plain", "_residual"))
    if pairs.empty:
        return Finding(claim_row(claim, subject, statement, test, "no twins were operated on"))
    depth = one_depth(pairs)
    pairs = pairs[pairs["depth"] == depth]
    less = pairs["rise_plain"] - pairs["rise_residual"]
    evidence = (
        f"depth {depth}: +{pairs['rise_residual'].mean():.1f} points against +{pairs['rise_plain'].mean():.1f}, less "
        f"in {int((less > 0).sum())} of {len(less)} pairs"
    )
    row = with_effect(claim_row(claim, subject, statement, test, evidence), Interval.of(less), 0.0)
    if len(pairs) == 1:
        return one_seed(row)
    verdict = SUPPORTED if (less > 0).all() else CONTRADICTED if (less < 0).all() else UNDECIDED
    return Finding(replace(row, verdict=verdict))
