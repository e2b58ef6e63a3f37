"""Runs side by side: each done once, the same bits as one after the other, stopped and gone on with."""

from __future__ import annotations

import dataclasses
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import digits
from resnet_bench.data.dataset import Dataset
from resnet_bench.machine import available_cores
from resnet_bench.results.tables import CURVES, read_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from tests.conftest import ROOT, Cli
from tests.study.test_study import do

TINY = ("sweep", "--study", "demo", "--depths", "8", "--device", "cpu", "--jobs", "2")
pytestmark = [
    pytest.mark.usefixtures("all_cores"),
    pytest.mark.skipif(available_cores() < 2, reason="needs two cores"),
]


def without_seconds(place: Path) -> list[object]:
    rows = read_csv(place / CURVES.file, CURVES)
    return [dataclasses.replace(row, train_seconds=0.0, eval_seconds=0.0) for row in rows]


def one_after_the_other(place: Path, seeds: tuple[int, ...]) -> list[object]:
    """The same study in this process, with one thread as the tests are configured."""
    from resnet_bench.studies import find

    runs: list[RunConfig] = find("demo").runs("digits", [8], seeds)
    data: Dataset = digits()
    do(place, data, runs)
    return without_seconds(place)


def test_side_by_side_gives_the_bits_of_one_after_the_other(cli: Cli, tmp_path: Path) -> None:
    answer = cli(*TINY, "--seeds", "0")
    assert answer.returncode == 0, answer.stderr
    place = tmp_path / "results/demo"
    rows = StudyFolder(place).results().values()
    threads = available_cores() // 2
    assert [row.threads for row in rows] == [threads] * 2
    assert [row.exclusive for row in rows] == [False] * 2  # such runs are no measure of throughput
    assert verify(StudyFolder(place)) == []
    assert "2 runs to do, 2 side by side" in answer.stdout
    ends = [line for line in answer.stdout.splitlines() if " error, in " in line]
    assert sorted(line[:5] for line in ends) == ["[1/2]", "[2/2]"]
    assert "done by another process" not in answer.stdout
    if threads == 1:
        assert without_seconds(place) == one_after_the_other(tmp_path / "alone", (0,))


def start(tmp_path: Path) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "RESNET_BENCH_OFFLINE": "1", "CHECKPOINT_SECONDS": "1"}
    command = [sys.executable, "-m", "resnet_bench", *TINY, "--seeds", "0"]
    return subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)


def wait_until(what: str, place: Path, pattern: str, count: int) -> None:
    end = time.monotonic() + 300
    while len(list(place.glob(pattern))) < count:
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)


def workers_of(parent: int) -> list[int]:
    """Processes whose parent this is, or was: by their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if "spawn_main" in path.read_text() and f"PPid:\t{parent}\n" in (path.parent / "status").read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_stopped_and_gone_on_with(cli: Cli, tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(tmp_path)
    place = tmp_path / "results/demo"
    wait_until("a row", place, "runs/*/curves.csv", 2)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    assert number == signal.SIGKILL or (errors.count("\n") == 1 and "everything is saved" in errors), errors
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they save and end, also when nobody is left to tell
        assert time.monotonic() < end, "a worker went on alone"
        time.sleep(0.05)
    answer = cli(*TINY, "--seeds", "0")
    assert answer.returncode == 0, answer.stderr
    rows = StudyFolder(place).results()
    assert len(rows) == 2 and verify(StudyFolder(place)) == []
    assert "goes on from step" in answer.stdout


def test_a_terminal_that_closes_has_all_runs_saved(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "RESNET_BENCH_OFFLINE": "1", "CHECKPOINT_SECONDS": "3600"}
    pid, terminal = pty.fork()
    if pid == 0:  # a process with a terminal of its own, which it shows its progress on
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "-m", "resnet_bench", *TINY, "--seeds", "0"], env)
    closing = threading.Event()
    reader = threading.Thread(target=_show, args=(terminal, closing))
    reader.start()
    place = tmp_path / "results/demo"
    wait_until("a row", place, "runs/*/curves.csv", 2)
    assert not list(place.glob("runs/*/checkpoint.pt"))
    closing.set()
    reader.join()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert len(list(place.glob("runs/*/checkpoint.pt"))) == 2


def _show(terminal: int, closing: threading.Event) -> None:
    """A terminal, until it closes."""
    while not closing.is_set():
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 1 << 16)
    os.close(terminal)


def test_a_worker_that_dies_costs_only_its_run(cli: Cli, tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_until("a row", tmp_path / "results/demo", "runs/*/curves.csv", 2)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and "1 worker processes died (exit code -9)" in errors, errors
    assert len(StudyFolder(tmp_path / "results/demo").results()) == 2  # the other one did its run as well
