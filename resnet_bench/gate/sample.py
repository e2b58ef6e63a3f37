"""The process that times one side of a pair: `python -P sample.py FILE_OF_BENCHMARKS DEVICE [CORE]`, run as a script.

It belongs to the gate, not to the side: it imports nothing of resnet_bench itself, and the side's benchmarks import
what PYTHONPATH says. It answers requests, one JSON object a line on standard input, on standard output:

    {"do": "describe"}                            -> {"benchmarks": [names], "modules": {top-level module: its file}}
    {"do": "prepare", "benchmark": name}          -> {"images": per step, "seconds": of one step, after WARMUP_STEPS}
    {"do": "time", "benchmark": name, "steps": n} -> {"seconds": of n steps}

An error is answered by {"error": text}, and what a benchmark prints goes to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

WARMUP_STEPS = 3


class Side:
    """The benchmarks of one checkout."""

    def __init__(self, path: Path, device: str) -> None:
        self.module, self.device = _load(path), device
        self.ready: dict[str, Any] = {}

    def describe(self) -> dict[str, Any]:
        """Names of the benchmarks, and where everything that was imported lies."""
        files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items() if "." not in name}
        return {
            "benchmarks": list(self.module.BENCHMARKS),
            "modules": {name: file for name, file in files.items() if file},
        }

    def prepare(self, benchmark: str) -> dict[str, Any]:
        """Make a benchmark and warm it up."""
        made = self.ready[benchmark] = self.module.BENCHMARKS[benchmark](self.device)
        self.time(benchmark, WARMUP_STEPS)
        return {"images": made.images, **self.time(benchmark, 1)}

    def time(self, benchmark: str, steps: int) -> dict[str, Any]:
        """Seconds of some steps, until the device has done them."""
        step = self.ready[benchmark].step
        _wait_for_device()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        _wait_for_device()
        return {"seconds": time.perf_counter() - started}


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _wait_for_device() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    path, device, *core = sys.argv[1:]
    if core:  # before any thread is started
        os.sched_setaffinity(0, {int(core[0])})
    try:
        side: Side | None = Side(Path(path), device)
        failure = ""
    except Exception:
        side, failure = None, traceback.format_exc()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"error": failure} if side is None else getattr(side, request.pop("do"))(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
