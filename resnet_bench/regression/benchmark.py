"""`resnet_bench.gate.benchmark` under its former name, for one release more."""

import warnings

from resnet_bench.gate.benchmark import Benchmark

__all__ = ["Benchmark"]

warnings.warn(
    "resnet_bench.regression.benchmark is resnet_bench.gate.benchmark now; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
