"""Claims about what happens inside the networks, from signals.csv: gradients and responses of their layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from resnet_bench.analysis.blocks import complete, left_out
from resnet_bench.analysis.contrasts import exceeds
from resnet_bench.analysis.findings import BEYOND, PAPER, SOUND, Evidence, Finding, claim_row, one_seed, with_effect
from resnet_bench.analysis.rules import EXPLODED, HEALTHY_STD, RESPONSE_MARGIN, SIDES, VANISHED
from resnet_bench.analysis.statistics import Interval, Moments
from resnet_bench.networks import Arm, display_name
from resnet_bench.results.rows import ClaimRow
from resnet_bench.text import counted

SIGNAL_RULES = (
    "That gradients of plain nets do not vanish, and that they do not explode (two claims): of every layer at every "
    "recorded step the norm of its gradient times the norm of its weights, divided by that of the last convolution. "
    "BN makes the loss blind to the scale of weights, so a gradient is inversely proportional to their norm, and "
    "only the product tells what arrives at a layer. Of each net the lowest (highest) value of all layers and of the "
    f"steps that all finished nets of its depth recorded; its logarithm is tested over seeds against {VANISHED} "
    f"({EXPLODED:.0f}) at every depth. Supported if it is on the good side at every depth (the largest p of the "
    "depths), contradicted if it is on the wrong side at some depth (the smallest p, times the number of depths). "
    "Where a gradient was not finite, a net diverged or a depth has no signals, there is no support.",
    "That forward signals of plain nets do not die out: in the same way of the lowest standard deviation of a layer's "
    f"response, against {HEALTHY_STD}. BN alone sets it to 1 at the start, so this can hardly fail.",
    "That residual functions are small: the logarithm of the plain twin's response (geometric mean over layers, at the "
    "last step) over the residual net's, of each seed the median over depths, so that no depth decides alone (that "
    "there is no relevant difference asks for every depth); and that "
    "they fall with depth: the shallowest residual net's response over the deepest one's. Each is tested over seeds "
    f"against a factor of {RESPONSE_MARGIN}: above it the claim is supported, below its inverse contradicted, and "
    "between the two there is no relevant difference. A short protocol may leave responses where BN puts them at the "
    "start.",
)
HEAD = "head"
NETWORK, MOMENT = ["arch", "shortcut", "depth", "seed"], ["run_id", "step"]
LEAST = 1e-38  # what a value is taken for that float32 rounds to 0, so that it has a logarithm
# The least spread of logarithms. Unlike errors, signals have no steps in which two seeds could agree by chance.
FINEST_LOG = 0.001
LARGEST_LOG = 80.0  # ends of intervals stay numbers that can be read


def signals(
    runs: pd.DataFrame,
    recorded: pd.DataFrame,
    no_twins: Mapping[Arm, str] = MappingProxyType({}),
    unlike: Mapping[Arm, str] = MappingProxyType({}),
) -> Iterator[Finding]:
    """The findings.

    Args:
        runs: columns of runs.csv.
        recorded: columns of signals.csv; neither needs to have rows.
        no_twins: by residual arm why its networks cannot be compared with plain ones.
        unlike: by arm why its networks of different depths cannot be compared.
    """
    rows = layers(runs, recorded)
    plain = rows[rows["arch"] == "plain"]
    depths = sorted({int(depth) for depth in runs.loc[runs["arch"] == "plain", "depth"]})
    yield from (_stays(plain, depths, bound) for bound in BOUNDS)
    yield from _small(rows, no_twins, unlike)


def layers(runs: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Signals of the convolutions of all runs, diverged ones too, in the order of runs, steps and layers.

    The classifier is left out: it has no BN, and its response are the logits.

    Returns:
        The columns of signals.csv, arch, shortcut, depth, seed and status of the run, and `flow` and `raw`: gradient
        times weight norm, and gradient norm, both divided by those of the last convolution at the same step; what
        cannot be divided is not finite.
    """
    rows = recorded[recorded["layer"] != HEAD].merge(runs[["run_id", *NETWORK, "status"]], on="run_id")
    rows = rows.sort_values(["run_id", "step", "layer_index"], ignore_index=True)
    ends = rows.drop_duplicates(MOMENT, keep="last")[[*MOMENT, "grad_norm", "weight_norm"]]
    last = rows[MOMENT].merge(ends, on=MOMENT)
    with np.errstate(all="ignore"):
        raw = rows["grad_norm"] / last["grad_norm"]
        return rows.assign(flow=raw * rows["weight_norm"] / last["weight_norm"], raw=raw)


# ---------------------------------------------------------------------------------------------- bounds


@dataclass(frozen=True)
class Bound:
    """A claim that a quantity of plain nets stays above (or below) a limit in all layers and at all steps.

    Attributes:
        column: the quantity, of `layers`.
        words: what it is.
        digits: with which it is told.
    """

    claim: str
    kind: str
    statement: str
    column: str
    words: str
    limit: float
    above: bool
    digits: int = 2


FLOW = "gradient x weight norm, relative to the last convolution's"
BOUNDS = (
    Bound("gradients-vanish", PAPER, "gradients of plain nets do not vanish", "flow", FLOW, VANISHED, above=True),
    Bound("gradients-explode", BEYOND, "gradients of plain nets do not explode", "flow", FLOW, EXPLODED, above=False),
    Bound("forward-healthy", SOUND, "forward signals of plain nets do not die out", "response_std",
          "standard deviation of a response", HEALTHY_STD, above=True, digits=3),
)  # fmt: skip


def in_common(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the steps that every finished run of a depth recorded: a run with more of them has more chances.

    Of a diverged run, which ended early, what it has of these.
    """
    shared = set()
    for depth, nets in rows.groupby("depth"):
        ended = nets[nets["status"] == "ok"] if (nets["status"] == "ok").any() else nets
        counts = ended.groupby("step")["run_id"].nunique()
        shared |= {(depth, step) for step in counts.index[counts == ended["run_id"].nunique()]}
    known = [place in shared for place in zip(rows["depth"], rows["step"], strict=True)]
    return rows.loc[np.array(known, dtype=bool)]


def extremes(rows: pd.DataFrame, column: str, *, lowest: bool) -> pd.DataFrame:
    """Of each run the row of `layers` with the lowest (or highest) finite value of a column."""
    known = rows[np.isfinite(rows[column])]
    by_run = known.groupby("run_id", sort=False)[column]
    chosen: pd.DataFrame = known.loc[by_run.idxmin() if lowest else by_run.idxmax()]
    return chosen.sort_values(NETWORK, ignore_index=True)


def _stays(recorded: pd.DataFrame, planned: Sequence[int], bound: Bound) -> Finding:
    """Section 4.1: with BN, forward signals have variances that are not zero and gradients have healthy norms.

    Args:
        recorded: rows of `layers` of plain nets.
        planned: every depth of plain nets that has a run.
        bound: the claim.
    """
    rows = in_common(recorded)
    worst = extremes(rows, bound.column, lowest=bound.above)
    lost = [*_unknown(recorded, bound.column)]
    if worst.empty:
        evidence = "; ".join(lost) or "no signals of plain nets were recorded"
        return Finding(claim_row(bound.claim, "plain", bound.statement, "", evidence, kind=bound.kind))
    lost += [*_missing(worst, planned), *_diverged(recorded)]
    depths = sorted(set(worst["depth"]))
    logs = {depth: _logs(worst.loc[worst["depth"] == depth, bound.column]) for depth in depths}
    tested = {depth: Moments.of(values, FINEST_LOG) for depth, values in logs.items() if len(values) > 1}
    shown = _that_decides(tested, bound) if tested else depths[-1]
    test = f"t-tests over seeds on logarithms, at depths {', '.join(map(str, depths))} (shown: {shown})"
    evidence = "; ".join([*_ranges(worst, bound), *_left_by_training(rows, bound), *lost])
    row = claim_row(bound.claim, "plain", bound.statement, test, evidence, kind=bound.kind)
    row = with_effect(row, times(Interval.of(logs[shown])), bound.limit, "times")
    of_training = bound.claim == "gradients-vanish"  # what explodes does so before the first step
    if not tested:
        return one_seed(row, of_training=of_training)
    found = _at_every_depth([*tested.values()], bound, supportable=not lost and len(tested) == len(planned))
    return Finding(row, found, of_training=of_training)


def _that_decides(depths: Mapping[int, Moments], bound: Bound) -> int:
    """The depth that the p-value of the nearer verdict is of."""
    good, bad = _good_and_bad([*depths.values()], bound)
    names = [*depths]
    if min(1.0, max(good)) < min(1.0, len(bad) * min(bad)):
        return names[good.index(max(good))]
    return names[bad.index(min(bad))]


def _missing(worst: pd.DataFrame, planned: Sequence[int]) -> Iterator[str]:
    """Depths of which nothing can be said, in words."""
    gone = [str(depth) for depth in planned if depth not in set(worst["depth"])]
    if gone:
        yield f"no signals, or none at steps that all seeds recorded, at depth {', '.join(gone)}"


def _diverged(rows: pd.DataFrame) -> Iterator[str]:
    """Nets that diverged: what they were after their last record nobody knows."""
    nets = rows[rows["status"] == "diverged"].drop_duplicates("run_id").sort_values(NETWORK)
    if len(nets):
        names = [f"plain-{depth} seed {seed}" for depth, seed in zip(nets["depth"], nets["seed"], strict=True)]
        yield f"diverged: {', '.join(names)}"


def _at_every_depth(depths: list[Moments], bound: Bound, *, supportable: bool) -> Evidence:
    """Support needs every depth (an intersection-union test); one depth is enough to contradict (Bonferroni)."""
    seeds = max(moments.n for moments in depths)

    def at(n: int) -> Evidence:
        good, bad = _good_and_bad([moments.with_seeds(moments.n + n - seeds) for moments in depths], bound)
        return Evidence(max(good) if supportable else 1.0, min(1.0, len(bad) * min(bad)), seeds=n)

    return replace(at(seeds), with_seeds=at)


def _good_and_bad(depths: Sequence[Moments], bound: Bound) -> tuple[list[float], list[float]]:
    """For each depth p that it is on the good side of the limit, and p that it is on the other."""
    limit = math.log(bound.limit)
    above = [min(1.0, SIDES * float(moments.above(limit))) for moments in depths]
    below = [min(1.0, SIDES * float(moments.below(limit))) for moments in depths]
    return (above, below) if bound.above else (below, above)


def _ranges(worst: pd.DataFrame, bound: Bound) -> Iterator[str]:
    """Of each depth the range over seeds, and where the worst value of all is."""
    head = f"{'lowest' if bound.above else 'highest'} {bound.words}: "
    for depth in sorted(set(worst["depth"])):
        nets = worst[worst["depth"] == depth].sort_values(bound.column, ascending=bound.above)
        values, (at, *_) = nets[bound.column], nets.to_dict("records")
        alone = f"; gradient norm alone {figures(at['raw'])}" if bound.column == "flow" else ""
        where = f"layer {at['layer_index']} at step {at['step']}{alone}"
        yield f"{head}{display_name('plain', depth, 'none')} {range_in_figures(values, bound.digits)} ({where})"
        head = ""


def _left_by_training(rows: pd.DataFrame, bound: Bound) -> Iterator[str]:
    """What BN does to responses by itself, so that nobody takes it for a finding."""
    if bound.column == "response_std":
        start, later = (rows[known]["response_std"].dropna() for known in (rows["step"] == 0, rows["step"] > 0))
        if len(start):
            yield f"at step 0 {range_in_figures(start, 3)}, which BN does by itself (its scale starts at 1)"
        if len(later):
            yield f"at later steps {range_in_figures(later, 3)}"


def _unknown(rows: pd.DataFrame, column: str) -> Iterator[str]:
    """What cannot be judged, in words."""
    lost = rows[~np.isfinite(rows[column])]
    if len(lost):
        nets = lost.drop_duplicates("run_id")
        named = ", ".join(f"plain-{depth} seed {seed}" for depth, seed in zip(nets["depth"], nets["seed"], strict=True))
        yield f"not finite in {counted(len(lost), 'measurement')} of {len(rows):,} ({named})"
    seeds = rows.groupby("depth")["seed"].nunique()
    if (seeds > 1).any() and (seeds == 1).any():
        yield f"one seed only at depth {', '.join(map(str, seeds[seeds == 1].index))}"


# ---------------------------------------------------------------------------------------------- responses


def _small(rows: pd.DataFrame, no_twins: Mapping[Arm, str], unlike: Mapping[Arm, str]) -> Iterator[Finding]:
    """Section 4.2, analysis of layer responses, figure 7."""
    means = responses(rows)
    is_plain = means["arch"] == "plain"
    arms = sorted(set(means.loc[means["arch"] == "residual", "shortcut"]))
    for shortcut in arms or ["a"]:
        is_residual = (means["arch"] == "residual") & (means["shortcut"] == shortcut)
        residual, name = _by_seed(means[is_residual]), f"residual ({shortcut.upper()})"
        twins = _by_seed(means[is_plain]) - residual
        unknown = _without(means[is_plain | is_residual])
        yield _smaller_than_twins(name, twins, unknown, no_twins.get(("residual", shortcut), ""))
        why = unlike.get(("residual", shortcut), "")
        yield _smaller_with_depth(name, residual, _without(means[is_residual]), why)


def responses(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each net of `layers` the mean natural logarithm of its layers' responses at its last step.

    It is NaN where one of them is not finite, and for a diverged run, whose last step is that of no trained net.
    """
    last = rows[rows["step"] == rows.groupby("run_id")["step"].transform("max")]
    known = np.isfinite(last["response_std"]) & (last["status"] == "ok")
    logs = last.assign(response=np.where(known, _logs(last["response_std"]), np.nan))
    return logs.groupby(["run_id", *NETWORK])["response"].agg(lambda column: column.mean(skipna=False)).reset_index()


def _without(means: pd.DataFrame) -> str:
    """The nets that have no response, in words."""
    gone = means[means["response"].isna()].sort_values(NETWORK)
    names = [
        f"{display_name(arch, int(depth), shortcut)} seed {seed}"
        for arch, shortcut, depth, seed in gone[NETWORK].itertuples(index=False)
    ]
    return f"; no response at the end (diverged, or not finite): {', '.join(names)}" if names else ""


def _by_seed(means: pd.DataFrame) -> pd.DataFrame:
    """Logarithms by seed (rows) and depth (columns, ascending); NaN where there is none."""
    table = means.set_index(["seed", "depth"])["response"].unstack()
    return table.astype(float).sort_index().sort_index(axis=1)


def _smaller_than_twins(name: str, logs: pd.DataFrame, unknown: str, no_twins: str) -> Finding:
    claim, subject = "responses-small", f"plain and {name}"
    statement = "a residual net's layers respond less than its plain twin's"
    test = "t-tests over seeds on the median over depths of the log ratio"
    if no_twins:
        return Finding(claim_row(claim, subject, statement, test, no_twins), of_training=True)
    twins = logs.dropna(axis=0, how="all").dropna(axis=1, how="all")
    whole = complete(twins)
    if whole.empty:
        row = claim_row(claim, subject, statement, test, "no signals of twins were recorded")
        return Finding(row, of_training=True)
    ratios = ", ".join(f"{_typical(whole[depth])} at depth {depth}" for depth in whole.columns)
    evidence = f"response of plain relative to the residual net's: {ratios}{left_out(twins, whole)}{unknown}"
    found = _more_than_margin(claim_row(claim, subject, statement, test, evidence), whole.median(axis=1))
    if found.evidence is None:
        return found
    return replace(found, evidence=_at_all_depths(found.evidence, [_evidence_of(whole[d]) for d in whole.columns]))


def _at_all_depths(median: Evidence, depths: Sequence[Evidence]) -> Evidence:
    """The median may hide a depth that differs, so equality asks for every depth (an intersection-union test)."""

    def at(n: int) -> Evidence:
        there = [each if n == median.seeds or not each.with_seeds else each.with_seeds(n) for each in (median, *depths)]
        return replace(there[0], equal=max(float(each.equal) for each in there[1:]))

    return replace(at(median.seeds), with_seeds=at)


def _smaller_with_depth(name: str, logs: pd.DataFrame, unknown: str, unlike: str) -> Finding:
    claim, statement = "responses-fall", "a deeper residual net's layers respond less"
    test = "t-tests over seeds on the log ratio of the shallowest to the deepest"
    if unlike:
        return Finding(claim_row(claim, name, statement, test, unlike), of_training=True)
    known = logs.dropna(axis=0, how="all").dropna(axis=1, how="all")
    whole = complete(known)
    if whole.empty or whole.shape[1] < 2:
        row = claim_row(claim, name, statement, test, "no signals of two depths in one seed were recorded")
        return Finding(row, of_training=True)
    typical = ", ".join(f"{_typical(whole[depth])} at depth {depth}" for depth in whole.columns)
    evidence = f"response {typical}{left_out(known, whole)}{unknown}"
    return _more_than_margin(claim_row(claim, name, statement, test, evidence), whole.iloc[:, 0] - whole.iloc[:, -1])


def _more_than_margin(row: ClaimRow, logs: pd.Series[float]) -> Finding:
    """Is a ratio, given as a logarithm of each seed, larger than the margin."""
    interval = Interval.of(logs)
    row = with_effect(row, times(interval), RESPONSE_MARGIN, "times")
    if interval.n == 1:
        return one_seed(row, of_training=True)
    return Finding(row, _evidence_of(logs), of_training=True)


def _evidence_of(logs: pd.Series[float]) -> Evidence:
    return exceeds(logs.to_numpy(), math.log(RESPONSE_MARGIN), FINEST_LOG)


# ---------------------------------------------------------------------------------------------- logarithms


def times(interval: Interval) -> Interval:
    """An interval of natural logarithms as factors."""
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = (math.exp(np.clip(end, -LARGEST_LOG, LARGEST_LOG)) for end in ends)
    return Interval(mean, low, high, interval.n)


def figures(value: float, digits: int = 2) -> str:
    """A factor that may be of any size: `0.12`, `120`, `7.1e6`."""
    if value == 0 or 0.001 <= value < 10_000:
        return f"{float(f'{value:.{digits}g}'):g}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def range_in_figures(values: pd.Series[float], digits: int = 2) -> str:
    """`0.12 to 0.31`, or one number."""
    ends = dict.fromkeys(figures(value, digits) for value in (values.min(), values.max()))
    return " to ".join(ends)


def _logs(values: ArrayLike) -> NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(values, dtype=np.float64), LEAST))


def _typical(logs: pd.Series[float]) -> str:
    return f"{math.exp(logs.mean()):.3f}"
