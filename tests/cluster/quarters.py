"""Tasks that ask for a quarter of a GPU, on a cluster that says it has one; its address is the argument."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from resnet_bench.executors.ray.nodes import Nodes, connected
from resnet_bench.executors.ray.shared import Demand, Flag, Terms, versions
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.stopping import StopRequest

TASKS = 5


def hold(place: Path, number: int) -> None:
    """What stands for a run: it is there until it is told to go."""
    (place / f"here.{number}").touch()
    while not (place / f"go.{number}").exists():
        time.sleep(0.05)


def main() -> None:
    """Print how many are there at once, and how many once one has gone."""
    place = Path(tempfile.mkdtemp())
    study = StudyFolder(place)
    with Flag.raised(study) as flag, connected(sys.argv[1]) as ray:
        nodes = Nodes(ray, Terms(study, flag, Demand(cpus=1, gpus=0.25), versions()), StopRequest(), print)
        nodes.wait_until_known()
        task = ray.remote(**nodes.resources)(hold)
        references = [task.options(label_selector=nodes.selector()).remote(place, number) for number in range(TASKS)]
        for expected in (4, 5):
            end = time.monotonic() + 120
            while len(list(place.glob("here.*"))) < expected and time.monotonic() < end:
                time.sleep(0.1)
            time.sleep(2)  # for one too many
            there = sorted(path.suffix[1:] for path in place.glob("here.*"))
            print("there:", len(there))
            for number in there[:1]:
                (place / f"go.{number}").touch()
        for number in range(TASKS):
            (place / f"go.{number}").touch()
        ray.get(references)


if __name__ == "__main__":
    main()
