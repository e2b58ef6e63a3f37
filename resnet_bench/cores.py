"""How many CPU cores and threads this process may use, and what says so: affinity, quotas, environment. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # both are heeded by torch
USUAL_MOUNTS = {1: "/sys/fs/cgroup/cpu", 2: "/sys/fs/cgroup"}


@dataclass(frozen=True)
class Quota:
    """The CPU time that a group of processes (a container, a job, a service) may use.

    Attributes:
        cpus: seconds of it in a second.
        folder: of the group.
        file: that holds the quota.
        version: of the system's control groups, 1 or 2.
    """

    cpus: float
    folder: Path
    file: str
    version: int

    def __str__(self) -> str:
        return f"a quota of {self.cpus:.2f} CPUs (cgroup v{self.version}, {self.folder / self.file})"

    def used_seconds(self) -> float | None:
        """CPU time that the group has used; None where the system does not tell."""
        try:
            if self.version == 2:
                pairs = (line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
                return int(next(value for name, value in pairs if name == "usage_usec")) / 1e6
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError, StopIteration):
            return None


@dataclass(frozen=True)
class Cores:
    """What this process may use.

    Attributes:
        number: cores at once, at least 1: those it is bound to, but no more than its least quota, rounded down.
        machine: cores that the machine has.
        limit: what makes the number less than the machine's, in words; "" if nothing does.
        quotas: all that hold for the process, of its own group and of those that it lies in.
        wish: threads that the environment asks for, if it does.
        wished_by: where, as in "OMP_NUM_THREADS=1".
    """

    number: int
    machine: int
    limit: str = ""
    quotas: tuple[Quota, ...] = ()
    wish: int | None = None
    wished_by: str = ""

    def threads(self, jobs: int = 1) -> int:
        """For each of so many runs side by side: the cores shared out, but no more than the environment asks for."""
        return max(1, min(self.number // jobs, self.wish or self.number))

    def __str__(self) -> str:
        of = f" of {self.machine}" if self.limit else ""
        cores = f"{self.number}{of} core{'s' * ((self.machine if of else self.number) != 1)}"
        return f"{cores}, by {self.limit}" if self.limit else cores


def cores_here() -> Cores:
    """What holds for this process now."""
    machine = os.cpu_count() or 1
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return find_cores(bound, machine, os.environ)


def find_cores(bound: int, machine: int, environ: Mapping[str, str], root: Path = Path("/")) -> Cores:
    """The same from what is given; what cannot be read or understood limits nothing.

    Args:
        bound: cores that the process may be placed on.
        machine: cores that there are.
        environ: may ask for a number of threads.
        root: where /proc and /sys lie.
    """
    number, limit = bound, f"the {bound} that it is bound to" if bound < machine else ""
    quotas = tuple(_quotas(root))
    for quota in quotas:
        if quota.cpus < number:
            number, limit = max(1, int(quota.cpus)), str(quota)
    wishes = [(wish, name) for name in VARIABLES if (wish := _wish(environ.get(name, ""))) is not None]
    wish, name = min(wishes, default=(None, ""))
    return Cores(number, machine, limit if number < machine else "", quotas, wish, name and f"{name}={environ[name]}")


def _wish(text: str) -> int | None:
    """The threads of the outermost level, as in "4" or "4,2"; None if it is no number from 1."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() and len(first) < 10 and int(first) else None


def _quotas(root: Path) -> Iterator[Quota]:
    """All quotas of the process's groups and of the groups around them."""
    for version, mount, group in _groups(root):
        top = root / mount.lstrip("/")
        here = top / group
        for folder in (here, *here.parents):
            if not folder.is_relative_to(top):
                break
            quota = _read_quota(folder, version)
            if quota is not None:
                yield quota


def _groups(root: Path) -> Iterator[tuple[int, str, str]]:
    """(version, mount point, group below it) of every hierarchy that may hold a quota for this process."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup") or ["0::/", "1:cpu:/"]:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        version = 2 if (number, controllers) == ("0", "") else 1
        if version == 1 and "cpu" not in controllers.split(","):
            continue
        there = [(mount, top) for kind, mount, top in mounts if kind == version]
        for mount, top in there or [(USUAL_MOUNTS[version], "/")]:
            yield version, mount, _below(group, top)


def _below(group: str, top: str) -> str:
    """Where a group lies below a mount that shows the groups from `top` on; "" if it cannot be seen there."""
    path = PurePosixPath(group)
    if ".." in path.parts or not path.is_relative_to(top):
        return ""
    return str(path.relative_to(top))


def _mounts(root: Path) -> Iterator[tuple[int, str, str]]:
    """(version, mount point, the group that is its top) of the mounted hierarchies that may hold quotas."""
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, what = line.partition(" - ")
        fields, kinds = place.split(), what.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and "cpu" in kinds[2].split(",")):
            yield (2 if kinds[0] == "cgroup2" else 1), fields[4].replace("\\040", " "), fields[3]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _read_quota(folder: Path, version: int) -> Quota | None:
    """The group's own quota, if it has one."""
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        cpus = int(quota) / int(period)  # "max" is no number
    except (OSError, ValueError, ArithmeticError):
        return None
    return Quota(cpus, folder, names[0], version) if int(quota) > 0 and cpus > 0 else None
