"""A Ray cluster of several nodes on this machine's loopback, whose workers, nodes and drivers can be killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_bench.executors.ray.nodes import LOOPBACK
from tests.conftest import ROOT

TASK = b"ray::do_run"  # what a worker calls itself while it does a run
SECONDS = 180.0


class Nodes:
    """A head without processors of its own, and worker nodes with one each."""

    def __init__(self, count: int = 3, **resources: Any) -> None:
        os.environ[LOOPBACK] = "0"  # before ray is imported; its nodes and drivers inherit it
        os.environ["RAY_AUTH_MODE"] = "disabled"
        from ray.cluster_utils import Cluster

        self.resources = {"num_cpus": 1, **resources}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.processes = _processes_of(self.cluster.head_node)
        self.nodes = [self.add(**self.resources) for _ in range(count)]

    @property
    def address(self) -> str:
        """For drivers."""
        return str(self.cluster.address)

    def add(self, **resources: Any) -> Any:
        """Add a node."""
        node = self.cluster.add_node(**resources)
        self.processes += _processes_of(node)
        return node

    def replace_one(self, chance: random.Random) -> None:
        """Kill all processes of a node, and add another."""
        node = self.nodes.pop(chance.randrange(len(self.nodes)))
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self.add(**self.resources))

    def shutdown(self) -> None:
        """End everything."""
        self.cluster.shutdown()
        for process in self.processes:  # Ray does not wait for those that it kills
            process.kill()
            process.wait()

    def working(self) -> list[int]:
        """The processes of this cluster that do a run now."""
        ours = {process.pid for process in self.processes}
        return [pid for pid, parent in parents().items() if parent in ours and _command(pid).startswith(TASK)]

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill -9 one of those; False if there is none."""
        try:
            os.kill(chance.choice(self.working()), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            return False
        return True


def _processes_of(node: Any) -> list[Any]:
    return [info.process for infos in node.all_processes.values() for info in infos]


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def listeners(pids: set[int]) -> dict[str, str]:
    """The addresses on which processes listen, as /proc/net writes them, and which does."""
    tables = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    listening = {words[9]: words[1] for words in map(str.split, tables.splitlines()) if words[3] == "0A"}
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                inode = str(link.readlink()).removeprefix("socket:[").removesuffix("]")
                if inode in listening:
                    found[listening[inode]] = Path(_command(pid).split(b"\0")[0].decode()).name
    return found


def start_driver(address: str, place: Path, log: Path, *words: object) -> subprocess.Popen[bytes]:
    """A driver, as a process of its own."""
    command = [sys.executable, "-m", "tests.cluster.driver", address, str(place), *map(str, words)]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with log.open("a") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=file)


def wait_for(what: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    """Until it is true; AssertionError if the driver ends before, or it takes too long."""
    end = time.monotonic() + SECONDS
    while not what():
        assert driver.poll() is None, f"the driver ended with {driver.returncode}"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
