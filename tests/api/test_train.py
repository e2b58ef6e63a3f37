"""Training from a script or a notebook: like a sweep, and a good guest in somebody's program."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import resnet_bench as rb
from resnet_bench.results.tables import CURVES, read_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from resnet_bench.trained.runs import find_weights
from tests.conftest import ROOT

STUDY = rb.Study(
    name="tiny", dataset="digits", networks=rb.Networks(arms=("residual-a",), depths=(8,)), seeds=(0,),
    protocol=rb.Protocol(
        steps=200, batch_size=16, lr=0.02, lr_drops=(0.5,), row_every=10, row_train_images=50, row_test_images=50,
        final_train_images=50,
    ),
)  # fmt: skip
SCRIPT = "import sys, resnet_bench as rb; rb.train(sys.argv[1], device='cpu', threads=1, checkpoint_seconds=0)"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bits(folder: Path) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    """Of the trained weights, and of every row but its seconds."""
    weights = {run.path.name: find_weights(str(run.path)).digest for run in StudyFolder(folder).run_folders()}
    rows = read_csv(folder / CURVES.file, CURVES)
    return weights, [dataclasses.astuple(dataclasses.replace(r, train_seconds=0.0, eval_seconds=0.0)) for r in rows]


def test_a_script_that_is_interrupted_goes_on_to_the_very_bits(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(STUDY.to_toml())
    words = [sys.executable, "-c", SCRIPT, "tiny.toml"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        words, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("results/tiny/runs/*/curves.csv")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    said, error = child.communicate(timeout=60)
    assert error.endswith("KeyboardInterrupt: stopped by SIGINT; everything is saved; the same call goes on\n")
    assert child.returncode != 0 and "1 run to do" in said

    settings = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    results = tmp_path / "results"
    frames = rb.train(tmp_path / "tiny.toml", results=results, device="cpu", threads=1, quiet=True)
    assert settings == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert list(frames.runs["status"]) == ["ok"] and frames.runs["attempts"].max() == 2
    assert verify(StudyFolder(results / "tiny")) == [] and (results / "tiny" / "report.html").exists()

    before = files(results)
    rb.train(STUDY, results=results, report=False, quiet=True)
    assert files(results) == before

    whole = tmp_path / "whole"
    call = threading.Thread(target=lambda: rb.train(STUDY, results=whole, threads=1, report=False, quiet=True))
    call.start()  # as in some notebooks and web programs, whose threads may not listen to signals
    call.join()
    assert bits(whole / "tiny") == bits(results / "tiny")
    assert not (whole / "tiny" / "report.html").exists()


def test_another_signal_ends_the_program_with_the_code_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_bench import executors
    from resnet_bench.study.stopping import Stopped

    def stop(study: rb.Study, options: executors.TrainOptions) -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(executors, "train_study", stop)
    with pytest.raises(SystemExit) as end:
        rb.train("demo")
    assert end.value.code == 75


def test_a_study_is_named_or_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(rb.UsageError, match="'no-such-study' is unknown"):
        rb.train("no-such-study", quiet=True)
    with pytest.raises(rb.UsageError, match=r"none\.toml"):
        rb.train(tmp_path / "none.toml", quiet=True)
