"""Output that nobody takes: closed streams, full devices, readers that left; the work is done all the same."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resnet_bench.cli.streams import output
from resnet_bench.study.stopping import StoppedAtOnce, StopRequest
from tests.conftest import ROOT

FULL = Path("/dev/full")
SMALL = ROOT / "results" / "digits-shortcuts"


def call(words: str, redirections: str, folder: Path) -> tuple[int, str, str]:
    """A command with streams redirected as in a shell: exit code, and what reached standard output and error."""
    command = f'"{sys.executable}" -m resnet_bench {words} {redirections}'
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RESNET_BENCH_OFFLINE": "1"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["--help", "sweep --study demo --dry-run", "sweep --study nothing"])
def test_closed_streams_are_quiet(words: str, redirections: str, tmp_path: Path) -> None:
    code, out, error = call(words, redirections, tmp_path)
    assert code == (2 if "nothing" in words else 0)
    assert (out != "") == (redirections == "2>&-" and code == 0)
    assert error.count("\n") == (1 if code == 2 and redirections == ">&-" else 0)


def test_a_study_is_drawn_without_any_stream(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "study")
    (tmp_path / "study" / "report.html").unlink()
    assert call("report study", "<&- >&- 2>&-", tmp_path) == (0, "", "")
    assert (tmp_path / "study" / "report.html").exists()
    assert (tmp_path / "study" / "runs.csv").read_bytes() == (SMALL / "runs.csv").read_bytes()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "sweep --study demo --dry-run"])
def test_a_full_device_is_one_line(
    words: str, unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    code, _, error = call(words, ">/dev/full", tmp_path)
    assert (code, error) == (1, "resnet-bench: cannot write to standard output: No space left on device\n")
    assert call(words, "2>/dev/full", tmp_path)[0] == 0


# ---------------------------------------------------------------------------------------------- in this process


@contextmanager
def own_stdout(descriptor: int) -> Iterator[None]:
    """Python's own standard output, which leads to the descriptor meanwhile."""
    before = os.dup(1)
    os.dup2(descriptor, 1)
    stream = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "__stdout__", stream)
            yield
            assert sys.stdout is stream
    finally:
        os.dup2(before, 1)
        os.close(before)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its two ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_cannot_be_encoded_is_written_as_its_code(pipe: tuple[int, int]) -> None:
    with own_stdout(pipe[1]), output() as streams:
        print("\udcff name")
        assert streams.end(0) == 0
    assert os.read(pipe[0], 100) == b"\\udcff name\n"


def test_a_descriptor_that_does_not_wait_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    read: list[bytes] = []
    size = 300_000  # more than a pipe holds

    def drain() -> None:
        while sum(map(len, read)) < size:
            read.append(os.read(pipe[0], 1 << 16))

    reader = threading.Thread(target=drain, daemon=True)
    with own_stdout(pipe[1]), output() as streams:
        reader.start()
        print("x" * size, end="")
        assert streams.end(0) == 0
    reader.join()
    assert b"".join(read) == b"x" * size


def test_a_reader_that_left_changes_no_exit_code() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with own_stdout(writing), output() as streams:
        os.close(writing)
        print("nobody reads this")
        print("nor this")
        assert streams.end(0) == 0 and streams.end(2) == 2


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_device_breaks_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    full = os.open(FULL, os.O_WRONLY)
    with own_stdout(full), output() as streams:
        os.close(full)
        for _ in range(3):
            print("x" * 100_000, flush=True)
        assert streams.end(0) == 1 and streams.end(75) == 75
    assert "No space left" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- a terminal that closes


def test_a_hang_up_stops_and_its_repetition_is_no_second_request() -> None:
    with StopRequest().listening() as stop:
        with pytest.raises(StoppedAtOnce, match="SIGHUP") as stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(10)
        assert stopped.value.exit_code == 129
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
        with pytest.raises(StoppedAtOnce, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        assert not stop.asked


def test_a_process_that_ignores_a_hang_up_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequest().listening() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)
