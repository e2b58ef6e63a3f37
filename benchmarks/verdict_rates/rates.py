"""Studies of a truth, many at a time, judged by the rules that `claims.judge_study` uses; how often each verdict."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.verdict_rates.truths import CHANCE, ERRORS, OWN_TEST_LUCK, Floats, Networks, Truth
from resnet_bench.analysis.contrasts import degrades, gap_grows, holds, twins_differ
from resnet_bench.analysis.findings import DECISIONS, UNDECIDED, Evidence, weights_of
from resnet_bench.analysis.rules import ALPHA, MARGIN, OTHERS
from resnet_bench.analysis.statistics import weighted_holm

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CLAIMS = ("plain-degrades-train", "plain-degrades-test", "residual-holds-train", "residual-holds-test",
          "gap-grows-train", "gap-grows-test", "twins")  # fmt: skip
PRIMARY = ("plain-degrades-train", "gap-grows-train")
KINDS = (*DECISIONS, UNDECIDED)
NUM_SEEDS, NUM_DEPTHS = (2, 3, 5, 10), (2, 3, 5)
EXACT = 1e-9  # points; a truth at the margin is there but for rounding


@dataclass(frozen=True)
class Cell:
    """What came out for a truth at some number of seeds and depths.

    Attributes:
        verdicts: studies with each verdict on each claim, of shape claims, kinds.
        right: which of `DECISIONS` are true, of shape claims, 3.
        false: studies with any false verdict of each of `DECISIONS`.
    """

    truth: Truth
    seeds: int
    depths: int
    studies: int
    verdicts: Ints
    right: Bools
    false: Ints

    def __str__(self) -> str:
        return f"{self.truth.name}, {self.depths} depths, {self.seeds} seeds"

    def share(self, claim: str, kind: str) -> float:
        """Of the studies, those with this verdict on this claim."""
        return float(self.verdicts[CLAIMS.index(claim), KINDS.index(kind)]) / self.studies

    def answer(self, claim: str) -> str:
        """The verdict that is right for a claim; `UNDECIDED` where none is, as nothing else can be said."""
        said = [kind for kind, is_right in zip(DECISIONS, self.right[CLAIMS.index(claim)], strict=True) if is_right]
        return said[0] if said else UNDECIDED


def run(truth: Truth, seeds: int, depths: int, studies: int) -> Cell:
    """The same numbers whenever and in whatever order it is called."""
    networks = truth.networks(depths)
    draws = np.random.default_rng([zlib.crc32(truth.name.encode()), seeds, depths])
    kinds = judge(simulate(draws, truth, networks, (studies, seeds)), networks.finest)
    return count(truth, seeds, depths, kinds, what_is_right(truth.expected(networks, seeds)))


def count(truth: Truth, seeds: int, depths: int, kinds: Ints, right: Bools) -> Cell:
    """A cell of verdicts, places in `KINDS`, of shape studies, claims."""
    verdicts = np.stack([(kinds == kind).sum(axis=0) for kind in range(len(KINDS))], axis=-1)
    false = [((kinds == kind) & ~right[:, kind]).any(axis=1).sum() for kind in range(len(DECISIONS))]
    return Cell(truth, seeds, depths, len(kinds), verdicts, right, np.array(false))


def simulate(draws: np.random.Generator, truth: Truth, networks: Networks, size: tuple[int, int]) -> Floats:
    """Errors in percent, in whole images, of shape errors (train, test), arms, studies, seeds, depths.

    Args:
        size: number of studies and of seeds.
    """
    arms, depths = networks.means.shape[1:]
    shape = (arms, *size, depths)
    luck = truth.luck(draws, shape)
    own = draws.normal(size=shape)
    of_test = (luck + OWN_TEST_LUCK * own) / np.sqrt(1 + OWN_TEST_LUCK**2)
    means, spreads = (part[:, :, None, None, :] for part in (networks.means, networks.spreads))
    errors = means + spreads * np.stack([luck, of_test])
    if truth.diverges is not None:
        errors = _one_at_chance(draws, errors, truth.diverges(depths))
    if truth.fails is not None:
        failed = draws.random(shape) < truth.fails(depths)[:, None, None, :]
        errors = np.where(failed, CHANCE, errors)
    steps = np.array(networks.finest)[:, None, None, None, None]
    return np.asarray(np.clip(np.rint(errors / steps) * steps, 0, 100), dtype=np.float64)


def _one_at_chance(draws: np.random.Generator, errors: Floats, which: Floats) -> Floats:
    """In each study one run, of the arms and depths with these probabilities, of any seed."""
    _, arms, studies, seeds, depths = errors.shape
    places = draws.choice(which.size, size=studies, p=which.ravel())
    diverged = np.zeros((studies, arms * depths, seeds), dtype=bool)
    diverged[np.arange(studies), places, draws.integers(seeds, size=studies)] = True
    at = diverged.reshape(studies, arms, depths, seeds).transpose(1, 0, 3, 2)
    return np.where(at, CHANCE, errors)


# ---------------------------------------------------------------------------------------------- the truth


def what_is_right(means: Floats) -> Bools:
    """Which of `DECISIONS` are true of each claim, of shape claims, 3; means of shape errors, arms, depths."""
    found: dict[str, tuple[bool, bool, bool]] = {}
    for error, (plain, residual) in zip(ERRORS, means, strict=True):
        found[f"plain-degrades-{error}"] = _of_a_rise(plain)
        found[f"gap-grows-{error}"] = _of_a_rise(plain - residual)
        rise = _largest_rise(residual)
        found[f"residual-holds-{error}"] = (rise < MARGIN - EXACT, rise > MARGIN + EXACT, False)
    plain, residual = means[0]
    found["twins"] = _of_a_difference(float((plain - residual).mean()))
    return np.array([found[claim] for claim in CLAIMS])


def _of_a_rise(means: Floats) -> tuple[bool, bool, bool]:
    end = float(means[-1] - means[0])
    return end > MARGIN + EXACT, end < -MARGIN - EXACT, bool(np.ptp(means) < MARGIN - EXACT)


def _of_a_difference(mean: float) -> tuple[bool, bool, bool]:
    return mean > MARGIN + EXACT, mean < -MARGIN - EXACT, abs(mean) < MARGIN - EXACT


def _largest_rise(means: Floats) -> float:
    """From a network to one that is deeper."""
    return float((means - np.minimum.accumulate(means)).max())


def judge(errors: Floats, finest: Sequence[float]) -> Ints:
    """The verdicts, as places in `KINDS`, of shape studies, claims. For the arguments see `tests`."""
    places, corrected = tests(errors, finest)
    return np.where(corrected <= ALPHA, places, KINDS.index(UNDECIDED))


def tests(errors: Floats, finest: Sequence[float]) -> tuple[Ints, Floats]:
    """What `findings.decide` does for one study, for many: the nearest verdict and its corrected p-value.

    Args:
        errors: as `simulate` gives them.
        finest: the least spread of training and of test errors.

    Returns:
        Both of shape studies, claims.
    """
    evidence: dict[str, Evidence] = {}
    for name, (plain, residual), step in zip(ERRORS, errors, finest, strict=True):
        evidence[f"plain-degrades-{name}"] = degrades(plain, MARGIN, step, CHANCE)
        evidence[f"residual-holds-{name}"] = holds(residual, MARGIN, step, CHANCE)
        evidence[f"gap-grows-{name}"] = gap_grows(plain, residual, MARGIN, step, CHANCE)
    plain, residual = errors[0]
    evidence["twins"] = twins_differ(plain, residual, MARGIN, finest[0], CHANCE)
    nearest = [evidence[claim].nearest for claim in CLAIMS]
    weights = weights_of([PRIMARY.index(claim) if claim in PRIMARY else OTHERS for claim in CLAIMS])
    return np.stack([place for place, _ in nearest], -1), weighted_holm(np.stack([p for _, p in nearest], -1), weights)
