"""What a person waits for: start-up, the state and plan of a large study, a report."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.cases.conftest import Measure
from resnet_bench.config.run import RunConfig
from resnet_bench.files import to_json
from resnet_bench.networks import DEPTHS, TWINS
from resnet_bench.results.tables import CURVES, to_csv
from resnet_bench.studies import find
from resnet_bench.study.folder import RunFolder, StudyFolder, result_json
from tests import studies
from tests.conftest import ROOT

STUDY = "digits-full"


@dataclass(frozen=True)
class ManyRuns:
    """A results folder with a study of which every run is finished."""

    results: Path
    seeds: range
    count: int


@pytest.fixture(scope="session")
def many_runs(small: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyRuns]:
    """10,000 runs, written once; removed at the end, as there are 40,000 files."""
    results = tmp_path_factory.mktemp("results")
    seeds = range(1 if small else 10_000 // (len(DEPTHS) * len(TWINS)))
    configs, study = find(STUDY).runs(seeds=seeds), StudyFolder(results / STUDY)
    for config in configs:
        write_finished(study.run(config.run_id), config)
    study.add_to_plan(configs)
    yield ManyRuns(results, seeds, len(configs))
    shutil.rmtree(results)


def write_finished(folder: RunFolder, config: RunConfig) -> None:
    """The files of a finished run, without the care for power cuts that makes the real ones slow to write."""
    row = studies.run_row(config.run_id, config.arch, config.depth, config.shortcut, config.seed, study=STUDY)
    folder.path.mkdir(parents=True)
    identity = {"run_id": config.run_id, "dataset_digest": row.dataset_digest}
    folder.config.write_bytes(to_json({**identity, "config": json.loads(config.canonical_json())}))
    folder.environment.write_bytes(to_json({"environment": {}, "attempts": []}))
    folder.table(CURVES).write_text(to_csv(CURVES, studies.curve_rows(row, config.row_every, random.Random(0))))
    folder.result.write_bytes(result_json(folder, row))


def command(*words: object) -> str:
    """What `resnet-bench` prints, in a process of its own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "RESNET_BENCH_OFFLINE": "1"}
    line = [sys.executable, "-m", "resnet_bench", *map(str, words)]
    return subprocess.run(line, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_start_up(measure: Measure) -> None:
    """`resnet-bench --help`."""
    assert "sweep" in measure(lambda: command("--help"), "command", rounds=10)


def test_status(measure: Measure, many_runs: ManyRuns) -> None:
    """`resnet-bench status` on 10,000 finished runs."""
    output = measure(lambda: command("status", many_runs.results / STUDY), "command", rounds=3, runs=many_runs.count)
    assert f"{many_runs.count} done" in output


def test_dry_run(measure: Measure, many_runs: ManyRuns) -> None:
    """`resnet-bench sweep --dry-run` on 10,000 finished runs."""
    words = ["--study", STUDY, "--seeds", ",".join(map(str, many_runs.seeds)), "--results", many_runs.results]
    output = measure(lambda: command("sweep", *words, "--dry-run"), "command", rounds=3, runs=many_runs.count)
    assert f"0 of {many_runs.count} runs to do" in output


RENDER = """
import pathlib, sys
from resnet_bench.report import render
render(pathlib.Path(sys.argv[1]))
status = pathlib.Path("/proc/self/status").read_text()  # what getrusage says begins with the parent's memory
print(status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.parametrize("runs", [100, 1000])
def test_report(measure: Measure, small: bool, tmp_path: Path, runs: int) -> None:
    """Everything that is drawn and written of a study of 100 rows a run, with signals, in a process of its own."""
    seeds = 1 if small else runs // (len(DEPTHS) * len(TWINS))
    study = studies.with_insides(studies.make("benchmark", DEPTHS, num_seeds=seeds, every=4, steps=400))
    folder = study.write(tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def body() -> str:
        line = [sys.executable, "-c", RENDER, str(folder)]
        return subprocess.run(line, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout

    kilobytes = measure(body, "report", rounds=3, runs=len(study.runs), rows=len(study.curves))
    measure.benchmark.extra_info["peak_megabytes"] = int(kilobytes) / 1000
    assert (folder / "report.html").stat().st_size > 100_000
