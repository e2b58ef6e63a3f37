"""Shared by all benchmarks: where results go, what they say of the machine, networks, data, one way to measure.

With `--benchmark-disable`, as in `make test`, every benchmark runs once and small, only to show that it works.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, TypeVar

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.peers.sides import why_not_compile
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import Fingerprint, configure, find_device, fingerprint, synchronize
from resnet_bench.execution import MODES, Execution, default_precision
from resnet_bench.git import is_foreign
from resnet_bench.training.state import Job

DEPTHS = (20, 56, 110)
SHORTCUTS = {"plain": "none", "residual": "a"}
STORAGE = "file://./.benchmarks"  # pytest-benchmark's own default
CUDA_ROUNDS = 20  # for each round on the CPU: a step takes milliseconds there
Result = TypeVar("Result")

for name in filter(is_foreign, list(os.environ)):  # these may run inside a hook of a repository
    del os.environ[name]


def is_small(config: pytest.Config) -> bool:
    """Do benchmarks only run once, to show that they work."""
    return bool(config.option.benchmark_disable and not config.option.benchmark_enable)


# ---------------------------------------------------------------------------------------------- results


def pytest_configure(config: pytest.Config) -> None:
    """Save under a folder for this very machine and software; pytest-benchmark reads the option after this."""
    if not is_small(config) and config.option.benchmark_storage == STORAGE:
        device = find_device()
        configure(device)
        config.option.benchmark_storage = f"{STORAGE}/{machine_name(fingerprint(device))}"


def machine_name(here: Fingerprint) -> str:
    """`<processor or GPU>-<digest of the fingerprint>`."""
    return f"{re.sub(r'[^a-z0-9]+', '-', here.device.lower()).strip('-')}-{here.digest}"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the fingerprint; leave out the host's name."""
    del machine_info["node"]
    machine_info["fingerprint"] = asdict(fingerprint(find_device()))


# ---------------------------------------------------------------------------------------------- what is measured


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark that asks for arch, depth and mode is run with each network in each mode."""
    if "mode" not in metafunc.fixturenames:
        return
    small, cases = is_small(metafunc.config), []
    for arch, depth, mode in itertools.product(SHORTCUTS, [8] if small else DEPTHS, MODES):
        quick = mode != "compile" or (metafunc.function.__name__, arch) == ("test_train_step", "residual")
        if quick or not small:  # compiling takes long: to show that it works, one network will do
            cases.append(_parameters(arch, depth, mode))
    metafunc.parametrize(("arch", "depth", "mode"), cases)


def _parameters(arch: str, depth: int, mode: str) -> Any:
    without_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    marks = [pytest.mark.cuda, without_gpu] if mode == "graph" else []
    return pytest.param(arch, depth, mode, marks=marks, id=f"{arch}-{depth}-{mode}")


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest) -> bool:
    """Is everything to be small."""
    return is_small(request.config)


@pytest.fixture(scope="session")
def device(small: bool) -> torch.device:
    """Where to run, set up as for training."""
    found = find_device()
    configure(found, threads=1 if small else None)
    return found


@pytest.fixture(scope="session")
def dataset(small: bool) -> Dataset:
    """Random images as large as CIFAR-10's."""
    return synthetic((3, 8, 8), num_train=64, num_test=32) if small else synthetic(num_train=10_000, num_test=2_000)


@pytest.fixture(scope="session")
def data(dataset: Dataset, device: torch.device) -> DeviceData:
    """The images on the device."""
    return DeviceData.of(dataset, device)


@pytest.fixture
def execution(mode: str, device: torch.device) -> Iterator[Execution]:
    """The mode of a benchmark, skipped where it cannot be had."""
    if mode == "compile" and (reason := why_not_compile(device.type)):
        pytest.skip(reason)
    yield Execution(mode, default_precision(device.type))
    if mode == "compile":
        torch.compiler.reset()  # what was compiled for one network is tried first for the next


@pytest.fixture(scope="session")
def make_job(data: DeviceData, small: bool) -> Callable[..., Job]:
    """Give arch and depth, and execution unless it is eager, for a run on the images."""

    def make(arch: str, depth: int, execution: Execution | None = None) -> Job:
        config = RunConfig(
            protocol="benchmark/1", dataset="synthetic", arch=arch, depth=depth, shortcut=SHORTCUTS[arch], seed=0,
            steps=10**9, batch_size=16 if small else 128,
        )  # fmt: skip
        return Job.of(config, data, execution or Execution("eager", default_precision(data.device.type)))

    return make


# ---------------------------------------------------------------------------------------------- measuring


class Measure:
    """One benchmark: rounds of one body, each until the device has done it, and facts that stand beside the times."""

    def __init__(self, benchmark: BenchmarkFixture, device: torch.device) -> None:
        self.benchmark = benchmark
        self.device = device

    def __call__(
        self,
        body: Callable[[], Result],
        group: str,
        *,
        rounds: int,
        warmup_rounds: int = 1,
        iterations: int = 1,
        images: int = 0,
        **facts: Any,
    ) -> Result:
        """Measure `body`, which works on `images` images; gives what it returned last."""

        def whole() -> Result:
            result = body()
            synchronize(self.device)
            return result

        self.benchmark.group = group
        self.benchmark.extra_info |= {"threads": torch.get_num_threads(), **facts}
        result: Result = self.benchmark.pedantic(
            whole, rounds=rounds, warmup_rounds=warmup_rounds, iterations=iterations
        )
        if images and self.benchmark.stats is not None:
            self.benchmark.extra_info |= {"images": images, "img_per_sec": images / self.benchmark.stats.stats.median}
        return result

    def network(
        self, body: Callable[[], Result], group: str, job: Job, *, rounds: int, images: int, **facts: Any
    ) -> Result:
        """Measure `body`, which runs the network of `job`."""
        config, execution = job.config, job.execution
        return self(
            body,
            group,
            rounds=rounds * (CUDA_ROUNDS if self.device.type == "cuda" else 1),
            warmup_rounds=2,
            images=images,
            arch=config.arch,
            depth=config.depth,
            mode=execution.mode,
            precision=execution.precision,
            batch=config.batch_size,
            **facts,
        )


@pytest.fixture
def measure(benchmark: BenchmarkFixture, device: torch.device) -> Measure:
    """How a benchmark measures."""
    return Measure(benchmark, device)
