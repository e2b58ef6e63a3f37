"""Progress of a sweep: bars with time left on a terminal, plain lines anywhere else, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from resnet_bench.busy import life_signs
from resnet_bench.config.run import RunConfig
from resnet_bench.crowding import Watch
from resnet_bench.results.rows import CurveRow
from resnet_bench.study.plan import format_seconds
from resnet_bench.terminal import LOG_SECONDS, console, say, wipe
from resnet_bench.text import counted, one_line

REFRESH_SECONDS = 1.0
LINE_SECONDS = 15.0


class Clock:
    """Time left of a sweep, from the work done in it and, before there is any, from an estimated rate.

    Work is in the unit of `plan.work`.
    """

    def __init__(self, total_work: float, rate: float) -> None:
        self.total = total_work
        self.rate = rate
        self.done = 0.0
        self.started = time.monotonic()

    def seconds_left(self, done_in_runs: float) -> float:
        """Seconds until all work is done; `done_in_runs` is what was done of the runs that are going on."""
        done = self.done + done_in_runs
        elapsed = time.monotonic() - self.started
        # The estimate stands for a minute of evidence, so that the first steps do not throw it about.
        rate = (self.rate * 60 + done) / (60 + elapsed)
        return (self.total - done) / rate


class Listener(Protocol):
    """Who is told about one run after the other: start; then resume, step and row; then finish. Or skip."""

    def say(self, line: str) -> None:
        """A line that stays, above the bars."""

    def waiting(self, count: int) -> None:
        """All runs left to do are worked on by other processes."""

    def start(self, run: RunConfig, run_work: float) -> None:
        """A run begins."""

    def resume(self, step: int) -> None:
        """The run goes on from a checkpoint: what was done before is no work of this sweep."""

    def step(self, step: int, error: Callable[[], float]) -> None:
        """A step is done; `error` reads the running training error from the device, so it is asked for rarely."""

    def row(self, row: CurveRow) -> None:
        """A row was written."""

    def skip(self, run: RunConfig, run_work: float, why: str) -> None:
        """A run that is not this process's to do; `why` in a few words."""

    def finish(self, outcome: str) -> None:
        """A run ended; `outcome` says how, in a few words."""


class Progress:
    """Tells a person how far a sweep is. `with Progress(...)`; each of `jobs` lines follows one run at a time."""

    def __init__(
        self, num_runs: int, clock: Clock, quiet: bool = False, jobs: int = 1, watch: Watch | None = None
    ) -> None:
        self.num_runs = num_runs
        self.clock = clock
        self.quiet = quiet
        self.watch = watch
        self.seen: set[str] = set()  # runs that began or were skipped
        self.console = console()
        self.bars: Bars | None = None
        self.lines = [RunLine(self) for _ in range(jobs)]
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        if not self.quiet:
            self._entered.enter_context(life_signs(self.lines[0].working))
        wipe()
        if self.console.is_terminal and not self.quiet:
            texts = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[text]"))
            columns = (next(texts), BarColumn(bar_width=None), next(texts))
            self.bars = Bars(*columns, console=self.console, auto_refresh=False, expand=True)
            self._study_bar = self.bars.add_task("study", total=self.clock.total, text="")
            for line in self.lines:
                line.bar = self.bars.add_task("", total=1, text="", visible=False)
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()
        if self.bars is not None:
            for line in self.lines:
                self.bars.update(line.bar, visible=False)
            self.bars.refresh()
            self.bars.stop()

    def say(self, line: str) -> None:
        """A line that stays, above the bars."""
        if self.bars is not None:
            self.console.print(Text(one_line(line)), soft_wrap=True)
        elif not self.quiet:
            say(one_line(line))

    def look(self) -> None:
        """Say if other programs have taken the cores, or left them; called at every step."""
        line = self.watch.look() if self.watch else None
        if line:
            self.say(line)

    def left(self) -> str:
        """Time left, in words."""
        return format_seconds(self.clock.seconds_left(sum(line.done for line in self.lines)))

    def refresh(self) -> None:
        """Draw the bars again."""
        if self.bars is not None:
            text = f"run {len(self.seen)} of {self.num_runs}  {self.left()} left"
            done = self.clock.done + sum(line.done for line in self.lines)
            self.bars.update(self._study_bar, total=self.clock.total, completed=done, text=text)
            self.bars.refresh()


class RunLine:
    """One line of a Progress: the run that goes on there, if any. A Listener."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bar = TaskID(0)
        self.done = 0.0  # work that this sweep has done in the present run
        self._number, self._name, self._steps, self._work, self._resumed, self._last = 0, "", 1, 0.0, 0, 0.0
        self._told = ""

    def say(self, line: str) -> None:
        """A line that stays, above the bars."""
        self.progress.say(line)

    def waiting(self, count: int) -> None:
        """All runs left to do are worked on by other processes."""
        self.say(f"waiting for {counted(count, 'run')} that other processes work on")

    def start(self, run: RunConfig, run_work: float) -> None:
        """A run begins."""
        self.progress.seen.add(run.run_id)
        self._number = len(self.progress.seen)
        self._name = one_line(run.title)
        self._told = ""
        self._steps, self._work, self._last, self._resumed, self.done = run.steps, run_work, 0.0, 0, 0.0
        if self.progress.watch is not None:
            self.progress.watch.begin()
        if (bars := self.progress.bars) is not None:
            bars.update(self.bar, description=self._name, total=run.steps, completed=0, text="", visible=True)

    def resume(self, step: int) -> None:
        """The run goes on from a checkpoint: what was done before is no work of this sweep."""
        self._resumed = step
        self.progress.clock.total -= self._work * step / self._steps
        self.say(f"{self._name}: goes on from step {step}")

    def working(self, what: str, seconds: float) -> None:
        """What the run is at while it makes no steps, and for how long: beside its bar, or as a line, once."""
        if (bars := self.progress.bars) is not None:
            bars.update(self.bar, text=one_line(f"{what} {seconds:.0f} s"), visible=True)
            self.progress.refresh()
        elif seconds >= LOG_SECONDS and what != self._told:
            self._told = what
            self._say_numbered(f"{what} ...")

    def _advance(self, step: int) -> None:
        self.done = self._work * (step - self._resumed) / self._steps

    def step(self, step: int, error: Callable[[], float]) -> None:
        """A step is done; `error` is asked for rarely."""
        self.progress.look()
        now = time.monotonic()
        if (bars := self.progress.bars) is None or now - self._last < REFRESH_SECONDS:
            return
        self._last = now
        self._advance(step)
        bars.update(self.bar, completed=step, text=f"{error():5.1f} % error  {step}/{self._steps}")
        self.progress.refresh()

    def row(self, row: CurveRow) -> None:
        """A row was written."""
        now = time.monotonic()
        self._advance(row.step)
        if self.progress.bars is not None or now - self._last < LINE_SECONDS or row.step == self._steps:
            return
        self._last = now
        errors = f"error % train {row.train_clean_top1_err:.1f} test {row.test_top1_err:.1f}"
        self._say_numbered(f"step {row.step}/{self._steps}, {errors}, {self.progress.left()} left")

    def skip(self, run: RunConfig, run_work: float, why: str) -> None:
        """A run that is not this process's to do; not told of one that another line has done."""
        if run.run_id not in self.progress.seen:
            self.start(run, run_work)
            self.progress.clock.total -= run_work
            self._say_numbered(why)

    def finish(self, outcome: str) -> None:
        """A run ended; `outcome` says how, in a few words."""
        self._advance(self._steps)
        self.progress.clock.done += self.done
        self.done = 0.0
        if self.progress.bars is not None:
            self.say(f"{self._name}: {outcome}")
            self.progress.refresh()
        else:
            self._say_numbered(outcome)

    def _say_numbered(self, text: str) -> None:
        self.say(f"[{self._number}/{self.progress.num_runs}] {self._name}: {text}")
