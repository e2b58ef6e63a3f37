"""The one way in to training: from a script, in a thread, for a time, side by side; the same files each time."""

from __future__ import annotations

import dataclasses
import sys
import threading
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from typing import Any

import pytest

from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import UsageError
from resnet_bench.executors import Cluster, Sweep, TrainOptions, jobs, train, train_study
from resnet_bench.executors import sweep as sweep_module
from resnet_bench.results.tables import CURVES, read_csv
from resnet_bench.studies import find
from resnet_bench.study import run as run_module
from resnet_bench.study.checks import Incomplete
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.run import RunSink
from resnet_bench.study.stopping import StopRequest
from resnet_bench.study.verify import verify
from tests.study.test_study import contents, twins

HERE = TrainOptions(device="cpu", threads=1, checkpoint_seconds=3600)


@pytest.fixture
def small(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> Sweep:
    """Two runs of under a second."""
    return Sweep("tiny", tmp_path / "tiny", twins(small_run), small_data)


def curves(folder: Path) -> list[object]:
    rows = read_csv(folder / CURVES.file, CURVES)
    return [dataclasses.replace(row, train_seconds=0.0, eval_seconds=0.0) for row in rows]


def test_images_in_memory_are_trained_on_and_nothing_is_done_twice(
    small: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(small, HERE, StopRequest()) == small.folder
    assert "2 runs, 0 finished before" in capsys.readouterr().out
    before = contents(small.folder)
    assert verify(StudyFolder(small.folder)) == []
    train(small, dataclasses.replace(HERE, quiet=True), StopRequest())
    assert contents(small.folder) == before and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"jobs": 0}, "jobs 0 is not a whole number from 1"),
        ({"threads": 0}, "threads 0"),
        ({"hours": 0.0}, "hours 0.0 is not a positive number"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds -1.0"),
        ({"cluster": Cluster(), "jobs": 2}, "what a run gets is said by --cpus-per-run"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        TrainOptions(**values)


def test_failed_runs_are_told_after_all_else_is_done(small: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_module.fit

    def fail(state: Any, job: Any, sink: Any) -> None:
        if job.config.arch == "plain":
            raise RuntimeError("broken")
        real(state, job, sink)

    monkeypatch.setattr(run_module, "fit", fail)
    with pytest.raises(
        Incomplete, match="1 run failed; the others are kept:\nplain-8 seed 0: RuntimeError: broken"
    ) as it:
        train(small, HERE, StopRequest())
    assert it.value.folder == small.folder and len(StudyFolder(small.folder).results()) == 1


def test_after_the_time_all_is_saved_and_goes_on_with_the_same_bits(
    small: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, real = 0.0, RunSink.step

    def step(sink: RunSink, state: Any) -> None:
        nonlocal now
        now += 600.0  # ten minutes a step
        real(sink, state)

    options, stop = dataclasses.replace(HERE, hours=3), StopRequest(clock=lambda: now)
    with monkeypatch.context() as patch:
        patch.setattr(RunSink, "step", step)
        assert train(small, options, stop) == small.folder
    out = capsys.readouterr().out
    assert "in 3 h: everything complete (2 runs)" in out  # such steps are not foreseen
    assert out.endswith("3 h are over: 1 of 2 runs are finished, everything is saved; the same command goes on\n")
    assert verify(StudyFolder(small.folder)) == []
    train(small, HERE, StopRequest())
    assert "ResNet-8 seed 0: goes on from step 6" in capsys.readouterr().out
    whole = dataclasses.replace(small, folder=small.folder.with_name("whole"))
    train(whole, HERE, StopRequest())
    assert curves(small.folder) == curves(whole.folder)


def test_nothing_is_started_when_the_time_is_over(small: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    ticks = iter([0.0] + [1e9] * 1000)
    train(small, dataclasses.replace(HERE, hours=1), StopRequest(clock=lambda: next(ticks)))
    assert "0 of 2 runs are finished" in capsys.readouterr().out
    assert not list(small.folder.glob("runs/*/config.json"))


def test_in_another_thread_it_works_without_signals(small: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "plan_sweep", lambda *_: small)
    folders: list[Path] = []
    thread = threading.Thread(target=lambda: folders.append(train_study(find("demo"), HERE)))
    thread.start()
    thread.join()
    assert folders == [small.folder] and len(StudyFolder(small.folder).results()) == 2


def test_jobs_do_not_run_the_script_again_that_starts_them() -> None:
    before = sys.modules["__main__"]
    with jobs._nameless_main():
        told = get_preparation_data("worker")
    assert not [name for name in told if name.startswith("init_main")] and sys.modules["__main__"] is before
