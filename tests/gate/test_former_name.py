"""Files of benchmarks that were written for the gate's former name go on to work, and are told of the new one."""

from __future__ import annotations

import importlib
import sys

import pytest

from resnet_bench.gate.benchmark import Benchmark


def test_the_former_import_warns_and_gives_the_same_class() -> None:
    sys.modules.pop("resnet_bench.regression.benchmark", None)
    with pytest.warns(DeprecationWarning, match=r"is resnet_bench\.gate\.benchmark now"):
        former = importlib.import_module("resnet_bench.regression.benchmark")
    assert former.Benchmark is Benchmark
