"""A Ray cluster, as a study is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnet_bench.cost.counting import write_complexity
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import find_device
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution
from resnet_bench.executors.options import Cluster, TrainOptions, execution_of
from resnet_bench.executors.ray.fleet import sweep_on_ray
from resnet_bench.executors.ray.shared import Demand
from resnet_bench.models.weights import Weights
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan
from resnet_bench.study.stopping import StopRequest
from resnet_bench.study.sweep import Outcome
from resnet_bench.study.threads import check_settled
from resnet_bench.text import command

Say = Callable[[str], None]


@dataclass(frozen=True)
class OnRay:
    """What each run asks of the cluster, and how it is executed there."""

    study: StudyFolder
    options: TrainOptions
    cluster: Cluster
    demand: Demand
    execution: Execution

    @classmethod
    def of(cls, study: StudyFolder, options: TrainOptions, cluster: Cluster) -> OnRay:
        """Settle precision and threads. UsageError if the study is made with others."""
        gpus = gpus_per_run(cluster)
        execution = execution_of(study, options, "cuda" if gpus else "cpu")
        settled = None if gpus else execution.threads
        check_settled(study.path, settled, options.threads)
        threads = settled or options.threads
        cpus = cluster.cpus_per_run or float(threads or 1)
        return cls(study, options, cluster, Demand(cpus, gpus, cluster.any_version, threads), execution)

    def sweep(
        self,
        dataset: Dataset,
        plan: Plan,
        weights: Weights | None,
        stop: StopRequest,
        say: Say,
    ) -> Outcome:
        """Do what is left of the plan, and count its networks if cost is asked for; errors as of `sweep_on_ray`."""
        if weights is not None:
            raise UsageError("runs that begin with the weights of others are not done on a cluster")
        if self.demand.threads > self.demand.cpus:
            threads = f"{self.demand.threads} threads a run, as this study was begun"
            say(f"{threads}, on {self.demand.cpus:g} CPU: see --cpus-per-run")
        outcome = sweep_on_ray(
            self.study,
            dataset,
            plan,
            self.demand,
            address=self.cluster.address,
            mode=self.options.mode,
            execution=self.execution,
            checkpoint_seconds=self.options.checkpoint_seconds,
            stop=stop,
            say=say,
            quiet=self.options.quiet,
            hours=self.options.hours,
        )
        if self.options.cost:
            for shape in plan.image_shapes:
                write_complexity(self.study, shape, len(dataset.classes))
            call = command("resnet-bench", "throughput", self.study.path)
            say(f"throughput is not measured on a cluster; on a machine of its own: {call}")
        return outcome


def gpus_per_run(cluster: Cluster) -> float:
    """As asked for; else a whole one, if this machine has any."""
    if cluster.gpus_per_run is not None:
        return cluster.gpus_per_run
    return float(find_device("auto").type == "cuda")
