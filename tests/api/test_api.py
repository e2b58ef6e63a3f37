"""The package as a library: what it exports, that it loads only what is needed, and that its examples run."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

import resnet_bench as rb
from resnet_bench.results.tables import CLAIMS, read_columns
from tests.conftest import ROOT

DIGITS = ROOT / "results" / "digits-full"


# ---------------------------------------------------------------------------------------------- exports


def declared() -> dict[str, str]:
    """What editors and mypy are told: the names imported where types are checked, with the modules they are from."""
    tree = ast.parse((ROOT / "resnet_bench" / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


@pytest.mark.parametrize("name", rb.__all__)
def test_what_is_exported_is_there_documented_and_one(name: str) -> None:
    value = getattr(rb, name)
    assert value.__doc__ and value is getattr(rb, name)
    home = import_module(declared()[name])
    assert getattr(home, name) is value


def test_editors_and_mypy_are_told_of_all_that_is_exported_and_of_nothing_else() -> None:
    assert sorted(declared()) == sorted(rb.__all__) == list(rb.__all__)
    assert sorted(dir(rb)) == sorted([*rb.__all__, "__version__"])
    assert (ROOT / "resnet_bench" / "py.typed").exists()
    with pytest.raises(AttributeError, match=r"module 'resnet_bench' has no attribute 'nothing'"):
        _ = rb.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in rb.__all__ if inspect.isfunction(getattr(rb, name))])
def test_every_argument_and_answer_has_a_type(name: str) -> None:
    function = getattr(rb, name)
    assert set(function.__annotations__) == {*inspect.signature(function).parameters, "return"}


LIGHT = {
    "import resnet_bench as rb": "torch pandas numpy matplotlib rich",
    "import resnet_bench as rb; rb.studies.find('demo'), rb.twins([8]), rb.Protocol(steps=4)": "torch pandas",
    f"import resnet_bench as rb; f = rb.load_study({str(DIGITS)!r}); rb.judge(f); rb.plot.curves(f)": "torch",
}


@pytest.mark.parametrize(("statements", "forbidden"), LIGHT.items())
def test_only_what_is_needed_is_loaded(statements: str, forbidden: str) -> None:
    code = f"import sys; {statements}; sys.exit(' '.join(set('{forbidden}'.split()) & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("module", ["resnet_bench", "resnet_bench.api", "resnet_bench.plot", "resnet_bench.frames"])
def test_the_examples_of_the_docstrings_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "digits-full").symlink_to(DIGITS)
    monkeypatch.chdir(tmp_path)  # an example may train
    result = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed


# ---------------------------------------------------------------------------------------------- reading results


def test_judging_gives_the_committed_claims() -> None:
    made, committed = rb.judge(rb.load_study(DIGITS)), read_columns(DIGITS / "claims.csv", CLAIMS)
    assert list(made.columns) == (DIGITS / "claims.csv").read_text().splitlines()[0].split(",")
    for name in made.columns:
        assert [None if pd.isna(value) else value for value in made[name]] == list(committed[name])


def test_a_folder_that_is_not_there_is_said_with_the_studies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    with pytest.raises(rb.UsageError, match=r"digit: no such folder; studies there: digits$"):
        rb.load_study(tmp_path / "digit")
