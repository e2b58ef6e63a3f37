"""The nodes of a Ray cluster: how this process comes to them, which of them may take part, what they have room for."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from resnet_bench.busy import busy
from resnet_bench.errors import Failure, UsageError, first_line
from resnet_bench.executors.ray.shared import Answer, Terms
from resnet_bench.executors.ray.worker import look
from resnet_bench.machine import available_cores
from resnet_bench.study.stopping import StoppedAtOnce, StopRequest, in_main_thread
from resnet_bench.text import listing

POLL_SECONDS = 0.5
MOST_DEATHS = 5  # of what is tried again
PATIENCE_SECONDS = 600.0  # for a node that may take part, where others were refused
ANSWER_SECONDS = 120.0  # for the first answer of a node: it starts a process, which imports torch
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens on 127.0.0.1 alone, on any system
NODE_ID = "ray.io/node-id"  # the label by which Ray's tasks choose nodes
Say = Callable[[str], None]


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster there (HOST:PORT or "auto"), or to one that is started on this machine's loopback.

    Raises:
        Failure: Ray is not installed, cannot be reached, or is lost later.
    """
    if address is None:
        os.environ[LOOPBACK] = "0"  # read when ray is imported
    elif address != "auto":
        _check_reached(address)
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise Failure("Ray is not installed; pip install 'resnet-bench[ray]'") from None
    start: dict[str, Any] = {} if address else {"include_dashboard": False, "num_cpus": available_cores()}
    handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own
    # Ray's processes inherit what is blocked: the hang-up of a terminal would end them before the runs have saved.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        with busy("starting Ray" if address is None else "joining the Ray cluster"):
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **start)
    except SystemExit:  # what Ray's handler makes of SIGTERM until it is back
        raise StoppedAtOnce(signal.SIGTERM) from None
    except Exception as error:  # it raises all kinds
        why = " ".join(str(error).split())[:300] or type(error).__name__
        where = "this machine" if address in (None, "auto") else address
        raise Failure(
            f"no Ray cluster at {where} ({why}); this process must run on one of its nodes: ray start --head makes the "
            "first, and ray status shows them"
        ) from None
    finally:
        if in_main_thread():
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        yield ray
    except RayError as error:
        raise Failure(f"the Ray cluster was lost ({first_line(error)}); the same command goes on") from None
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Raise Failure if nothing listens there: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise Failure(
            f"no Ray cluster at {address} ({error}); ray status shows those that this machine knows"
        ) from None


class Nodes:
    """Which nodes live, which may take part, and what for. Each is looked at before it does any run."""

    def __init__(self, ray: Any, terms: Terms, stop: StopRequest, say: Say) -> None:
        self.ray, self.terms, self.demand, self.stop, self.say = ray, terms, terms.demand, stop, say
        self.resources: dict[str, Any] = {"num_cpus": self.demand.cpus}
        if self.demand.gpus:
            self.resources["num_gpus"] = self.demand.gpus
        self.alive: dict[str, dict[str, Any]] = {}  # by Ray's id
        self.fit: set[str] = set()
        self.refused: dict[str, str] = {}  # and why
        self._asked: dict[Any, str] = {}  # by Ray's reference: nodes whose answer is waited for
        self._lost: dict[str, int] = {}  # answers that a node did not live to give
        self._looked = -math.inf
        self._begun = False  # until then a node that does not see the folder ends all
        self._idle_since: float | None = None
        self._look = ray.remote(num_cpus=0, max_retries=0)(look)

    def look_around(self) -> None:
        """See who lives, ask those that are new, and hear those that were asked; twice a second at most."""
        if time.monotonic() - self._looked < POLL_SECONDS:
            return
        self._looked = time.monotonic()
        self.alive = {node["NodeID"]: node for node in self.ray.nodes() if node["Alive"]}
        for name in sorted(self.unknown() - set(self._asked.values())):
            task = self._look.options(label_selector={NODE_ID: name})
            self._asked[task.remote(self.terms)] = name
        if self._asked:
            ready, _ = self.ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
            for reference in ready:
                self._hear(self._asked.pop(reference), reference)

    def _hear(self, name: str, reference: Any) -> None:
        try:
            answer: Answer = self.ray.get(reference)
        except self.ray.exceptions.TaskUnschedulableError:
            return  # Ray does not know the node everywhere yet, or no more
        except (self.ray.exceptions.RayTaskError, self.ray.exceptions.RuntimeEnvSetupError) as error:
            why = first_line(getattr(error, "cause", None) or error)
            self.refuse(name, f"cannot be used ({why}); is resnet-bench installed there?")
        except self.ray.exceptions.RayError as error:
            self._lost[name] = self._lost.get(name, 0) + 1
            if self._lost[name] >= MOST_DEATHS and name in self.alive:
                self.refuse(name, f"does not live to answer ({first_line(error)})")
        else:
            if answer.kind == "blind" and not self._begun:
                raise UsageError(f"node {self.called(name)} {answer.text}")
            if answer.kind != "fit":
                self.refuse(name, answer.text)
            elif name not in self.refused:
                self.fit.add(name)

    def refuse(self, name: str, why: str) -> None:
        """Let the node do nothing more."""
        self.fit.discard(name)
        if name not in self.refused:
            self.refused[name] = f"node {self.called(name)} {why}"
            self.say(f"{self.refused[name]}: it is refused")

    def doubt(self, answer: Answer) -> None:
        """Refuse a node that cannot do what it was handed; look again at one that did not see the folder."""
        if answer.kind == "blind":
            self.fit.discard(answer.node)
        elif answer.kind == "unfit":
            self.refuse(answer.node, answer.text)

    def called(self, name: str) -> str:
        """A node's host and the begin of its id."""
        node = self.alive.get(name)
        return f"{node['NodeManagerHostname']} ({name[:8]})" if node else name[:8]

    def unknown(self) -> set[str]:
        """Living nodes with room for a run that have not answered."""
        return {name for name in self.alive if self._room(name)} - self.fit - self.refused.keys()

    def slots(self) -> int:
        """How many runs the living nodes that may take part can do at once."""
        return sum(self._room(name) for name in self.fit & self.alive.keys())

    def _room(self, name: str) -> int:
        there = self.alive[name]["Resources"]
        room = float(there.get("CPU", 0)) / self.demand.cpus
        if self.demand.gpus:
            room = min(room, _gpu_slots(there.get("GPU", 0), self.demand.gpus))
        return math.floor(room + 1e-9)

    def selector(self, avoid: Collection[str] = ()) -> dict[str, str]:
        """The label selector of a task: nodes that may take part, without some of them if there are others.

        Named one by one: of a task whose nodes are all gone Ray says that it cannot be scheduled, while one that is
        only kept away from others waits for ever.
        """
        there = self.fit & self.alive.keys()
        chosen = there - set(avoid) or there
        return {NODE_ID: f"in({','.join(sorted(chosen))})"}  # a blank after a comma brings Ray 2.60 down

    def free(self) -> str:
        """What no task has now, for the log."""
        free = self.ray.available_resources()
        return f"free: {free.get('CPU', 0):g} CPU, {free.get('GPU', 0):g} GPU"

    def describe(self) -> str:
        """For the log."""
        return f"Ray cluster, nodes: {len(self.fit)}; runs at once: {self.slots()}, with {self.demand} each"

    @busy("waiting for the answers of the nodes")
    def wait_until_known(self) -> None:
        """Look at all nodes, and say what they have room for.

        Raises:
            UsageError: no node has room for a run, or may take part; or one does not see the study's folder.
            Failure: none answered.
            Stopped: the process was asked to stop.
        """
        end = time.monotonic() + ANSWER_SECONDS
        self.look_around()
        if not any(map(self._room, self.alive)):
            there = "; ".join(map(_resources, self.alive.values()))
            raise UsageError(
                f"no node has room for a run with {self.demand} ({there}); see --cpus-per-run, --gpus-per-run"
            )
        while self.unknown() and time.monotonic() < end:
            self.stop.raise_if_asked()
            time.sleep(POLL_SECONDS / 5)
            self.look_around()
        for name in self.unknown():
            self.say(f"node {self.called(name)} does not answer within {ANSWER_SECONDS:.0f} s; it is used once it does")
        if not self.slots():
            self.raise_none_left()
        self._begun = True
        self.say(self.describe())
        gpus = sum(node["Resources"].get("GPU", 0) for node in self.alive.values())
        if gpus and not self.demand.gpus:
            self.say(f"the cluster has {gpus:g} GPUs, which this sweep does not ask for: see --gpus-per-run")

    def check_some_left(self) -> None:
        """Wait for lost nodes to come back, but not for ever where what lives was refused.

        Raises:
            UsageError: it was refused, and nothing else came in ten minutes.
        """
        if self.slots() or self.unknown():
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif self.refused.keys() & self.alive.keys() and time.monotonic() - self._idle_since > PATIENCE_SECONDS:
            self.raise_none_left()

    def raise_none_left(self) -> None:
        """Raise UsageError that says why no node may take part, or Failure if none answers."""
        there = [why for name, why in self.refused.items() if name in self.alive]
        if there:
            raise UsageError(listing("no node may do a run:", there))
        raise Failure("no node of the Ray cluster answers; see ray status")


def _gpu_slots(there: float, wanted: float) -> float:
    """Whole GPUs, or as many fractions as fit into each."""
    return there // wanted if wanted >= 1 else there * math.floor(1 / wanted + 1e-9)


def _resources(node: dict[str, Any]) -> str:
    there = node["Resources"]
    return f"{node['NodeManagerHostname']}: {there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU"
