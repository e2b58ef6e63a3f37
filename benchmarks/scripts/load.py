"""How long large studies take: many finished runs, and many rows of curves. `python -m benchmarks.scripts.load`."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases.test_study import write_finished
from resnet_bench.results.tables import CURVES, PLAN, RUNS, to_csv, write_csv
from resnet_bench.studies import find
from resnet_bench.study.folder import StudyFolder
from tests import studies
from tests.conftest import ROOT

NETWORKS = 10  # of the study: five depths, plain and residual
MEASURED = """
import pathlib, sys, time
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.cli.status import status_table
from resnet_bench.study.verify import verify
from resnet_bench.report import render
what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
started, busy = time.perf_counter(), time.process_time()
if what == "status":
    status_table(StudyFolder(folder))
elif what == "collect":
    collect(StudyFolder(folder))
elif what == "verify":
    assert not verify(StudyFolder(folder))
else:
    render(folder)
seconds, busy = time.perf_counter() - started, time.process_time() - busy
status = pathlib.Path("/proc/self/status").read_text()  # what getrusage says begins with the parent's memory
print(seconds, busy, int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def main() -> int:
    """Make both studies in a temporary folder, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="finished runs of one study (20000)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows in curves.csv of another (1000000)")
    arguments = parser.parse_args()
    print(f"{'what':8} {'size':>16} {'seconds':>8} {'of processor':>12} {'MiB':>6}")
    with tempfile.TemporaryDirectory() as place:
        if arguments.runs:
            folder = many_runs(Path(place), arguments.runs)
            for what in ("status", "collect", "verify"):
                measure(what, folder, f"{arguments.runs:,} runs")
        if arguments.rows:
            measure("report", many_rows(Path(place), arguments.rows), f"{arguments.rows:,} rows")
    return 0


def measure(what: str, folder: Path, size: str) -> None:
    """Run it in a process of its own and print what it took, without starting Python."""
    line = [sys.executable, "-c", MEASURED, what, str(folder)]
    output = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seconds, busy, mebibytes = map(float, output.split())
    print(f"{what:8} {size:>16} {seconds:8.1f} {busy:12.1f} {mebibytes:6,.0f}", flush=True)


def many_runs(place: Path, count: int) -> Path:
    """A study of that many finished runs, eleven rows each; SHA256SUMS and the tables are not there yet."""
    configs = find("digits-full").runs(seeds=range(-(-count // NETWORKS)))[:count]
    study = StudyFolder(place / "runs")
    for config in configs:
        write_finished(study.run(config.run_id), config)
    study.add_to_plan(configs)
    return study.path


def many_rows(place: Path, count: int) -> Path:
    """A study of 50 runs whose curves have that many rows together."""
    rows = studies.make("rows", (20, 32, 44, 56, 110), num_seeds=5, every=20)
    each = count // len(rows.runs)
    rows.runs = [replace(run, steps=each, best_step=each) for run in rows.runs]
    folder = place / "rows"
    folder.mkdir()
    write_csv(folder / PLAN.file, PLAN, rows.plan)
    write_csv(folder / RUNS.file, RUNS, rows.runs)
    with (folder / CURVES.file).open("w") as file:
        file.write(to_csv(CURVES, []))
        for run in rows.runs:
            file.write(to_csv(CURVES, studies.curve_rows(run, 1, random.Random(0))).partition("\n")[2])
    return folder


if __name__ == "__main__":
    sys.exit(main())
