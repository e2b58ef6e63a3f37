"""What of a plan will be finished in a given time, told seed by seed. Needs no torch."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

from resnet_bench.study.plan import Plan, work
from resnet_bench.text import counted


def finished_in(plan: Plan, hours: float, rate: float, at_once: int = 1) -> set[str]:
    """The ids of the runs that will be finished by then, those that are already included.

    Args:
        plan: in the order in which its runs are done.
        hours: from now.
        rate: work per second, of all runs that are done at once together.
        at_once: how many those are.
    """
    ends = [0.0] * at_once  # when each of them will be free
    finished = {run.run_id for run in plan.runs if run.run_id in plan.done}
    for run in plan.todo:
        end = heapq.heappop(ends) + work(run, plan.shape) * at_once / rate
        heapq.heappush(ends, end)
        if end <= 3600 * hours:
            finished.add(run.run_id)
    return finished


def forecast(plan: Plan, hours: float, rate: float, at_once: int = 1) -> str:
    """In a line: `in 8 h: seeds 0 and 1 complete (20 runs), 3 of 10 runs of seed 2`; arguments as of `finished_in`."""
    return f"in {hours:g} h: {_by_seed(plan, finished_in(plan, hours, rate, at_once))}"


def _by_seed(plan: Plan, finished: set[str]) -> str:
    if len(finished) == len(plan.runs):
        return f"everything complete ({counted(len(plan.runs), 'run')})"
    there = Counter(run.seed for run in plan.runs)
    done = Counter(run.seed for run in plan.runs if run.run_id in finished)
    complete = [seed for seed in sorted(there) if done[seed] == there[seed]]
    parts = [
        f"{done[seed]} of {counted(there[seed], 'run')} of seed {seed}"
        for seed in sorted(done)
        if done[seed] < there[seed]
    ]
    if complete:
        number = sum(there[seed] for seed in complete)
        parts.insert(0, f"{_seeds(complete)} complete ({counted(number, 'run')})")
    return ", ".join(parts) or "no run finished"


def _seeds(seeds: Sequence[int]) -> str:
    """`seed 0`; `seeds 0 and 1`; `seeds 0, 1 and 2`."""
    *others, last = map(str, seeds)
    return f"seeds {', '.join(others)} and {last}" if others else f"seed {last}"
