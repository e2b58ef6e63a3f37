"""How fast runs learn, from their error curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVELS = (80, 60, 40, 20, 10, 5, 1)  # percent of training error
CHANCE_SHARE = 0.95  # an error above this part of chance's is as good as chance
TRAIN = "train_top1_err"


@dataclass(frozen=True)
class Convergence:
    """One run's way, by its running training error (train mode, augmented, over the steps since the last row).

    Attributes:
        run_id: the run.
        steps_to: by error level in percent, the first recorded step at or below it; None if there is none.
        mean_error: area under the curve over the number of steps, in percent; NaN without rows.
        steps_at_chance: the last recorded step up to which every error was as good as chance's; 0 if the first was not.
    """

    run_id: str
    steps_to: dict[int, int | None]
    mean_error: float
    steps_at_chance: int


def convergence(curves: pd.DataFrame, chance: float) -> list[Convergence]:
    """For every run in curves.csv, in its order; `chance` is the error of guessing, in percent."""
    return [
        _of_run(str(run_id), rows.sort_values("step"), chance) for run_id, rows in curves.groupby("run_id", sort=False)
    ]


def _of_run(run_id: str, rows: pd.DataFrame, chance: float) -> Convergence:
    known = rows[rows[TRAIN].notna()]
    steps, errors = known["step"].to_numpy(dtype=float), known[TRAIN].to_numpy(dtype=float)
    below = {level: steps[errors <= level] for level in LEVELS}
    learned = np.flatnonzero(errors < CHANCE_SHARE * chance)
    at_chance = steps[: learned[0] if len(learned) else len(steps)]
    return Convergence(
        run_id=run_id,
        steps_to={level: int(found[0]) if len(found) else None for level, found in below.items()},
        # A row's error is the mean over the steps since the row before, so this is exact.
        mean_error=float(errors @ np.diff(steps, prepend=0.0) / steps[-1]) if len(steps) else math.nan,
        steps_at_chance=int(at_chance[-1]) if len(at_chance) else 0,
    )
