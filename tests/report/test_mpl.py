"""Figures have the same bytes whatever a user's environment and settings tell matplotlib."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_bench.report.canvas import panels, save, styled
from resnet_bench.report.mpl import Figure
from tests.conftest import ROOT

HOSTILE = """backend: module://nonsense
text.usetex: True
font.size: 30
font.family: fantasy
savefig.dpi: 7
savefig.bbox: tight
figure.dpi: 11
axes.grid: False
svg.hashsalt: theirs
svg.fonttype: none
no.such.setting: 1
a line without a colon
"""


@styled
def draw() -> Figure:
    figure, (axes,) = panels(["a title"], "a caption", "a label")
    axes.plot([0, 1], [1, 2])
    return figure


@pytest.mark.parametrize("content", [HOSTILE.encode(), b"\xff not to be decoded"], ids=["hostile", "broken"])
def test_figures_are_the_same_bytes_under_any_settings(content: bytes, tmp_path: Path) -> None:
    there = tmp_path / "theirs"
    (there / ".config" / "matplotlib").mkdir(parents=True)
    for place in (there, there / ".config" / "matplotlib"):
        (place / "matplotlibrc").write_bytes(content)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG"))}
    environ |= {
        "PYTHONPATH": str(ROOT), "HOME": str(there), "MPLBACKEND": "module://nonsense",
        "MATPLOTLIBRC": str(there), "MPLCONFIGDIR": "/proc/none",
    }  # fmt: skip
    code = "from pathlib import Path; from tests.report.test_mpl import draw, save; save(draw(), Path('figure'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code], cwd=there, env=environ,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for path in save(draw(), tmp_path / "figure"):
        assert path.read_bytes() == (there / path.name).read_bytes()


def test_loading_leaves_the_process_as_it_was() -> None:
    code = (
        "import os; os.environ['MPLBACKEND'] = 'theirs'; before = dict(os.environ), os.path.exists\n"
        "import resnet_bench.report.canvas, sys\n"
        "assert before == (dict(os.environ), os.path.exists) and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
