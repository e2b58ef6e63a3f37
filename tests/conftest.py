"""Shared by all tests: small data, small runs, and the command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import configure
from resnet_bench.git import is_foreign, run
from resnet_bench.machine import available_cores

ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
Cli = Callable[..., subprocess.CompletedProcess[str]]
WriteModule = Callable[..., str]
IDENTITY = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

# Tests may run inside a hook of a repository, which must not be the one that they commit to.
for name in filter(is_foreign, list(os.environ)):
    del os.environ[name]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two test processes for each core: much of a test is waiting, for disks and for other processes."""
    return 2 * available_cores()


@pytest.fixture(scope="session", autouse=True)
def _configured() -> None:
    """A core of its own for each of several test processes, and for all that it starts: nothing waits for another."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "")
    if number and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(number.removeprefix("gw")) % len(cores)]})
    configure(CPU, threads=1)  # the networks here are tiny


def git(folder: Path, *words: str) -> str:
    """git in a temporary repository: none above the folder is found, no settings of a user count, none are made."""
    alone = {"GIT_CEILING_DIRECTORIES": str(folder.parent), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return run(folder, *words, more=alone | IDENTITY)


@pytest.fixture
def all_cores() -> Iterator[None]:
    """For a test that is about several cores: it, and what it starts, may use them all."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL_CORES)
    yield
    os.sched_setaffinity(0, mine)


@pytest.fixture(scope="session")
def small_data() -> Dataset:
    """96 random training images of 8x8, 32 test images, 4 classes."""
    return synthetic((3, 8, 8), num_train=96, num_test=32, num_classes=4)


@pytest.fixture
def small_run() -> RunConfig:
    """A run of under a second on `small_data`."""
    return RunConfig(
        protocol="test/1", dataset="synthetic-3x8x8", arch="residual", depth=8, shortcut="a", seed=0,
        steps=12, batch_size=16, lr=0.05, lr_drops=(6, 9), row_every=4, row_train_images=20,
    )  # fmt: skip


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/ and test/ with two classes of three and two 8x8 PNG images."""
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pets"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Call `resnet-bench` in a process of its own, in a folder of its own, without the network."""

    def call(*words: object, **environ: str) -> subprocess.CompletedProcess[str]:
        ours = ("RESNET_BENCH", "CHECKPOINT_SECONDS", "NO_COLOR", "FORCE_COLOR")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {"PYTHONPATH": str(ROOT), "RESNET_BENCH_OFFLINE": "1", "COLUMNS": "120"}
        env |= {"RESNET_BENCH_CACHE": str(tmp_path / "cache"), **environ}
        command = [sys.executable, "-m", "resnet_bench", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False)

    return call


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Write a module into the current folder, which is a temporary one; gives its name, which no other has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written: list[str] = []

    def write(source: str, name: str = "") -> str:
        written.append(name or f"module_{tmp_path.parent.name}_{tmp_path.name}_{len(written)}".replace("-", "_"))
        (tmp_path / f"{written[-1]}.py").write_text(source)
        return written[-1]

    yield write
    for name in written:
        sys.modules.pop(name, None)
