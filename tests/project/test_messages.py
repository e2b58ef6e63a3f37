"""No text of the package speaks of the Makefile: who installed a wheel has none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "resnet_bench"
MAKEFILE = (ROOT / "Makefile").read_text()
# Those that there are, and those that there were.
TARGETS = [*re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE), "counters", "dictionary", "docs", "transfer"]
VARIABLES = [*re.findall(r"^([A-Z]+) \?=", MAKEFILE, re.MULTILINE), "EXECUTOR", "ADDRESS", "OPTIMIZER", "SCHEDULE"]
OF_MAKE = re.compile(rf"\bmake ({'|'.join(TARGETS)})\b|(?<![\w-])({'|'.join(VARIABLES)})=")


def of_make(text: str) -> bool:
    """Does it speak of a target or of a variable of the Makefile."""
    return OF_MAKE.search(text) is not None


def texts(path: Path) -> Iterator[str]:
    """Every text in a module; of an f-string each part."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_text_speaks_of_the_makefile() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {text.strip()[:120]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in texts(path)
        if of_make(text)
    ]
    assert found == [], "name the option (--data, --results), or say it neutrally"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("run a study first (make demo)", True),
        ("use another RESULTS=", True),
        ("DATA=", True),
        ("or set DATA=/data", True),
        ("make room, or measure fewer", False),
        ("make it smaller", False),
        ("RESNET_BENCH_DATA=/data, OMP_NUM_THREADS=1", False),
        ("--data /data", False),
    ],
)
def test_what_speaks_of_the_makefile_is_told_from_what_does_not(text: str, meant: bool) -> None:
    assert of_make(text) == meant
