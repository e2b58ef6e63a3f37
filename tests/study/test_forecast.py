"""The order of runs, and what of them is finished in a given time."""

from __future__ import annotations

import dataclasses

import pytest

from resnet_bench.config.run import RunConfig
from resnet_bench.study.forecast import finished_in, forecast
from resnet_bench.study.plan import DataShape, Plan, in_order, work
from tests.studies import run_row

SHAPE = DataShape((3, 8, 8), 96, 32)


def runs_of(small_run: RunConfig, depths: tuple[int, ...], seeds: tuple[int, ...]) -> list[RunConfig]:
    arms = (("residual", "a"), ("plain", "none"))
    return [
        dataclasses.replace(small_run, arch=arch, shortcut=shortcut, depth=depth, seed=seed)
        for depth in depths
        for arch, shortcut in arms
        for seed in seeds
    ]


def plan_of(runs: list[RunConfig], *done: RunConfig) -> Plan:
    rows = {run.run_id: run_row(run.run_id, run.arch, run.depth, run.shortcut, run.seed) for run in done}
    return Plan(in_order(runs, SHAPE, {}), rows, SHAPE)


def test_one_seed_is_complete_before_the_next_and_the_longest_come_first(small_run: RunConfig) -> None:
    ordered = in_order(runs_of(small_run, (8, 14), (1, 0)), SHAPE, {})
    assert [run.title for run in ordered] == [
        f"{name}-{depth} seed {seed}" for seed in (0, 1) for depth in (14, 8) for name in ("plain", "ResNet")
    ]


def test_twins_of_one_setting_stay_together(small_run: RunConfig) -> None:
    short, long = (
        [dataclasses.replace(run, steps=steps) for run in runs_of(small_run, (8, 14), (0,))] for steps in (4, 40)
    )
    settings = {run.run_id: f"steps={run.steps}" for run in (*short, *long)}
    ordered = in_order([*short, *long], SHAPE, settings)
    told = [(run.arch, run.depth, run.steps) for run in ordered]
    assert told[:2] == [("plain", 14, 40), ("residual", 14, 40)]
    for first, second in zip(told[::2], told[1::2], strict=True):
        assert (first[0], second[0]) == ("plain", "residual") and first[1:] == second[1:]


def test_what_is_finished_in_time_is_told_by_seed(small_run: RunConfig) -> None:
    runs = runs_of(small_run, (8, 14), (0, 1, 2))
    plan = plan_of(runs)
    one_seed = sum(work(run, SHAPE) for run in plan.runs[:4]) / 3600  # hours at a rate of 1
    assert forecast(plan, 2.6 * one_seed, 1.0).endswith("h: seeds 0 and 1 complete (8 runs), 1 of 4 runs of seed 2")
    assert forecast(plan, 1.01 * one_seed, 1.0).endswith("h: seed 0 complete (4 runs)")
    assert forecast(plan, 0.0001, 1.0) == "in 0.0001 h: no run finished"
    assert forecast(plan, 8, 1e12) == "in 8 h: everything complete (12 runs)"


def test_what_is_finished_already_counts(small_run: RunConfig) -> None:
    runs = runs_of(small_run, (8,), (0, 1))
    plan = plan_of(runs, *(run for run in runs if run.seed == 0))
    assert forecast(plan, 0.0001, 1.0) == "in 0.0001 h: seed 0 complete (2 runs)"


@pytest.mark.parametrize(("at_once", "finished"), [(1, 2), (2, 2), (4, 0)])
def test_runs_side_by_side_share_the_rate(small_run: RunConfig, at_once: int, finished: int) -> None:
    runs = [dataclasses.replace(small_run, seed=seed) for seed in range(4)]
    plan = plan_of(runs)
    hours = 2.5 * work(runs[0], SHAPE) / 3600
    assert len(finished_in(plan, hours, 1.0, at_once)) == finished
