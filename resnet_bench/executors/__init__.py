"""Where runs are done: in this process, in several of this machine, on a Ray cluster. One way in: `train_study`."""

from resnet_bench.executors.options import Cluster, TrainOptions
from resnet_bench.executors.sweep import Sweep, plan_run, plan_sweep, train, train_study

__all__ = ["Cluster", "Sweep", "TrainOptions", "plan_run", "plan_sweep", "train", "train_study"]
