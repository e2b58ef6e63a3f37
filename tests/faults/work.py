"""What the child processes of the fault tests do: sweep a tiny study, with or without something that goes wrong.

Children are forked from a server that has torch loaded, so one costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config  # what deterministic mode imports: here once, not in every child

from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import BatchStream
from resnet_bench.data.builtin import digits, synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure
from resnet_bench.errors import Failure, UsageError
from resnet_bench.executors import local as sweep_module
from resnet_bench.study import checks
from resnet_bench.study import run as run_module
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.lock import Lock
from resnet_bench.study.plan import DataShape, Plan
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import Stopped, StopRequest
from resnet_bench.training import checkpoint, evaluation
from resnet_bench.training import step as steps_module

CRASHED = 99
DIGITS = digits()
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.work"])


@dataclass(frozen=True)
class Work:
    """A study to sweep: where, which runs, and what goes wrong."""

    place: Path
    runs: tuple[RunConfig, ...]
    data: str = "synthetic"  # or "digits"
    checkpoint_seconds: float = 0.0
    fault: str = ""  # name of a function below, with its arguments after colons
    environ: tuple[tuple[str, str], ...] = ()  # set before anything is done


def small_runs(count: int = 1, **values: Any) -> tuple[RunConfig, ...]:
    """Runs of a few steps on 96 synthetic images, augmented; alternately plain and residual."""
    base = RunConfig(
        protocol="fault/1", dataset="synthetic-3x8x8", arch="plain", depth=8, shortcut="none", seed=0,
        steps=8, batch_size=16, lr=0.05, lr_drops=(5,), row_every=2,
        lr_warmup=0.01, lr_warmup_window=3, lr_warmup_error=101.0,
    )  # fmt: skip
    arms = (("plain", "none"), ("residual", "a"))
    return tuple(
        replace(base, arch=arms[i % 2][0], shortcut=arms[i % 2][1], seed=i // 2, **values) for i in range(count)
    )


def start(work: Work) -> ForkServerProcess:
    """Start a child on the work."""
    child = CONTEXT.Process(target=perform, args=(work,), daemon=True)
    child.start()
    return child


def finish(work: Work, seconds: float = 120) -> int:
    """Do the work in a child; its exit code."""
    child = start(work)
    child.join(seconds)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"still running after {seconds} s: {work}")
    assert child.exitcode is not None
    return child.exitcode


def perform(work: Work) -> None:
    """Sweep, in this process; exits as the command line would."""
    sys.stderr = sys.stdout = (work.place.parent / f"{work.place.name}.log").open("a")
    os.environ.update(work.environ)
    device = torch.device("cpu")
    configure(device, threads=1)
    dataset = _dataset(work.data)
    study = StudyFolder(work.place)
    name, *arguments = work.fault.split(":")
    with contextlib.ExitStack() as stack, StopRequest().listening() as stop:
        try:
            checks.check_writable(study)
            session = Session.open(study, dataset, device, checkpoint_seconds=work.checkpoint_seconds, stop=stop)
            plan = Plan(list(work.runs), study.results(), DataShape(dataset.image_shape, 96, 32))
            if name:
                stack.enter_context(FAULTS[name](*arguments))
            outcome = sweep_module.sweep(session, plan)
        except (Failure, UsageError) as error:
            print(error, flush=True)
            sys.exit(error.exit_code)
        except Stopped as stopped:
            print(stopped, flush=True)
            sys.exit(stopped.exit_code)
        print(*outcome.failed, sep="\n", flush=True)
        sys.exit(1 if outcome.failed else 0)


def _dataset(name: str) -> Dataset:
    return DIGITS if name == "digits" else synthetic((3, 8, 8), num_train=96, num_test=32, num_classes=4)


def command_line(words: list[str], log: Path, fault: str = "", seconds: float = 120) -> int:
    """`resnet-bench` in a child, with something that goes wrong; its exit code."""
    child = CONTEXT.Process(target=_command_line, args=(words, log, fault), daemon=True)
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"still running: {words}")
    assert child.exitcode is not None
    return child.exitcode


def _command_line(words: list[str], log: Path, fault: str) -> None:
    sys.stderr = sys.stdout = log.open("a")
    name, *arguments = fault.split(":")
    with FAULTS[name](*arguments) if name else contextlib.nullcontext():
        code = main(words)
    sys.stdout.flush()
    sys.exit(code)


# ---------------------------------------------------------------------------------------------- what goes wrong


@contextlib.contextmanager
def _patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Any:
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def crash_at(number: str) -> Any:
    """Die, without any clean-up, at the given one of all writing system calls, before or after it is done."""
    count = 0

    def event() -> None:
        nonlocal count
        count += 1
        if count == int(number):
            os._exit(CRASHED)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            event()
            answer = original(*arguments, **options)
            event()
            return answer

        return call

    with contextlib.ExitStack() as stack:
        for name in ("fsync", "replace", "link", "unlink", "mkdir"):
            stack.enter_context(_patched(os, name, make))
        yield


@contextlib.contextmanager
def disk_error(code: str, call: str, part: str) -> Any:
    """The system call fails with this error for every path, or open file, whose name holds `part`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def fail(target: Any, *arguments: Any, **options: Any) -> Any:
            name = str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else str(target)
            if part in Path(name).name:
                raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)), name)
            return original(target, *arguments, **options)

        return fail

    with _patched(os, call, make):
        yield


def _is_probe(optimizer: torch.optim.SGD) -> bool:
    """Steps that only measure have no learning rate."""
    return bool(optimizer.param_groups[0]["lr"] == 0)


@contextlib.contextmanager
def signal_in(phase: str, number: str, times: str) -> Any:
    """Send this process a signal when it enters the phase for the second time."""
    owner, name = {
        "step": (steps_module, "train_step"),
        "eval": (evaluation.F, "cross_entropy"),
        "save": (checkpoint, "encode"),
        "fsync": (os, "fsync"),
        "publish": (run_module, "publish"),
        "render": (__import__("resnet_bench.report.tables", fromlist=["errors"]), "errors"),
    }[phase]
    calls = 0

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            in_phase = phase != "eval" or options.get("reduction") == "sum"  # training uses the mean
            if phase == "step":
                in_phase = not _is_probe(arguments[1])
            calls += in_phase
            if in_phase and calls == (1 if phase in {"publish", "render"} else 2):
                for _ in range(int(times)):
                    os.kill(os.getpid(), getattr(signal, number))
            return original(*arguments, **options)

        return call

    with _patched(owner, name, make):
        yield


@contextlib.contextmanager
def folder_deleted(place: str) -> Any:
    """Somebody removes the study while its third step runs."""
    steps = 0

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += not _is_probe(arguments[1])
            if steps == 3:
                shutil.rmtree(place)
            return original(*arguments, **options)

        return call

    with _patched(steps_module, "train_step", make):
        yield


@contextlib.contextmanager
def lost(how: str, step: str) -> Any:
    """While that step of plain networks runs, somebody takes the run's lock, its folder or the study away."""
    todo = [LOSSES[how]]

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(sink: run_module.RunSink, state: Any) -> None:
            if todo and state.step == int(step) and sink.folder.path.name.startswith("plain"):
                todo.pop()(sink.folder.path)
            original(sink, state)

        return call

    with _patched(run_module.RunSink, "step", make):
        yield


def _remove_lock(folder: Path) -> None:
    (folder / ".lock").unlink()


def _replace_lock(folder: Path) -> None:
    (folder / ".lock").unlink()
    (folder / ".lock").touch()


def _wait_for_another(folder: Path) -> None:
    """Without the lock, until another process has finished the run."""
    (folder / ".lock").unlink()
    end = time.monotonic() + 100
    while not (folder / "result.json").exists():
        assert time.monotonic() < end, "nobody took the run over"
        time.sleep(0.01)


def _move_run(folder: Path) -> None:
    folder.rename(folder.parent.parent.with_name("run.moved"))


def _move_study(folder: Path) -> None:
    study = folder.parent.parent
    study.rename(study.with_name(f"{study.name}.moved"))


LOSSES: dict[str, Callable[[Path], None]] = {
    "lock removed": _remove_lock,
    "lock replaced": _replace_lock,
    "taken over": _wait_for_another,
    "run deleted": shutil.rmtree,
    "run moved": _move_run,
    "study moved": _move_study,
}


@contextlib.contextmanager
def no_call(name: str, code: str) -> Any:
    """A file system that lacks a call: `fsync` of folders, `link`, or `flock`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any, **options: Any) -> Any:
            if name != "fsync" or stat.S_ISDIR(os.fstat(target).st_mode):
                raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))
            return original(target, *arguments, **options)

        return call

    with _patched(fcntl if name == "flock" else os, name, make):
        yield


@contextlib.contextmanager
def not_finite(what: str, step: str) -> Any:
    """After the given step, a weight or a BN statistic of plain networks is not a number."""
    steps = 0

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(model: torch.nn.Module, *arguments: Any) -> None:
            nonlocal steps
            original(model, *arguments)
            steps += not _is_probe(arguments[0])
            if steps == int(step) and model.stages[0][0].shortcut is None:  # type: ignore[index, union-attr]
                target = dict(model.named_parameters()) | dict(model.named_buffers())
                target[what].data.view(-1)[0] = float("nan")

        return call

    with _patched(steps_module, "train_step", make):
        yield


@contextlib.contextmanager
def out_of_memory(kind: str) -> Any:
    """Plain networks do not fit."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(model: torch.nn.Module, *arguments: Any) -> None:
            if model.stages[0][0].shortcut is None:  # type: ignore[index, union-attr]
                raise MemoryError if kind == "host" else torch.OutOfMemoryError("CUDA out of memory")
            original(model, *arguments)

        return call

    with _patched(steps_module, "train_step", make):
        yield


# ---------------------------------------------------------------------------------------------- protections off


@contextlib.contextmanager
def forgetful_batches() -> Any:
    """Negative control: draws from a stream that a resumed process starts anew, as with a global generator."""
    calls = 0

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def draws(self: BatchStream, step: int) -> torch.Tensor:
            nonlocal calls
            calls += 1
            answer: torch.Tensor = original(self, calls)
            return answer

        return draws

    with _patched(BatchStream, "draws", make):
        yield


@contextlib.contextmanager
def without_replace(number: str) -> Any:
    """Negative control: files are written in place, and the process dies in the middle of one of them."""
    count = 0

    def write(path: Path, content: bytes, **_: object) -> None:
        nonlocal count
        count += 1
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            if count == int(number):
                os._exit(CRASHED)
            file.write(content[len(content) // 2 :])

    with _patched(checkpoint, "write_atomically", lambda original: write):
        yield


@contextlib.contextmanager
def without_lock() -> Any:
    """Negative control: the lock of a run is always free."""
    from resnet_bench.study.folder import RunFolder

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def lock(self: RunFolder, timeout: float) -> Any:
            yield FreeLock(self.path, 0)

        return lock

    with _patched(RunFolder, "lock", make):
        yield


@contextlib.contextmanager
def blind_owner() -> Any:
    """Negative control: who lost a run to another process does not look, and goes on to write."""
    from resnet_bench.study.folder import RunFolder

    with lost("taken over", "3"), _patched(RunFolder, "check_owned", lambda original: lambda *_: None):
        yield


class FreeLock(Lock):
    """One that nobody holds."""

    def why_lost(self) -> str:
        return ""


FAULTS: dict[str, Callable[..., contextlib.AbstractContextManager[Any]]] = {
    function.__name__: function
    for function in (
        crash_at, disk_error, signal_in, folder_deleted, lost, no_call, not_finite, out_of_memory,
        forgetful_batches, without_replace, without_lock, blind_owner,
    )
}  # fmt: skip
