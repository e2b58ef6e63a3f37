"""How often the verdicts are right, on simulated studies: `python -m benchmarks.verdict_rates`.

A simulated study has 5 depths and 3 seeds; the errors of its runs are 30 % and luck (normal). Without an effect nothing
should be supported that says there is one; with the demo's effect (51 points from the shallowest to the deepest plain
net, 8 points of luck) it should be.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from resnet_bench.analysis.claims import judge
from resnet_bench.networks import DEPTHS

SEEDS = (0, 1, 2)
EFFECTS = ("plain-degrades-train", "plain-degrades-test", "gap-grows-train", "gap-grows-test", "twins")
FALSE_LIMIT, POWER = 0.05, 0.90


def simulate(luck: np.random.Generator, rise: float, spread: float) -> pd.DataFrame:
    """Runs of a study in which plain nets get worse by `rise` points with depth and residual ones do not."""
    rows = [
        {
            "arch": arch, "shortcut": shortcut, "depth": depth, "seed": seed, "status": "ok", "num_classes": 10,
            "final_train_clean_top1_err": 30 + worse * place / (len(DEPTHS) - 1) + luck.normal(0, spread),
            "params": depth, "macs": depth, "init_digest": f"{depth}-{seed}", "batches_digest": str(seed),
        }
        for arch, shortcut, worse in (("plain", "none", rise), ("residual", "a", 0.0))
        for place, depth in enumerate(DEPTHS)
        for seed in SEEDS
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    return runs.assign(final_test_top1_err=runs["final_train_clean_top1_err"] + 5)


def supported(studies: int, rise: float, spread: float, seed: int) -> Counter[str]:
    """In how many studies each claim of an effect is supported; "any": at least one of them."""
    luck, counts = np.random.default_rng(seed), Counter[str]()
    for _ in range(studies):
        found = {row.claim for row in judge(simulate(luck, rise, spread)) if row.verdict == "supported"}
        counts.update(found & set(EFFECTS))
        counts["any"] += bool(found & set(EFFECTS))
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a rate is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict_rates")
    parser.add_argument("--studies", type=int, default=1000, help="simulated ones of each kind (1000)")
    studies = parser.parse_args(argv).studies
    without, with_effect = supported(studies, 0.0, 1.0, seed=0), supported(studies, 51.0, 8.0, seed=1)
    print(
        f"{studies} studies of {len(DEPTHS)} depths, {len(SEEDS)} seeds: supported without an effect, with the demo's"
    )
    for claim in EFFECTS:
        print(f"{claim:22} {100 * without[claim] / studies:5.1f} %  {100 * with_effect[claim] / studies:5.1f} %")
    print(f"{'any of them':22} {100 * without['any'] / studies:5.1f} %")
    right = without["any"] <= FALSE_LIMIT * studies and all(with_effect[c] >= POWER * studies for c in EFFECTS)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
