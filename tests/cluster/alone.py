"""Starts a cluster as `--executor ray` does without an address, and prints where its processes listen."""

from __future__ import annotations

import os

from resnet_bench.executors.ray.nodes import connected
from tests.cluster.nodes import listeners, parents


def nothing() -> None:
    """A task."""


def main() -> None:
    """A line for each: the address as /proc/net writes it, the port, and the process."""
    with connected(None) as ray:
        ray.get(ray.remote(nothing).remote())  # a worker listens too
        family, ours = parents(), {os.getpid()}
        while more := {pid for pid, parent in family.items() if parent in ours} - ours:
            ours |= more
        for address, process in listeners(ours).items():
            print(address, process)


if __name__ == "__main__":
    main()
