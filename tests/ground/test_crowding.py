"""A machine that others work on too: read, judged without crying wolf, said once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet_bench.cores import Cores, Quota
from resnet_bench.crowding import CROWDED_SECONDS, FREE_SECONDS, Judge, Meter, Pool, Reading, Watch, pools_of
from resnet_bench.machine import _seconds_below, own_seconds
from resnet_bench.study.events import Stepped
from resnet_bench.study.progress import Clock, Progress


class Machine:
    """Cores whose use is acted: seconds go by, we and others work."""

    def __init__(self, cores: float = 2) -> None:
        self.now = self.ours = self.theirs = 0.0
        self.pool = Pool(cores, lambda: self.ours + self.theirs)

    def goes_on(self, seconds: float, others: float, ours: float = 1.0) -> None:
        self.now += seconds
        self.ours += ours * seconds
        self.theirs += others * seconds

    def meter(self, *more: Pool) -> Meter:
        return Meter([self.pool, *more], own=lambda: self.ours, clock=lambda: self.now)

    def said(self, watch: Watch, seconds: float, others: float) -> list[str]:
        """What is said while others use so many cores; looked at twice a second."""
        lines = []
        for _ in range(int(2 * seconds)):
            self.goes_on(0.5, others)
            lines += [line] if (line := watch.look()) else []
        return lines


def test_what_others_use_is_what_we_do_not() -> None:
    machine = Machine()
    meter = machine.meter()
    machine.goes_on(4, others=0.75)
    assert meter.read() == Reading(4, 2, 0.75)
    machine.goes_on(2, others=0)
    assert meter.read() == Reading(2, 2, 0)
    assert meter.read() is None  # no time went by


def test_of_several_pools_the_fullest_counts() -> None:
    """A container sees its machine of 64 cores nearly full, and has its own two nearly to itself; then it has not."""
    machine, quota = Machine(64), Machine(2)
    quota_pool = Pool(2, lambda: machine.ours + quota.theirs)
    watch = Watch(1, 2, machine.meter(quota_pool))
    assert machine.said(watch, 60, others=61) == []
    for _ in range(60):
        machine.goes_on(0.5, others=10)
        quota.theirs += 0.5 * 1.5
        line = watch.look()
        if line:
            break
    assert line == (
        "other programs use 1.5 of 2 cores; training is slower for it: end them; "
        "a study that is begun with --threads 1 loses least"
    )


def test_a_pool_that_cannot_be_read_is_left_out() -> None:
    machine = Machine()
    meter = machine.meter(Pool(0.1, lambda: None))
    machine.goes_on(1, others=1)
    assert meter.read() == Reading(1, 2, 1)
    blind = Meter([Pool(2, lambda: None)], own=lambda: 0.0, clock=lambda: machine.now)
    watch = Watch(1, 2, blind)
    assert machine.said(watch, 60, others=2) == []


def test_it_is_said_once_and_again_only_after_a_lasting_change() -> None:
    machine = Machine()
    watch = Watch(1, 2, machine.meter())
    assert machine.said(watch, 300, others=0.1) == []
    first = machine.said(watch, 20, others=1.0)
    assert first == [
        "other programs use 1.0 of 2 cores; training is slower for it: end them; "
        "a study that is begun with --threads 1 loses least"
    ]
    assert machine.said(watch, 3600, others=1.2) == []
    assert machine.said(watch, FREE_SECONDS - 10, others=0) == []  # a pause of theirs
    assert machine.said(watch, 600, others=1.2) == []
    assert machine.said(watch, FREE_SECONDS + 10, others=0) == [
        "other programs have left the cores: training is as fast as it can be again"
    ]
    assert len(machine.said(watch, CROWDED_SECONDS + 10, others=1.9)) == 1


def test_fluctuations_are_not_told() -> None:
    machine = Machine()
    watch = Watch(1, 2, machine.meter())
    for _ in range(50):
        assert machine.said(watch, 5, others=2) == []
        assert machine.said(watch, 10, others=0) == []


@pytest.mark.parametrize(
    ("wanted", "cores", "others", "crowded"),
    [
        (2, 2, 0.4, False),
        (2, 2, 0.6, True),
        (1, 2, 1.0, False),  # the other core is all that they use
        (1, 2, 1.3, True),
        (1, 1, 0.2, False),
        (1, 1, 0.3, True),
        (2, 64, 61.9, False),
        (64, 64, 3.0, False),  # one in twenty: as for `exclusive`
        (64, 64, 3.5, True),
        (2, 1, 0.0, False),  # a study of two threads on a single core lacks one, but nobody took it
    ],
)
def test_what_is_lacking_is_judged(wanted: int, cores: float, others: float, crowded: bool) -> None:
    judge = Judge(wanted)
    told = [judge.changes(Reading(5, cores, others)) for _ in range(4)]
    assert (judge.crowded, sum(told)) == (crowded, int(crowded))


def test_the_advice_fits_the_sweep() -> None:
    for jobs, threads, advice in (
        (2, 1, ": end them, or go on with a smaller --jobs"),
        (1, 2, "--threads 1 loses least"),
        (1, 1, "training is slower for it"),
    ):
        machine = Machine(2)
        (line,) = machine.said(Watch(jobs, threads, machine.meter()), 20, others=1.7)
        assert line.endswith(advice)


def test_what_was_before_a_run_says_nothing_of_it() -> None:
    machine = Machine()
    watch = Watch(1, 2, machine.meter())
    machine.goes_on(1000, others=2)
    watch.begin()
    assert machine.said(watch, 100, others=0) == []


def test_a_sweep_says_it_on_a_terminal_and_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        machine = Machine()
        watch = Watch(1, 2, machine.meter())
        with Progress(1, Clock(1.0, 1.0), quiet=quiet, watch=watch) as progress:
            for step in range(60):
                machine.goes_on(0.5, others=1.5)
                progress.tell(Stepped(step, 0.0))
        assert capsys.readouterr().out.count("other programs use 1.5 of 2 cores") == (not quiet)


# ---------------------------------------------------------------------------------------------- the real machine


def stat(root: Path, pid: int, parent: int, name: str, *ticks: int) -> None:
    (root / str(pid)).mkdir()
    fields = [str(pid), f"({name})", "S", str(parent), *["0"] * 9, *map(str, ticks), *["0"] * 30]
    (root / str(pid) / "stat").write_text(" ".join(fields))


def test_all_processes_below_are_ones_own(tmp_path: Path) -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    stat(tmp_path, 1, 0, "init", 900, 900, 900, 900)
    stat(tmp_path, 10, 1, "me", 500, 0, 0, 0)  # counted by os.times
    stat(tmp_path, 11, 10, "worker", hertz, hertz, 0, 0)
    stat(tmp_path, 12, 11, "evil) S 1 (name", hertz, 0, 0, hertz)  # below the worker, and one it has waited for
    stat(tmp_path, 13, 1, "other", hertz, 0, 0, 0)
    (tmp_path / "14").mkdir()  # has ended meanwhile
    (tmp_path / "15").mkdir()
    (tmp_path / "15" / "stat").write_text("15 (half")
    assert _seconds_below(10, tmp_path) == 4.0
    assert _seconds_below(10, tmp_path / "none") == 0.0


@pytest.fixture
def burning() -> Iterator[subprocess.Popen[bytes]]:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    code = f"{burn}print(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_living_child_is_ones_own(burning: subprocess.Popen[bytes]) -> None:
    assert burning.stdout is not None
    burning.stdout.readline()
    living = own_seconds()
    assert living - sum(os.times()[:4]) >= 0.25
    burning.kill()
    burning.wait()
    assert own_seconds() >= living - 0.02  # in whole ticks


def test_pools_are_the_cores_one_is_bound_to_and_the_quotas(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    quota = Quota(1.5, tmp_path, "cpu.max", 2)
    machine, box = pools_of(Cores(1, 4, quotas=(quota,)))
    assert machine.cores >= 1 and (box.cores, box.used()) == (1.5, 1.0)
    reading = Meter([machine]).read()
    assert reading is None or reading.others >= 0
