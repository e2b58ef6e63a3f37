"""What happens on a node: the tasks that look at it, that settle how a study is executed, and that do one run."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import replace
from pathlib import Path

from resnet_bench.config.builders import look_in
from resnet_bench.config.run import RunConfig
from resnet_bench.environment import configure, find_device
from resnet_bench.errors import UsageError, first_line
from resnet_bench.execution import Execution
from resnet_bench.executors.ray.shared import GO_ON, Answer, Flag, Settled, Shared, Terms, versions
from resnet_bench.study.claim import do_if_free
from resnet_bench.study.events import Event, Note, Resumed, RowWritten, RunFinished, RunStarted
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan
from resnet_bench.study.progress import LINE_SECONDS
from resnet_bench.study.rate import rate_of
from resnet_bench.study.run import utc_now
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import Stopped, StopRequest
from resnet_bench.study.sweep import prepare
from resnet_bench.text import one_line

LOG = "log.txt"


class FlagStop(StopRequest):
    """Asked to stop once a flag says anything but to go on."""

    def __init__(self, flag: Flag) -> None:
        super().__init__()
        self.flag = flag
        self._read = 0.0

    @property
    def asked(self) -> bool:
        """What the flag says, read once a second."""
        now = time.monotonic()
        if self._number is None and now - self._read >= 1:
            self._read = now
            if self.flag.read() != GO_ON:
                self._number = signal.SIGTERM
        return self._number is not None

    def raise_if_asked(self, *, saved: bool = True) -> None:
        """Raise Stopped if the flag says so."""
        if self.asked:
            super().raise_if_asked(saved=saved)


class Log:
    """Writes what happens to a run into its folder, as plain lines, until the run is finished."""

    def __init__(self, study: StudyFolder) -> None:
        self.study = study
        self.path: Path | None = None
        self._last = 0.0

    def tell(self, event: Event) -> None:
        """Write it down, if it is worth a line."""
        match event:
            case Note(line):
                self._write(line)
            case RunStarted(run, _):
                self.path = self.study.run(run.run_id).path / LOG
                self._write(f"{run.title}: begins")
            case Resumed(step):
                self._write(f"goes on from step {step}")
            case RowWritten(row) if time.monotonic() - self._last >= LINE_SECONDS:
                self._last = time.monotonic()
                errors = f"error % train {row.train_clean_top1_err:.1f} test {row.test_top1_err:.1f}"
                self._write(f"step {row.step}, {errors}")
            case RunFinished(run, outcome) if not self.study.run(run.run_id).result.exists():
                self._write(outcome)

    def _write(self, line: str) -> None:
        """A line, with the time."""
        if self.path is not None:
            with contextlib.suppress(OSError), self.path.open("a") as file:
                file.write(f"{utc_now()} {one_line(line)}\n")


def look(terms: Terms) -> Answer:
    """Can this node take part; by a process on it."""
    place = terms.study.path
    if terms.flag.read() is None:
        return Answer("blind", f"does not see {place}; put --results on a file system that all nodes have there")
    try:
        if not terms.flag.is_held():
            return Answer("blind", f"does not see the locks of other machines in {place}; mount it so that flock works")
    except UsageError as error:
        return Answer("blind", f"cannot lock files: {error}")
    other = [
        f"{name} {there} instead of {terms.versions[name]}"
        for name, there in versions().items()
        if there != terms.versions[name]
    ]
    if other and not terms.demand.any_version:
        return Answer("unfit", f"has {', '.join(other)}; install the same there, or allow it with --any-version")
    return Answer("fit")


_opened: dict[tuple[StudyFolder, Execution], Session] = {}  # by this process, the last: data are copied once


def _session(shared: Shared, execution: Execution) -> Session:
    terms = shared.terms
    look_in(shared.modules)
    key = terms.study, execution
    if key not in _opened:
        _opened.clear()
        device = find_device(terms.demand.device)
        configure(device, terms.demand.threads, execution.precision)
        _opened[key] = Session.open(
            terms.study,
            shared.dataset,
            device,
            execution=execution,
            checkpoint_seconds=shared.checkpoint_seconds,
            jobs=2,  # whatever the node is, the run may share it: such runs are never called exclusive
        )
    return replace(_opened[key], stop=FlagStop(terms.flag))


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _begin(shared: Shared, execution: Execution) -> Session | Answer:
    """What this node trains with, or why it cannot."""
    here = look(shared.terms)
    if here.kind != "fit":  # any more
        return replace(here, node=_node())
    try:
        return _session(shared, execution)
    except Exception as error:  # no such device, no memory left on it
        return Answer("unfit", f"cannot train ({first_line(error)})", _node())


def settle(shared: Shared, execution: Execution, plan: Plan, mode: str) -> Settled | Answer:
    """How the study is executed; or that this node cannot tell.

    Raises:
        UsageError, Failure: see study.sweep.prepare.
    """
    session = _begin(shared, execution)
    if isinstance(session, Answer):
        return session
    lines: list[str] = []
    try:
        session = prepare(session, plan, mode, lines.append)
        return Settled(session.execution, session.fingerprint.device, rate_of(session, plan), lines)
    except Stopped:
        return Answer("stopped")


def do_run(shared: Shared, execution: Execution, run: RunConfig) -> Answer:
    """Do one run, unless it is finished or another process is at it.

    Raises:
        UsageError, Failure: what makes it pointless to go on with any run, see study.run.execute.
    """
    session = _begin(shared, execution)
    if isinstance(session, Answer):
        return session
    failed: list[str] = []
    try:
        session.stop.raise_if_asked()  # the task waited until then
        free = do_if_free(session, run, shared.shape, Log(session.study).tell, failed)
    except Stopped:
        return Answer("stopped")
    if failed:  # a device that fails is no fault of the run
        return Answer("lost" if "CUDA error" in failed[0] else "failed", failed[0], _node())
    return Answer("done" if free else "busy")
