"""The throughput gate: count, then time two checkouts in pairs until the outcome is certain or the time is over."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_bench.busy import busy
from resnet_bench.errors import Failure, UsageError
from resnet_bench.gate import counters
from resnet_bench.gate.checkouts import dependency_changes, strays, two_trees
from resnet_bench.gate.judgement import MIN_PAIRS, Estimate, Outcome, Trial, pair_log_ratio, to_percent
from resnet_bench.gate.pairs import DifferentWork, Lanes, Pair, SampleFailure, Tree, processes
from resnet_bench.text import command

ACCEPT = "resnet-bench counters --accept"
EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNDECIDED: 3, Outcome.NOT_MEASURED: 4}
Say = Callable[[str], None]


@dataclass
class Verdict:
    """How a gate ended, in a word and the reason, and everything it measured."""

    outcome: Outcome
    reason: str
    trial: Trial = field(default_factory=Trial)
    pairs: list[Pair] = field(default_factory=list)
    discarded: int = 0

    def __str__(self) -> str:
        return f"{self.outcome.value} {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """A record: the outcome, every pair with all its rounds, in the order in which they were taken."""
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "delta": self.trial.delta,
            "discarded": self.discarded,
            "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
        }


class NotMeasured(Exception):
    """There is nothing to compare; the message says why."""


def check_counters(root: Path, benchmarks: str, say: Say) -> Verdict | None:
    """Count the working tree at `root` and compare with what was accepted; a verdict if that ends the gate.

    Raises:
        UsageError: there are no benchmarks or no counters.
        Failure: the running package is not this checkout's.
    """
    path = root / benchmarks
    stored = counters.read_counts(counters.stored_at(path))
    present = counters.count_all(path)
    loaded = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    if elsewhere := strays(root, {name: file for name, file in loaded.items() if file}):
        ours = f"PYTHONPATH={command(root)}"
        raise Failure(f"the gate runs {elsewhere[0]}; set {ours}, so that it is this checkout's own")
    changes = counters.differences(stored, present)
    if not changes:
        say(f"counters: as accepted ({', '.join(present['benchmarks'])})")
        return None
    for line in changes:
        say(f"counters: {line}")
    if stored["torch"] != present["torch"]:
        versions = f"stored with torch {stored['torch']}, counted with {present['torch']}"
        return Verdict(Outcome.NOT_MEASURED, f"counters differ, but they were {versions}: {ACCEPT}, on the base first")
    return Verdict(Outcome.FAIL, f"counters: {'; '.join(changes)}; if that is meant, accept it: {ACCEPT}")


def compare(
    root: Path, commit: str, benchmarks: str, *, device: str, gpu: str, budget_seconds: float, delta: float, say: Say
) -> Verdict:
    """Time the working tree at `root` against one of its commits.

    Args:
        benchmarks: the file of benchmarks, as a path inside the checkout; each side uses its own.
        device: "cpu", or "cuda" and the like.
        gpu: the UUID of that device, by which its state is asked for; "" for the CPU.
        budget_seconds: no pair is begun that would end later, save to confirm a slowdown.
        delta: the slowdown that matters, as a fraction of time.
        say: takes lines about the progress.

    Raises:
        Failure: a benchmark of the head does not run, or git does not.
    """
    started = time.monotonic()
    with _laid_out(root, commit) as (base_folder, head_folder):
        base, head = (Tree(folder.name, folder, benchmarks) for folder in (base_folder, head_folder))
        try:
            common, missing = _agree(base, head, device)
            lanes = Lanes(base, head, common, device, gpu)
            verdict = _Gate(lanes, started + budget_seconds, delta, say).run()
        except (NotMeasured, DifferentWork) as error:
            return Verdict(Outcome.NOT_MEASURED, str(error))
        except SampleFailure as error:
            if error.tree.name == base.name:
                return Verdict(Outcome.NOT_MEASURED, str(error))
            raise
    if missing and verdict.outcome is not Outcome.FAIL:
        verdict.reason = f"{'; '.join(missing)} (the others: {verdict})"
        verdict.outcome = Outcome.NOT_MEASURED
    return verdict


@contextlib.contextmanager
def _laid_out(root: Path, commit: str) -> Iterator[tuple[Path, Path]]:
    with contextlib.ExitStack() as kept:
        with busy("laying out base and head"):
            trees = kept.enter_context(two_trees(root, commit))
        yield trees


@busy("starting a process of each side")
def _agree(base: Tree, head: Tree, device: str) -> tuple[list[str], list[str]]:
    """(benchmarks of both sides, a sentence for each that only one side has)."""
    if not (head.root / head.benchmarks).is_file():
        raise UsageError(f"the head has no {head.benchmarks}; write it, or give --benchmarks")
    if not (base.root / base.benchmarks).is_file():
        raise NotMeasured(f"the base has no {base.benchmarks}")
    if changes := dependency_changes(base.root, head.root):
        shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
        raise NotMeasured(f"the two sides ask for different dependencies: {shown}")
    names = {}
    for tree in (base, head):
        with processes([tree], device) as (process,):
            answer = process.ask(do="describe")
        if elsewhere := strays(tree.root, answer["modules"]):
            raise Failure(f"{tree.name} imports {elsewhere[0]}, not from its own checkout; nothing would be compared")
        names[tree.name] = list(answer["benchmarks"])
    missing = [
        f"the {without} has no benchmark {name!r}"
        for having, without in (("base", "head"), ("head", "base"))
        for name in names[having]
        if name not in names[without]
    ]
    common = [name for name in names["head"] if name in names["base"]]
    if not common:
        raise NotMeasured("; ".join(missing) or "there are no benchmarks")
    return common, missing


class _Gate:
    """One comparison that is under way."""

    def __init__(self, lanes: Lanes, deadline: float, delta: float, say: Say) -> None:
        self.lanes, self.deadline, self.say = lanes, deadline, say
        self.trial = Trial(delta)
        self.pairs: list[Pair] = []
        self.discarded = 0
        self.turn_seconds = 0.0

    def run(self) -> Verdict:
        """Measure until it is settled or the time is over."""
        while self.trial.settled() is None and self._has_time():
            self._turn()
        outcome, reason = self._end()
        for line in table(self.trial):
            self.say(line)
        return Verdict(outcome, reason, self.trial, self.pairs, self.discarded)

    def _has_time(self) -> bool:
        fresh = min((estimate.pairs for estimate in self.trial.confirmation().values()), default=MIN_PAIRS)
        in_time = time.monotonic() + self.turn_seconds < self.deadline
        return in_time or (fresh < MIN_PAIRS and self.discarded < 2 * MIN_PAIRS)

    @busy("measuring pairs")
    def _turn(self) -> None:
        started = time.monotonic()
        kinds = self.trial.plan(len(self.lanes.cores))
        pairs, busy = self.lanes.measure(kinds)
        if busy:
            self.discarded += len(pairs)
        else:
            self.pairs += pairs
            for pair in pairs:
                names = pair.base_seconds
                self.trial.add(
                    {name: pair_log_ratio(names[name], pair.head_seconds[name]) for name in names}, same=pair.same
                )
        self.turn_seconds = time.monotonic() - started
        self.say(self._progress(busy))

    def _progress(self, busy: str) -> str:
        left = max(0.0, self.deadline - time.monotonic())
        parts = [f"{self.trial.pairs} pairs", f"{left:3.0f} s left"]
        if busy:
            parts.append(f"measured again: {busy}")
        else:
            parts += [
                f"{name} {to_percent(estimate.point):+.1f} %" for name, estimate in self.trial.estimates().items()
            ]
        if self.trial.suspects:
            parts.append("confirming")
        return "  ".join(parts)

    def _end(self) -> tuple[Outcome, str]:
        outcome, pairs = self.trial.final(), self.trial.pairs
        percent = f"{100 * self.trial.delta:.3g} %"
        if outcome is Outcome.FAIL:
            confirmation, estimates = self.trial.confirmation(), self.trial.estimates()
            slower = [
                f"{name} takes {in_words(estimates[name])}, confirmed by fresh pairs ({in_words(confirmation[name])})"
                for name in self.trial.confirmed()
            ]
            return outcome, "; ".join(slower)
        if outcome is Outcome.PASS:
            bounds = [f"{name} at most {to_percent(e.high):+.1f} %" for name, e in self.trial.estimates().items()]
            return outcome, f"nothing is {percent} slower, by {pairs} pairs: {', '.join(bounds)}"
        if self.discarded > len(self.pairs):
            reason = f"other programs kept the processors busy: {self.discarded} of "
            return Outcome.NOT_MEASURED, f"{reason}{self.discarded + len(self.pairs)} pairs had to be thrown away"
        if pairs < MIN_PAIRS:
            return outcome, f"the time is over after {pairs} pairs; {MIN_PAIRS} are the fewest that tell anything"
        if outcome is Outcome.NOT_MEASURED:
            return outcome, f"this machine is too noisy now: {self.trial.noise()}"
        open_ones = [
            f"{name} {in_words(estimate)}"
            for name, estimate in self.trial.estimates().items()
            if name in self.trial.suspects or not estimate.is_no_slower(self.trial.delta)
        ]
        if self.trial.suspects:
            open_ones.append("a first sign of a slowdown was not confirmed")
        return outcome, f"the time is over: {'; '.join(open_ones)}"


def in_words(estimate: Estimate) -> str:
    """For example "10.2 % longer (99 %: 8.0 to 12.1, 14 pairs)"."""
    if not estimate.pairs:
        return "nothing yet (0 pairs)"
    percent = to_percent(estimate.point)
    point = f"{abs(percent):.1f} % {'longer' if percent > 0 else 'less'}" if abs(percent) >= 0.05 else "as long"
    if estimate.pairs < MIN_PAIRS:
        return f"{point} (too few for a bound: {estimate.pairs} pairs)"
    return (
        f"{point} (99 %: {to_percent(estimate.low):+.1f} to {to_percent(estimate.high):+.1f} %, {estimate.pairs} pairs)"
    )


def table(trial: Trial) -> Iterable[str]:
    """The estimates, a line each: time of head over time of base, and of base over itself."""
    width = max(map(len, trial.estimates()), default=0)
    yield f"{'time of head against base':{width}}"
    for name, estimate in trial.estimates().items():
        same = Estimate.of(trial.same.get(name, []))
        beside = f"base against itself {to_percent(same.point):+.1f} %, {same.pairs} pairs" if same.pairs else ""
        yield f"{name:{width}}  {in_words(estimate)}  {beside}".rstrip()
