"""The long fault campaign: `make faults`. Writes docs/reliability.md; exits 1 if anything was lost or unnoticed."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_bench.data import folder as image_folders
from resnet_bench.data.tree import list_images
from resnet_bench.git import git_state
from resnet_bench.machine import available_cores, cpu_model
from resnet_bench.study.run import utc_now
from tests.conftest import ROOT
from tests.faults import checks
from tests.faults.test_faults import flippable
from tests.faults.work import Work, finish, small_runs

DOCUMENT = ROOT / "docs" / "reliability.md"
START, END = "<!-- campaign: written by make faults -->", "<!-- end of campaign -->"


@dataclass(frozen=True)
class Line:
    """One row of the document's table."""

    fault: str
    tried: str
    survived: str
    remark: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.tried == self.survived


def digits_work(place: Path, count: int, **values: object) -> Work:
    """Networks of 8 layers on digits, a few seconds each, with a checkpoint every second."""
    runs = tuple(dataclasses.replace(run, dataset="digits") for run in small_runs(count, steps=1500, row_every=50))
    return Work(place, runs, data="digits", checkpoint_seconds=1.0, **values)  # type: ignore[arg-type]


def kills(place: Path, scale: float) -> Line:
    number = round(300 * scale)
    count = checks.random_kills(digits_work(place / "study", 4), number, seed=0, workers=2, least=1.0, most=4.0)
    fault = "`kill -9` at random instants, two processes on one study, checkpoints every second"
    return report(fault, count, f"{count.resumed} attempts went on from a checkpoint")


def storms(place: Path, scale: float) -> Line:
    total = checks.Count()
    for seed in range(round(10 * scale)):
        work = digits_work(place / str(seed), 2)
        count = checks.preemption_storm(work, 0.3, seed)
        total.tried += count.tried
        total.faults += count.faults
    return report("preemption: killed with p = 0.3 every second until done", total, f"{round(10 * scale)} studies")


def crash_points(place: Path, scale: float) -> Line:
    total = checks.Count()
    for repetition in range(max(1, round(3 * scale))):
        count = checks.crash_points(Work(place / str(repetition), small_runs(1, steps=2, row_every=1)))
        total.tried += count.tried
        total.faults += count.faults
    return report("death before and after every fsync, rename, link, unlink and mkdir of a sweep", total, "")


def flips(place: Path, scale: float) -> Line:
    work = Work(place / "study", small_runs(2))
    assert finish(work) == 0
    images = place / "pets"
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (images / split / name).mkdir(parents=True)
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(images / split / name / "0.png")
    image_folders.read(list_images(images), "pets", place / "cache")
    cached = next((place / "cache" / "decoded").iterdir())
    files = flippable(work, cached)
    count = checks.bit_flips(files, round(2000 * scale), seed=0)
    return report(
        "one random bit flipped",
        count,
        f"{len(files)} kinds of file: checkpoint, results, digests, batch file, decoded images",
    )


def processes(place: Path, scale: float) -> Line:
    number, runs = max(2, round(16 * scale)), round(200 * scale)
    count = checks.many_processes(place / "study", number, runs)
    return report(f"{number} processes sweep one study: runs done exactly once", count, f"{runs} runs, {runs} rows")


def owners(place: Path, scale: float) -> Line:
    times = max(6, round(120 * scale))
    count = checks.lost_ownership(Work(place / "study", small_runs(2)), times, seed=0)
    return report("a run's lock or folder, or the study, taken away at a random step", count, "nothing damaged")


def disks(place: Path, scale: float) -> Line:
    count = checks.lacking_calls(Work(place / "study", small_runs(1, steps=2)))
    return report("file systems without fsync of folders, links or locks", count, "without locks: refused at the start")


def pipes(place: Path, scale: float) -> Line:
    count = checks.no_plain_files(Work(place / "study", small_runs(1, steps=2)))
    return report("pipes and devices in place of a study's files", count, "verify, status and export")


def signals(place: Path, scale: float) -> Line:
    count = checks.signals(Work(place / "study", small_runs(1)), max(1, round(4 * scale)))
    return report(f"{', '.join(checks.SIGNALS)} in every phase of a run", count, "saved, and gone on with")


def hooks(place: Path, scale: float) -> Line:
    count = checks.foreign_repository(Work(place / "study", small_runs(1, steps=2)))
    return report("the environment of a git hook, which names another repository", count, "")


def soak(place: Path, scale: float) -> Line:
    runs = round(1000 * scale)
    growth, files, rows = checks.soak(place / "study", runs)
    count = checks.Count(tried=runs)
    if growth >= 5 or files > 0 or rows != runs:
        count.faults.append(f"memory grew by {growth:.1f} %, {files} file descriptors were gained, {rows} rows")
    return report("one process, many tiny runs", count, f"memory {growth:+.1f} %, file descriptors {files:+d}")


def report(fault: str, count: checks.Count, remark: str) -> Line:
    for line in count.faults[:20]:
        print("  FAULT:", line)
    return Line(fault, f"{count.tried:,}", f"{max(0, count.tried - len(count.faults)):,}", remark, 0.0)


PARTS: dict[str, Callable[[Path, float], Line]] = {
    "kills": kills, "storms": storms, "crash-points": crash_points, "flips": flips, "processes": processes,
    "owners": owners, "signals": signals, "disks": disks, "pipes": pipes, "hooks": hooks, "soak": soak,
}  # fmt: skip


def to_markdown(lines: list[Line], command: str) -> str:
    commit, dirty = git_state()
    rows = "\n".join(
        f"| {line.fault} | {line.tried} | {line.survived} | {line.remark} | {line.seconds:.0f} s |" for line in lines
    )
    machine = f"{cpu_model()}, {available_cores()} cores"
    return f"""\
| fault | tried | survived | remark | time |
| --- | --- | --- | --- | --- |
{rows}

Command: `{command}`. Commit {commit[:12]}{" with changes" if dirty else ""}, {utc_now()}, {machine}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fraction of the counts (1); below 1 nothing is written"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; nothing is written")
    arguments = parser.parse_args()
    lines = []
    for name in arguments.only or PARTS:
        place = Path(tempfile.mkdtemp(prefix="resnet-bench-faults-"))
        started = time.monotonic()
        line = dataclasses.replace(PARTS[name](place, arguments.scale), seconds=time.monotonic() - started)
        shutil.rmtree(place, ignore_errors=True)
        lines.append(line)
        print(f"{name}: {line.survived} of {line.tried} survived, {line.remark} {line.seconds:.0f} s", flush=True)
    if arguments.scale == 1 and not arguments.only:
        before, _, rest = DOCUMENT.read_text().partition(START)
        DOCUMENT.write_text(f"{before}{START}\n\n{to_markdown(lines, 'make faults')}\n{END}{rest.partition(END)[2]}")
    return 0 if all(line.good for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
