"""How a study is trained: where, on what, by how many processes, for how long. Nothing of what its runs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_bench.config.run import Variation
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution, default_precision
from resnet_bench.study.folder import StudyFolder


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster, and what each run asks of it.

    Attributes:
        address: HOST:PORT or "auto"; None: one is started on this machine.
        cpus_per_run: processors for a run; None: one for each of its threads.
        gpus_per_run: GPUs for a run, a fraction shares one; None: 1 if this machine has any, else 0.
        any_version: let nodes take part whose versions of torch, Python or resnet-bench differ.
    """

    address: str | None = None
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None
    any_version: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a study is trained; the defaults are right for most.

    Attributes:
        data: a dataset's name, where it lies, or a folder of images; None: the study's own.
        results: the folder of all studies.
        depths: only these; None: all of the study.
        seeds: only these; None: all of the study.
        variation: what is done otherwise than the study says.
        device: "auto", "cpu", "cuda" or "cuda:N".
        mode: how steps are executed: "auto", "eager", "compile" or "graph".
        precision: "auto", "fp32", "tf32" or "bf16".
        threads: CPU threads of a run; None: the study's, else the cores shared out.
        jobs: runs side by side on this machine.
        checkpoint_seconds: between two checkpoints of a run.
        cost: count and time the study's networks afterwards.
        hours: stop, with everything saved, after so many; None: when all is done.
        quiet: say nothing.
        cluster: train there; None: on this machine.

    Raises:
        UsageError: jobs, threads, checkpoint_seconds or hours make no sense, alone or together.
    """

    data: str | None = None
    results: Path = Path("results")
    depths: Sequence[int] | None = None
    seeds: Sequence[int] | None = None
    variation: Variation = field(default_factory=Variation)
    device: str = "auto"
    mode: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    jobs: int = 1
    checkpoint_seconds: float = 60.0
    cost: bool = False
    hours: float | None = None
    quiet: bool = False
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        for name, number in (("jobs", self.jobs), ("threads", self.threads)):
            if number is not None and number < 1:
                raise UsageError(f"{name} {number} is not a whole number from 1")
        if not 0 <= self.checkpoint_seconds < float("inf"):
            raise UsageError(f"checkpoint_seconds {self.checkpoint_seconds} is not a number of seconds")
        if self.hours is not None and not 0 < self.hours < float("inf"):
            raise UsageError(f"hours {self.hours} is not a positive number")
        if self.cluster:
            self._check_cluster(self.cluster)

    def _check_cluster(self, cluster: Cluster) -> None:
        if self.jobs > 1 or self.device != "auto":
            raise UsageError(
                "on a cluster, what a run gets is said by --cpus-per-run and --gpus-per-run, not by --jobs, --device"
            )
        if self.threads and cluster.cpus_per_run and self.threads > cluster.cpus_per_run:
            raise UsageError(f"--threads {self.threads} is more than --cpus-per-run {cluster.cpus_per_run:g}")


def execution_of(study: StudyFolder, options: TrainOptions, device_type: str) -> Execution:
    """What was settled for the study, or asked for; the mode is chosen later. UsageError if these differ."""
    settled = study.read_execution()
    precision = options.precision
    if precision == "auto":
        precision = settled.precision if settled else default_precision(device_type)
    asked = Execution(settled.mode if settled else "eager", precision, threads=settled.threads if settled else None)
    if options.mode != "auto":
        Execution(options.mode, precision).check(device_type)
    asked.check(device_type)
    if settled and (precision != settled.precision or options.mode not in ("auto", settled.mode)):
        raise UsageError(
            f"{study.path}: this study is made in mode {settled.mode} and {settled.precision}; a study never mixes "
            "them: leave out --mode and --precision, or use another --results"
        )
    return settled or asked
