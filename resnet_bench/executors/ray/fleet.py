"""The process that sweeps a study on a cluster: hands out runs, takes what comes of them, tells how far it is."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any

from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError, first_line
from resnet_bench.execution import EAGER, Execution
from resnet_bench.executors.ray.board import Board
from resnet_bench.executors.ray.nodes import MOST_DEATHS, POLL_SECONDS, Nodes, Say, connected
from resnet_bench.executors.ray.shared import Answer, Demand, Flag, Settled, Shared, Terms, versions
from resnet_bench.executors.ray.worker import do_run, settle
from resnet_bench.study.checks import check
from resnet_bench.study.claim import describe
from resnet_bench.study.events import Note, RunFinished
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.forecast import forecast
from resnet_bench.study.plan import Plan
from resnet_bench.study.progress import LINE_SECONDS, Clock, Progress
from resnet_bench.study.stopping import StopRequest
from resnet_bench.study.sweep import Outcome, collect_now, collecting, open_plan
from resnet_bench.text import counted
from resnet_bench.training.generations import NEWEST

AGAIN_SECONDS = 2.0  # before a run is tried again that another process works on, or that was lost more than once
SAVE_SECONDS = 120.0  # for runs that are asked to stop: a step and a checkpoint
UNSEEN_SECONDS = 120.0  # for a result that another machine has written


def sweep_on_ray(
    study: StudyFolder,
    dataset: Dataset,
    plan: Plan,
    demand: Demand,
    *,
    address: str | None,
    mode: str,
    execution: Execution,
    checkpoint_seconds: float,
    stop: StopRequest,
    say: Say,
    quiet: bool = False,
    hours: float | None = None,
) -> Outcome:
    """Do what is left of the plan on a Ray cluster.

    Args:
        study: its folder, on a file system that all nodes have at the same place.
        dataset: decoded.
        plan: of the sweep.
        demand: what each run asks for.
        address: of the cluster: HOST:PORT or "auto"; None: start one here, on this machine's loopback alone.
        mode: how steps are executed, or "auto"; settled on a node, for the whole study.
        execution: the precision, and all the rest if it is settled.
        checkpoint_seconds: between two checkpoints of a run.
        stop: asked at Ctrl-C, SIGTERM and SIGHUP.
        say: told what is done.
        quiet: no progress.
        hours: after which it will be asked to stop; it is only said what will be finished then.

    Raises:
        Stopped: asked to stop; all runs have saved.
        UsageError: as study.sweep; no node has room for a run or may take part; one does not see the folder.
        Failure: Ray is not installed, cannot be reached or is lost; results cannot be written.
    """
    study = StudyFolder(study.path.absolute())
    check(study, plan, dataset, execution)
    if not plan.todo:
        open_plan(study, plan, dataset)
        return Outcome(collect_now(study), [])
    try:  # politely: Ray does not bear an exception out of a signal's handler
        with stop.politely(), Flag.raised(study) as flag, connected(address) as ray:
            nodes = Nodes(ray, Terms(study, flag, demand, versions()), stop, say)
            nodes.wait_until_known()
            fleet = Fleet(nodes, Shared(nodes.terms, dataset, plan.shape, checkpoint_seconds), plan)
            settled = fleet.settle(execution, mode)
            open_plan(study, plan, dataset)
            with collecting(study):
                failed = fleet.run(settled, quiet, hours)
    except SystemError:  # what Ray makes of a second signal
        stop.raise_if_asked(saved=False)
        raise
    stop.raise_if_asked()
    return Outcome(collect_now(study), failed)


class Fleet:
    """The runs of a sweep: which wait, which go on, what came of them."""

    def __init__(self, nodes: Nodes, shared: Shared, plan: Plan) -> None:
        self.nodes, self.ray, self.stop, self.study, self.plan = nodes, nodes.ray, nodes.stop, nodes.terms.study, plan
        self.shared = self.ray.put(shared)
        self.execution = EAGER
        # Where a run has a GPU, Ray ends the process after each: it would keep the GPU that it began with.
        self.settling, self.running = (
            self.ray.remote(**nodes.resources, max_retries=0)(task) for task in (settle, do_run)
        )
        self.waiting = deque(plan.todo)
        self.later: list[tuple[float, RunConfig]] = []  # and from when on
        self.going: dict[Any, RunConfig] = {}  # by Ray's reference
        self.failed: list[str] = []
        self.deaths: dict[str, int] = {}
        self.saved: dict[str, float] = {}  # time of the checkpoint at the last death
        self.spared: dict[str, set[str]] = {}  # by run: nodes that it had bad luck on
        self.unseen: dict[str, float] = {}  # since when the result of a finished run is not to be seen

    @busy("a node prepares the study")
    def settle(self, execution: Execution, mode: str) -> Settled:
        """Have a node find out how the study is executed, in this mode or in the settled one.

        Raises:
            UsageError, Failure: see study.sweep.prepare; no node is left; too many were lost.
            Stopped: the process was asked to stop.
        """
        deaths, said, reference = 0, time.monotonic(), None
        while deaths < MOST_DEATHS:
            self.stop.raise_if_asked()
            self.nodes.look_around()
            self.nodes.check_some_left()
            if reference is None and self.nodes.slots():
                task = self.settling.options(label_selector=self.nodes.selector())
                reference = task.remote(self.shared, execution, self.plan, mode)
            if reference is None or not self.ray.wait([reference], timeout=0)[0]:
                time.sleep(POLL_SECONDS)
                if time.monotonic() - said > LINE_SECONDS:
                    said = time.monotonic()
                    self.nodes.say(f"a node prepares the study, or is waited for ({self.nodes.free()})")
                continue
            answer: Settled | Answer = self._result(reference)
            if isinstance(answer, Settled):
                self.execution = answer.execution
                for line in answer.lines:
                    self.nodes.say(line)
                return answer
            reference = None
            deaths += answer.kind == "lost"
            if answer.kind == "lost":
                self.nodes.say(f"a node was lost before the first run ({answer.text})")
            self.nodes.doubt(answer)
        raise Failure(f"the process or node that should begin was lost {deaths} times")

    def _result(self, reference: Any) -> Any:
        """What a task says, or that it was lost. Raises its UsageError or Failure."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.TaskUnschedulableError:
            return Answer("homeless")
        except errors.RayTaskError as error:
            if isinstance(error.cause, UsageError | Failure):
                raise error.cause from None
            return Answer("lost", first_line(error.cause))
        except errors.RayError as error:
            return Answer("lost", type(error).__name__)

    def run(self, settled: Settled, quiet: bool, hours: float | None = None) -> list[str]:
        """Do all; a line for each run that failed."""
        at_once = max(1, min(self.nodes.slots(), len(self.waiting)))
        with Progress(len(self.waiting), Clock(0.0, settled.rate * at_once), quiet, title=self.plan.title) as progress:
            board = Board(progress, self.study, self.plan)
            progress.say(f"{counted(len(self.waiting), 'run')} to do on {settled.device}")
            if hours is not None:
                progress.say(forecast(self.plan, hours, settled.rate * at_once, at_once))
            self.nodes.say = progress.say
            try:
                self._do_all(board)
            except (UsageError, Failure):
                self._save(board)
                raise
        return self.failed

    def _do_all(self, board: Board) -> None:
        while self.waiting or self.later or self.going:
            if self.stop.asked:
                self.stop.raise_if_asked(saved=self._save(board) == 0)
            self.nodes.look_around()
            self.nodes.check_some_left()
            self._hand_out()
            for reference in self._ended():
                self._take(self.going.pop(reference), self._result(reference), board)
            board.show(list(self.going.values()), len(self.nodes.fit & self.nodes.alive.keys()), self.nodes.slots())

    def _hand_out(self) -> None:
        now = time.monotonic()
        self.waiting.extendleft(run for start, run in self.later if start <= now)
        self.later = [(start, run) for start, run in self.later if start > now]
        slots = self.nodes.slots()
        # A few more than can be done at once, so that no node waits for this process; not all: it stays small.
        while slots and self.waiting and len(self.going) < 2 * slots + 2:
            run = self.waiting.popleft()
            if self._is_locked(run):  # another sweep is at it
                self._again(run, AGAIN_SECONDS)
                continue
            task = self.running.options(label_selector=self.nodes.selector(self.spared.get(run.run_id, ())))
            self.going[task.remote(self.shared, self.execution, run)] = run

    def _ended(self) -> list[Any]:
        if not self.going:
            time.sleep(POLL_SECONDS)
            return []
        done, _ = self.ray.wait(list(self.going), timeout=POLL_SECONDS)
        return list(done)

    def _take(self, run: RunConfig, answer: Answer, board: Board) -> None:
        self.nodes.doubt(answer)
        if answer.kind == "lost":
            where = ""
            if answer.node:
                self.spared.setdefault(run.run_id, set()).add(answer.node)
                where = f", on node {self.nodes.called(answer.node)}"
            self._lost(run, answer.text + where, board)
        elif answer.kind == "failed":
            self._failed(run, answer.text, board)
        elif answer.kind == "done":
            self._finished(run, board)
        else:
            self._again(run, AGAIN_SECONDS)

    def _finished(self, run: RunConfig, board: Board) -> None:
        row = self.study.run(run.run_id).read_result(check_files=False)
        if row is not None:
            board.tell(RunFinished(run, describe(row)))
        elif time.monotonic() - self.unseen.setdefault(run.run_id, time.monotonic()) < UNSEEN_SECONDS:
            self._again(run, AGAIN_SECONDS)  # a node will say again that it is done
        else:
            self._failed(
                run, f"{self.plan.title(run)}: a node has finished it, but its result is not to be seen here", board
            )

    def _again(self, run: RunConfig, seconds: float) -> None:
        self.later.append((time.monotonic() + seconds, run))

    def _lost(self, run: RunConfig, why: str, board: Board) -> None:
        """The run goes on from its checkpoint, wherever there is room, unless it is the run that kills."""
        checkpoint = self.study.run(run.run_id).path / NEWEST
        try:
            saved = checkpoint.stat().st_mtime
        except OSError:
            saved = 0.0
        died = 1 if saved > self.saved.get(run.run_id, -1.0) else self.deaths.get(run.run_id, 0) + 1
        self.deaths[run.run_id], self.saved[run.run_id] = died, saved
        if died >= MOST_DEATHS:
            self._failed(
                run, f"{self.plan.title(run)}: lost {died} times without a checkpoint in between ({why})", board
            )
            return
        board.tell(Note(f"{self.plan.title(run)}: lost ({why}); it is tried again"))
        self._again(run, 0.0 if died == 1 else AGAIN_SECONDS * 2**died)

    def _failed(self, run: RunConfig, text: str, board: Board) -> None:
        self.failed.append(text)
        board.tell(RunFinished(run, f"FAILED, {text}"))

    def _save(self, board: Board) -> int:
        """Have the runs save and end; how many did not within the time they have."""
        self.nodes.terms.flag.stop()
        board.tell(Note(f"stopping: runs save, {len(self._at_work())} of them"))
        end = time.monotonic() + SAVE_SECONDS
        while (left := self._at_work()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        if left:
            titles = ", ".join(self.plan.title(run) for run in left)
            board.tell(Note(f"{counted(len(left), 'run')} did not save in {SAVE_SECONDS:.0f} s: {titles}"))
        return len(left)

    def _at_work(self) -> list[RunConfig]:
        """The runs handed out that have not ended, and whose locks are held: others have not begun."""
        if not self.going:
            return []
        _, left = self.ray.wait(list(self.going), num_returns=len(self.going), timeout=0)
        return [run for run in map(self.going.__getitem__, left) if self._is_locked(run)]

    def _is_locked(self, run: RunConfig) -> bool:
        with contextlib.suppress(OSError):  # a disk in trouble; the run's node will say
            return self.study.run(run.run_id).is_locked()
        return False
