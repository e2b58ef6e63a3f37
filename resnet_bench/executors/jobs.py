"""Several runs of a study side by side: processes of this machine that share out its runs, and its threads."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from resnet_bench.busy import life_signs
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import Execution
from resnet_bench.hush import libraries_hushed
from resnet_bench.study.claim import run_what_is_free
from resnet_bench.study.events import Event, Tell, Waiting, Working
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan
from resnet_bench.study.progress import Progress
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import Stopped, StopRequest, in_main_thread

POLL_SECONDS = 0.2
Worker = tuple[SpawnProcess, "Connection[Any, Any]"]


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
    """Do what is left of the plan in `session.jobs` processes, in its order; one line per failed run.

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
        plan=dataclasses.replace(plan, runs=plan.todo),
    )
    workers = [_start(task) for _ in range(session.jobs)]
    try:
        with session.stop.politely():
            return _follow(workers, progress, session.stop)
    finally:
        for process, _ in workers:
            process.kill()
            process.join()


def _start(task: Task) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs))
    with _interrupts_ignored(), _nameless_main():
        process.start()
    theirs.close()
    return process, ours


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: until a worker can handle it, it leaves that to its parent."""
    if not in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Workers need nothing of the script that is run: they would run it again, were it not to guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


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
                message = connection.recv()
            except EOFError:
                del lines[connection]
                continue
            if isinstance(message, Exception):
                errors.append(message)
            elif isinstance(message, list):
                failed += message
            else:
                lines[connection].tell(message)
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


# ---------------------------------------------------------------------------------------------- in a worker


class Sender:
    """Sends events to the process that shows them; whoever is gone needs none."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # life signs come from a thread of their own

    def tell(self, event: Event) -> None:
        """Send it; that this worker waits for the others is of no interest."""
        if not isinstance(event, Waiting):
            self.send(event)

    def send(self, message: Event | list[str] | Exception) -> None:
        """An event; in the end what failed, a line for each run, or what ended all."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(message)


def _work(task: Task, connection: Connection[Any, Any]) -> None:
    """The main function of a worker process."""
    sender = Sender(connection)
    tell: Tell = sender.tell
    _stop_with_parent()
    with (
        contextlib.suppress(Stopped),  # also before the first run
        StopRequest().listening() as stop,
        libraries_hushed(),
        life_signs(lambda what, seconds: tell(Working(what, seconds))),
    ):
        try:
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
            sender.send(run_what_is_free(session, task.plan, tell))
        except (UsageError, Failure) as error:
            sender.send(error)
        except OSError as error:  # what was not foreseen, as on the command line
            sender.send(Failure(str(error)))


def _stop_with_parent() -> None:
    """Save and stop if the process that shows the progress dies."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
