"""Progress of a sweep: two bars with time left on a terminal, plain lines anywhere else, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from resnet_bench.config import RunConfig, display_name
from resnet_bench.results import CurveRow
from resnet_bench.study.plan import format_seconds

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

    def seconds_left(self, done_in_run: float) -> float:
        """Seconds until all work is done."""
        done = self.done + done_in_run
        elapsed = time.monotonic() - self.started
        # The estimate stands for a minute of evidence, so that the first steps do not throw it about.
        rate = (self.rate * 60 + done) / (60 + elapsed)
        return (self.total - done) / rate


class Progress:
    """Tells a person how far a sweep is. `with Progress(...)`; then for each run: start, step and row, finish."""

    def __init__(self, num_runs: int, clock: Clock, quiet: bool = False) -> None:
        self.num_runs = num_runs
        self.clock = clock
        self.quiet = quiet
        self.number = 0
        self.console = Console(stderr=False, highlight=False)
        self.bars: Bars | None = None
        self._last = 0.0
        self._name, self._steps, self._work, self._resumed = "", 1, 0.0, 0

    def __enter__(self) -> Progress:
        if self.console.is_terminal and not self.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[text]}"))
            self.bars = Bars(*columns, console=self.console, auto_refresh=False, expand=True)
            self._study_bar = self.bars.add_task("study", total=self.clock.total, text="")
            self._run_bar = self.bars.add_task("", total=1, text="", visible=False)
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.update(self._run_bar, visible=False)
            self.bars.refresh()
            self.bars.stop()

    def say(self, line: str) -> None:
        """A line that stays, above the bars."""
        if not self.quiet:
            self.console.print(line, markup=False, soft_wrap=True)

    def start(self, run: RunConfig, run_work: float) -> None:
        """A run begins."""
        self.number += 1
        self._name = f"{display_name(run.arch, run.depth, run.shortcut)} seed {run.seed}"
        self._steps, self._work, self._last, self._resumed = run.steps, run_work, 0.0, 0
        if self.bars is not None:
            self.bars.update(self._run_bar, description=self._name, total=run.steps, completed=0, text="", visible=True)

    def resume(self, step: int) -> None:
        """The run goes on from a checkpoint: what was done before is no work of this sweep."""
        self._resumed = step
        self.clock.total -= self._work * step / self._steps
        self.say(f"{self._name}: goes on from step {step}")
        if self.bars is not None:
            self.bars.update(self._study_bar, total=self.clock.total)

    def _done(self, step: int) -> float:
        """Work that this sweep has done in the present run."""
        return self._work * (step - self._resumed) / self._steps

    def step(self, step: int, error: Callable[[], float]) -> None:
        """A step is done; `error` reads the running training error from the device, so it is asked for rarely."""
        now = time.monotonic()
        if self.bars is None or now - self._last < REFRESH_SECONDS:
            return
        self._last = now
        done = self._done(step)
        text = f"{error():5.1f} % error  {step}/{self._steps}"
        self.bars.update(self._run_bar, completed=step, text=text)
        left = format_seconds(self.clock.seconds_left(done))
        text = f"run {self.number} of {self.num_runs}  {left} left"
        self.bars.update(self._study_bar, completed=self.clock.done + done, text=text)
        self.bars.refresh()

    def row(self, row: CurveRow) -> None:
        """A row was written."""
        now = time.monotonic()
        if self.bars is not None or now - self._last < LINE_SECONDS or row.step == self._steps:
            return
        self._last = now
        left = format_seconds(self.clock.seconds_left(self._done(row.step)))
        errors = f"error % train {row.train_clean_top1_err:.1f} test {row.test_top1_err:.1f}"
        self.say(f"[{self.number}/{self.num_runs}] {self._name}: step {row.step}/{self._steps}, {errors}, {left} left")

    def skip(self, why: str) -> None:
        """The present run is not this process's to do; `why` in a few words."""
        self.clock.total -= self._work
        self.say(f"[{self.number}/{self.num_runs}] {self._name}: {why}")

    def finish(self, outcome: str) -> None:
        """A run ended; `outcome` says how, in a few words."""
        self.clock.done += self._done(self._steps)
        if self.bars is not None:
            self.say(f"{self._name}: {outcome}")
            self.bars.update(self._study_bar, completed=self.clock.done)
            self.bars.refresh()
        else:
            self.say(f"[{self.number}/{self.num_runs}] {self._name}: {outcome}")
