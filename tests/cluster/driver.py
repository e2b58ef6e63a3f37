"""The process that sweeps a study of tiny runs on a cluster: `python -m tests.cluster.driver ADDRESS PLACE ...`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from resnet_bench.data.builtin import synthetic
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER
from resnet_bench.executors.ray.fleet import sweep_on_ray
from resnet_bench.executors.ray.shared import Demand
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import DataShape, Plan
from resnet_bench.study.stopping import Stopped, StopRequest
from tests.faults.work import small_runs


def main() -> int:
    """Sweep; exits as the command line would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("place", type=Path)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--torch", help="the version that this process is to say it has")
    parser.add_argument("--checkpoint-seconds", type=float, default=0.2)
    arguments = parser.parse_args()
    if arguments.torch:
        torch.__version__ = arguments.torch
    dataset = synthetic((3, 8, 8), num_train=96, num_test=32, num_classes=4)
    runs = list(small_runs(arguments.runs, steps=arguments.steps, row_every=max(1, arguments.steps // 4)))
    study = StudyFolder(arguments.place)
    with StopRequest().listening() as stop:
        try:
            outcome = sweep_on_ray(
                study,
                dataset,
                Plan(runs, study.results(), DataShape(dataset.image_shape, 96, 32)),
                Demand(),
                address=arguments.address,
                mode="eager",
                execution=EAGER,
                checkpoint_seconds=arguments.checkpoint_seconds,
                stop=stop,
                say=lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True),
            )
        except (Failure, UsageError) as error:
            print(error, flush=True)
            return error.exit_code
        except Stopped as stopped:
            print(stopped, flush=True)
            return stopped.exit_code
    print(*outcome.failed, sep="\n", flush=True)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
