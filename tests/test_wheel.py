"""The package as those have it who have no checkout: built, installed in an empty folder without git and make, run."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import resnet_bench
from tests.conftest import ROOT
from tests.project.test_messages import of_make

LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.pt", "*.lock", "*.tmp")
DOTTED = (".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-config.yaml")


@dataclass(frozen=True)
class Built:
    """The two files that are given to others."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of a copy of this checkout, and the wheel of what the sdist holds."""
    place = tmp_path_factory.mktemp("built")
    copy = place / "checkout"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    for mine in (copy / "results").glob("demo*"):
        shutil.rmtree(mine)
    for name in DOTTED:
        path = ROOT / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / name)
    sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    python(["-c", sdist, str(place)], copy)
    (archive,) = place.glob("*.tar.gz")
    words = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(place)]
    python(["-m", "pip", *words, str(archive)], place)
    (wheel,) = place.glob("*.whl")
    return Built(archive, wheel)


def python(words: list[str], folder: Path) -> None:
    """Call this Python; what it prints is shown if it fails."""
    words = [sys.executable, *words]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    inside = set(zipfile.ZipFile(built.wheel).namelist())
    mine = {name for name in inside if ".dist-info/" not in name}
    files = (path for path in (ROOT / "resnet_bench").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert mine == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"resnet_bench/py.typed", "resnet_bench/report/report.html.jinja"} <= mine
    assert f"resnet_bench-{resnet_bench.__version__}.dist-info/licenses/LICENSE" in inside


def test_the_wheel_says_whose_it_is_and_links_to_nothing_that_is_not_there(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        told = wheel.read(f"resnet_bench-{resnet_bench.__version__}.dist-info/METADATA").decode()
    for line in ("License-Expression: MIT", "Author: the resnet_bench authors", "Requires-Python: >=3.11"):
        assert line in told.splitlines()
    _, _, page = told.partition("\n\n")
    assert page.startswith("# resnet_bench")
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert links and all(link.startswith("https://") for link in links), "an index shows this page without our files"


def test_the_sdist_holds_what_tests_and_documents_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "Makefile", "LICENSE", "CITATION.cff", "constraints.txt", "constraints-lowest.txt", "tests/conftest.py",
        "benchmarks/counters.json", "docs/data.md", "results/README.md", "results/digits-full/runs.csv",
    ):  # fmt: skip
        assert name in names, name
    assert not [name for name in names if name.endswith((".pyc", ".pt")) or name.startswith("results/demo")]


def test_the_demo_of_the_wheel_without_git_and_make(built: Built, tmp_path: Path) -> None:
    here, home, temporary, venv = (tmp_path / name for name in ("here", "home", "temporary", "venv"))
    for folder in (here, home, temporary):
        folder.mkdir()
    install(built.wheel, venv)
    before = files_of(venv)
    environ = {"HOME": home, "TMPDIR": temporary, "PATH": venv / "bin", "PYTHONDONTWRITEBYTECODE": "1"}
    demo = (
        "demo --depths 8 --seeds 0 --device cpu --mode eager --threads 1 --no-cost"  # the least that ends in a report
    )
    said = ""
    for words in (demo, "verify results/demo", "status results/demo"):
        done = subprocess.run(
            ["resnet-bench", *words.split()], cwd=here, env={name: str(value) for name, value in environ.items()},
            executable=venv / "bin" / "resnet-bench", capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    assert not (wrong := [line for line in said.splitlines() if of_make(line)]), wrong
    assert not re.search(r"\bgit\b", said)
    study = here / "results" / "demo"
    assert (study / "report.html").stat().st_size > 10_000
    with (study / "runs.csv").open(newline="") as file:
        assert [(row["arch"], row["git_commit"], row["git_dirty"]) for row in csv.DictReader(file)] == [
            ("plain", "", ""), ("residual", "", ""),
        ]  # fmt: skip
    assert [path.name for path in here.iterdir()] == ["results"] and [*(here / "results").iterdir()] == [study]
    assert files_of(venv) == before and not files_of(temporary)
    assert all("matplotlib" in path for path in files_of(home)), "matplotlib keeps its list of fonts there"


def install(wheel: Path, venv: Path) -> None:
    """Into a new environment that sees the packages which are here, but not the checkout that they belong to."""
    python(["-m", "venv", "--without-pip", str(venv)], wheel.parent)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", "--no-compile", str(wheel)]
    python(["-m", "pip", "--python", str(venv / "bin" / "python"), *words], wheel.parent)


def files_of(folder: Path) -> set[str]:
    """What lies in it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
