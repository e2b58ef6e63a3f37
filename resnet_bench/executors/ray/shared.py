"""What the process that sweeps and the tasks of its runs tell each other."""

from __future__ import annotations

import contextlib
import platform
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from resnet_bench import __version__
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.lock import Taken, holding, is_held
from resnet_bench.study.plan import DataShape

GO_ON, STOP = "go on", "stop"


@dataclass(frozen=True)
class Demand:
    """What a run asks of the cluster.

    Attributes:
        cpus: processors.
        gpus: GPUs; a fraction shares one between runs.
        any_version: let nodes with other versions than this process's take part.
        num_threads: CPU threads within one operation; None: as many as there are whole processors.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    any_version: bool = False
    num_threads: int | None = None

    @property
    def threads(self) -> int:
        """CPU threads of a run."""
        return self.num_threads or max(1, int(self.cpus))

    @property
    def device(self) -> str:
        """Where a run trains, on its node."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")


@dataclass(frozen=True)
class Flag:
    """A file in the study's folder, there while a sweep goes on; its content says whether runs shall go on.

    It is read anew each time, not looked for: over a network a file that was not there may stay so for a minute. The
    process that sweeps holds a lock beside it, by which a node knows that locks work between the machines.
    """

    path: Path

    @classmethod
    @contextlib.contextmanager
    def raised(cls, study: StudyFolder) -> Iterator[Flag]:
        """Put it up, and take it down; those of processes that died are removed."""
        flag = cls(study.path / f".sweep.{uuid.uuid4().hex[:8]}")
        for left in study.path.glob(".sweep.*.lock"):
            cls(left.with_suffix(""))._remove_if_left()
        with holding(flag._lock_path):
            try:
                flag.path.write_text(GO_ON)
            except OSError as error:
                raise UsageError(f"{study.path} cannot be written ({error.strerror}); see --results") from None
            try:
                yield flag
            finally:
                flag._remove()

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self._lock_path.unlink(missing_ok=True)

    def _remove_if_left(self) -> None:
        with contextlib.suppress(Taken), holding(self._lock_path, timeout=0):
            self._remove()

    def is_held(self) -> bool:
        """Does another process hold the lock; UsageError if that cannot be known."""
        return is_held(self._lock_path)

    def stop(self) -> None:
        """Have all runs save and end."""
        try:
            self.path.write_text(STOP)
        except OSError:  # no room for four letters; without it they end too
            self._remove()

    def read(self) -> str | None:
        """What it says; None if it cannot be read."""
        try:
            return self.path.read_text()
        except OSError:
            return None


@dataclass(frozen=True)
class Terms:
    """What a node must fulfil to take part in a sweep.

    Attributes:
        study: its folder, the same absolute path on all nodes.
        flag: of the sweep.
        demand: of each run.
        versions: of the process that sweeps.
    """

    study: StudyFolder
    flag: Flag
    demand: Demand
    versions: dict[str, str]


@dataclass(frozen=True)
class Shared:
    """What all tasks that train need; it is stored in the cluster once.

    Attributes:
        terms: of the sweep.
        dataset: decoded.
        shape: of the data.
        checkpoint_seconds: between two checkpoints of a run.
        modules: folder of the process that sweeps, in which nodes look for functions of the user's too.
    """

    terms: Terms
    dataset: Dataset
    shape: DataShape
    checkpoint_seconds: float
    modules: str = field(default_factory=lambda: str(Path.cwd()))


@dataclass(frozen=True)
class Settled:
    """How a study is executed, as a node found out: on which device, at how much work per second, what was said."""

    execution: Execution
    device: str
    rate: float
    lines: list[str]


@dataclass(frozen=True)
class Answer:
    """What a task, or a node that was looked at, says.

    Attributes:
        kind: of a run: "done", "busy" (another process has it), "stopped", "failed", "lost" (with its process or node,
            or by an error that another node may be spared) or "homeless" (the nodes that it could go to are gone). Of
            a node: "fit", "blind" (does not see the folder now) or "unfit".
        text: why.
        node: Ray's id of the node, where it matters.
    """

    kind: str
    text: str = ""
    node: str = ""


def versions() -> dict[str, str]:
    """What must be the same on all nodes, for results that can be compared."""
    return {"resnet-bench": __version__, "torch": torch.__version__, "Python": platform.python_version()}
