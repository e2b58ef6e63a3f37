"""What a bug report needs: versions, device, threads, and where data was found."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from resnet_bench import __version__
from resnet_bench.cores import Cores, cores_here
from resnet_bench.data.sources import BUILTIN, find_source
from resnet_bench.environment import configure, find_device, fingerprint
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import default_precision
from resnet_bench.git import GitError, read_state
from resnet_bench.machine import cpu_model
from resnet_bench.places import find_cache
from resnet_bench.text import one_line

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "matplotlib", "fvcore", "scikit-learn", "pillow", "rich")
VARIABLES = ("RESNET_BENCH_DATA", "RESNET_BENCH_CACHE", "RESNET_BENCH_CIFAR10_URL", "RESNET_BENCH_OFFLINE")


def diagnosis() -> str:
    """The answer of `resnet-bench doctor`, a fact a line."""
    device = find_device("auto")
    configure(device)
    here = fingerprint(device)
    cores = cores_here()
    lines = [
        f"resnet-bench {__version__}, {_commit()}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {_version(name)}" for name in PACKAGES),
        f"CPU {cpu_model()}, {here.details['cpu_capability']}; {cores}",
        f"device auto = {device}: {here.device}, precision {default_precision(device.type)}; {_threads(cores)}",
        f"CUDA: {torch.cuda.device_count()} devices; torch was built for {torch.version.cuda or 'the CPU only'}",
        _cache(),
        *(f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)),
    ]
    lines += map(_data, BUILTIN)
    return "\n".join(map(one_line, lines)) + "\n"


def _commit() -> str:
    try:
        commit, dirty = read_state()
    except GitError as error:
        return f"commit unknown: {error.reason}"
    return f"commit {commit[:12]}{' with changes' if dirty else ''}"


def _cache() -> str:
    try:
        cache = find_cache()
    except (Failure, UsageError) as error:
        return f"cache unknown: {error}"
    return f"cache {cache.folder} ({cache.reason})"


def _data(name: str) -> str:
    try:
        source = find_source(name)
    except (Failure, UsageError) as error:
        return f"data {name}: {error}"
    return f"data {source.name}: {source.where} ({source.reason})"


def _threads(cores: Cores) -> str:
    """Of a run, and which rule holds."""
    by = f", by {cores.wished_by}" if cores.wish == cores.threads() else ""
    return f"threads of a run: {cores.threads()}{by}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
