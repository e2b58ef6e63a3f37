"""Is the gate right? Gates whose true answer is known: `python -m benchmarks.gate.campaign FOLDER [--budget 2]`.

Each is run as a user would, in a clone of this checkout at HEAD, with commits that plant what is to be found: real
work, more convolutions in the train step, as many as take a tenth (a quarter) of its time. Its record goes into FOLDER;
a gate whose record is there is not run again. An hour and a quarter with a budget of two minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.gated import train_step
from resnet_bench import git
from resnet_bench.gate.judgement import pair_log_ratio
from resnet_bench.timing import time_in_turn

ROOT = Path(__file__).parents[2]
ENGINE, ANCHOR = "resnet_bench/training/step.py", "    labels = data.train_labels[draws[:, 0].long()]\n"
PLANTED = """    planted = torch.ones(4, 16, 32, 32)
    for _ in range({count}):
        F.conv2d(planted, torch.ones(16, 16, 3, 3), padding=1)
"""
TINY = "    labels = labels + 0\n"
# kind: (branch of the head, branch of the base, gates, outcomes that are right, another program beside)
KINDS: dict[str, tuple[str, str, int, set[str], bool]] = {
    "identical": ("clean", "clean", 20, {"PASS", "UNDECIDED", "NOT MEASURED"}, False),
    "10 % slower": ("slower-10", "clean", 10, {"FAIL"}, False),
    "25 % faster": ("clean", "slower-25", 5, {"PASS", "UNDECIDED", "NOT MEASURED"}, False),
    "10 % slower, swapped": ("clean", "slower-10", 2, {"PASS", "UNDECIDED", "NOT MEASURED"}, False),
    "identical, loaded": ("clean", "clean", 10, {"PASS", "UNDECIDED", "NOT MEASURED"}, True),
    "one tiny operation": ("tiny", "clean", 1, {"FAIL"}, False),
}


def calibrate() -> dict[str, int]:
    """How many planted convolutions take a tenth and a quarter of a step, by 21 alternating rounds."""
    step, images = train_step("plain", "cpu").step, torch.ones(4, 16, 32, 32)
    weight = torch.ones(16, 16, 3, 3)
    whole, extra = time_in_turn([step, lambda: F.conv2d(images, weight, padding=1)], images.device, 21, 0.3)
    ratio = sorted(a / b for a, b in zip(whole, extra, strict=True))[len(whole) // 2]
    counts = {"slower-10": round(0.1 * ratio), "slower-25": round(0.25 * ratio)}
    print(f"a step takes as long as {ratio:.1f} planted convolutions: {counts}", flush=True)
    return counts


def make_clone(folder: Path) -> None:
    """A clone with a branch for each planted change, its counters accepted, so that only its time can give it away."""
    git.run(folder.parent, "clone", "--quiet", str(ROOT), str(folder.absolute()))
    git.run(folder, "config", "user.name", "gate campaign")
    git.run(folder, "config", "user.email", "campaign@localhost")
    git.run(folder, "branch", "clean")
    engine = folder / ENGINE
    text = engine.read_text()
    assert text.count(ANCHOR) == 1, "the train step has changed: mend the place of the planted work"
    branches = {name: PLANTED.format(count=count) for name, count in calibrate().items()} | {"tiny": TINY}
    for name, lines in branches.items():
        git.run(folder, "checkout", "--quiet", "-b", name, "clean")
        engine.write_text(text.replace(ANCHOR, ANCHOR + lines))
        if name != "tiny":
            run(folder, "counters", "--accept")
        git.run(folder, "commit", "--quiet", "--all", "--message", name)


def run(clone: Path, *words: str) -> tuple[int, str]:
    """`resnet-bench` in the clone, with the clone's own code: exit code and what it printed."""
    command = [sys.executable, "-m", "resnet_bench", *words]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def another_program(seed: int) -> Iterator[None]:
    """A process that loads one core for 3 to 10 seconds, rests for 5 to 25, and so on."""
    code = (
        f"import random, time\nluck = random.Random({seed})\n"
        "while True:\n"
        "    time.sleep(luck.uniform(5, 25))\n"
        "    end = time.time() + luck.uniform(3, 10)\n"
        "    while time.time() < end: sum(range(10_000))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def run_gates(folder: Path, clone: Path, budget: float) -> None:
    """Every gate that has no record yet, the kinds mixed, so that the machine's moods fall on all alike."""
    gates = [(kind, number) for kind, (_, _, count, _, _) in KINDS.items() for number in range(count)]
    random.Random(0).shuffle(gates)
    for done, (kind, number) in enumerate(gates):
        record = folder / f"{kind.replace(' ', '-').replace('%', 'percent').replace(',', '')}-{number:02}.json"
        if record.exists():
            continue
        head, base, _, right, loaded = KINDS[kind]
        git.run(clone, "checkout", "--quiet", head)
        started, temporary = time.monotonic(), record.with_suffix(".tmp")
        with another_program(number) if loaded else nullcontext():
            code, text = run(clone, "gate", "--base", base, "--budget", str(budget), "--record", str(temporary))
        last = text.strip().splitlines()[-1]
        if not temporary.exists():
            raise SystemExit(f"the gate broke: {text}")
        content = {"kind": kind, "code": code, "last": last, **json.loads(temporary.read_text())}
        temporary.unlink()
        record.write_text(json.dumps(content))
        mark = "right" if content["outcome"] in right else "WRONG"
        print(f"{done + 1}/{len(gates)} {time.monotonic() - started:4.0f} s  {kind}: {mark}: {last}", flush=True)


def summarise(folder: Path) -> bool:
    """Print the outcomes by kind; write every pair to pairs.csv. True if each gate was right."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    all_right = True
    for kind, (_, _, count, right, _) in KINDS.items():
        outcomes = Counter(record["outcome"] for record in records if record["kind"] == kind)
        good = sum(count for outcome, count in outcomes.items() if outcome in right)
        all_right &= good == count
        shown = ", ".join(f"{outcome} {times}" for outcome, times in outcomes.most_common())
        print(f"{kind}: {good} of {count} right ({shown})")
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "gate", "pair", "same", "head_first", "benchmark", "log_ratio"])
        for gate, record in enumerate(records):
            for number, pair in enumerate(record["pairs"]):
                for benchmark, base in pair["base_seconds"].items():
                    d = pair_log_ratio(base, pair["head_seconds"][benchmark])
                    known = [record["kind"], gate, number, int(pair["same"]), int(pair["head_first"])]
                    writer.writerow([*known, benchmark, f"{d:.5f}"])
    return all_right


def main() -> int:
    """Run what is not there yet, then sum up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float, default=2.0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    clone = arguments.folder / "clone"
    if not (clone / ".planted").exists():
        shutil.rmtree(clone, ignore_errors=True)
        make_clone(clone)
        (clone / ".planted").touch()
    run_gates(arguments.folder, clone, arguments.budget)
    return 0 if summarise(arguments.folder) else 1


if __name__ == "__main__":
    sys.exit(main())
