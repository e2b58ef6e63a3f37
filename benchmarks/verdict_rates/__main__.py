"""`python -m benchmarks.verdict_rates`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.verdict_rates.bounds import failures
from benchmarks.verdict_rates.document import around, put_in, summary
from benchmarks.verdict_rates.rates import NUM_DEPTHS, NUM_SEEDS, Cell, run
from benchmarks.verdict_rates.truths import TRUTHS
from resnet_bench.errors import Failure, UsageError

SILENCE = 5.0  # seconds without a word


def run_all(studies: int) -> list[Cell]:
    """Every truth at every number of depths and seeds; tells how far it is."""
    wanted = [(t, depths, seeds) for t in TRUTHS for depths in NUM_DEPTHS if depths >= t.fewest for seeds in NUM_SEEDS]
    cells: list[Cell] = []
    said = time.monotonic()
    for truth, depths, seeds in wanted:
        cells.append(run(truth, seeds, depths, studies))
        if time.monotonic() - said > SILENCE:
            said = time.monotonic()
            print(f"{len(cells)} of {len(wanted)} cells", file=sys.stderr)
    return cells


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a rate is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict_rates", description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="simulated ones of each cell (1000)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables there, between its two markers")
    given = parser.parse_args(argv)
    if given.studies < 1:
        raise UsageError("--studies: at least 1")
    if given.write and not given.write.is_file():
        raise UsageError(f"{given.write}: there is no such file")
    if given.write:
        around(given.write.read_text())  # said before the work, not after it
    cells = run_all(given.studies)
    if given.write:
        given.write.write_text(put_in(given.write.read_text(), cells))
    else:
        print(summary(cells))
    failed = failures(cells)
    print(*failed, sep="\n", file=sys.stderr, end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UsageError, Failure) as error:
        print(f"verdict_rates: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
