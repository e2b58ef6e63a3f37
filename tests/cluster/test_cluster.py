"""One study on a cluster of three nodes, while a worker, a node and the driver are lost; and shares of a GPU."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from tests.cluster.nodes import Nodes, start_driver, wait_for
from tests.conftest import ROOT, Cli
from tests.faults import checks
from tests.faults.work import Work, small_runs

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra: pip install 'resnet-bench[ray]'")
RUNS, STEPS = 8, 320


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    there = Nodes(3)
    yield there
    there.shutdown()


def run_module(*words: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A module of these tests, in a process of its own."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False)


def test_every_run_once_whatever_is_lost(nodes: Nodes, tmp_path: Path) -> None:
    place, log, chance = tmp_path / "study", tmp_path / "log.txt", random.Random(0)
    words = ("--runs", RUNS, "--steps", STEPS)

    def finished() -> int:
        return len(StudyFolder(place).results(check_files=False))

    def saved() -> bool:
        return any(place.glob("runs/*/checkpoint*"))

    driver = start_driver(nodes.address, place, log, *words)
    wait_for(lambda: saved() and len(nodes.working()) >= 2, driver)
    wait_for(lambda: nodes.kill_worker(chance), driver)
    wait_for(lambda: finished() >= 1, driver)
    nodes.replace_one(chance)
    wait_for(lambda: finished() >= 2, driver)
    driver.kill()
    driver.wait()
    driver = start_driver(nodes.address, place, log, *words)
    wait_for(lambda: log.read_text().count("runs to do") == 2 and len(nodes.working()) >= 2, driver)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(150) == 130 and "everything is saved" in log.read_text(), log.read_text()
    assert finished() < RUNS
    driver = start_driver(nodes.address, place, log, *words)
    assert driver.wait(300) == 0, log.read_text()
    said = log.read_text()
    assert "it is tried again" in said and "runs at once: 3" in said
    count, alone = checks.Count(), Work(tmp_path / "alone", small_runs(RUNS, steps=STEPS, row_every=STEPS // 4))
    checks.compare(place, checks.reference(alone), count)
    assert not count.faults
    assert count.resumed > 0
    assert {row.exclusive for row in StudyFolder(place).results().values()} == {False}
    assert all((folder.path / "log.txt").exists() for folder in StudyFolder(place).run_folders())
    assert not list(place.glob(".sweep.*"))
    assert verify(StudyFolder(place)) == []


def test_a_cluster_that_is_started_here_listens_on_loopback_alone() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = run_module("tests.cluster.alone", environ=environ)
    there = done.stdout.splitlines()
    assert any("gcs_server" in line for line in there) and any("raylet" in line for line in there), done.stderr
    assert all(line.partition(":")[0].endswith("0100007F") for line in there), done.stdout


def test_the_command_line_on_a_cluster(nodes: Nodes, cli: Cli, tmp_path: Path) -> None:
    words = ("sweep", "--study", "demo", "--depths", "8", "--seeds", "0", "--executor", "ray", "--address")
    done = cli(*words, nodes.address)
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stdout and "report.html" in done.stdout and "Traceback" not in done.stderr
    assert verify(StudyFolder(tmp_path / "results/demo")) == []


def test_nodes_with_other_versions_are_refused_by_name(nodes: Nodes, tmp_path: Path) -> None:
    place, log = tmp_path / "study", tmp_path / "log.txt"
    driver = start_driver(nodes.address, place, log, "--runs", 1, "--steps", 8, "--torch", "9.9")
    assert driver.wait(120) == 2
    assert log.read_text().count("instead of 9.9; install the same there, or allow it with --any-version") >= 3
    assert "Traceback" not in log.read_text()


def test_four_quarters_of_a_gpu_at_once_and_the_fifth_waits(nodes: Nodes) -> None:
    nodes.add(num_cpus=5, num_gpus=1)  # as far as Ray knows
    done = run_module("tests.cluster.quarters", nodes.address, environ=dict(os.environ))
    assert "runs at once: 4, with 1 CPU and 0.25 GPU each\nthere: 4\nthere: 5\n" in done.stdout, (
        done.stdout + done.stderr
    )
