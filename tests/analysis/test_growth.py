"""Growth of the gradient before the first step: fits by hand, intervals, and the rank correlation beside scipy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resnet_bench.analysis.growth import (
    growth_and_error,
    growth_by_network,
    growth_by_run,
    rank_correlation,
    slope,
    stages,
)
from resnet_bench.frames import load
from tests.conftest import ROOT


def nets(factors: dict[tuple[str, int, int], float], names: str = "layer.{}") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and signals whose gradients grow by a factor per layer towards the input at step 0, and fall at step 1."""
    runs, rows = [], []
    for (arch, depth, seed), factor in factors.items():
        run: dict[str, Any] = {"run_id": f"{arch}-{depth}-{seed}", "arch": arch, "depth": depth, "seed": seed}
        run |= {"shortcut": "none" if arch == "plain" else "a", "status": "ok", "num_classes": 10}
        runs.append({**run, "final_train_clean_top1_err": 5.0 * factor})
        for step, growth in ((0, factor), (1, 0.1)):
            for layer in range(1, depth + 1):
                name = "head" if layer == depth else names.format(layer)
                row: dict[str, Any] = {"run_id": run["run_id"], "step": step, "layer": name, "layer_index": layer}
                norms = {"grad_norm": 3 * growth**-layer, "weight_norm": float(layer), "response_std": 1.0}
                rows.append({**row, **norms})
    return pd.DataFrame(runs), pd.DataFrame(rows)


def test_growth_is_of_the_norm_at_step_0_over_convolutions() -> None:
    made = growth_by_run(*nets({("plain", 8, 0): 1.2}))
    assert np.exp(made["growth"]).tolist() == pytest.approx([1.2])
    assert np.exp(made["ratio"]).tolist() == pytest.approx([1.2**6])  # of seven convolutions


def test_a_slope_by_hand_and_beside_scipys() -> None:
    x, y = np.array([1.0, 2, 3, 5]), np.array([1.0, 3, 2, 6])
    # Means 2.75 and 3; sums of products: 3.5 + 0 - 0.25 + 6.75 = 10, of squares 3.0625 + .5625 + .0625 + 5.0625 = 8.75.
    assert slope(x, y, [""] * 4) == pytest.approx(10 / 8.75)
    assert slope(x, y, [""] * 4) == pytest.approx(stats.linregress(x, y).slope)


def test_where_a_stage_begins_the_norm_may_jump() -> None:
    """Two lines with slope 2 whose levels differ: one slope, whatever is between them."""
    x, y = np.arange(6.0), np.array([0.0, 2, 4, -100, -98, -96])
    assert slope(x, y, list("aaabbb")) == pytest.approx(2)
    assert slope(x, y, [""] * 6) < 0
    # Two slopes, 1 over three points and 3 over two: weighted by squared distances, 2 and 0.5.
    assert slope(np.arange(5.0), np.array([0.0, 1, 2, 0, 3]), list("aaabb")) == pytest.approx((2 * 1 + 0.5 * 3) / 2.5)


def test_stages_are_told_by_names() -> None:
    cifar = ["stem", "stages.0.0.conv1", "stages.0.1.conv2", "stages.1.0.conv1"]
    assert stages(pd.Series(cifar)) == ["stem", "stages.0", "stages.0", "stages.1"]
    assert stages(pd.Series(["conv1", "layer1.0.conv1", "layer1.0.conv2"])) == ["conv1", "layer1", "layer1"]
    assert stages(pd.Series(["first", "second", "third"])) == ["", "", ""]


def test_gradients_that_are_not_finite_or_0_have_no_growth_and_a_diverged_run_has_one() -> None:
    runs, rows = nets({("plain", 8, seed): 1.2 for seed in range(4)})
    runs.loc[runs["seed"] == 0, "status"] = "diverged"
    first = (rows["step"] == 0) & (rows["layer_index"] == 2)
    for seed, value in ((1, math.nan), (2, 0.0)):
        rows.loc[first & (rows["run_id"] == f"plain-8-{seed}"), "grad_norm"] = value
    assert growth_by_run(runs, rows)["seed"].tolist() == [0, 3]
    assert growth_by_run(runs, rows[rows["step"] > 0]).empty
    assert growth_by_network(growth_by_run(runs.iloc[:0], rows.iloc[:0])).empty


def test_means_over_seeds_are_geometric_with_intervals_of_students_t() -> None:
    factors = (1.1, 1.2, 1.25)
    by_network = growth_by_network(growth_by_run(*nets({("plain", 8, seed): f for seed, f in enumerate(factors)})))
    (net,) = by_network.to_dict("records")
    logs = np.log(factors)
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert (net["n"], net["growth"]) == pytest.approx((3, stats.gmean(factors)))
    assert (net["growth_low"], net["growth_high"]) == pytest.approx((math.exp(low), math.exp(high)))
    assert (net["ratio"], net["ratio_high"]) == pytest.approx((stats.gmean(factors) ** 6, math.exp(6 * high)))
    single = growth_by_network(growth_by_run(*nets({("plain", 8, 0): 1.1})))
    assert single["n"].tolist() == [1] and single["growth_low"].isna().all()


def test_the_error_is_the_mean_over_seeds_and_a_diverged_run_is_at_chance() -> None:
    runs, rows = nets({("plain", 8, 0): 1.2, ("plain", 8, 1): 1.2, ("residual", 8, 0): 1.1, ("plain", 14, 0): 1.3})
    runs.loc[1, ["status", "final_train_clean_top1_err"]] = ["diverged", math.nan]
    runs.loc[3, "final_train_clean_top1_err"] = math.nan
    points = growth_and_error(runs, growth_by_network(growth_by_run(runs, rows)))
    assert points["arch"].tolist() == ["plain", "residual"]  # plain-14 has no error
    assert points["train_error"].tolist() == pytest.approx([(6 + 90) / 2, 5.5])


# ---------------------------------------------------------------------------------------------- rank correlation


def test_a_rank_correlation_by_hand() -> None:
    """1 - 6 * sum of squared differences of ranks / (n * (n^2 - 1)), without ties."""
    found = rank_correlation([1, 2, 3, 4, 5], [10, 30, 20, 50, 40])
    assert found.r == pytest.approx(1 - 6 * 4 / (5 * 24)) and found.n == 5
    reach = 1.959963984540054 * math.sqrt((1 + 0.8**2 / 2) / 2)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(math.atanh(0.8) - reach), math.tanh(math.atanh(0.8) + reach))
    )


def test_a_rank_correlation_beside_scipys_with_ties() -> None:
    luck = np.random.default_rng(0)
    for n in (5, 10, 40):
        x, y = luck.integers(0, 8, n), luck.integers(0, 8, n)
        assert rank_correlation(x, y).r == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_interval_is_that_of_an_independent_program() -> None:
    """The example of `ci.spear` in Bonett's R package statpsych, with what it says that it returns."""
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    found = rank_correlation(x, y)
    assert (found.r, found.low, found.high) == pytest.approx((0.8699639, 0.5840951, 0.9638297), abs=1e-7)


def test_few_networks_have_no_interval() -> None:
    for x, y in (([1, 2, 3, 4], [1, 3, 2, 4]), (range(6), range(6))):
        found = rank_correlation(list(x), list(y))
        assert found.r > 0 and math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(rank_correlation([1, 2, 3, 4, 5], [7, 7, 7, 7, 7]).r)
    assert math.isnan(rank_correlation([], []).r)


# ---------------------------------------------------------------------------------------------- committed studies


def networks(name: str) -> pd.DataFrame:
    study = load(ROOT / "results" / name)
    return growth_and_error(study.runs, growth_by_network(growth_by_run(study.runs, study.signals)))


def factors(name: str, arch: str, shortcut: str) -> list[float]:
    """Growth by depth, ascending, rounded."""
    points = networks(name)
    chosen = points[(points["arch"] == arch) & (points["shortcut"] == shortcut)].sort_values("depth")
    return [round(float(factor), 2) for factor in chosen["growth"]]


def test_plain_nets_grow_alike_at_every_depth_and_residual_ones_less_the_deeper_they_are() -> None:
    for name in ("digits-full", "cifar10-jpeg-short"):
        assert all(1.12 < factor < 1.18 for factor in factors(name, "plain", "none")), name
    assert factors("digits-full", "residual", "a") == [1.10, 1.07, 1.06, 1.05, 1.03]
    assert factors("digits-shortcuts", "residual", "c") == [1.12, 1.13, 1.12]


@pytest.mark.parametrize(("name", "r"), [("digits-full", 0.94), ("cifar10-jpeg-short", 0.96)])
def test_the_ratio_of_first_to_last_goes_with_the_final_error(name: str, r: float) -> None:
    points = networks(name)
    found = rank_correlation(points["ratio"], points["train_error"])
    assert found.r == pytest.approx(r, abs=0.005) and found.n == 10 and found.low > 0.6
    assert found.r == pytest.approx(stats.spearmanr(points["ratio"], points["train_error"]).statistic)
