"""What a Ray cluster takes for a run: a thousand that are empty, planned, dispatched and collected.

    python -m benchmarks.scripts.cluster_overhead

Empty: they are finished already, so a task takes the run's lock, sees that, and answers. The same is done by one
process without Ray beside it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.environment import configure
from resnet_bench.execution import EAGER
from resnet_bench.executors.local import sweep
from resnet_bench.executors.ray import fleet
from resnet_bench.executors.ray.board import Board
from resnet_bench.executors.ray.shared import Demand
from resnet_bench.results.tables import write_csv
from resnet_bench.study.events import Note, RunFinished
from resnet_bench.study.folder import StudyFolder, result_json
from resnet_bench.study.plan import DataShape, Plan
from resnet_bench.study.records import COLLECTED
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import StopRequest

IMAGES = 8


def runs_of(count: int) -> list[RunConfig]:
    """Runs of one step, by seed."""
    return [
        RunConfig(
            protocol="empty/1", dataset="synthetic-3x8x8", arch="plain", depth=8, shortcut="none", seed=seed, steps=1,
            batch_size=IMAGES, lr=0.1, row_every=1, augmentation="none",
        )
        for seed in range(count)
    ]  # fmt: skip


def finish_alike(study: StudyFolder, runs: Sequence[RunConfig]) -> None:
    """Give every run the results of the first, which is finished."""
    model = study.run(runs[0].run_id)
    row = model.read_result()
    assert row is not None
    for run in runs[1:]:
        folder = study.run(run.run_id)
        folder.path.mkdir()
        folder.config.write_text(run.canonical_json())
        shutil.copy(model.environment, folder.environment)
        for table in COLLECTED:
            rows = [replace(each, run_id=run.run_id) for each in model.read_table(table)]
            write_csv(folder.table(table), table, rows)
        folder.result.write_bytes(result_json(folder, replace(row, run_id=run.run_id, seed=run.seed)))


def resident() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Watched(Board):
    """Notes the memory of this process after each run."""

    memory: ClassVar[list[float]] = []

    def tell(self, event: Note | RunFinished) -> None:
        """A run ended, or something was said."""
        super().tell(event)
        self.memory.append(resident())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="(1000)")
    arguments = parser.parse_args()
    dataset = synthetic((3, 8, 8), num_train=IMAGES, num_test=IMAGES, num_classes=4)
    shape, runs = DataShape(dataset.image_shape, IMAGES, IMAGES), runs_of(arguments.runs)
    plan = Plan(runs, {}, shape)
    device = torch.device("cpu")
    configure(device, 1)
    with tempfile.TemporaryDirectory() as place:
        study = StudyFolder(Path(place) / "study")
        (study.path / "runs").mkdir(parents=True)
        session = Session.open(study, dataset, device)
        sweep(session, Plan(runs[:1], {}, shape), quiet=True)
        finish_alike(study, runs)
        start = time.perf_counter()
        sweep(session, plan, quiet=True)
        alone = (time.perf_counter() - start) / len(runs)
        fleet.Board = Watched  # type: ignore[attr-defined]
        start = time.perf_counter()
        outcome = fleet.sweep_on_ray(
            study, dataset, plan, Demand(cpus=1), address=None, mode="eager", execution=EAGER, checkpoint_seconds=60.0,
            stop=StopRequest(), say=print, quiet=True,
        )  # fmt: skip
        on_ray = (time.perf_counter() - start) / len(runs)
    memory = Watched.memory
    print(f"{len(outcome.rows):,} rows collected")
    print(f"one process: {1000 * alone:.1f} ms a run")
    print(f"Ray, its start included: {1000 * on_ray:.1f} ms a run, {on_ray / alone:.1f} times that")
    tenth = memory[len(memory) // 10]
    print(f"memory of this process: {tenth:.0f} MB after a tenth of the runs, {memory[-1]:.0f} MB after all")


if __name__ == "__main__":
    main()
