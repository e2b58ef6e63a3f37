"""What a sweep on a cluster does about nodes and runs that are lost, refused or late: on a Ray that is acted here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER, Execution
from resnet_bench.executors.ray import fleet as fleet_module
from resnet_bench.executors.ray import nodes as nodes_module
from resnet_bench.executors.ray import worker
from resnet_bench.executors.ray.board import Board
from resnet_bench.executors.ray.fleet import Fleet, sweep_on_ray
from resnet_bench.executors.ray.nodes import Nodes, connected
from resnet_bench.executors.ray.shared import GO_ON, STOP, Answer, Demand, Flag, Settled, Shared, Terms, versions
from resnet_bench.results.rows import CurveRow
from resnet_bench.results.tables import CURVES, write_csv
from resnet_bench.study.events import RunFinished
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import DataShape, Plan, work
from resnet_bench.study.progress import Clock, Progress
from resnet_bench.study.stopping import Stopped, StopRequest
from resnet_bench.training.generations import NEWEST
from tests.faults.work import small_runs
from tests.study.test_study import do as do_here

FIT = Answer("fit")
SETTLED = Settled(EAGER, "a device", 1e9, ["mode eager"])


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """An exception in a task."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("ray::task\n  a trace\n")
        self.cause = cause


class TaskUnschedulableError(RayError):
    """No node that a task may go to."""


@dataclass
class Reference:
    """Of a task that was handed out."""

    name: str
    node: str
    arguments: tuple[Any, ...]

    def __hash__(self) -> int:
        return id(self)


@dataclass
class Actor:
    """A Ray whose nodes and tasks do what the test says.

    Attributes:
        processors: of each living node.
        says: by name of the task, what it returns or raises on a node.
    """

    processors: dict[str, int]
    says: dict[str, Callable[..., Any]]
    done: list[tuple[str, str]] = field(default_factory=list)  # runs, and where
    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, RuntimeEnvSetupError=RayTaskError,
        TaskUnschedulableError=TaskUnschedulableError,
    )  # fmt: skip

    def put(self, value: Any) -> Any:
        return value

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": name, "NodeManagerHostname": f"host-{name}", "Alive": True, "Resources": {"CPU": number}}
            for name, number in self.processors.items()
        ]

    def remote(self, **resources: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda function: SimpleNamespace(options=lambda **chosen: self._task(function.__name__, **chosen))

    def _task(self, name: str, label_selector: dict[str, str]) -> Any:
        wanted = label_selector["ray.io/node-id"]
        names = wanted.removeprefix("in(").removesuffix(")").split(",")
        allowed = [node for node in self.processors if node in names]
        return SimpleNamespace(remote=lambda *arguments: Reference(name, (allowed or [""])[0], arguments))

    def wait(
        self, references: list[Reference], num_returns: int = 1, timeout: float = 0.0
    ) -> tuple[list[Reference], list[Reference]]:
        return references[:num_returns], references[num_returns:]

    def get(self, reference: Reference) -> Any:
        if not reference.node:
            raise TaskUnschedulableError
        if reference.name == "do_run":
            self.done.append((reference.arguments[-1].run_id, reference.node))
        says = self.says.get(reference.name, lambda *_: SETTLED)
        return says(reference.node, *reference.arguments)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(fleet_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(fleet_module, "AGAIN_SECONDS", 0.0)


@pytest.fixture
def shared(tmp_path: Path, small_data: Dataset) -> Iterator[Shared]:
    study = StudyFolder(tmp_path / "study")
    for run in small_runs(4):
        study.run(run.run_id).path.mkdir(parents=True)
    with Flag.raised(study) as flag:
        terms = Terms(study, flag, Demand(), versions())
        yield Shared(terms, small_data, DataShape(small_data.image_shape, 96, 32), 60.0)


def done(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
    """A run that is finished in no time; not its real result, which only its reader would notice."""
    folder = shared.terms.study.run(run.run_id)
    folder.path.mkdir(exist_ok=True)
    folder.result.touch()
    return Answer("done")


@pytest.fixture
def do(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[str]]]:
    """Sweep small runs: (failed, what was said)."""
    monkeypatch.setattr(
        "resnet_bench.study.folder.RunFolder.read_result", lambda self, **_: (self.result.exists() and object()) or None
    )
    monkeypatch.setattr(fleet_module, "describe", lambda row: "finished")

    def do(ray: Actor, runs: tuple[RunConfig, ...]) -> tuple[list[str], list[str]]:
        said: list[str] = []
        nodes = Nodes(ray, shared.terms, StopRequest(), said.append)
        nodes.wait_until_known()
        fleet = Fleet(nodes, shared, Plan(list(runs), {}, shared.shape))
        monkeypatch.setattr(Progress, "say", lambda self, line: said.append(line))
        return fleet.run(fleet.settle(EAGER, "auto"), False), said

    return do


Do = Callable[..., tuple[list[str], list[str]]]


def test_all_are_done_in_the_order_of_the_plan(do: Do) -> None:
    short, long = small_runs(2)
    runs = (short, replace(long, steps=80), replace(long, steps=40, seed=7))
    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: FIT, "do_run": done})
    failed, said = do(ray, runs)
    assert not failed and "[3/3]" in said[-1]
    assert [run for run, _ in ray.done] == [run.run_id for run in runs]


def test_a_node_that_does_not_see_the_folder_ends_all_before_anything_begins(do: Do) -> None:
    answers = {"a": FIT, "b": Answer("blind", "does not see the folder")}
    ray = Actor({"a": 1, "b": 1}, {"look": lambda node, _: answers[node], "do_run": done})
    with pytest.raises(UsageError, match=r"node host-b \(b\) does not see the folder"):
        do(ray, small_runs(1))
    assert not ray.done


def test_a_node_with_other_versions_is_refused_and_the_others_do_all(do: Do) -> None:
    answers = {"a": Answer("unfit", "has torch 1 instead of 2"), "b": FIT}
    ray = Actor({"a": 1, "b": 1}, {"look": lambda node, _: answers[node], "do_run": done})
    failed, said = do(ray, small_runs(3))
    assert not failed and {node for _, node in ray.done} == {"b"}
    assert "node host-a (a) has torch 1 instead of 2: it is refused" in said


def test_without_any_node_that_may_take_part_it_is_said_why(do: Do) -> None:
    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: Answer("unfit", "has torch 1"), "do_run": done})
    with pytest.raises(UsageError, match=r"no node may do a run:\nnode host-a \(a\) has torch 1\nnode host-b"):
        do(ray, small_runs(1))
    with pytest.raises(UsageError, match="no node has room for a run with 1 CPU"):
        do(Actor({"a": 0}, ray.says), small_runs(1))


def test_a_node_without_the_package_is_refused(do: Do) -> None:
    def look(node: str, _: Terms) -> Answer:
        if node == "a":
            raise RayTaskError(ModuleNotFoundError("No module named 'resnet_bench'"))
        return FIT

    failed, said = do(Actor({"a": 1, "b": 1}, {"look": look, "do_run": done}), small_runs(1))
    assert not failed and any("No module named 'resnet_bench'); is resnet-bench installed there?" in at for at in said)


def test_a_node_that_joins_later_is_looked_at_before_it_does_anything(do: Do) -> None:
    ray = Actor({"a": 1}, {"look": lambda node, _: FIT if node == "a" else Answer("blind", "is blind")})

    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        ray.processors = {"new": 4} | ray.processors  # it would be the first choice
        return done(node, shared, execution, run)

    ray.says["do_run"] = do_run
    failed, said = do(ray, small_runs(4))
    assert not failed and {node for _, node in ray.done} == {"a"}
    assert "node host-new (new) is blind: it is refused" in said


def test_a_node_that_turns_out_to_be_unfit_gives_its_run_back(do: Do) -> None:
    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        return Answer("unfit", "cannot train", node) if node == "a" else done(node, shared, execution, run)

    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: FIT, "do_run": do_run})
    failed, said = do(ray, small_runs(4))
    assert not failed and len({run for run, node in ray.done if node == "b"}) == 4
    assert said.count("node host-a (a) cannot train: it is refused") == 1


def test_lost_runs_are_tried_again_first_and_given_up_if_they_never_get_anywhere(do: Do, shared: Shared) -> None:
    runs, deaths = small_runs(4), 0
    bad, unlucky = runs[0], runs[1]

    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        nonlocal deaths
        if run == bad:
            raise RayError
        if run == unlucky and deaths < 9:  # it dies often, but each time with something saved
            deaths += 1
            path = shared.terms.study.run(run.run_id).path / NEWEST
            path.touch()
            os.utime(path, (deaths, deaths))
            raise RayError
        return done(node, shared, execution, run)

    ray = Actor({"a": 1}, {"look": lambda *_: FIT, "do_run": do_run})
    failed, _ = do(ray, runs)
    assert failed == [f"{bad.title}: lost 5 times without a checkpoint in between (RayError)"]
    assert len([run for run, _ in ray.done if run == bad.run_id]) == 5
    assert len([run for run, _ in ray.done if run == unlucky.run_id]) == 10


def test_a_device_that_fails_is_spared_by_the_run(do: Do) -> None:
    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        return Answer("lost", "CUDA error: unspecified", node) if node == "a" else done(node, shared, execution, run)

    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: FIT, "do_run": do_run})
    failed, said = do(ray, small_runs(1))
    assert not failed and [node for _, node in ray.done] == ["a", "b"]
    assert any("lost (CUDA error: unspecified, on node host-a (a)); it is tried again" in line for line in said)


def test_what_fails_is_not_tried_again(do: Do) -> None:
    ray = Actor({"a": 1}, {"look": lambda *_: FIT, "do_run": lambda *_: Answer("failed", "out of memory")})
    failed, _ = do(ray, small_runs(2))
    assert failed == ["out of memory"] * 2 and len(ray.done) == 2


def test_an_error_ends_all_but_the_others_save(do: Do, shared: Shared) -> None:
    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        raise RayTaskError(Failure("the disk is full"))

    with pytest.raises(Failure, match="the disk is full"):
        do(Actor({"a": 1}, {"look": lambda *_: FIT, "do_run": do_run}), small_runs(3))
    assert shared.terms.flag.read() == STOP


def test_runs_that_do_not_save_in_time_are_named(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other, ended = small_runs(3)
    said: list[str] = []
    ray = Actor({"a": 3}, {"look": lambda *_: FIT})
    monkeypatch.setattr(fleet_module, "SAVE_SECONDS", 0.2)
    monkeypatch.setattr(ray, "wait", lambda references, **_: (references[2:], references[:2]))
    fleet = Fleet(Nodes(ray, shared.terms, StopRequest(), said.append), shared, Plan([], {}, shared.shape))
    fleet.going = {Reference("do_run", "a", ()): each for each in (run, other, ended)}
    for each in (run, ended):
        shared.terms.study.run(each.run_id).path.mkdir(parents=True, exist_ok=True)
    with Progress(3, Clock(0.0, 1e6), quiet=True) as progress, shared.terms.study.run(run.run_id).lock():
        monkeypatch.setattr(progress, "say", said.append)
        with shared.terms.study.run(ended.run_id).lock():  # by another sweep
            assert fleet._save(Board(progress, shared.terms.study, fleet.plan)) == 1
    assert said == ["stopping: runs save, 1 of them", f"1 run did not save in 0 s: {run.title}"]


def test_how_the_study_is_executed_is_settled_on_a_node_that_can(do: Do) -> None:
    def settle(node: str, *_: object) -> Answer | Settled:
        return Answer("unfit", "cannot train", node) if node == "a" else SETTLED

    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: FIT, "do_run": done, "settle": settle})
    failed, said = do(ray, small_runs(2))
    assert not failed and {node for _, node in ray.done} == {"b"}
    assert "node host-a (a) cannot train: it is refused" in said and "mode eager" in said

    def refuse(node: str, *_: object) -> Settled:
        raise RayTaskError(UsageError("this study is made otherwise"))

    with pytest.raises(UsageError, match="this study is made otherwise"):
        do(Actor({"a": 1}, ray.says | {"settle": refuse}), small_runs(1))


def test_a_node_that_is_refused_stays_so_and_one_that_was_blind_for_a_moment_does_not(do: Do) -> None:
    answers = [Answer("blind", "does not see it", "a"), Answer("unfit", "cannot train", "b")]

    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        said = next((answer for answer in answers if answer.node == node), None)
        if said is None:
            return done(node, shared, execution, run)
        answers.remove(said)
        return said

    ray = Actor({"a": 1, "b": 1}, {"look": lambda *_: FIT, "do_run": do_run})
    failed, _ = do(ray, small_runs(4))
    assert not failed and "a" in {node for _, node in ray.done[1:]}


def test_a_run_of_another_sweep_is_waited_for(do: Do, shared: Shared) -> None:
    mine, theirs = small_runs(2)
    folder = shared.terms.study.run(theirs.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    theirs_until_then = ExitStack()
    theirs_until_then.enter_context(folder.lock())

    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        theirs_until_then.close()
        return done(node, shared, execution, run)

    ray = Actor({"a": 1}, {"look": lambda *_: FIT, "do_run": do_run})
    failed, _ = do(ray, (mine, theirs))
    assert not failed and [run for run, _ in ray.done] == [mine.run_id, theirs.run_id]


def test_a_result_that_is_never_to_be_seen_is_a_failure(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "UNSEEN_SECONDS", 0.1)
    ray = Actor({"a": 1}, {"look": lambda *_: FIT, "do_run": lambda *_: Answer("done")})
    failed, _ = do(ray, small_runs(1))
    assert len(failed) == 1 and "its result is not to be seen here" in failed[0]


def test_runs_that_other_processes_have_and_nodes_that_come_back_are_waited_for(do: Do) -> None:
    asked = 0
    ray = Actor({"a": 1}, {"look": lambda *_: FIT})

    def do_run(node: str, shared: Shared, execution: Execution, run: RunConfig) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 2:
            del ray.processors["a"]  # a new one comes
            ray.processors["b"] = 1
            raise RayError
        return Answer("busy") if asked < 4 else done(node, shared, execution, run)

    ray.says["do_run"] = do_run
    failed, _ = do(ray, small_runs(1))
    assert not failed and [node for _, node in ray.done] == ["a", "a", "b", "b"]


def test_time_left_does_not_count_what_was_done_before(shared: Shared) -> None:
    run, other = small_runs(2)
    values: dict[str, Any] = dict.fromkeys((column.name for column in fields(CurveRow)), 1)
    row = CurveRow(**values | {"run_id": run.run_id, "step": run.steps // 2})
    plan = Plan([run, other], {}, shared.shape)
    write_csv(shared.terms.study.run(run.run_id).table(CURVES), CURVES, [row])
    with Progress(2, Clock(0.0, 1e6), quiet=True) as progress:
        board = Board(progress, shared.terms.study, plan)
        assert progress.clock.total == work(run, shared.shape) / 2 + work(other, shared.shape)
        board.tell(RunFinished(run, "done"))
        assert progress.clock.done == work(run, shared.shape) / 2


def test_shares_of_gpus(shared: Shared) -> None:
    def slots(gpus: float, there: int, cpus: float = 1.0) -> int:
        ray = Actor({"a": 8}, {"look": lambda *_: FIT})
        plain = ray.nodes
        ray.nodes = lambda: [node | {"Resources": {"CPU": 8, "GPU": there}} for node in plain()]  # type: ignore[method-assign]
        nodes = Nodes(ray, replace(shared.terms, demand=Demand(cpus, gpus)), StopRequest(), print)
        nodes.wait_until_known()
        return nodes.slots()

    assert slots(0.25, 1) == 4 and slots(0.3, 2) == 6 and slots(0.1, 4) == 8  # the CPUs are the limit
    assert slots(1, 2) == 2 and slots(2, 3) == 1 and slots(0, 0, 0.5) == 16
    with pytest.raises(UsageError, match=r"no node has room for a run with 1 CPU and 2 GPU \(host-a: 8 CPU, 1 GPU\)"):
        slots(2, 1)


def test_a_flag_tells_all_to_stop_and_those_of_the_dead_are_removed(tmp_path: Path, shared: Shared) -> None:
    study = StudyFolder(tmp_path)
    (tmp_path / ".sweep.dead").write_text(GO_ON)
    (tmp_path / ".sweep.dead.lock").touch()
    with Flag.raised(study) as flag, Flag.raised(study) as other:
        assert flag.read() == other.read() == GO_ON and flag.is_held()
        stop = worker.FlagStop(flag)
        assert not stop.asked
        flag.stop()
        stop = worker.FlagStop(flag)
        with pytest.raises(Stopped):
            stop.raise_if_asked()
        assert not worker.FlagStop(other).asked
    assert flag.read() is None and worker.FlagStop(flag).asked
    assert not list(tmp_path.glob(".sweep*"))


def test_a_process_on_a_node_says_what_is_wrong_there(shared: Shared, tmp_path: Path) -> None:
    terms = shared.terms
    assert worker.look(terms) == FIT
    unseen = replace(terms, flag=Flag(tmp_path / "elsewhere" / ".sweep.0"))
    assert worker.look(unseen).kind == "blind" and "does not see" in worker.look(unseen).text
    lockless = Flag(tmp_path / ".sweep.1")
    lockless.path.write_text(GO_ON)
    assert "locks of other machines" in worker.look(replace(terms, flag=lockless)).text
    other = replace(terms, versions=versions() | {"torch": "9.9"})
    assert worker.look(other).kind == "unfit" and "instead of 9.9" in worker.look(other).text
    assert worker.look(replace(other, demand=Demand(any_version=True))) == FIT


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--executor ray --gpus-per-run 1.5", "'1.5' is neither a whole number of GPUs nor a fraction from 0.01 to 1"),
        ("--executor ray --cpus-per-run 0", "'0' is not a number of processors from 0.01"),
        ("--executor ray --address ray://there:1", "'ray://there:1' is neither auto nor HOST:PORT"),
        ("--executor ray --address local", "'local' is neither auto nor HOST:PORT"),
        ("--executor ray --jobs 2", "what a run gets is said by --cpus-per-run and --gpus-per-run"),
        ("--gpus-per-run 1", "--gpus-per-run is for clusters: add --executor ray"),
        ("--any-version", "--any-version is for clusters: add --executor ray"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(words: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["sweep", "--study", "demo", *words.split()])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2 and what in capsys.readouterr().err


def test_a_place_where_nothing_answers_is_named_at_once() -> None:
    with pytest.raises(Failure, match="no Ray cluster at localhost:1 "), connected("localhost:1"):
        pass


def test_a_finished_study_needs_no_cluster_and_loses_nothing(
    tmp_path: Path, small_data: Dataset, small_run: RunConfig
) -> None:
    place, runs = tmp_path / "study", [small_run, replace(small_run, seed=1)]
    do_here(place, small_data, runs)

    def again() -> int:
        study = StudyFolder(place)
        plan = Plan(runs[:1], study.results(), DataShape(small_data.image_shape, 96, 32))
        outcome = sweep_on_ray(
            study, small_data, plan, Demand(), address="localhost:1", mode="auto", execution=EAGER,
            checkpoint_seconds=60.0, stop=StopRequest(), say=print,
        )  # fmt: skip
        return len(outcome.rows)

    assert again() == 2
    (place / "runs" / runs[1].run_id).rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="holds 1 run without a folder"):
        again()
