"""Claims about signals: each statistic on nets made by hand, and what is known of the committed studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resnet_bench.analysis import signals as module
from resnet_bench.analysis.findings import Finding, decide
from resnet_bench.analysis.rules import SIDES
from resnet_bench.analysis.signals import extremes, figures, layers, range_in_figures, responses, signals
from resnet_bench.frames import StudyFrames, load
from resnet_bench.results.rows import ClaimRow
from tests.conftest import ROOT

DEPTHS, SEEDS, STEPS = (8, 14), (0, 1, 2), (0, 1, 2, 4)
Net = tuple[str, int, int]  # arch, depth, seed
Value = Callable[[Net, int, int], float]  # (net, step, layer) -> a signal


def constant(value: float) -> Value:
    return lambda net, step, layer: value


ONE = constant(1.0)


def frames(
    gradient: Value = ONE,
    weight: Value = ONE,
    response: Value = ONE,
    *,
    depths: Sequence[int] = DEPTHS,
    seeds: Sequence[int] = SEEDS,
    diverged: Sequence[Net] = (),
    archs: Sequence[str] = ("plain", "residual"),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and signals of every arch, depth and seed; layers are numbered from 1, the last is the classifier."""
    runs, rows = [], []
    for arch in archs:
        for depth in depths:
            for seed in seeds:
                net, run_id = (arch, depth, seed), f"{arch}-d{depth}-s{seed}"
                runs.append(
                    {
                        "run_id": run_id, "arch": arch, "shortcut": "none" if arch == "plain" else "a", "depth": depth,
                        "seed": seed, "status": "diverged" if net in diverged else "ok",
                    }
                )  # fmt: skip
                for step in STEPS:
                    for layer in range(1, depth + 1):
                        head = layer == depth  # its gradient must not matter
                        rows.append(
                            {
                                "run_id": run_id, "step": step, "layer": "head" if head else f"layer.{layer}",
                                "layer_index": layer, "response_std": 9e9 if head else response(net, step, layer),
                                "grad_norm": 9e9 if head else gradient(net, step, layer),
                                "weight_norm": weight(net, step, layer),
                            }
                        )  # fmt: skip
    return pd.DataFrame(runs), pd.DataFrame(rows)


def found(*args: Value, **others: object) -> dict[str, Finding]:
    return {finding.row.claim: finding for finding in signals(*frames(*args, **others))}  # type: ignore[arg-type]


def p_values(finding: Finding) -> tuple[float, float, float]:
    evidence = finding.evidence
    assert evidence is not None
    return float(evidence.supported), float(evidence.contradicted), float(evidence.equal)


def wobble(net: Net) -> float:
    """A factor that differs between seeds."""
    return 1 + 0.1 * net[2]


# ---------------------------------------------------------------------------------------------- quantities


def test_gradients_are_taken_times_weights_and_over_the_last_convolution_of_the_same_step() -> None:
    runs, rows = frames(
        lambda net, step, layer: layer * 10.0**-step, lambda net, step, layer: 5.0 + layer, depths=(8,), seeds=(0,)
    )
    made = layers(runs, rows)
    assert set(made["layer_index"]) == set(range(1, 8)) and len(made) == 2 * 4 * 7  # no classifier
    third = made[made["layer_index"] == 3]
    assert third["raw"].to_numpy() == pytest.approx(3 / 7)
    assert third["flow"].to_numpy() == pytest.approx(3 / 7 * 8 / 12)


def test_order_of_rows_and_runs_without_signals_do_not_matter() -> None:
    runs, rows = frames(lambda net, step, layer: wobble(net) ** layer)
    extra = pd.DataFrame([{**runs.iloc[0].to_dict(), "run_id": "other", "seed": 9}])
    shuffled = rows.sample(frac=1, random_state=0)
    expected = [finding.row for finding in signals(runs, rows)]
    assert [finding.row for finding in signals(pd.concat([runs, extra]), shuffled)] == expected


def test_extremes_are_over_all_layers_and_steps() -> None:
    def gradient(net: Net, step: int, layer: int) -> float:
        return {(2, 3): 0.02, (1, 2): 50.0}.get((step, layer), 1.0) * wobble(net)

    runs, rows = frames(gradient, lambda net, step, layer: 2.0 if layer == 3 else 1.0, depths=(8,), archs=("plain",))
    gradients = layers(runs, rows)
    lowest, highest = (extremes(gradients, "flow", lowest=side).iloc[0] for side in (True, False))
    # Layer 3 has twice the weights of the last one, which has the seed's factor too.
    assert (lowest["flow"], lowest["raw"], lowest["step"], lowest["layer_index"]) == pytest.approx((0.04, 0.02, 2, 3))
    assert (highest["flow"], highest["step"], highest["layer_index"]) == pytest.approx((50, 1, 2))


# ---------------------------------------------------------------------------------------------- bounds


def test_healthy_nets_support_all_three_bounds() -> None:
    rows = {row.claim: row for row in decide(list(signals(*frames(lambda net, step, layer: wobble(net) ** layer))))}
    for claim in ("gradients-vanish", "gradients-explode", "forward-healthy"):
        assert rows[claim].verdict == "supported", claim
    assert [rows[claim].kind for claim in ("gradients-vanish", "gradients-explode", "forward-healthy")] == [
        "paper", "beyond", "sound",
    ]  # fmt: skip


def vanishing(net: Net, step: int, layer: int) -> float:
    """1e-4 and so on in layer 2 at step 1 of depth 14; 0.5 there in depth 8."""
    if (step, layer) != (1, 2):
        return 1.0
    return (1e-4 if net[1] == 14 else 0.5) * wobble(net)


def test_p_values_are_those_of_students_test_at_the_worst_depth() -> None:
    finding = found(vanishing)["gradients-vanish"]
    logs = {depth: np.log([base * wobble(("plain", depth, seed)) for seed in SEEDS])
            for depth, base in ((8, 0.5), (14, 1e-4))}  # fmt: skip
    limit = math.log(0.01)
    above = [stats.ttest_1samp(each, limit, alternative="greater").pvalue for each in logs.values()]
    below = [stats.ttest_1samp(each, limit, alternative="less").pvalue for each in logs.values()]
    assert p_values(finding) == pytest.approx((min(1, SIDES * max(above)), SIDES * 2 * min(below), 1.0))
    row = finding.row
    assert row.effect == pytest.approx(stats.gmean(np.exp(logs[14]))) and row.n == 3 and row.unit == "times"
    low, high = stats.t.interval(0.95, 2, logs[14].mean(), stats.sem(logs[14]))
    assert (row.low, row.high, row.margin) == pytest.approx((math.exp(low), math.exp(high), 0.01))
    assert decide([finding])[0].verdict == "contradicted"


def test_an_explosion_does_not_count_as_vanishing_nor_the_other_way_round() -> None:
    down, up = found(vanishing), found(lambda net, step, layer: 1 / vanishing(net, step, layer))
    assert decide([down["gradients-explode"]])[0].verdict == "supported"
    assert decide([up["gradients-vanish"]])[0].verdict == "supported"
    assert decide([up["gradients-explode"]])[0].verdict == "contradicted"
    assert p_values(up["gradients-explode"])[1] == pytest.approx(p_values(down["gradients-vanish"])[1])


def test_any_depth_can_contradict_and_not_only_the_deepest() -> None:
    def at_shallow(net: Net, step: int, layer: int) -> float:
        return vanishing((net[0], 22 - net[1], net[2]), step, layer)  # 8 for 14 and 14 for 8

    shallow, deep = found(at_shallow)["gradients-vanish"], found(vanishing)["gradients-vanish"]
    assert p_values(shallow) == p_values(deep)
    assert decide([shallow])[0].verdict == "contradicted"
    assert "plain-8 1.0e-4 to 1.2e-4 (layer 2 at step 1; gradient norm alone 1.0e-4)" in shallow.row.evidence
    assert "plain-14 0.5 to 0.6 (layer 2 at step 1; gradient norm alone 0.5)" in shallow.row.evidence


def test_weights_that_have_grown_are_no_vanishing_gradient() -> None:
    """Under BN the gradient is inversely proportional to the norm of the weights, and nothing has changed."""
    grown: Value = lambda net, step, layer: 1e5 * wobble(net) if layer == 2 else 1.0  # noqa: E731
    finding = found(lambda net, step, layer: 1 / grown(net, step, layer), grown)["gradients-vanish"]
    assert decide([finding])[0].verdict == "supported" and finding.row.effect == pytest.approx(1)


def test_a_diverged_run_counts_and_what_is_not_finite_prevents_support() -> None:
    def gradient(net: Net, step: int, layer: int) -> float:
        return (math.inf if step == 2 else 1e3 if step == 1 else 1.0) if net == ("plain", 14, 1) and layer < 4 else 1.0

    clean = found(diverged=[("plain", 14, 1)])["gradients-explode"]  # what it was after its last record nobody knows
    assert p_values(clean)[0] == 1 and clean.row.evidence.endswith("diverged: plain-14 seed 1")
    assert decide([found()["gradients-explode"]])[0].verdict == "supported"
    for claim, worst in (("gradients-explode", "1 to 1000"), ("gradients-vanish", "1")):
        finding = found(gradient, diverged=[("plain", 14, 1)])[claim]
        assert p_values(finding)[0] == 1 and f"plain-14 {worst} (layer 1 at step" in finding.row.evidence
        assert "not finite in 3 measurements of 240 (plain-14 seed 1); diverged: " in finding.row.evidence


def test_a_depth_without_signals_prevents_support_and_is_named() -> None:
    runs, rows = frames()
    ids = runs.loc[(runs["arch"] == "plain") & (runs["depth"] == 14), "run_id"]
    finding = next(iter(signals(runs, rows[~rows["run_id"].isin(ids)])))
    assert p_values(finding)[0] == 1 and finding.row.evidence.endswith("all seeds recorded, at depth 14")


def test_only_steps_that_all_seeds_recorded_are_compared() -> None:
    """Seed 2 is the only one that recorded step 1, where every net is at its worst."""
    runs, rows = frames(lambda net, step, layer: 1e-5 * wobble(net) if step == 1 and layer == 2 else 0.5)
    others = set(runs.loc[runs["seed"] < 2, "run_id"])
    part = rows[~(rows["run_id"].isin(others) & (rows["step"] == 1))]
    assert decide([next(iter(signals(runs, rows)))])[0].verdict == "contradicted"
    assert "at step 1;" not in next(iter(signals(runs, part))).row.evidence


def test_without_any_finite_gradient_nothing_is_measured() -> None:
    finding = found(constant(math.nan))["gradients-vanish"]
    assert finding.row.verdict == "not measured" and "not finite in 240 measurements of 240" in finding.row.evidence


def test_a_gradient_of_0_is_one_that_vanished() -> None:
    finding = found(lambda net, step, layer: 0.0 if layer == 2 else 1.0)["gradients-vanish"]
    assert decide([finding])[0].verdict == "contradicted" and "plain-8 0 (layer 2" in finding.row.evidence


def test_a_depth_with_one_seed_can_give_no_support() -> None:
    runs, rows = frames()
    runs = runs[~((runs["depth"] == 14) & (runs["seed"] > 0))]
    finding = next(iter(signals(runs, rows)))
    assert p_values(finding)[0] == 1 and finding.row.evidence.endswith("one seed only at depth 14")
    alone = next(iter(signals(runs[runs["seed"] == 0], rows)))
    assert alone.evidence is None and alone.row.verdict == "undecided"


def test_the_number_of_seeds_that_would_decide() -> None:
    undecided = found(lambda net, step, layer: 0.01 * 3 ** (net[2] + 1) if layer == 2 else 1.0)["gradients-vanish"]
    assert undecided.evidence is not None
    needed = undecided.evidence.study_needed(0.01)
    assert needed is not None and needed[0] > 3 and needed[1] == "supported"
    logs = np.log([3.0, 9, 27])
    reached = [
        SIDES * stats.t.sf(logs.mean() / logs.std(ddof=1) * math.sqrt(n), n - 1) for n in (needed[0] - 1, needed[0])
    ]
    assert reached[0] > 0.01 >= reached[1]


def test_forward_signals_tell_what_bn_does_by_itself() -> None:
    quiet = found(response=lambda net, step, layer: 1.0 if step == 0 else 0.003 * wobble(net))["forward-healthy"]
    assert decide([quiet])[0].verdict == "contradicted" and quiet.row.kind == "sound"
    assert "at step 0 1, which BN does by itself" in quiet.row.evidence
    assert quiet.row.evidence.endswith("at later steps 0.003 to 0.0036")


# ---------------------------------------------------------------------------------------------- responses


def answering(ratios: dict[int, float], residual: dict[int, float]) -> Value:
    """At the last step plain nets respond so many times as their twins; a seed adds to both."""

    def response(net: Net, step: int, layer: int) -> float:
        arch, depth, seed = net
        if step < STEPS[-1]:
            return 1.0
        factor = ratios[depth] * (1 + 0.01 * seed) if arch == "plain" else 1.0
        return factor * residual[depth] * (2.0 if layer % 2 else 0.5)

    return response


def test_responses_are_geometric_means_over_layers_at_the_last_step() -> None:
    runs, rows = frames(response=answering({8: 3.0, 14: 1.0}, {8: 1.0, 14: 1.0}), seeds=(0,))
    made = responses(layers(runs, rows)).set_index(["arch", "depth"])["response"]
    # 7 layers of depth 8: four of 2 and three of a half, geometric mean 2 ** (1 / 7).
    assert made["plain", 8] == pytest.approx(math.log(3) + math.log(2) / 7)
    assert made["residual", 8] == pytest.approx(math.log(2) / 7)


def test_no_depth_decides_alone_whether_responses_are_small() -> None:
    """Four depths with a ratio of about 1 and one with 7: neither that responses are smaller, nor that they are not."""
    depths = (8, 14, 20, 26, 32)
    ratios, level = dict(zip(depths, (1.0, 1.006, 1.012, 1.07, 7.0), strict=True)), dict.fromkeys(depths, 1.0)
    finding = found(response=answering(ratios, level), depths=depths)["responses-small"]
    assert finding.of_training and decide([finding])[0].verdict == "undecided" and p_values(finding)[2] == 1
    medians = 1.012 * np.array([1.0, 1.01, 1.02])
    assert finding.row.effect == pytest.approx(stats.gmean(medians)) and finding.row.margin == 1.05
    same = dict(zip(depths, (1.0, 1.002, 1.004, 1.006, 1.01), strict=True))
    finding = found(response=answering(same, level), depths=depths)["responses-small"]
    worst = np.log(1.01 * np.array([1.0, 1.01, 1.02]))
    equal = stats.ttest_1samp(worst, math.log(1.05), alternative="less").pvalue
    assert p_values(finding)[2] == pytest.approx(SIDES * equal)
    assert decide([finding])[0].verdict == "no relevant difference"
    finding = found(response=answering(ratios, level), depths=depths)["responses-small"]
    assert "1.010 at depth 8, 1.016 at depth 14" in finding.row.evidence  # means over seeds
    assert "7.070 at depth 32" in finding.row.evidence


@pytest.mark.parametrize(("ratio", "verdict"), [(1.4, "supported"), (1 / 1.4, "contradicted")])
def test_responses_that_differ_by_more_than_the_margin(ratio: float, verdict: str) -> None:
    finding = found(response=answering({8: ratio, 14: ratio}, {8: 1.0, 14: 1.0}))["responses-small"]
    assert decide([finding])[0].verdict == verdict and finding.row.n == 3
    assert finding.row.effect == pytest.approx(ratio * 1.01, rel=1e-4) and finding.row.unit == "times"


@pytest.mark.parametrize(
    ("deep", "verdict"), [(0.7, "supported"), (0.98, "no relevant difference"), (1.5, "contradicted")]
)
def test_responses_that_fall_with_depth(deep: float, verdict: str) -> None:
    """Where the ratio is certain but within the margin, it is not said that the claim is contradicted."""
    level = {8: 1.0, 14: deep}
    finding = found(response=lambda net, step, layer: level[net[1]] * (1 + 0.001 * net[1] * net[2]))["responses-fall"]
    assert finding.of_training and decide([finding])[0].verdict == verdict


def test_a_diverged_run_has_no_response_at_the_end_and_is_named() -> None:
    rows = found(diverged=[("residual", 14, 1)], seeds=(0, 1, 2, 3))
    for claim in ("responses-small", "responses-fall"):
        assert rows[claim].row.n == 3, "seed 1 is left out while two complete ones remain"
        assert rows[claim].row.evidence.endswith(
            "; left out: seed 1; no response at the end (diverged, or not finite): ResNet-14 seed 1"
        )


def test_each_residual_option_has_its_rows() -> None:
    runs, rows = frames()
    options = [runs.assign(shortcut="c", run_id="c" + runs["run_id"]), rows.assign(run_id="c" + rows["run_id"])]
    residual = options[0]["arch"] == "residual"
    made = signals(pd.concat([runs, options[0][residual]]), pd.concat([rows, options[1]]))
    subjects = [finding.row.subject for finding in made if finding.row.claim.startswith("responses")]
    assert subjects == ["plain and residual (A)", "residual (A)", "plain and residual (C)", "residual (C)"]


@pytest.mark.parametrize("empty", ["runs", "signals", "both"])
def test_without_rows_nothing_is_measured(empty: str) -> None:
    runs, rows = frames()
    runs = runs.iloc[:0] if empty != "signals" else runs
    rows = rows.iloc[:0] if empty != "runs" else rows
    made = [finding.row for finding in signals(runs, rows)]
    assert {row.verdict for row in made} == {"not measured"}
    assert [row.claim for row in made] == [
        "gradients-vanish", "gradients-explode", "forward-healthy", "responses-small", "responses-fall",
    ]  # fmt: skip


def test_numbers_of_any_size_are_short() -> None:
    values = {0.0: "0", 0.123: "0.12", 120.4: "120", 7_080_000: "7.1e6", 2.39e-7: "2.4e-7", 0.00098: "9.8e-4"}
    assert [figures(value) for value in values] == list(values.values())
    assert range_in_figures(pd.Series([3.0, 0.5])) == "0.5 to 3" and range_in_figures(pd.Series([1.0, 1.001])) == "1"


def test_the_rules_name_their_numbers() -> None:
    said = " ".join(module.SIGNAL_RULES)
    assert all(number in said for number in ("0.01", "(100)", "1.05"))


# ---------------------------------------------------------------------------------------------- committed studies


@cache
def committed(name: str) -> StudyFrames:
    return load(ROOT / "results" / name)


@cache
def judged(name: str) -> dict[str, ClaimRow]:
    study = committed(name)
    return {row.claim: row for row in decide(list(signals(study.runs, study.signals)))}


@pytest.mark.parametrize("name", ["digits-full", "cifar10-jpeg-short"])
def test_committed_studies_explode_and_their_responses_do_not_differ(name: str) -> None:
    rows = judged(name)
    assert rows["gradients-explode"].verdict == "contradicted" and (rows["gradients-explode"].effect or 0) > 5e5
    assert rows["forward-healthy"].verdict == "supported"
    assert rows["responses-fall"].verdict == "no relevant difference"
    assert rows["responses-small"].verdict == "undecided"  # smaller in the deep nets, equal in the others


def test_the_explosion_of_seven_million_is_found() -> None:
    study = committed("digits-full")
    rows = layers(study.runs, study.signals)
    plain = rows[(rows["arch"] == "plain") & (rows["depth"] == 110) & (rows["seed"] == 0)]
    assert plain["raw"].max() == pytest.approx(7.08e6, rel=0.01)
    highest = extremes(plain, "flow", lowest=False).iloc[0]
    assert highest["step"] == 0 and highest["flow"] == pytest.approx(3.0e6, rel=0.01)


def test_what_vanishes_in_the_norm_alone_may_be_the_weights_that_have_grown() -> None:
    study = committed("cifar10-jpeg-short")
    rows = layers(study.runs, study.signals)
    plain = rows[(rows["arch"] == "plain") & (rows["depth"] == 110) & (rows["seed"] == 0)]
    first = plain[(plain["layer_index"] == 1) & (plain["step"] == 400)].iloc[0]
    assert first["raw"] == pytest.approx(2.4e-7, rel=0.01) and first["flow"] == pytest.approx(0.0098, rel=0.01)
