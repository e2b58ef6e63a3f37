"""Runs that no other process works on: taken, done, and told of. What every executor does with a run."""

from __future__ import annotations

import time
import traceback

from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.errors import Failure, UsageError, first_line, is_out_of_memory
from resnet_bench.files import cannot_write, make_own_folder, write_atomically
from resnet_bench.results.rows import RunRow
from resnet_bench.study.checks import BYTES_PER_RUN
from resnet_bench.study.events import RunFinished, RunSkipped, RunStarted, Tell, Waiting
from resnet_bench.study.folder import RunFolder
from resnet_bench.study.lock import Lock, Lost, Taken, gone
from resnet_bench.study.plan import DataShape, Plan, format_seconds, work
from resnet_bench.study.run import execute
from resnet_bench.study.session import Session
from resnet_bench.text import visible

WAIT_SECONDS = 1.0


def run_what_is_free(session: Session, plan: Plan, tell: Tell) -> list[str]:
    """Do each run that no other process works on, until all are finished; one line per run that failed here."""
    failed: list[str] = []
    taken = [run for run in plan.todo if not do_if_free(session, run, plan.shape, tell, failed)]
    started = time.monotonic()
    if taken:
        tell(Waiting(len(taken)))
    while taken:  # a process that dies frees its runs, and then they are done here
        with busy("waiting for other processes", started):
            time.sleep(WAIT_SECONDS)
        session.stop.raise_if_asked()
        taken = [run for run in taken if not do_if_free(session, run, plan.shape, tell, failed)]
    return failed


def do_if_free(session: Session, run: RunConfig, shape: DataShape, tell: Tell, failed: list[str]) -> bool:
    """Do the run unless another process does; False if one is at it now.

    Raises:
        Stopped: asked to stop, before or meanwhile.
        Gone: the study's folder is not there any more.
        Failure, UsageError: what makes it pointless to go on with any run, see `run.execute`.
    """
    session.stop.raise_if_asked()
    folder = session.study.run(run.run_id)
    try:
        if not folder.path.parent.is_dir():
            raise gone(session.study.path)
        make_own_folder(folder.path)
        with folder.lock(timeout=0) as lock:
            if folder.result.exists():
                tell(RunSkipped(run, work(run, shape), "done by another process"))
            else:
                _run_one(session, run, shape, tell, failed, lock)
    except Taken:
        return False
    except OSError as error:
        raise cannot_write(folder.path, error, BYTES_PER_RUN) from None
    return True


def _run_one(session: Session, run: RunConfig, shape: DataShape, tell: Tell, failed: list[str], lock: Lock) -> None:
    folder = session.study.run(run.run_id)
    tell(RunStarted(run, work(run, shape)))
    try:
        row = execute(session, run, tell, lambda: folder.check_owned(lock))
    except Exception as error:  # whatever it was, the other runs go on
        text = _why_failed(session, folder, lock, error)
        tell(RunFinished(run, f"FAILED, {text}"))
        failed.append(f"{run.title}: {text}")
    else:
        tell(RunFinished(run, describe(row)))
    session.stop.raise_if_asked()


def _why_failed(session: Session, folder: RunFolder, lock: Lock, error: Exception) -> str:
    """What to tell of a run that failed; the whole trace is kept with it. Raises what is not about this run alone."""
    try:
        folder.check_owned(lock)
    except Lost as lost:  # whatever else went wrong in a folder that is not this process's any more
        if not folder.path.parent.is_dir():
            raise gone(session.study.path) from None
        return str(lost)
    if isinstance(error, Failure | UsageError):
        raise error
    write_atomically(folder.failure, visible(traceback.format_exc()).encode())
    return f"{_advice(error)} (see {folder.failure})"


def _advice(error: Exception) -> str:
    if is_out_of_memory(error):
        return "out of memory; free some, or use a larger device: the batch size is part of the protocol"
    return first_line(error)


def describe(row: RunRow) -> str:
    """A finished run in a few words."""
    seconds = format_seconds(row.train_seconds + row.eval_seconds)
    if row.status == "diverged":
        return f"diverged at step {row.diverged_step}, in {seconds}"
    errors = f"train {row.final_train_clean_top1_err:.2f} %, test {row.final_test_top1_err:.2f} % error"
    return f"{errors}, in {seconds} ({row.img_per_sec:.0f} img/s)"
