"""Progress of a sweep: bars with time left on a terminal, plain lines anywhere else, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from resnet_bench.busy import life_signs
from resnet_bench.config.run import RunConfig
from resnet_bench.crowding import Watch
from resnet_bench.results.rows import CurveRow
from resnet_bench.study.events import (
    Event,
    Note,
    Resumed,
    RowWritten,
    RunFinished,
    RunSkipped,
    RunStarted,
    Stepped,
    Waiting,
    Working,
)
from resnet_bench.study.plan import format_seconds
from resnet_bench.terminal import LOG_SECONDS, console, say, wipe
from resnet_bench.text import counted, one_line

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


class Progress:
    """Tells a person how far a sweep is. `with Progress(...)`; each of `jobs` lines follows one run at a time."""

    def __init__(
        self,
        num_runs: int,
        clock: Clock,
        quiet: bool = False,
        jobs: int = 1,
        watch: Watch | None = None,
        title: Callable[[RunConfig], str] = lambda run: run.title,
    ) -> None:
        self.title = title
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
            first = self.lines[0]
            self._entered.enter_context(life_signs(lambda what, seconds: first.tell(Working(what, seconds))))
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

    def tell(self, event: Event) -> None:
        """Take what is of no particular run."""
        self.lines[0].tell(event)

    def say(self, line: str) -> None:
        """A line that stays, above the bars."""
        if self.bars is not None:
            self.console.print(Text(one_line(line)), soft_wrap=True)
        elif not self.quiet:
            say(one_line(line))

    def look(self) -> None:
        """Say if other programs have taken the cores, or left them; called while steps are made."""
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
    """One line of a Progress, which listens to one stream of events: the run that goes on there, if any."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bar = TaskID(0)
        self.done = 0.0  # work that this sweep has done in the present run
        self._number, self._name, self._steps, self._work, self._resumed, self._last = 0, "", 1, 0.0, 0, 0.0
        self._told = ""

    def tell(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case Note(line):
                self.progress.say(line)
            case RunStarted(run, work):
                self._start(run, work)
            case Resumed(step):
                self._resume(step)
            case Stepped(step, error):
                self._step(step, error)
            case RowWritten(row):
                self._row(row)
            case Working(what, seconds):
                self._working(what, seconds)
            case RunFinished(_, outcome):
                self._finish(outcome)
            case RunSkipped(run, work, why):
                self._skip(run, work, why)
            case Waiting(runs):
                self.progress.say(f"waiting for {counted(runs, 'run')} that other processes work on")

    def _start(self, run: RunConfig, work: float) -> None:
        self.progress.seen.add(run.run_id)
        self._number = len(self.progress.seen)
        self._name = one_line(self.progress.title(run))
        self._told = ""
        self._steps, self._work, self._last, self._resumed, self.done = run.steps, work, 0.0, 0, 0.0
        if self.progress.watch is not None:
            self.progress.watch.begin()
        if (bars := self.progress.bars) is not None:
            bars.update(self.bar, description=self._name, total=run.steps, completed=0, text="", visible=True)

    def _resume(self, step: int) -> None:
        self._resumed = step
        self.progress.clock.total -= self._work * step / self._steps
        self.progress.say(f"{self._name}: goes on from step {step}")

    def _working(self, what: str, seconds: float) -> None:
        """Beside the run's bar, or as a line, once."""
        if (bars := self.progress.bars) is not None:
            bars.update(self.bar, text=one_line(f"{what} {seconds:.0f} s"), visible=True)
            self.progress.refresh()
        elif seconds >= LOG_SECONDS and what != self._told:
            self._told = what
            self._say_numbered(f"{what} ...")

    def _advance(self, step: int) -> None:
        self.done = self._work * (step - self._resumed) / self._steps

    def _step(self, step: int, error: float) -> None:
        self.progress.look()
        if (bars := self.progress.bars) is not None:
            self._advance(step)
            bars.update(self.bar, completed=step, text=f"{error:5.1f} % error  {step}/{self._steps}")
            self.progress.refresh()

    def _row(self, row: CurveRow) -> None:
        now = time.monotonic()
        self._advance(row.step)
        if self.progress.bars is not None or now - self._last < LINE_SECONDS or row.step == self._steps:
            return
        self._last = now
        errors = f"error % train {row.train_clean_top1_err:.1f} test {row.test_top1_err:.1f}"
        self._say_numbered(f"step {row.step}/{self._steps}, {errors}, {self.progress.left()} left")

    def _skip(self, run: RunConfig, work: float, why: str) -> None:
        """Not told of a run that another line has done."""
        if run.run_id not in self.progress.seen:
            self._start(run, work)
            self.progress.clock.total -= work
            self._say_numbered(why)

    def _finish(self, outcome: str) -> None:
        self._advance(self._steps)
        self.progress.clock.done += self.done
        self.done = 0.0
        if self.progress.bars is not None:
            self.progress.say(f"{self._name}: {outcome}")
            self.progress.refresh()
        else:
            self._say_numbered(outcome)

    def _say_numbered(self, text: str) -> None:
        self.progress.say(f"[{self._number}/{self.progress.num_runs}] {self._name}: {text}")
