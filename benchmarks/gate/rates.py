"""How often is the gate right? By resampling the pairs of a campaign: `python -m benchmarks.gate.rates PAIRS.csv`.

Pairs of identical sides are drawn again and again into whole gates, with a slowdown added to the train steps. Each gate
draws from the pairs of one recorded gate only (of that hour's noise), chosen anew, and each pair's sign is turned or
not, as its two sides were the same; all benchmarks of a pair stay together.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

from resnet_bench.gate.judgement import Outcome, Trial

SLOWED = "train step"  # the benchmarks whose name begins like this
SLOWDOWNS = (0.0, 0.02, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12)
MIN_POOL = 8  # recorded gates with fewer pairs of identical sides are no pool of their own
PairOf = dict[str, float]


def read_pools(path: Path, kinds: set[str]) -> list[list[PairOf]]:
    """For each recorded gate of these kinds, its pairs of identical sides."""
    pools: dict[str, dict[str, PairOf]] = defaultdict(lambda: defaultdict(dict))
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["kind"] in kinds:
                pools[row["gate"]][row["pair"]][row["benchmark"]] = float(row["log_ratio"])
    return [list(pool.values()) for pool in pools.values() if len(pool) >= MIN_POOL]


def simulate(luck: random.Random, pools: list[list[PairOf]], slowdown: float, max_pairs: int) -> Outcome:
    """One gate of pairs drawn from a pool."""
    pool, trial = luck.choice(pools), Trial()
    for taken in range(10 * max_pairs):
        confirming = bool(trial.suspects) and min(e.pairs for e in trial.confirmation().values()) < 7
        if trial.settled() is not None or (taken >= max_pairs and not confirming):
            break
        (same,) = trial.plan(1)
        sign = luck.choice((-1, 1))
        added = 0.0 if same else math.log1p(slowdown)
        drawn = luck.choice(pool)
        trial.add(
            {name: sign * d + (added if name.startswith(SLOWED) else 0.0) for name, d in drawn.items()}, same=same
        )
    return trial.final()


def main() -> None:
    """Print a table of outcomes by slowdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--gates", type=int, default=2000)
    parser.add_argument("--max-pairs", type=int, default=18, help="what two minutes hold on 2 cores; five: 46")
    parser.add_argument("--kinds", nargs="+", default=["identical"], help="recorded gates of identical sides")
    arguments = parser.parse_args()
    pools, luck = read_pools(arguments.pairs, set(arguments.kinds)), random.Random(0)
    print(f"{sum(map(len, pools))} pairs of {len(pools)} gates; {arguments.gates} gates of up to {arguments.max_pairs}")
    print(f"{'slower by':>9}" + "".join(f"{outcome.value:>14}" for outcome in Outcome))
    for slowdown in SLOWDOWNS:
        seen = Counter(simulate(luck, pools, slowdown, arguments.max_pairs) for _ in range(arguments.gates))
        shares = "".join(f"{100 * seen[outcome] / arguments.gates:>12.2f} %" for outcome in Outcome)
        print(f"{100 * slowdown:>7.0f} %" + shares)


if __name__ == "__main__":
    main()
