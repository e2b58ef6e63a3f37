"""One mode for a whole study: what auto picks, what is settled, what falls back, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER, Execution, auto_mode, default_precision
from resnet_bench.executors.local import sweep
from resnet_bench.results.rows import RunRow
from resnet_bench.study.folder import EXECUTION, StudyFolder
from resnet_bench.study.plan import DataShape, Plan
from resnet_bench.study.session import Session
from resnet_bench.study.sweep import prepare
from tests.conftest import Cli
from tests.study.test_study import twins

CPU = torch.device("cpu")
TINY = ("sweep", "--study", "demo", "--depths", "8", "--seeds", "0")


def do(place: Path, dataset: Dataset, runs: list[RunConfig], mode: str = "auto") -> tuple[list[RunRow], list[str]]:
    """Sweep as the command does; the rows, and what was said about the mode."""
    study, said = StudyFolder(place), list[str]()
    plan = Plan(runs, study.results(), DataShape(dataset.image_shape, 96, 32))
    session = Session.open(study, dataset, CPU, execution=study.read_execution() or EAGER)
    session = prepare(session, plan, mode, said.append)
    return sweep(session, plan, quiet=True).rows, said


def failing_compile(monkeypatch: pytest.MonkeyPatch, message: str = "no C++ compiler\nand a long trace") -> None:
    def compiled(*_: Any, **__: Any) -> Any:
        def forward(images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(message)

        return forward

    monkeypatch.setattr(torch, "compile", compiled)


def working_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is the same function: the real compiler has its own test."""
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)


def test_auto_compiles_only_what_repays_it() -> None:
    assert auto_mode("cpu", 100.0, [20, 20, 56, 56])[0] == "eager"
    assert auto_mode("cpu", 10_000.0, [20, 20, 56, 56])[0] == "compile"
    cost = sum(40 + 0.5 * depth for depth in (20, 20, 56, 56))
    even = 2 * cost / (1 - 1 / 1.3)  # seconds at which the saving is twice the cost
    assert [auto_mode("cpu", seconds, [20, 20, 56, 56])[0] for seconds in (even - 1, even + 1)] == ["eager", "compile"]
    assert auto_mode("cuda", 1.0, [20])[0] == "graph"
    assert (default_precision("cpu"), default_precision("cuda")) == ("fp32", "tf32")


def test_the_mode_is_said_settled_and_recorded(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    rows, said = do(tmp_path / "tiny", small_data, twins(small_run))
    assert said == [said[0]] and said[0].startswith("mode eager for the whole study (compiling takes about 88 s and")
    assert {row.compile for row in rows} == {"eager"}
    assert json.loads((tmp_path / "tiny" / EXECUTION).read_text()) == dataclasses.asdict(EAGER) | {"threads": 1}
    _, said = do(tmp_path / "tiny", small_data, twins(small_run, (0, 1)))
    assert said == ["mode eager: settled for this study"]


def test_a_study_goes_on_in_its_mode(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    working_compile(monkeypatch)
    rows, said = do(tmp_path / "tiny", small_data, twins(small_run), "compile")
    assert said[0] == "mode compile for the whole study (asked for)"
    assert [line.split(" in ")[0] for line in said[1:]] == ["plain-8: compiled", "ResNet-8: compiled"]
    more, said = do(tmp_path / "tiny", small_data, twins(small_run, (0, 1)))
    assert said[0] == "mode compile: settled for this study"
    assert [row.compile for row in rows + more] == ["compile"] * 6
    environment = json.loads((tmp_path / "tiny" / "runs" / rows[0].run_id / "environment.json").read_text())
    assert environment["environment"]["execution"]["mode"] == "compile"


def test_what_cannot_be_built_falls_back_for_the_whole_study(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_compile(monkeypatch)
    rows, said = do(tmp_path / "tiny", small_data, twins(small_run), "compile")
    assert said[1:] == [
        "mode compile cannot be built here (plain-8: RuntimeError: no C++ compiler): "
        "the whole study is done in mode eager"
    ]
    assert {row.compile for row in rows} == {"eager"}
    _, said = do(tmp_path / "tiny", small_data, twins(small_run, (0, 1)))
    assert said == ["mode eager: settled for this study"]


def test_a_study_in_a_mode_that_cannot_be_built_here_is_not_mixed(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    working_compile(monkeypatch)
    do(tmp_path / "tiny", small_data, twins(small_run), "compile")
    failing_compile(monkeypatch)
    with pytest.raises(Failure, match="made in mode compile, which cannot be built here: plain-8: RuntimeError: no C"):
        do(tmp_path / "tiny", small_data, twins(small_run, (0, 1)))
    assert len(StudyFolder(tmp_path / "tiny").results()) == 2


def test_two_processes_settle_on_one_mode(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    assert study.settle_execution(EAGER) == EAGER
    assert study.settle_execution(Execution("compile")) == EAGER


def test_a_study_from_before_there_was_a_choice(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    (tmp_path / "tiny" / EXECUTION).unlink()
    assert StudyFolder(tmp_path / "tiny").read_execution() == dataclasses.replace(EAGER, threads=1)


@pytest.mark.parametrize("content", ["{", "[]", '{"mode": "fast"}', '{"mode": 1}', '{"speed": "high"}'])
def test_a_damaged_choice_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / EXECUTION).write_text(content)
    with pytest.raises(UsageError, match=EXECUTION):
        StudyFolder(tmp_path).read_execution()


def test_another_execution_than_the_settled_one_is_refused(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    study, runs = StudyFolder(tmp_path / "tiny"), twins(small_run, (0, 1))
    plan = Plan(runs, study.results(), DataShape(small_data.image_shape, 96, 32))
    with pytest.raises(UsageError, match="never mixes"):
        sweep(Session.open(study, small_data, CPU, execution=Execution("eager", "bf16")), plan, quiet=True)
    with pytest.raises(UsageError, match="never mixes"):
        sweep(Session.open(study, small_data, CPU, execution=Execution("compile")), plan, quiet=True)


# ---------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mode", "graph"), "mode graph needs a CUDA device; use eager, compile or auto"),
        (("--precision", "tf32"), "precision tf32 needs a CUDA device; use fp32 or bf16"),
        (("--mode", "fast"), "invalid choice: 'fast'"),
        (("--jobs", "0"), "'0' is not a whole number from 1"),
        (("--jobs", "4096"), "one a job at most"),
    ],
)
def test_what_this_machine_cannot_do_is_said_in_one_line(cli: Cli, words: tuple[str, ...], message: str) -> None:
    answer = cli(*TINY, "--device", "cpu", *words)
    assert answer.returncode == 2 and message in answer.stderr and answer.stderr.count("\n") == 1, answer.stderr


def test_bf16_is_recorded_and_never_mixed(cli: Cli, tmp_path: Path) -> None:
    one = ("run", "--study", "demo", "--arch", "plain", "--depth", "8", "--device", "cpu")
    first = cli(*one, "--precision", "bf16")
    assert first.returncode == 0 and " bf16" in first.stdout, first.stderr
    assert [row.precision for row in StudyFolder(tmp_path / "results/demo").results().values()] == ["bf16"]
    other = cli(*one, "--seed", "1", "--precision", "fp32")
    assert other.returncode == 2 and "this study is made in mode eager and bf16" in other.stderr
    again = cli(*one)  # the study's own precision, unless another is asked for
    assert again.returncode == 0 and " bf16" in again.stdout
