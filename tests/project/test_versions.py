"""The versions that pyproject.toml allows and those that tests run on: the lowest bounds are those that are tested."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from resnet_bench import __version__
from tests.conftest import ROOT


def pinned(name: str) -> dict[str, Version]:
    """Of a file of constraints, every line."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    pairs = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines]
    assert all(pairs), lines
    return {canonicalize_name(pair[1]): Version(pair[2]) for pair in pairs if pair}


def bounds() -> dict[str, Version]:
    """The lowest version of every direct dependency, extras included; each has one bound, from below."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest: dict[str, Version] = {}
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        (bound,) = requirement.specifier
        assert bound.operator == ">=", text
        assert lowest.setdefault(canonicalize_name(requirement.name), Version(bound.version)) == Version(bound.version)
    return lowest


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    assert pinned("constraints-lowest.txt") == bounds()


def test_the_usual_versions_are_allowed() -> None:
    usual = pinned("constraints.txt")
    assert all(usual[name] >= lowest for name, lowest in bounds().items())


def test_the_citation_is_of_this_version() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
