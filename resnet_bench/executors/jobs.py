"""Several runs of a study side by side: processes of this machine that share out its runs, and its threads."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from resnet_bench.busy import life_signs
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import Execution
from resnet_bench.hush import libraries_hushed
from resnet_bench.results.rows import CurveRow
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan
from resnet_bench.study.progress import REFRESH_SECONDS, Progress, RunLine
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import Stopped, StopRequest

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """What a worker process needs to sweep its share of a study."""

    study: StudyFolder
    dataset: Dataset
    device: torch.device
    execution: Execution
    checkpoint_seconds: float
    threads: int
    jobs: int
    plan: Plan


def run_side_by_side(session: Session, plan: Plan, progress: Progress) -> list[str]:
    """Do what is left of the plan in `session.jobs` processes, the longest runs first; one line per failed run.

    Raises:
        Stopped: the process was asked to stop; all workers have saved.
        UsageError, Failure: what a worker raised, or workers died.
    """
    task = Task(
        study=session.study,
        dataset=session.dataset,
        device=session.data.device,
        execution=session.execution,
        checkpoint_seconds=session.checkpoint_seconds,
        threads=session.fingerprint.threads,
        jobs=session.jobs,
        plan=dataclasses.replace(plan, runs=plan.todo[::-1]),
    )
    workers = [_start(task) for _ in range(session.jobs)]
    try:
        with session.stop.politely():
            return _follow(workers, progress, session.stop)
    finally:
        for process, _ in workers:
            process.kill()
            process.join()


Worker = tuple[SpawnProcess, "Connection[Any, Any]"]


def _start(task: Task) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs))
    # Ctrl-C reaches every process of a terminal: until a worker can handle it, it leaves that to its parent.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return process, ours


def _follow(workers: list[Worker], progress: Progress, stop: StopRequest) -> list[str]:
    """Show what the workers tell until all have ended."""
    failed: list[str] = []
    errors: list[Exception] = []
    lines = {connection: line for (_, connection), line in zip(workers, progress.lines, strict=True)}
    asked = False
    while lines:
        if (stop.asked or errors) and not asked:
            asked = True
            _terminate(workers)
        for connection in [c for c in wait(list(lines), POLL_SECONDS) if isinstance(c, Connection)]:
            try:
                name, arguments = connection.recv()
            except EOFError:
                del lines[connection]
                continue
            if name == "failed":
                failed += arguments
            elif name == "error":
                errors += arguments
            else:
                _pass_on(lines[connection], name, arguments)
    for process, _ in workers:
        process.join()
    stop.raise_if_asked()
    if errors:
        raise errors[0]
    died = [process.exitcode for process, _ in workers if process.exitcode != 0]
    if died:
        raise Failure(f"{len(died)} worker processes died (exit code {died[0]}); the same command goes on")
    return failed


def _terminate(workers: list[Worker]) -> None:
    for process, _ in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGTERM)


def _pass_on(line: RunLine, name: str, arguments: tuple[Any, ...]) -> None:
    if name == "step":
        step, error = arguments
        line.step(step, lambda: float(error))
    else:
        getattr(line, name)(*arguments)


# ---------------------------------------------------------------------------------------------- in a worker


class Teller:
    """A Listener in another process: sends what it is told."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self._lock = threading.Lock()  # life signs come from a thread of their own
        self._last = 0.0

    def tell(self, name: str, *arguments: Any) -> None:
        """Send one message; whoever is gone needs none."""
        with self._lock, contextlib.suppress(OSError):
            self.connection.send((name, arguments))

    def say(self, line: str) -> None:
        """A line that stays."""
        self.tell("say", line)

    def waiting(self, count: int) -> None:
        """The other workers finish theirs; nobody needs to know."""

    def start(self, run: RunConfig, run_work: float) -> None:
        """A run begins."""
        self.tell("start", run, run_work)

    def resume(self, step: int) -> None:
        """The run goes on from a checkpoint."""
        self.tell("resume", step)

    def step(self, step: int, error: Callable[[], float]) -> None:
        """A step is done; told once a second."""
        now = time.monotonic()
        if now - self._last >= REFRESH_SECONDS:
            self._last = now
            self.tell("step", step, error())

    def row(self, row: CurveRow) -> None:
        """A row was written."""
        self.tell("row", row)

    def working(self, what: str, seconds: float) -> None:
        """What the run is at while it makes no steps; a line of the other process shows it."""
        self.tell("working", what, seconds)

    def skip(self, run: RunConfig, run_work: float, why: str) -> None:
        """A run that is not this process's to do."""
        self.tell("skip", run, run_work, why)

    def finish(self, outcome: str) -> None:
        """A run ended."""
        self.tell("finish", outcome)


def _work(task: Task, connection: Connection[Any, Any]) -> None:
    """The main function of a worker process."""
    from resnet_bench.executors.local import run_what_is_free

    teller = Teller(connection)
    _stop_with_parent()
    with StopRequest().listening() as stop, libraries_hushed(), life_signs(teller.working):
        configure(task.device, task.threads, task.execution.precision)
        session = Session.open(
            task.study,
            task.dataset,
            task.device,
            execution=task.execution,
            checkpoint_seconds=task.checkpoint_seconds,
            stop=stop,
            jobs=task.jobs,
        )
        try:
            teller.tell("failed", *run_what_is_free(session, task.plan, teller))
        except Stopped:
            pass
        except (UsageError, Failure) as error:
            teller.tell("error", error)
        except OSError as error:  # what was not foreseen, as on the command line
            teller.tell("error", Failure(str(error)))


def _stop_with_parent() -> None:
    """Save and stop if the process that shows the progress dies."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
