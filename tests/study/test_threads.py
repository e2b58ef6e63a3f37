"""Threads of a run: asked for, shared out, settled for a study and never changed in it; studies from before that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet_bench import cores as cores_module
from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.cores import Cores
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure, fingerprint
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER, Execution
from resnet_bench.executors import local as sweep_module
from resnet_bench.executors.ray.shared import Demand
from resnet_bench.files import write_json
from resnet_bench.study import session as session_module
from resnet_bench.study.folder import EXECUTION, StudyFolder
from resnet_bench.study.session import Session
from resnet_bench.study.threads import choose_threads
from tests.conftest import CPU, ROOT
from tests.study.test_mode import do
from tests.study.test_study import contents, twins

PLACE = Path("results/demo")
ONE = ("run", "--study", "demo", "--arch", "plain", "--depth", "8", "--device", "cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    configure(CPU, threads=1)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, as far as anybody asks."""
    monkeypatch.setattr(cores_module, "cores_here", lambda: Cores(4, 4))


def pretend_threads(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """This process says that it has so many; two that share a core with other tests would wait for each other."""
    here = dataclasses.replace(fingerprint(CPU), threads=number)
    monkeypatch.setattr(session_module, "fingerprint", lambda device: here)


def settled(place: Path) -> int | None:
    execution = StudyFolder(place).read_execution()
    return execution and execution.threads


@pytest.mark.parametrize(
    ("cores", "asked", "jobs", "said"),
    [
        (Cores(4, 4), None, 1, "4 threads"),
        (Cores(4, 4), None, 3, "1 thread"),
        (Cores(4, 4), 2, 2, "2 threads (asked for)"),
        (Cores(4, 4, wish=1, wished_by="OMP_NUM_THREADS=1"), None, 2, "1 thread (OMP_NUM_THREADS=1)"),
        (Cores(4, 4, wish=2, wished_by="OMP_NUM_THREADS=2"), None, 2, "2 threads"),  # it changes nothing
        (Cores(4, 4, wish=1, wished_by="OMP_NUM_THREADS=1"), 4, 1, "4 threads (asked for)"),
    ],
)
def test_before_a_study_is_begun(cores: Cores, asked: int | None, jobs: int, said: str) -> None:
    assert str(choose_threads(PLACE, None, asked, cores, jobs)) == said


def test_a_study_keeps_its_threads() -> None:
    busy = Cores(4, 4, wish=1, wished_by="OMP_NUM_THREADS=1")
    for asked in (None, 2):
        assert str(choose_threads(PLACE, 2, asked, busy)) == "2 threads (settled for this study)"
    fewer = choose_threads(PLACE, 2, None, Cores(1, 4, "the 1 that it is bound to"))
    assert fewer.number == 2 and fewer.warning == (
        "this study was begun with 2 threads and goes on with them, as its bits depend on them; "
        "here are only 1 of 4 cores, by the 1 that it is bound to, so it is slow"
    )


@pytest.mark.parametrize(
    ("settled", "asked", "jobs", "message"),
    [
        (2, 1, 1, "results/demo: this study is made with 2 threads a run; a study never mixes them"),
        (None, 5, 1, "--threads 5: this machine has 4 cores, one a thread at most"),
        (None, 3, 2, "--threads 3 for each of 2 jobs: this machine has 4 cores"),
        (None, None, 5, "--jobs 5: this machine has 4 cores, one a job at most"),
        (2, None, 3, "--jobs 3: each run of results/demo has 2 threads"),
    ],
)
def test_what_cannot_be_is_refused(settled: int | None, asked: int | None, jobs: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        choose_threads(PLACE, settled, asked, Cores(4, 4), jobs)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_sweep_records_its_threads_and_refuses_others(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tiny"
    rows, _ = do(place, small_data, twins(small_run))
    assert [row.threads for row in rows] == [1, 1] and settled(place) == 1
    assert json.loads((place / EXECUTION).read_text())["threads"] == 1
    before = contents(place)
    pretend_threads(monkeypatch, 2)
    with pytest.raises(UsageError, match="is made with 1 threads a run, this process has 2"):
        do(place, small_data, twins(small_run, (0, 1)))
    assert contents(place) == before


def test_two_processes_settle_on_one_number(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    assert study.settle_execution(Execution(threads=2)) == Execution(threads=2)
    assert study.settle_execution(Execution("compile", threads=1)) == Execution(threads=2)


def forget(place: Path) -> None:
    """As before threads were settled."""
    there = json.loads((place / EXECUTION).read_text())
    del there["threads"]
    write_json(place / EXECUTION, there)


def test_a_study_that_does_not_record_them_takes_those_of_its_runs(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    place = tmp_path / "tiny"
    do(place, small_data, twins(small_run))
    forget(place)
    assert settled(place) == 1
    do(place, small_data, twins(small_run))
    assert "threads" not in json.loads((place / EXECUTION).read_text())  # nothing of it is written anew
    for row in StudyFolder(place).results():
        (place / "runs" / row / "result.json").unlink()
    assert settled(place) == 1  # what unfinished runs began with


def test_a_study_whose_runs_differ_settles_once(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tiny"
    do(place, small_data, twins(small_run))
    pretend_threads(monkeypatch, 2)
    other = tmp_path / "two"
    do(other, small_data, twins(small_run, (1,)))
    for run in StudyFolder(other).results():
        (other / "runs" / run).rename(place / "runs" / run)
    forget(place)
    assert settled(place) is None
    do(place, small_data, twins(small_run, (0, 1, 2)))
    assert settled(place) == 2


@pytest.mark.parametrize("folder", sorted(ROOT.glob("results/**/execution.json")), ids=lambda path: path.parent.name)
def test_committed_studies_go_on_with_what_they_were_made_with(folder: Path) -> None:
    assert settled(folder.parent) == 2


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, 10**9, [2]])
def test_threads_that_make_no_sense_are_named(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / EXECUTION, {"mode": "eager", "threads": value})
    wrong = rf"{EXECUTION}: field 'threads': .+ is not (between 1 and 4,096|a whole number)"
    with pytest.raises(UsageError, match=wrong):
        StudyFolder(tmp_path).read_execution()


def test_other_mathematics_is_another_study_but_unknown_threads_agree() -> None:
    two = Execution(threads=2)
    assert two.agrees(EAGER) and EAGER.agrees(two) and two.agrees(two)
    assert not two.agrees(Execution(threads=1)) and not two.agrees(Execution("compile", threads=2))
    assert str(two) == "mode eager, fp32, nchw on 2 threads"


def test_a_run_on_a_cluster_has_the_threads_of_its_study() -> None:
    assert [Demand(cpus).threads for cpus in (0.5, 1.0, 3.9)] == [1, 1, 3]
    assert dataclasses.replace(Demand(1.0), num_threads=2).threads == 2


# ---------------------------------------------------------------------------------------------- the command


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sweeps end once their execution is settled; with how many threads each would have trained."""
    threads: list[int] = []

    def settle(session: Session, *_: object, **__: object) -> None:
        assert session.study.settle_execution(session.execution) == session.execution
        threads.append(session.fingerprint.threads)
        raise Failure("enough")

    monkeypatch.setattr(sweep_module, "prepare", lambda session, *_: session)
    monkeypatch.setattr(sweep_module, "sweep", settle)
    return threads


@pytest.mark.usefixtures("four_cores")
def test_threads_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, begun: list[int]
) -> None:
    words, place = (*ONE, "--results", tmp_path), tmp_path / "demo"
    place.mkdir()
    code, out, err = call(capsys, *words, "--threads", 2)
    assert (code, err, begun) == (1, "resnet-bench: enough\n", [2])
    assert ", 2 threads (asked for), fp32\n" in out and settled(place) == 2
    monkeypatch.setattr(cores_module, "cores_here", lambda: Cores(1, 1, wish=1, wished_by="OMP_NUM_THREADS=1"))
    code, out, _ = call(capsys, *words, "--seed", 1)
    assert code == 1 and begun == [2, 2] and ", 2 threads (settled for this study), fp32\n" in out
    assert out.count("this study was begun with 2 threads and goes on with them") == 1
    before = contents(place)
    code, out, err = call(capsys, *words, "--seed", 2, "--threads", 1)
    assert code == 2 and err.count("\n") == 1 and "is made with 2 threads a run; a study never mixes them" in err
    assert begun == [2, 2] and contents(place) == before


@pytest.mark.usefixtures("four_cores")
def test_surgery_has_the_threads_of_the_study(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    code, _, err = call(capsys, "surgery", tmp_path / "tiny", "--threads", 2)
    assert code == 2 and err.count("\n") == 1 and "tiny: this study is made with 1 thread a run" in err


@pytest.mark.parametrize("command", ["sweep", "run", "finetune", "surgery", "throughput"])
def test_everything_that_trains_or_times_takes_threads(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--threads N" in capsys.readouterr().out
    assert main([command, "--threads", "0"]) == 2
    assert "'0' is not a whole number from 1" in capsys.readouterr().err


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "5"), "--threads 5: this machine has 4 cores"),
        (("--threads", "3", "--jobs", "2"), "--threads 3 for each of 2 jobs: this machine has 4 cores"),
        (("--threads", "2", "--executor", "ray", "--cpus-per-run", "1"), "--threads 2 is more than --cpus-per-run 1"),
    ],
)
def test_more_threads_than_cores_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, _, err = call(capsys, "sweep", "--study", "demo", "--results", tmp_path, *words)
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "demo").exists()
