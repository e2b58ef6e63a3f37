"""One mode for a whole study: what is settled, what `auto` picks and why, and whether it can be built here."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable

from resnet_bench.config.run import RunConfig
from resnet_bench.errors import Failure, UsageError, first_line
from resnet_bench.execution import Execution, auto_mode
from resnet_bench.study.plan import Plan, work
from resnet_bench.study.session import Session
from resnet_bench.timing import time_in_turn
from resnet_bench.training.step import TrainStep

FORMAT_ROUNDS = 5
FORMAT_GAIN = 1.03  # channels last must be faster by more than what two measurements of one thing differ by
Say = Callable[[str], None]


def choose_execution(session: Session, plan: Plan, mode: str, eager_seconds: Callable[[], float], say: Say) -> Session:
    """The session with the execution of its study: the settled one, else `mode` as far as it can be built here.

    Args:
        session: holds the precision, and the study's folder.
        plan: the runs of this sweep.
        mode: "auto", "eager", "compile" or "graph".
        eager_seconds: estimates the training time of what is left to do, in eager mode.
        say: told what was picked and why.

    Raises:
        UsageError: a mode that this device does not have; the study is made with another number of threads.
        Failure: the settled mode cannot be built here.
    """
    settled = session.study.read_execution()
    if settled is not None:
        _check_threads(session, settled)
        say(f"mode {_describe(settled)}: settled for this study")
        problem = _first_problem(session, settled, plan, say)
        if problem is not None:
            raise Failure(
                f"{session.study.path} is made in mode {settled.mode}, which cannot be built here: {problem}; "
                "go on where it can, or use another results folder (--results)"
            )
        return dataclasses.replace(session, execution=settled.completed(session.execution))
    settled = session.study.settle_execution(_pick(session, plan, mode, eager_seconds, say))
    _check_threads(session, settled)  # another process may have begun the study meanwhile
    return dataclasses.replace(session, execution=settled)


def _check_threads(session: Session, settled: Execution) -> None:
    """Raise UsageError if runs here would have other bits than those of the study."""
    mine = session.execution.threads
    if mine and settled.threads not in (None, mine):
        raise UsageError(
            f"{session.study.path}: the study is made with {settled.threads} threads a run, this process has {mine}; "
            "start it again without --threads"
        )


def _pick(session: Session, plan: Plan, mode: str, eager_seconds: Callable[[], float], say: Say) -> Execution:
    device = session.data.device.type
    networks = _networks(plan)
    reason = "asked for"
    if mode == "auto":
        mode, reason = auto_mode(device, eager_seconds(), [run.depth for run in networks])
    wanted = dataclasses.replace(session.execution, mode=mode)
    wanted.check(device)
    say(f"mode {mode} for the whole study ({reason})")
    problem = _first_problem(session, wanted, plan, say)
    if problem is not None:
        say(f"mode {mode} cannot be built here ({problem}): the whole study is done in mode eager")
        wanted = dataclasses.replace(wanted, mode="eager")
    return _with_memory_format(session, wanted, networks, say)


def _describe(execution: Execution) -> str:
    return execution.mode + (", channels last" if execution.memory_format == "nhwc" else "")


def _networks(plan: Plan) -> list[RunConfig]:
    """A run for each different network, and shape of its batches, that is left to train, the smallest first.

    What fails does so soon.
    """
    there: dict[tuple[object, ...], RunConfig] = {}
    for run in plan.todo:
        there.setdefault((run.network, run.batch_size, run.image_side), run)
    return sorted(there.values(), key=lambda run: work(run, plan.shape))


def _first_problem(session: Session, execution: Execution, plan: Plan, say: Say) -> str | None:
    """Build each network once; why one cannot be, or None. What is compiled stays in the compiler's cache."""
    if execution.mode == "eager":
        return None
    for run in _networks(plan):
        session.stop.raise_if_asked()
        name = run.network.title
        try:
            seconds = make_step(session, execution, run).build(name)
        except Exception as error:  # whatever a compiler, a driver or a library says no with
            return f"{name}: {first_line(error)}"
        say(f"{name}: {'captured' if execution.mode == 'graph' else 'compiled'} in {seconds:.0f} s")
    return None


def make_step(session: Session, execution: Execution, run: RunConfig) -> TrainStep:
    """The train step of a run's network, on a state of its own."""
    job = session.job(run, execution)
    return job.make_step(job.initial_state(session.dataset.digest))


def _with_memory_format(session: Session, execution: Execution, networks: list[RunConfig], say: Say) -> Execution:
    """Channels last if it is measured to be faster here. On CPU it is known to be slower, or chosen by the compiler."""
    if session.data.device.type != "cuda" or not networks:
        return execution
    choices = [dataclasses.replace(execution, memory_format=name) for name in ("nchw", "nhwc")]
    steps = [make_step(session, choice, networks[0]) for choice in choices]
    draws = session.job(networks[0]).stream.draws(0)
    for step in steps:
        step.build()
    calls = [functools.partial(step, draws) for step in steps]
    rounds = time_in_turn(calls, session.data.device, FORMAT_ROUNDS)
    nchw, nhwc = (statistics.median(seconds) for seconds in rounds)
    say(f"channels last is {nchw / nhwc:.2f}x as fast as channels first on {networks[0].run_id}")
    return choices[nchw > FORMAT_GAIN * nhwc]
