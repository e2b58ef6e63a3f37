"""`make fuzz`: the fuzz tests again and again, each time with other examples, until the minutes are over."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.conftest import ROOT

EXAMPLES = 200  # of each test, in one round


def main() -> int:
    """Exit code 1 at the first round in which a test fails; its seed is in the command that is printed."""
    minutes, started, rounds = float(sys.argv[1]), time.monotonic(), 0
    while not rounds or time.monotonic() - started < 60 * minutes:
        seed = time.time_ns() % 2**32
        words = ["-m", "pytest", "tests/fuzz", "-x", "-n", "auto", f"--hypothesis-seed={seed}"]
        print(f"round {rounds + 1}: FUZZ_EXAMPLES={EXAMPLES} python {' '.join(words)}", flush=True)
        environ = {**os.environ, "FUZZ_EXAMPLES": str(EXAMPLES)}
        if subprocess.run([sys.executable, *words], cwd=ROOT, env=environ, check=False).returncode:
            return 1
        rounds += 1
    print(f"{rounds} rounds of {EXAMPLES} examples a test, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
