"""How many cores and threads there are: affinity, quotas of both kinds of control groups, and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_bench.cores import Cores, cores_here, find_cores
from resnet_bench.doctor import diagnosis
from resnet_bench.environment import configure, fingerprint
from tests.conftest import CPU

V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def system(root: Path, mounts: str, groups: str, **files: str) -> Path:
    """A root folder with /proc and /sys; `files` by path."""
    contents = {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **files}
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def v1(folder: str, quota: str, period: str = "100000") -> dict[str, str]:
    place = f"sys/fs/cgroup/cpu,cpuacct{folder}"
    return {f"{place}/cpu.cfs_quota_us": f"{quota}\n", f"{place}/cpu.cfs_period_us": f"{period}\n"}


def v2(folder: str, content: str) -> dict[str, str]:
    return {f"sys/fs/cgroup{folder}/cpu.max": f"{content}\n"}


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "number"),
    [
        (V2, "0::/\n", {}, 8),
        (V2, "0::/\n", v2("", "max 100000"), 8),
        (V2, "0::/\n", v2("", "200000 100000"), 2),
        (V2, "0::/\n", v2("", "250000 100000"), 2),  # rounded down
        (V2, "0::/\n", v2("", "50000 100000"), 1),  # never below one
        (V2, "0::/\n", v2("", "1600000 100000"), 8),  # more than there are
        (V2, "0::/pod/box\n", v2("/pod/box", "max 100000") | v2("/pod", "300000 100000"), 3),  # nested: the one around
        (V2, "0::/pod/box\n", v2("/pod/box", "200000 100000") | v2("/pod", "300000 100000"), 2),  # nested: its own
        (V2, "0::/pod/box\n", v2("/other", "100000 100000"), 8),  # of another group
        (V2, "0::/../box\n", v2("", "400000 100000"), 4),  # outside of what can be seen
        (V1, "4:cpu,cpuacct:/\n0::/\n", v1("", "-1"), 8),
        (V1, "4:cpu,cpuacct:/\n0::/\n", v1("", "200000"), 2),
        (V1, "4:cpu,cpuacct:/job/1\n3:cpuset:/\n", v1("/job/1", "-1") | v1("/job", "150000"), 1),
        (V1, "4:cpu,cpuacct:/job/1\n", v1("/job/1", "50000", "10000"), 5),
        (V1, "3:cpuset:/job\n", v1("/job", "100000"), 8),  # another controller's group
        (V1.replace(" / /sys/fs/cgroup/cpu,", " /docker/7 /sys/fs/cgroup/cpu,"), "4:cpu,cpuacct:/docker/7\n",
         v1("", "300000"), 3),  # a container that sees its group as the top
        (V1 + V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "), "4:cpu,cpuacct:/\n0::/\n",
         v1("", "600000") | {"sys/fs/cgroup/unified/cpu.max": "500000 100000"}, 5),  # both at once
        ("", "", v2("", "200000 100000"), 2),  # nothing is told of mounts: the usual places
        ("", "", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)  # fmt: skip
def test_the_least_quota_of_all_groups_around_holds(
    tmp_path: Path, mounts: str, groups: str, files: dict[str, str], number: int
) -> None:
    cores = find_cores(8, 8, {}, system(tmp_path, mounts, groups, **files))
    assert (cores.number, cores.threads()) == (number, number)
    assert bool(cores.limit) == (number < 8)


@pytest.mark.parametrize(
    "content", ["", "\0\xff", "max", "0 100000", "-5 100000", "100000 0", "9" * 400 + " 1", "1 2 3"]
)
def test_a_quota_that_makes_no_sense_limits_nothing(tmp_path: Path, content: str) -> None:
    assert find_cores(4, 4, {}, system(tmp_path, V2, "0::/\n", **v2("", content))).number == 4
    other = system(tmp_path / "v1", V1, "4:cpu,cpuacct:/\n", **v1("", content))
    assert find_cores(4, 4, {}, other).number == 4


@pytest.mark.parametrize("text", ["", "garbage", "::", "0:", "35 24 - cgroup2", " - \n\n", "\0\0", "0::relative"])
def test_files_about_groups_that_make_no_sense_limit_nothing(tmp_path: Path, text: str) -> None:
    assert find_cores(4, 4, {}, system(tmp_path, text, text)).number == 4
    (tmp_path / "proc/self/cgroup").unlink()
    (tmp_path / "proc/self/cgroup").mkdir()
    assert find_cores(4, 4, {}, tmp_path).number == 4


def test_affinity_holds_beside_quotas(tmp_path: Path) -> None:
    root = system(tmp_path, V2, "0::/\n", **v2("", "300000 100000"))
    assert [find_cores(bound, 8, {}, root).number for bound in (1, 2, 3, 4, 8)] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("environ", "threads"),
    [
        ({}, [4, 2, 1]),
        ({"OMP_NUM_THREADS": "1"}, [1, 1, 1]),
        ({"OMP_NUM_THREADS": "3,2"}, [3, 2, 1]),
        ({"OMP_NUM_THREADS": "64"}, [4, 2, 1]),
        ({"MKL_NUM_THREADS": "2"}, [2, 2, 1]),
        ({"MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "3"}, [2, 2, 1]),
        *(({"OMP_NUM_THREADS": text}, [4, 2, 1]) for text in ("", "0", "-1", "two", "1e0", "²", "9" * 5000)),
    ],
)
def test_the_environment_limits_the_threads_of_each_run(
    tmp_path: Path, environ: dict[str, str], threads: list[int]
) -> None:
    cores = find_cores(4, 4, environ, tmp_path)
    assert [cores.threads(jobs) for jobs in (1, 2, 4)] == threads
    assert cores.number == 4  # of which a user may still ask for more


def test_what_holds_is_said(tmp_path: Path) -> None:
    assert str(find_cores(1, 1, {}, tmp_path)) == "1 core"
    assert str(find_cores(8, 8, {}, tmp_path)) == "8 cores"
    assert str(find_cores(2, 8, {}, tmp_path)) == "2 of 8 cores, by the 2 that it is bound to"
    root = system(tmp_path, V2, "0::/box\n", **v2("/box", "250000 100000"))
    assert str(find_cores(4, 8, {}, root)) == (
        f"2 of 8 cores, by a quota of 2.50 CPUs (cgroup v2, {root}/sys/fs/cgroup/box/cpu.max)"
    )


def test_used_time_of_a_quota_is_read(tmp_path: Path) -> None:
    box = v2("/box", "200000 100000") | {"sys/fs/cgroup/box/cpu.stat": "usage_usec 2500000\nuser_usec 1\n"}
    (quota,) = find_cores(8, 8, {}, system(tmp_path / "v2", V2, "0::/box\n", **box)).quotas
    assert quota.used_seconds() == 2.5
    (quota.folder / "cpu.stat").write_text("nonsense\n")
    assert quota.used_seconds() is None
    one = v1("/box", "200000") | {"sys/fs/cgroup/cpu,cpuacct/box/cpuacct.usage": "1500000000\n"}
    (quota,) = find_cores(8, 8, {}, system(tmp_path / "v1", V1, "4:cpu,cpuacct:/box\n", **one)).quotas
    assert quota.used_seconds() == 1.5
    (quota.folder / "cpuacct.usage").unlink()
    assert quota.used_seconds() is None


def test_a_process_takes_what_holds_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cores_here()
    assert 1 <= here.number <= here.machine
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        configure(CPU)
        assert fingerprint(CPU).threads == 1
        lines = diagnosis().splitlines()
    finally:
        configure(CPU, threads=1)
    assert sum("threads of a run: 1, by OMP_NUM_THREADS=1" in line for line in lines) == 1
    assert sum(str(here) in line for line in lines if line.startswith("CPU")) == 1


def test_doctor_says_which_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Cores(2, 8, "a quota of 2.00 CPUs (cgroup v1, /sys/fs/cgroup/cpu/box/cpu.cfs_quota_us)")
    monkeypatch.setattr("resnet_bench.doctor.cores_here", lambda: limited)
    try:
        assert f"; {limited}\n" in diagnosis()
    finally:
        configure(CPU, threads=1)
