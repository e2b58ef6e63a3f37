"""Claims that surgery on trained nets decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd

from resnet_bench.analysis.contrasts import exceeds, stuck
from resnet_bench.analysis.findings import BEYOND, CONTRADICTED, Finding, claim_row, one_seed, with_effect
from resnet_bench.analysis.rules import LESION_MARGIN, MARGIN, STUCK
from resnet_bench.analysis.statistics import FINEST, Interval
from resnet_bench.frames import error_of_guessing
from resnet_bench.networks import PLAIN, Arm, arm_name

SAME = 1e-3  # of the largest logit: what rounding in some dozen layers of float32 leaves room for
OPERATION_RULES = (
    "That a solution exists by construction: the training error of a deep plain net from scratch is more than "
    f"{MARGIN} points above that of the net of the same depth that was made from a trained shallow one. Contradicted "
    f"too where, in some seed, the logits of the constructed and the shallow net differ by more than {SAME} of the "
    "largest one, for then it is another function. Claimed only where nets were deepened (resnet-bench surgery).",
    "That residual nets bear lesions: taking one block out (of those that keep shapes) raises the test error by some "
    "share of the way from the intact net's error to that of guessing; of these shares the median over the blocks of a "
    f"net; and in the plain net that is more than {LESION_MARGIN:.0f} % of the way above that in its residual twin. A "
    "seed in which an intact net is no better than guessing has no such share and is left out. Claimed only where "
    "blocks were taken out.",
)


def operations(
    runs: pd.DataFrame,
    construction: pd.DataFrame,
    lesions: pd.DataFrame,
    no_twins: Mapping[Arm, str] = MappingProxyType({}),
    unlike: Mapping[Arm, str] = MappingProxyType({}),
) -> Iterator[Finding]:
    """The findings; none where there was no such operation.

    Args:
        runs: columns of runs.csv.
        construction: columns of construction.csv, perhaps no rows.
        lesions: columns of lesions.csv, perhaps no rows.
        no_twins: by residual arm why its networks cannot be compared with plain ones.
        unlike: by arm why its networks of different depths cannot be compared.
    """
    if len(construction):
        yield _exists(runs, construction, unlike.get(PLAIN, ""))
    if len(lesions):
        yield _lesions(runs, lesions, no_twins)


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


def _exists(runs: pd.DataFrame, construction: pd.DataFrame, unlike: str) -> Finding:
    """Section 1: a deeper net can be the shallower one and identity layers."""
    statement = "a deep plain net as good as a shallow one exists, and training does not find it"
    test = "training error from scratch minus constructed, t over seeds, and equal logits"
    if unlike:
        return Finding(claim_row("solution-exists", "plain", statement, test, unlike))
    rows = _with_scratch(runs, construction)
    if rows.empty:
        reason = "no net of the depth of a constructed one was trained from scratch"
        return Finding(claim_row("solution-exists", "plain", statement, test, reason))
    rows = one_pair(rows)
    shallow, deep = int(rows["shallow_depth"].iloc[0]), int(rows["deep_depth"].iloc[0])
    gaps = rows["scratch_train_clean_top1_err"] - rows["constructed_train_clean_top1_err"]
    # Also of seeds whose error is missing; and written so that what is not a number counts as another function.
    made = construction[(construction["shallow_depth"] == shallow) & (construction["deep_depth"] == deep)]
    others = made.loc[~(made["max_logit_difference"] <= SAME * made["max_logit"]), "seed"]
    evidence = (
        f"plain-{shallow} deepened to {deep}: logits differ by at most {made['max_logit_difference'].max():.2g} "
        f"(largest {made['max_logit'].max():.3g}){_other_function(others)}; training error "
        f"{rows['constructed_train_clean_top1_err'].mean():.2f} %, from scratch "
        f"{rows['scratch_train_clean_top1_err'].mean():.2f} %, higher in {int((gaps > 0).sum())} of {len(gaps)} seeds"
        f"{_not_measured(construction, rows)}"
    )
    row = claim_row("solution-exists", "plain", statement, test, evidence)
    row = with_effect(row, Interval.of(gaps), MARGIN, "points")
    if len(others):  # no matter of chance
        return Finding(replace(row, verdict=CONTRADICTED), of_training=True)
    if len(rows) == 1:
        return one_seed(row, of_training=True)
    plain = runs[(runs["arch"] == PLAIN[0]) & (runs["depth"] == deep)]
    images = plain["final_train_clean_images"].dropna()
    finest = 100 / float(images.min()) if len(images) else FINEST
    chance = float(error_of_guessing(float(runs["num_classes"].max())))
    errors = rows[["constructed_train_clean_top1_err", "scratch_train_clean_top1_err"]].to_numpy(dtype=float)
    found = exceeds(gaps.to_numpy(dtype=float), MARGIN, finest).but(equal=bool(stuck(errors, chance).all()))
    return Finding(row, found, of_training=True)


def _with_scratch(runs: pd.DataFrame, construction: pd.DataFrame) -> pd.DataFrame:
    """The rows with both errors; a net from scratch that diverged has that of guessing."""
    column = "scratch_train_clean_top1_err"
    plain = runs[(runs["arch"] == PLAIN[0]) & (runs["status"] == "diverged")]
    chance = {
        (int(row["depth"]), int(row["seed"])): error_of_guessing(row["num_classes"]) for _, row in plain.iterrows()
    }
    places = zip(construction["deep_depth"], construction["seed"], strict=True)
    guessed = [chance.get((int(depth), int(seed)), np.nan) for depth, seed in places]
    known = construction[column].fillna(pd.Series(guessed, index=construction.index, dtype=float))
    return construction.assign(**{column: known}).dropna(subset=[column, "constructed_train_clean_top1_err"])


def _not_measured(construction: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`; left out, for an error is missing: seed 2`, or ""."""
    same = construction["deep_depth"] == rows["deep_depth"].iloc[0]
    gone = construction.loc[same & ~construction.index.isin(rows.index), "seed"].drop_duplicates()
    return f"; left out, for an error is missing: {_in_words(gone)}" if len(gone) else ""


def _other_function(seeds: pd.Series[int]) -> str:
    return f", which is another function in {_in_words(seeds)}" if len(seeds) else ""


def _in_words(seeds: pd.Series[int]) -> str:
    """`seed 3`, `seeds 0, 2`."""
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(str(seed) for seed in sorted(seeds))


# ---------------------------------------------------------------------------------------------- lesions


@dataclass(frozen=True, eq=False)
class Lesions:
    """What one arm's nets of one depth lost with their blocks, of those that keep shapes.

    Attributes:
        arm: of the nets.
        nets: index seed; columns intact (%), rise (points, median over blocks), left (points from the intact error to
            guessing), share (percent of that way, median over blocks), step (percent of it that one image makes).
            Where nothing is left of the way, share and step are NaN.
        blocks: index block, a column for each seed; the rise in points.
    """

    arm: Arm
    nets: pd.DataFrame
    blocks: pd.DataFrame

    @classmethod
    def of(cls, arm: Arm, rows: pd.DataFrame) -> Lesions:
        """Of rows of lesions.csv of one arm and depth, with their seed and num_classes."""
        rises = rows["lesioned_top1_err"] - rows["intact_top1_err"]
        nets = rows.groupby("seed").agg(
            intact=("intact_top1_err", "first"), images=("test_images", "first"), classes=("num_classes", "first")
        )
        nets["rise"] = rises.groupby(rows["seed"]).median()
        nets["left"] = error_of_guessing(nets["classes"]) - nets["intact"]
        learned = nets["intact"] < STUCK * error_of_guessing(nets["classes"])
        whole = nets["left"].where(learned, np.nan)
        nets["share"], nets["step"] = 100 * nets["rise"] / whole, 100 * (100 / nets["images"]) / whole
        blocks = rows.assign(rise=rises).pivot_table(index="block", columns="seed", values="rise")
        return cls(arm, nets, blocks)

    def among(self, seeds: pd.Index[int]) -> str:
        """`residual (A): 2.3 % intact, +0.8 points in the median over blocks (0.9 % of the way), ...`: means."""
        nets, blocks = self.nets.loc[seeds], self.blocks[list(seeds)].mean(axis=1)
        return (
            f"{arm_name(self.arm)}: {nets['intact'].mean():.1f} % intact, {nets['rise'].mean():+.1f} points in the "
            f"median over blocks ({nets['share'].mean():.0f} % of the way to guessing), {blocks.max():+.1f} without "
            f"block {blocks.idxmax()}, the worst one"
        )


def _lesions(runs: pd.DataFrame, lesions: pd.DataFrame, no_twins: Mapping[Arm, str]) -> Finding:
    """Not in the paper: Veit et al. 2016, section 4.1."""
    statement = "a residual net bears the loss of its median block better than its plain twin"
    test = "median share of the way to guessing, plain minus residual, t over seeds"
    row = claim_row("lesions", "plain and residual", statement, test, "no twins were operated on", kind=BEYOND)
    what = runs[["run_id", "arch", "shortcut", "depth", "seed", "num_classes"]]
    kept = lesions[~lesions["changes_shape"].astype(bool)].merge(what, on="run_id", how="inner")
    twins = _twins(kept)
    if twins is None:
        return Finding(row)
    depth, plain, residual = twins
    if why := no_twins.get(residual.arm, ""):
        return Finding(replace(row, evidence=why))
    pairs = plain.nets.merge(residual.nets, left_index=True, right_index=True, suffixes=("_plain", "_residual"))
    lost = pairs[["share_plain", "share_residual"]].isna().any(axis=1)
    gone = f"; left out, for an intact net is no better than guessing: {_in_words(pairs.index[lost].to_series())}"
    pairs = pairs[~lost]
    if pairs.empty:
        return Finding(replace(row, evidence=f"depth {depth}: nothing can be lost{gone}"))
    less = pairs["share_plain"] - pairs["share_residual"]
    evidence = (
        f"depth {depth}; {residual.among(pairs.index)}; {plain.among(pairs.index)}; a smaller share in "
        f"{int((less > 0).sum())} of {len(less)} seeds{gone if lost.any() else ''}"
    )
    row = with_effect(replace(row, evidence=evidence), Interval.of(less), LESION_MARGIN, "%")
    if len(less) == 1:
        return one_seed(row, of_training=True)
    finest = float(pairs[["step_plain", "step_residual"]].to_numpy().max())
    return Finding(row, exceeds(less.to_numpy(dtype=float), LESION_MARGIN, finest), of_training=True)


def _twins(rows: pd.DataFrame) -> tuple[int, Lesions, Lesions] | None:
    """Depth, plain and residual: of all depths and options those with most seeds in common.

    Of equals the deepest, with the first option.
    """
    plain, residual = (rows[rows["arch"] == arch] for arch in ("plain", "residual"))
    common = residual.merge(plain[["depth", "seed"]].drop_duplicates(), on=["depth", "seed"])
    if common.empty:
        return None
    counts = common.groupby(["depth", "shortcut"])["seed"].nunique().reset_index()
    best = counts.sort_values(["seed", "depth", "shortcut"], ascending=[False, False, True]).iloc[0]
    depth, option = int(best["depth"]), str(best["shortcut"])
    twin = residual[(residual["depth"] == depth) & (residual["shortcut"] == option)]
    return depth, Lesions.of(PLAIN, plain[plain["depth"] == depth]), Lesions.of(("residual", option), twin)
