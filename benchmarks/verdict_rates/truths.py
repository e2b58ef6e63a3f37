"""Truths that studies are simulated from: mean and spread of the error of every network, and how its runs scatter."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

import resnet_bench
from resnet_bench.analysis.rules import MARGIN

Floats = npt.NDArray[np.float64]
Luck = Callable[[np.random.Generator, tuple[int, int, int, int]], Floats]  # of shape arms, studies, seeds, depths
ERRORS, ARMS = ("train", "test"), ("plain", "residual")

LEVEL, TEST_LEVEL = 30.0, 35.0  # percent of training and of test error, where a truth does not say otherwise
CHANCE = 90.0  # of ten classes
NARROW, WIDE, TINY = 1.0, 5.0, 0.2  # points of spread: twice and ten times the margin, and as on CIFAR-10
EFFECT = 5.0  # points
OWN_TEST_LUCK = 0.3  # of the spread of the training error; the rest of a test error's luck is the training error's
ROOT = Path(resnet_bench.__file__).resolve().parent.parent
RECORDED = ROOT / "results" / "digits-full" / "runs.csv"
PUBLISHED = Path(resnet_bench.__file__).resolve().parent / "report" / "published_errors.csv"
# Which networks stand for 2, 3 and 5 depths where they are real ones.
DEMO_DEPTHS = {2: (20, 56), 3: (20, 44, 56), 5: (20, 32, 44, 56, 110)}
PUBLISHED_DEPTHS = {2: (20, 56), 3: (20, 38, 56), 5: (20, 32, 38, 44, 56)}


@dataclass(frozen=True)
class Networks:
    """What is true of the networks of a study: arrays of shape errors (train, test), arms, depths."""

    means: Floats
    spreads: Floats
    images: tuple[int, int] = (50_000, 10_000)  # that training and test errors are counted on

    @property
    def finest(self) -> tuple[float, float]:
        """One image, in points of training and of test error."""
        train, test = self.images
        return 100 / train, 100 / test


@dataclass(frozen=True)
class Truth:
    """A truth for any number of depths.

    Attributes:
        name: of a row in the tables.
        group: of truths that share a bound or a table.
        words: what is true, for the reader.
        networks: means and spreads for that many depths.
        luck: draws of it, with mean 0 and spread 1; without one it is normal.
        diverges: one run of each study ends at chance; how likely it is one of each arm and depth.
        fewest: depths that its shape needs.
        fails: how likely every run of each arm and depth ends at chance.
    """

    name: str
    group: str
    words: str
    networks: Callable[[int], Networks]
    luck: Luck
    diverges: Callable[[int], Floats] | None = None
    fewest: int = 2
    fails: Callable[[int], Floats] | None = None

    def expected(self, networks: Networks, seeds: int) -> Floats:
        """The means over all studies, of shape errors, arms, depths: a run that diverges is part of the truth."""
        depths = networks.means.shape[-1]
        if self.fails is not None:
            share = self.fails(depths)
        elif self.diverges is not None:
            share = self.diverges(depths) / seeds
        else:
            return networks.means
        return (1 - share) * networks.means + share * CHANCE


# ---------------------------------------------------------------------------------------------- shapes over depth


def flat(depths: int) -> Floats:
    """No difference."""
    return np.zeros(depths)


def steady(depths: int) -> Floats:
    """From 0 to 1."""
    return np.linspace(0, 1, depths)


def deepest(depths: int) -> Floats:
    """1 at the last, else 0."""
    return np.asarray(np.eye(depths)[-1])


def dip(depths: int) -> Floats:
    """1 at both ends, 0 in the middle."""
    return np.abs(np.linspace(-1, 1, depths))


def hump(depths: int) -> Floats:
    """0 at both ends, 1 in the middle."""
    return 1 - dip(depths)


def higher(depths: int) -> Floats:
    """1 at all depths."""
    return np.ones(depths)


Shape = Callable[[int], Floats]


def shaped(plain: Shape, residual: Shape, size: float, spread: float, growth: float = 1.0) -> Callable[[int], Networks]:
    """Networks around one level, of which each arm has a shape of some size.

    The spread is that of the deepest; it grows so many times from the shallowest to there.
    """

    def networks(depths: int) -> Networks:
        over_depth = size * np.stack([plain(depths), residual(depths)])
        spreads = np.broadcast_to(np.geomspace(spread / growth, spread, depths), (2, 2, depths))
        return Networks(np.stack([LEVEL + over_depth, TEST_LEVEL + over_depth]), spreads)

    return networks


def any_run(depths: int) -> Floats:
    """Each arm and depth alike."""
    return np.full((2, depths), 1 / (2 * depths))


def deepest_residual(depths: int) -> Floats:
    """Surely the deepest residual network."""
    return np.stack([flat(depths), deepest(depths)])


def rarely(plain: Shape, residual: Shape, share: float) -> Callable[[int], Floats]:
    """Every run of the networks that a shape picks, with this chance."""
    return lambda depths: share * np.stack([plain(depths), residual(depths)])


def shallowest(depths: int) -> Floats:
    """1 at the first, else 0."""
    return np.asarray(np.eye(depths)[0])


# ---------------------------------------------------------------------------------------------- luck


def normal(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Of a normal distribution."""
    return draws.normal(size=shape)


def heavy(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 2 degrees of freedom: its variance is not finite."""
    return draws.standard_t(2, size=shape)


def tail_up(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Exponential: now and then a run is much worse."""
    return draws.exponential(size=shape) - 1


def tail_down(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The same with the other sign: now and then a run is much better."""
    return -tail_up(draws, shape)


def long_tail_up(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Log-normal: a longer tail still."""
    mean, spread = math.exp(0.5), math.sqrt((math.e - 1) * math.e)
    return np.asarray((draws.lognormal(size=shape) - mean) / spread)


def long_tail_down(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The same with the other sign."""
    return -long_tail_up(draws, shape)


def opposed(of_plain: Luck, of_residual: Luck) -> Luck:
    """Each arm with luck of its own kind."""

    def luck(draws: np.random.Generator, shape: tuple[int, int, int, int]) -> Floats:
        return np.concatenate([of(draws, (1, *shape[1:])) for of in (of_plain, of_residual)])

    return luck


def common(share: float, *, of_arm: bool) -> Luck:
    """Normal, with a share of the variance that all depths of a seed have in common, in one arm or in both."""

    def luck(draws: np.random.Generator, shape: tuple[int, int, int, int]) -> Floats:
        arms, studies, seeds, _ = shape
        of_seed = draws.normal(size=(arms if of_arm else 1, studies, seeds, 1))
        of_run = draws.normal(size=shape)
        return np.asarray(np.sqrt(share) * of_seed + np.sqrt(1 - share) * of_run)

    return luck


# ---------------------------------------------------------------------------------------------- real networks


@functools.cache
def _recorded() -> pd.DataFrame:
    runs = pd.read_csv(RECORDED)
    runs = runs[runs["shortcut"].isin(["none", "a"])]
    errors = runs.groupby(["arch", "depth"])[["final_train_clean_top1_err", "final_test_top1_err"]]
    return errors.agg(["mean", "std"])


def demo(depths: int) -> Networks:
    """Means and spreads of the recorded runs on digits, which the demo's are like: 5 seeds of each network."""
    recorded, chosen = _recorded(), DEMO_DEPTHS[depths]
    columns = ("final_train_clean_top1_err", "final_test_top1_err")

    def table(statistic: str) -> Floats:
        return np.array(
            [[[recorded.loc[(arm, d), (e, statistic)] for d in chosen] for arm in ARMS] for e in columns], dtype=float
        )

    return Networks(table("mean"), table("std"), images=(1437, 360))


@functools.cache
def _published(source: str, metric: str, arm: str) -> tuple[Floats, Floats, Floats]:
    """Depths, errors and spreads (not a number where there is none)."""
    with PUBLISHED.open() as file:
        rows = [r for r in csv.DictReader(file) if (r["source"], r["metric"], r["arch"]) == (source, metric, arm)]
    numbers = [(int(r["depth"]), float(r["value_percent"]), float(r["std_percent"] or "nan")) for r in rows]
    depths, errors, spreads = np.array(sorted(numbers)).T
    return depths, errors, spreads


def published(depths: int) -> Networks:
    """Published errors: test with their spread; training errors of another source with the same spread."""
    chosen = PUBLISHED_DEPTHS[depths]
    tests = [_published("nabla0001/resnet", "final_test_top1_err", arm) for arm in ARMS]
    trains = [_published("a-martyn/resnet", "final_train_top1_err", arm) for arm in ARMS]
    means = [[np.interp(chosen, at, errors) for at, errors, _ in arms] for arms in (trains, tests)]
    spreads = [np.interp(chosen, at, spread) for at, _, spread in tests]
    return Networks(np.array(means), np.array([spreads, spreads]))


# ---------------------------------------------------------------------------------------------- all truths

NORMAL, HEAVY, SHARED, DIVERGED = "normal", "heavy tails", "shared by a seed", "one run diverged"
SKEWED, EDGE, EFFECTS = "skewed", "at the margin", "effects"
RARE = "rare failure"
GROUPS = (NORMAL, HEAVY, SHARED, DIVERGED, SKEWED, EDGE, EFFECTS, RARE)


def _without_effect() -> list[Truth]:
    def null(name: str, group: str, words: str, spread: float, luck: Luck = normal, growth: float = 1.0) -> Truth:
        said = f"spread {spread:g}"
        return Truth(f"{name}, {said}", group, words, shaped(flat, flat, 0, spread, growth), luck)

    found: list[Truth] = []
    for spread in (NARROW, WIDE):
        found += [
            null("normal", NORMAL, "luck is normal", spread),
            null("heavy tails", HEAVY, "t with 2 degrees of freedom, times the spread", spread, heavy),
            null("tail of bad runs", SKEWED, "exponential, its spread grows 4 times with depth", spread, tail_up, 4.0),
            null("tail of good runs", SKEWED, "the same with the other sign", spread, tail_down, 4.0),
            null("long tail of bad runs", SKEWED, "log-normal, its spread grows 4 times", spread, long_tail_up, 4.0),
            null("long tail of good runs", SKEWED, "the same with the other sign", spread, long_tail_down, 4.0),
            null(
                "opposed tails",
                SKEWED,
                "exponential: good runs of plain nets, bad ones of residual nets",
                spread,
                opposed(tail_down, tail_up),
                4.0,
            ),
            null(
                "opposed tails, other way",
                SKEWED,
                "exponential: bad runs of plain nets, good ones of residual nets",
                spread,
                opposed(tail_up, tail_down),
                4.0,
            ),
            null(
                "opposed long tails",
                SKEWED,
                "log-normal: good runs of plain nets, bad ones of residual nets",
                spread,
                opposed(long_tail_down, long_tail_up),
                4.0,
            ),
        ]
        for share in (0.2, 0.5, 0.8):
            words = f"{100 * share:.0f} % of the variance is common to all depths of a seed"
            for of_arm, whose in ((True, "each arm"), (False, "both arms")):
                luck = common(share, of_arm=of_arm)
                found.append(
                    null(f"{100 * share:.0f} % common in {whose}", SHARED, f"{words}, in {whose}", spread, luck)
                )
        bad = null("one run diverged", DIVERGED, "normal, but one run of each study, any of them, is at chance", spread)
        found.append(replace(bad, diverges=any_run))
    return found


def _at_the_margin() -> list[Truth]:
    def edge(
        name: str, words: str, plain: Shape, residual: Shape, size: float = MARGIN, fewest: int = 2
    ) -> list[Truth]:
        return [
            Truth(
                f"{name}, spread {spread:g}", EDGE, words, shaped(plain, residual, size, spread), normal, None, fewest
            )
            for spread in (TINY, NARROW, WIDE)
        ]

    return [
        *edge("plain rises", "plain nets rise steadily by the margin", steady, flat),
        *edge("plain rises at last", "only the deepest plain net is worse, by the margin", deepest, flat),
        *edge("plain falls", "plain nets fall steadily by the margin", steady, flat, -MARGIN),
        *edge("residual rises", "residual nets rise steadily by the margin", flat, steady),
        *edge("residual rises and falls", "the middle residual net is worse by the margin", flat, hump, fewest=3),
        *edge("plain is worse", "every plain net is worse than its twin by the margin", higher, flat),
        *edge("plain is better", "every plain net is better than its twin by the margin", higher, flat, -MARGIN),
    ]


def _with_effect() -> list[Truth]:
    def effect(
        name: str,
        words: str,
        plain: Shape,
        residual: Shape,
        size: float = EFFECT,
        fewest: int = 2,
        spread: float = NARROW,
    ) -> Truth:
        return Truth(name, EFFECTS, words, shaped(plain, residual, size, spread), normal, None, fewest)

    return [
        Truth("demo", EFFECTS, "the recorded errors on digits", demo, normal),
        Truth(
            "demo, one ResNet diverged",
            EFFECTS,
            "the same, with one run of the deepest residual net at chance",
            demo,
            normal,
            deepest_residual,
        ),
        Truth("published", EFFECTS, "published errors on CIFAR-10", published, normal),
        effect("steady rise", "plain nets rise steadily by 5 points", steady, flat),
        effect("only the deepest", "only the deepest plain net is worse, by 5 points", deepest, flat),
        effect("U shape", "the middle plain net is better by 5 points", dip, flat, fewest=3),
        effect("rise, then fall", "the middle plain net is worse by 5 points", hump, flat, fewest=3),
        effect("residual rises", "residual nets rise steadily by 5 points, plain nets do not", flat, steady),
        effect("residual U shape", "the middle residual net is better by 5 points", flat, dip, fewest=3),
        effect("residual rises and falls", "the middle residual net is worse by 5 points", flat, hump, fewest=3),
        effect("plain falls", "plain nets fall steadily by 5 points", steady, flat, -EFFECT),
        effect("no difference", "none, with the spread of CIFAR-10 (0.2 points)", flat, flat, 0, spread=TINY),
    ]


def _with_rare_failures() -> list[Truth]:
    """A mean over all runs that most studies cannot see, for they hold no run that failed."""
    share, words = 0.05, "every 20th run of it ends at chance"
    calm = shaped(flat, flat, 0, TINY)
    better = shaped(deepest, flat, 2.0, TINY)
    return [
        Truth("shallowest plain fails rarely", RARE, f"the deepest plain net is worse by 2; of the shallowest {words}",
              better, normal, fails=rarely(shallowest, flat, share)),
        Truth("deepest residual fails rarely", RARE, f"no difference but that of the deepest residual net {words}",
              calm, normal, fails=rarely(flat, deepest, share)),
    ]  # fmt: skip


TRUTHS: Sequence[Truth] = (*_without_effect(), *_at_the_margin(), *_with_effect(), *_with_rare_failures())
