"""The checks of the fault tests, by count: the test suite runs them small, the campaign runs them long."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from resnet_bench import git
from resnet_bench.errors import UsageError
from resnet_bench.files import Damaged
from resnet_bench.results.tables import CURVES, RUNS, read_csv
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from resnet_bench.training import checkpoint
from tests.faults.work import CRASHED, LOSSES, Work, command_line, finish, small_runs, start

SIGNALS = {"SIGTERM": 75, "SIGINT": 130, "SIGHUP": 129}  # and the exit codes
SECONDS = {
    "train_seconds", "eval_seconds", "img_per_sec", "exclusive", "started_utc", "attempts", "bit_exact", "study",
    "checkpoint_digest",
}  # fmt: skip


@dataclass
class Count:
    """What a check tried, and what did not survive it."""

    tried: int = 0
    resumed: int = 0  # attempts that went on from a checkpoint
    faults: list[str] = dataclasses.field(default_factory=list)


def final_state(place: Path) -> dict[str, Any]:
    """All that must not depend on how often a study was broken off."""
    study, state = StudyFolder(place), {}
    for folder in study.run_folders():
        stored = checkpoint.decode((folder.path / checkpoint.NEWEST).read_bytes())
        del stored["seconds"]
        stored["rows"] = [without_seconds(row) for row in stored["rows"]]
        row = folder.read_result()
        assert row is not None, f"{folder.path} is not finished"
        stored["result"] = without_seconds(dataclasses.asdict(row))
        state[folder.path.name] = stored
    return state


def without_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in SECONDS}


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors included."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def compare(place: Path, reference: Path, count: Count) -> None:
    """Note a fault for each run that differs from the reference, and for lost, doubled or altered rows."""
    found, expected = final_state(place), final_state(reference)
    for name in expected:
        if name not in found:
            count.faults.append(f"{name}: lost")
        elif not same(found[name], expected[name]):
            count.faults.append(f"{name}: differs from the run that was never broken off")
    for table in (RUNS, CURVES):  # read_csv refuses doubled keys and torn lines
        rows, wanted = (
            [without_seconds(dataclasses.asdict(row)) for row in read_csv(path / table.file, table)]
            for path in (place, reference)
        )
        if rows != wanted:
            count.faults.append(f"{table.file}: {len(rows)} rows are not the {len(wanted)} of the reference")
    for folder in StudyFolder(place).run_folders():
        attempts = json.loads(folder.environment.read_text())["attempts"]
        count.resumed += sum(attempt["from_step"] > 0 for attempt in attempts)


def reference(work: Work) -> Path:
    """The same study, never broken off."""
    place = work.place.with_name("reference")
    if not place.exists():
        assert finish(dataclasses.replace(work, place=place, fault="", checkpoint_seconds=1e9), seconds=3600) == 0
    return place


# ---------------------------------------------------------------------------------------------- kills


def random_kills(work: Work, kills: int, seed: int, workers: int = 1, least: float = 0.4, most: float = 3.0) -> Count:
    """Kill -9 at random instants and start again, until that many processes died and the study is finished.

    When a study is finished before that, it is compared and begun anew.
    """
    expected, chance, count = reference(work), random.Random(seed), Count()
    while count.tried < kills:
        children = [start(work) for _ in range(workers)]
        while any(child.is_alive() for child in children):
            for number, child in enumerate(children):
                child.join(chance.uniform(least, most) / workers)
                if child.is_alive() and count.tried < kills:
                    child.kill()
                    child.join()
                    count.tried += 1
                    children[number] = start(work)
        for child in children:
            if child.exitcode != 0:
                count.faults.append(f"a process ended with {child.exitcode}")
        compare(work.place, expected, count)
        count.faults += verify(StudyFolder(work.place))
        shutil.rmtree(work.place)
    return count


def crash_points(work: Work, every: int = 1, limit: int = 10_000) -> Count:
    """Die at every (or every third, say) writing system call of a sweep; each time go on and compare."""
    expected, count = reference(work), Count()
    for number in range(1, limit, every):
        code = finish(dataclasses.replace(work, fault=f"crash_at:{number}"))
        if code == 0:
            shutil.rmtree(work.place)
            return count
        count.tried += 1
        assert code == CRASHED, code
        for folder in StudyFolder(work.place).run_folders():
            stored, notes = checkpoint.load(folder.path)
            if notes or (stored is None and list(folder.path.glob("checkpoint*"))):
                count.faults.append(f"crash point {number}: {notes or 'no checkpoint can be read'}")
        if finish(work) != 0:
            count.faults.append(f"crash point {number}: cannot go on")
        compare(work.place, expected, count)
        count.faults += verify(StudyFolder(work.place))
        shutil.rmtree(work.place)
    return count


# ---------------------------------------------------------------------------------------------- altered files


def bit_flips(files: dict[str, tuple[Path, Callable[[], bool]]], flips: int, seed: int) -> Count:
    """Flip one random bit of a random file, ask its detector, and put the bit back."""
    chance, count = random.Random(seed), Count()
    names = sorted(files)
    for number in range(flips):
        path, detected = files[names[number % len(names)]]
        content = bytearray(path.read_bytes())
        position, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[position] ^= bit
        path.write_bytes(content)
        if not detected():
            count.faults.append(f"{path.name}: bit {bit} of byte {position} was not noticed")
        content[position] ^= bit
        path.write_bytes(content)
        count.tried += 1
    return count


def checkpoint_is_refused(path: Path) -> Callable[[], bool]:
    def detected() -> bool:
        try:
            checkpoint.decode(path.read_bytes())
        except Damaged:
            return True
        return False

    return detected


def study_is_faulty(place: Path) -> Callable[[], bool]:
    return lambda: bool(verify(StudyFolder(place)))


def truncations(path: Path, parts: int = 16) -> Iterator[bytes]:
    """The file cut off at every 1/parts of its size."""
    content = path.read_bytes()
    return (content[: len(content) * part // parts] for part in range(parts))


# ---------------------------------------------------------------------------------------------- owners, places


def lost_ownership(work: Work, times: int, seed: int) -> Count:
    """Take the lock, the folder or the study away from a run at a random step; it stops, and the command goes on."""
    expected, chance, count = reference(work), random.Random(seed), Count()
    moved = work.place.with_name(f"{work.place.name}.moved")
    for number in range(times):
        how = sorted(LOSSES)[number % len(LOSSES)]
        first = start(dataclasses.replace(work, fault=f"lost:{how}:{chance.randrange(1, work.runs[0].steps)}"))
        if how == "taken over":
            wait_for_a_lock_that_is_gone(work, first)
            if finish(work) != 0:
                count.faults.append(f"{how}: the process that took over failed")
        first.join(120)
        if first.exitcode != 1:
            count.faults.append(f"{how}: the process that lost the run ended with {first.exitcode}")
        if how == "study moved":
            if work.place.exists():
                count.faults.append(f"{how}: a ghost of the study was made")
                shutil.rmtree(work.place)
            moved.rename(work.place)
        count.faults += [f"{how}: {fault}" for fault in verify(StudyFolder(work.place))]
        if finish(work) != 0:
            count.faults.append(f"{how}: cannot go on")
        compare(work.place, expected, count)
        count.faults += [f"{how}: {fault}" for fault in verify(StudyFolder(work.place))]
        count.tried += 1
        shutil.rmtree(work.place)
        shutil.rmtree(work.place.with_name("run.moved"), ignore_errors=True)
    return count


def wait_for_a_lock_that_is_gone(work: Work, child: ForkServerProcess) -> None:
    """The lock of the first run, which was there."""
    folder = StudyFolder(work.place).run(work.runs[0].run_id).path
    while child.is_alive() and not (folder / "config.json").exists():
        time.sleep(0.01)
    while child.is_alive() and (folder / ".lock").exists():
        time.sleep(0.01)


def lacking_calls(work: Work) -> Count:
    """File systems without fsync of folders, or without links: the same rows. Without locks: refused at the start."""
    expected, count = reference(work), Count()
    calls = {"fsync": ("EINVAL", "ENOTSUP", "ENOSYS", "EBADF"), "link": ("EPERM", "ENOTSUP", "ENOSYS")}
    for name, codes in calls.items():
        for code in codes:
            count.tried += 1
            if finish(dataclasses.replace(work, fault=f"no_call:{name}:{code}")) != 0:
                count.faults.append(f"{name} gave {code}: the sweep failed")
            compare(work.place, expected, count)
            count.faults += verify(StudyFolder(work.place))
            shutil.rmtree(work.place)
    log = work.place.with_name("command.log")
    for code in ("ENOSYS", "ENOLCK", "ENOTSUP"):
        count.tried += 1
        words = ["sweep", "--study", "demo", "--depths", "8", "--results", str(work.place), "--device", "cpu"]
        if command_line(words, log, fault=f"no_call:flock:{code}") != 2 or "cannot be locked" not in log.read_text():
            count.faults.append(f"flock gave {code}: not refused")
        if work.place.exists():
            count.faults.append(f"flock gave {code}: something was made")
        log.unlink()
    return count


STUDY_FILES = ("plan.csv", "runs.csv", "curves.csv", "SHA256SUMS")
RUN_FILES = ("result.json", "config.json", "environment.json", "curves.csv", "checkpoint.pt")


def no_plain_files(work: Work, kinds: tuple[str, ...] = ("pipe", "device"), seconds: float = 60) -> Count:
    """Put a pipe, or a link to an endless device, in place of a finished study's files: no command waits or reads."""
    assert finish(work) == 0
    count, place, log = Count(), work.place, work.place.with_name("command.log")
    run = StudyFolder(place).run_folders()[0].path
    for path in [*(place / name for name in STUDY_FILES), *(run / name for name in RUN_FILES)]:
        kept = path.rename(place.with_name("kept"))
        for kind in kinds:
            if kind == "pipe":
                os.mkfifo(path)
            else:
                path.symlink_to("/dev/zero")
            for words in (
                ["verify", place],
                ["status", place],
                ["export", run, "--out", place.with_name("out.safetensors")],
            ):
                count.tried += 1
                try:
                    code = command_line([str(word) for word in words], log, seconds=seconds)
                except AssertionError:
                    count.faults.append(f"{words[0]} waits for a {kind} as {path.name}")
                    continue
                if code not in (0, 1, 2) or (words[0] == "verify" and code == 0) or "Traceback" in log.read_text():
                    count.faults.append(f"{words[0]} with a {kind} as {path.name} ended with {code}")
                log.unlink(missing_ok=True)
            path.unlink()
        kept.rename(path)
    return count


def foreign_repository(work: Work) -> Count:
    """What git exports to a hook names another repository: it is not touched, and not what is recorded."""
    other, count = work.place.with_name("other"), Count()
    other.mkdir()
    (other / "file").write_text("mine")
    for words in ("init -q", "add file", "-c user.name=a -c user.email=a@b commit -q -m mine"):
        git.run(other, *words.split())
    commit, before = git.run(other, "rev-parse", "HEAD"), _contents(other)
    settings = {"GIT_DIR": other / ".git", "GIT_INDEX_FILE": other / ".git" / "index", "GIT_WORK_TREE": other}
    for names in (("GIT_DIR",), ("GIT_INDEX_FILE",), tuple(settings)):
        count.tried += 1
        chosen = tuple((name, str(settings[name])) for name in names)
        if finish(dataclasses.replace(work, environ=chosen)) != 0:
            count.faults.append(f"{names}: the sweep failed")
        rows = read_csv(work.place / RUNS.file, RUNS)
        if any(row.git_commit == commit for row in rows):
            count.faults.append(f"{names}: the commit of the other repository is recorded")
        if _contents(other) != before:
            count.faults.append(f"{names}: the other repository was written to")
        shutil.rmtree(work.place)
    return count


def _contents(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def signals(work: Work, times: int) -> Count:
    """Every signal that asks to stop, in every phase of a run: saved, its own exit code, and gone on with."""
    expected, count = reference(work), Count()
    for phase, (number, code) in list(itertools.product(("step", "eval", "save", "publish"), SIGNALS.items())) * times:
        count.tried += 1
        ended = finish(dataclasses.replace(work, fault=f"signal_in:{phase}:{number}:1"))
        if ended != code:
            count.faults.append(f"{number} in {phase}: ended with {ended}")
        if finish(work) != 0:
            count.faults.append(f"{number} in {phase}: cannot go on")
        compare(work.place, expected, count)
        count.faults += verify(StudyFolder(work.place))
        shutil.rmtree(work.place)
    return count


# ---------------------------------------------------------------------------------------------- many processes


def many_processes(place: Path, processes: int, runs: int, fault: str = "") -> Count:
    """Processes that sweep one study at the same time: each run is done once, each row is there once."""
    work = Work(place, small_runs(runs, steps=4), fault=fault, checkpoint_seconds=1e9)
    count = Count(tried=runs)
    children = [start(work) for _ in range(processes)]
    for child in children:
        child.join(600)
        if child.exitcode != 0:
            count.faults.append(f"a process ended with {child.exitcode}")
    study = StudyFolder(place)
    try:
        rows = collect(study)
    except UsageError as error:
        count.faults.append(str(error))
        return count
    if len(rows) != runs:
        count.faults.append(f"{len(rows)} rows instead of {runs}")
    count.faults += [f"{row.run_id}: started {row.attempts} times" for row in rows if row.attempts != 1]
    count.faults += verify(study)
    before = [(place / table.file).read_bytes() for table in (RUNS, CURVES)]
    collect(study)
    if before != [(place / table.file).read_bytes() for table in (RUNS, CURVES)]:
        count.faults.append("collecting again gave other bytes")
    return count


def preemption_storm(work: Work, kill_probability: float, seed: int) -> Count:
    """A scheduler that kills the process with this probability every second, until all is done."""
    expected, chance, count = reference(work), random.Random(seed), Count()
    child = start(work)
    while child.is_alive():
        child.join(1.0)
        if child.is_alive() and chance.random() < kill_probability:
            child.kill()
            child.join()
            count.tried += 1
            child = start(work)
    compare(work.place, expected, count)
    return count


def soak(place: Path, runs: int) -> tuple[float, int, int]:
    """(growth of resident memory in percent, file descriptors gained, runs) of one process over many tiny runs."""
    work = Work(place, small_runs(runs, steps=2, row_every=2), checkpoint_seconds=1e9)
    child = start(work)
    samples: list[tuple[int, int]] = []
    while child.is_alive():
        time.sleep(0.5)
        if (sample := _memory_and_files(child.pid or 0)) is not None:
            samples.append(sample)
    child.join()
    assert child.exitcode == 0
    fifth = max(1, len(samples) // 5)
    settled, last = samples[fifth : 2 * fifth], samples[-fifth - 1 : -1]
    growth = 100 * (last[-1][0] - settled[0][0]) / settled[0][0]
    # Of files the fewest count: at any moment one may be open that is just being written, or a lock that is held.
    files = min(files for _, files in last) - min(files for _, files in settled)
    return growth, files, len(read_csv(place / RUNS.file, RUNS))


def _memory_and_files(pid: int) -> tuple[int, int] | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+)", status)
        return (int(match[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))) if match else None
    except OSError:
        return None
