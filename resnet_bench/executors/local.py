"""A whole study in this process: check, estimate, run what is not finished, collect."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.crowding import Watch
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError, first_line, is_out_of_memory
from resnet_bench.execution import COMPILE_GAIN, EAGER
from resnet_bench.executors.jobs import run_side_by_side
from resnet_bench.files import cannot_write, make_own_folder, write_atomically
from resnet_bench.results.rows import RunRow, SplitRow
from resnet_bench.results.tables import SPLIT, read_csv, write_csv
from resnet_bench.study.checks import BYTES_PER_RUN, check
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import RunFolder, StudyFolder
from resnet_bench.study.lock import Lock, Lost, Taken, gone
from resnet_bench.study.mode import choose_execution
from resnet_bench.study.plan import DataShape, Plan, format_seconds, network_macs, typical_rate, work
from resnet_bench.study.progress import Clock, Listener, Progress
from resnet_bench.study.run import execute
from resnet_bench.study.session import Session
from resnet_bench.text import counted, visible
from resnet_bench.timing import time_in_turn

WAIT_SECONDS = 1.0
PROBE_SECONDS = 0.05  # at least: a step of a real network takes longer


@dataclass(frozen=True)
class Outcome:
    """What a sweep did."""

    rows: list[RunRow]  # all finished runs of the folder
    failed: list[str]  # one line per run that failed in this sweep


@busy("trying a few steps")
def probe_rate(plan: Plan, session: Session) -> float:
    """Work per second of the shallowest network to do, in eager mode, from a few steps on this device."""
    run = plan.todo[0]
    job = session.job(run, EAGER)
    step, draws = job.make_step(job.initial_state("")), job.stream.draws(0)
    seconds = time_in_turn([lambda: step(draws)], session.data.device, 1, PROBE_SECONDS, warmup_steps=1)[0][0]
    return run.batch_size / seconds * network_macs(run, plan.shape)


def prepare(session: Session, plan: Plan, mode: str, say: Callable[[str], None]) -> Session:
    """Check what would stop the sweep, and settle the mode of the study; gives the session to sweep with.

    Raises:
        UsageError: the folder holds runs that these cannot be compared with.
        Failure: too little room, or the study's mode cannot be built here.
    """
    check(session.study, plan, session.dataset, session.execution)
    return choose_execution(session, plan, mode, lambda: plan.train_seconds(_probed_rate(session, plan)), say)


def sweep(session: Session, plan: Plan, *, quiet: bool = False) -> Outcome:
    """Do what is left of the plan. A run that fails is reported and does not stop the others.

    Several processes may sweep one study at once: each run is done by one of them.

    Raises:
        Stopped: the process was asked to stop; everything is saved.
        UsageError: the folder holds runs that these cannot be compared with.
        Failure: results cannot be written.
    """
    check(session.study, plan, session.dataset, session.execution)
    settled = session.study.settle_execution(session.execution)
    if not settled.agrees(session.execution):
        raise UsageError(f"{session.study.path}: the study is made in {settled}, not in {session.execution}")
    open_plan(session.study, plan, session.dataset)
    failed = _run_all(session, plan, quiet) if plan.todo else []
    return Outcome(collect_now(session.study), failed)


@busy("waiting until no other process writes here")
def open_plan(study: StudyFolder, plan: Plan, dataset: Dataset) -> None:
    """Write down what the study consists of, and how its images were split.

    Raises:
        UsageError: the study holds other configurations of these runs, or other images.
    """
    with study.lock():
        study.add_to_plan(plan.runs)
        if not dataset.split:
            return
        rows = [SplitRow(image=image, class_name=name, split=split) for image, name, split in dataset.split]
        path = study.path / SPLIT.file
        if path.exists() and read_csv(path, SPLIT) != rows:
            raise UsageError(f"{path}: the study was begun with other images of {dataset.name}; use another --results")
        write_csv(path, SPLIT, rows)


def rate_of(session: Session, plan: Plan) -> float:
    """Work per second of one run after the other, from finished runs, else from a few steps."""
    rate = plan.measured_rate(session.fingerprint.device)
    return rate or _probed_rate(session, plan) * (COMPILE_GAIN if session.execution.mode == "compile" else 1)


def _probed_rate(session: Session, plan: Plan) -> float:
    try:
        return probe_rate(plan, session)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return typical_rate(session.data.device.type, session.fingerprint.threads)  # the runs will say what is wrong


@busy("waiting until no other process writes here")
def collect_now(study: StudyFolder) -> list[RunRow]:
    """Collect what is finished; its rows."""
    with study.lock():
        return collect(study)


def _run_all(session: Session, plan: Plan, quiet: bool) -> list[str]:
    rate = rate_of(session, plan) * (1 if plan.done else session.jobs)
    clock = Clock(sum(work(run, plan.shape) for run in plan.todo), rate)
    on_cpu = session.data.device.type == "cpu" and not quiet
    watch = Watch(session.jobs, session.fingerprint.threads) if on_cpu else None
    with Progress(len(plan.todo), clock, quiet, session.jobs, watch) as progress:
        side_by_side = f", {session.jobs} side by side" if session.jobs > 1 else ""
        seconds = format_seconds(plan.seconds(rate))
        progress.say(f"{counted(len(plan.todo), 'run')} to do{side_by_side}, about {seconds} on this machine")
        with collecting(session.study):
            if session.jobs > 1:
                return run_side_by_side(session, plan, progress)
            return run_what_is_free(session, plan, progress.lines[0])


def run_what_is_free(session: Session, plan: Plan, progress: Listener) -> list[str]:
    """Do each run that no other process works on, until all are finished; one line per run that failed here."""
    failed: list[str] = []
    taken = [run for run in plan.todo if not do_if_free(session, run, plan.shape, progress, failed)]
    started = time.monotonic()
    if taken:
        progress.waiting(len(taken))
    while taken:  # a process that dies frees its runs, and then they are done here
        with busy("waiting for other processes", started):
            time.sleep(WAIT_SECONDS)
        session.stop.raise_if_asked()
        taken = [run for run in taken if not do_if_free(session, run, plan.shape, progress, failed)]
    return failed


@contextlib.contextmanager
def collecting(study: StudyFolder) -> Iterator[None]:
    """Collect what is finished also when the sweep is broken off; the reason for that is what is told."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception), study.lock(timeout=3):  # not longer: it was asked to stop
            collect(study)
        raise


def do_if_free(session: Session, run: RunConfig, shape: DataShape, progress: Listener, failed: list[str]) -> bool:
    """Do the run unless another process does; False if one is at it now.

    Raises:
        Gone: the study's folder is not there any more.
        Failure, UsageError: what makes it pointless to go on with any run, see `run.execute`.
    """
    folder = session.study.run(run.run_id)
    try:
        if not folder.path.parent.is_dir():
            raise gone(session.study.path)
        make_own_folder(folder.path)
        with folder.lock(timeout=0) as lock:
            if folder.result.exists():
                progress.skip(run, work(run, shape), "done by another process")
            else:
                _run_one(session, run, shape, progress, failed, lock)
    except Taken:
        return False
    except OSError as error:
        raise cannot_write(folder.path, error, BYTES_PER_RUN) from None
    return True


def _run_one(
    session: Session, run: RunConfig, shape: DataShape, progress: Listener, failed: list[str], lock: Lock
) -> None:
    folder = session.study.run(run.run_id)
    progress.start(run, work(run, shape))
    try:
        row = execute(session, run, progress, lambda: folder.check_owned(lock))
    except Exception as error:  # whatever it was, the other runs go on
        text = _why_failed(session, folder, lock, error)
        progress.finish(f"FAILED, {text}")
        failed.append(f"{run.title}: {text}")
    else:
        progress.finish(describe(row))
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
