"""The long campaign on a cluster: `make cluster-check`. Last line: runs, rows, kills, what was lost or doubled."""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from resnet_bench.errors import UsageError
from resnet_bench.results.tables import RUNS
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from tests.cluster.nodes import Nodes, start_driver
from tests.faults import checks
from tests.faults.campaign import DOCUMENT, Line, to_markdown
from tests.faults.work import Work, small_runs

STEPS = 300
START, END = "<!-- cluster: written by make cluster-check -->", "<!-- end of cluster -->"


def campaign(place: Path, runs: int, kills: int, seed: int) -> tuple[dict[str, int], checks.Count]:
    """Kill workers, nodes and the driver at random until the study is done; (kills by kind, what came of it)."""
    chance, done = random.Random(seed), {"workers": 0, "nodes": 0, "drivers": 0}
    words = ("--runs", runs, "--steps", STEPS, "--checkpoint-seconds", 0.5)
    log, study = place / "log.txt", place / "study"
    nodes = Nodes(3)
    try:
        driver = start_driver(nodes.address, study, log, *words)
        while driver.poll() is None:
            time.sleep(chance.uniform(3.0, 9.0))
            kind = chance.choices(list(done), [6, 2, 2])[0]
            if kind == "workers" and not nodes.kill_worker(chance):
                continue
            if kind == "nodes":
                nodes.replace_one(chance)
            if kind == "drivers":
                driver.kill()
                driver.wait()
                driver = start_driver(nodes.address, study, log, *words)
            done[kind] += 1
            finished = len(StudyFolder(study).results(check_files=False)) if study.exists() else 0
            print(f"{sum(done.values())} kills ({kind}), {finished} of {runs} runs finished", flush=True)
        code = driver.returncode
    finally:
        nodes.shutdown()
    count = checks.Count(tried=sum(done.values()))
    if code:
        count.faults.append(f"the driver ended with {code}; see {log}")
    if count.tried < kills:
        count.faults.append(f"only {count.tried} kills before all was done; more --runs")
    reference = checks.reference(Work(place / "alone", small_runs(runs, steps=STEPS, row_every=STEPS // 4)))
    try:
        checks.compare(study, reference, count)
    except (AssertionError, OSError, UsageError) as error:  # what is not there cannot be compared
        count.faults.append(str(error))
    if not count.resumed:
        count.faults.append("no attempt went on from a checkpoint")
    count.faults += verify(StudyFolder(study))
    return done, count


def collected(study: Path) -> list[str]:
    """The runs in runs.csv, as they stand there: the schema's own reader refuses doubled ones."""
    path = study / RUNS.file
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row["run_id"] for row in csv.DictReader(file)]


def main() -> int:
    """Exit 1 if anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="(100)")
    parser.add_argument("--kills", type=int, default=20, help="at least (20)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="resnet-bench-cluster-"))
    started = time.monotonic()
    done, count = campaign(place, arguments.runs, arguments.kills, arguments.seed)
    rows = collected(place / "study")
    lost, doubled = arguments.runs - len(set(rows)), len(rows) - len(set(rows))
    for fault in count.faults:
        print("FAULT:", fault)
    kinds = ", ".join(f"{number} {kind}" for kind, number in done.items())
    if arguments.runs == 100 and not count.faults:
        fault = f"Ray, three nodes: `kill -9` at random instants ({kinds})"
        remark = f"{arguments.runs} runs, {len(rows)} rows, {count.resumed} attempts went on from a checkpoint"
        line = Line(fault, f"{count.tried}", f"{count.tried}", remark, time.monotonic() - started)
        before, _, rest = DOCUMENT.read_text().partition(START)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{START}\n\n{to_markdown([line], 'make cluster-check')}\n{END}{after}")
    shutil.rmtree(place, ignore_errors=True)
    print(
        f"{arguments.runs} runs, {len(rows)} rows, {count.tried} kills, {lost} lost, {doubled} doubled, "
        f"{'curves identical' if not count.faults else 'FAULTS: ' + str(len(count.faults))}"
    )
    return 1 if count.faults else 0


if __name__ == "__main__":
    sys.exit(main())
