"""A study on this machine: in this process, or in several side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from resnet_bench import cores
from resnet_bench.crowding import Watch
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure, find_device
from resnet_bench.errors import Failure, UsageError, is_out_of_memory
from resnet_bench.execution import Execution
from resnet_bench.executors.jobs import run_side_by_side
from resnet_bench.executors.options import TrainOptions, execution_of
from resnet_bench.models.weights import Weights
from resnet_bench.study.checks import Incomplete, check
from resnet_bench.study.claim import run_what_is_free
from resnet_bench.study.events import Note
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.forecast import forecast
from resnet_bench.study.plan import Plan, format_seconds, work
from resnet_bench.study.progress import Clock, Progress
from resnet_bench.study.rate import rate_of
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import StopRequest
from resnet_bench.study.sweep import Outcome, collect_now, collecting, open_plan, prepare
from resnet_bench.study.threads import Threads, choose_threads
from resnet_bench.text import counted

Say = Callable[[str], None]


@dataclass(frozen=True)
class Here:
    """This machine, as a study is trained on it."""

    study: StudyFolder
    options: TrainOptions
    device: torch.device
    execution: Execution
    threads: Threads

    @classmethod
    def of(cls, study: StudyFolder, options: TrainOptions) -> Here:
        """Find the device and settle precision and threads. UsageError if the study is made with others."""
        device = find_device(options.device)
        execution = execution_of(study, options, device.type)
        settled = execution.threads if device.type == "cpu" else None
        threads = choose_threads(study.path, settled, options.threads, cores.cores_here(), options.jobs)
        configure(device, threads.number, execution.precision)
        return cls(study, options, device, execution, threads)

    def sweep(self, dataset: Dataset, plan: Plan, weights: Weights | None, stop: StopRequest, say: Say) -> Outcome:
        """Do what is left of the plan, and measure the networks' cost if that is asked for; errors as of `sweep`."""
        session = self._open(dataset, weights, stop)
        say(f"device {session.fingerprint.device}, {self.threads}, {self.execution.precision}")
        if self.threads.warning:
            say(self.threads.warning)
        session = prepare(session, plan, self.options.mode, say)
        outcome = sweep(session, plan, quiet=self.options.quiet, hours=self.options.hours)
        if self.options.cost:
            stop.raise_if_asked()
            _measure_cost(session, plan, say)
        return outcome

    def _open(self, dataset: Dataset, weights: Weights | None, stop: StopRequest) -> Session:
        try:
            return Session.open(
                self.study,
                dataset,
                self.device,
                execution=self.execution,
                checkpoint_seconds=self.options.checkpoint_seconds,
                stop=stop,
                jobs=self.options.jobs,
                weights=weights,
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise Failure(
                    f"{dataset.name} does not fit into the memory of {self.device}; free some, or use --device cpu"
                ) from None
            raise


def _measure_cost(session: Session, plan: Plan, say: Say) -> None:
    """Count and time the study's networks, for images as its runs take them. Incomplete if that fails."""
    from resnet_bench.cost.counting import write_complexity
    from resnet_bench.cost.throughput import ROUNDS, Bench, Rules, measure_throughput

    num_classes = len(session.dataset.classes)
    try:
        number = sum(write_complexity(session.study, shape, num_classes) for shape in plan.image_shapes)
        say(f"{number} networks counted into {session.study.path / 'complexity.csv'}")
        if session.jobs > 1:
            say("throughput is not measured with --jobs: call resnet-bench throughput later")
            return
        for shape in plan.image_shapes:
            rules = Rules.of(session.study)
            bench = Bench.of(shape, num_classes, session.data.device, session.execution, rules=rules)
            measure_throughput(session.study, bench, ROUNDS, say)
    except Failure as failure:  # what was trained can be reported all the same
        raise Incomplete(str(failure), session.study.path) from None


def sweep(session: Session, plan: Plan, *, quiet: bool = False, hours: float | None = None) -> Outcome:
    """Do what is left of the plan. A run that fails is reported and does not stop the others.

    Several processes may sweep one study at once: each run is done by one of them.

    Args:
        session: with the study's folder and data.
        plan: whose runs are done in their order.
        quiet: say nothing.
        hours: after which it will be asked to stop; it is only said what will be finished then.

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
    failed = _run_all(session, plan, quiet, hours) if plan.todo else []
    return Outcome(collect_now(session.study), failed)


def _run_all(session: Session, plan: Plan, quiet: bool, hours: float | None) -> list[str]:
    on_cpu = session.data.device.type == "cpu"
    # On a GPU, runs that were finished before may have had it to themselves.
    alike = on_cpu or not plan.done
    rate = rate_of(session, plan) * (session.jobs if alike else 1)
    clock = Clock(sum(work(run, plan.shape) for run in plan.todo), rate)
    watch = Watch(session.jobs, session.fingerprint.threads) if on_cpu and not quiet else None
    with Progress(len(plan.todo), clock, quiet, session.jobs, watch, plan.title) as progress:
        side_by_side = f", {session.jobs} side by side" if session.jobs > 1 else ""
        seconds = format_seconds(plan.seconds(rate))
        progress.tell(Note(f"{counted(len(plan.todo), 'run')} to do{side_by_side}, about {seconds} on this machine"))
        if hours is not None:
            progress.tell(Note(forecast(plan, hours, rate, session.jobs)))
        with collecting(session.study):
            if session.jobs > 1:
                return run_side_by_side(session, plan, progress)
            return run_what_is_free(session, plan, progress.lines[0].tell)
