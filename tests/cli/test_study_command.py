"""`resnet-bench study`: the built-in studies, their files, and what a file would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_bench import studies
from resnet_bench.cli import main

FILE = """name = "mine"
data = "synthetic:3x8x8"
seeds = [0, 1]
[networks]
arms = ["plain", "residual-a"]
depths = [8, 14]
[protocol]
steps = 40
lr_drops = [0.5]
[vary]
lr = [0.1, 0.01]
"""


@pytest.mark.parametrize("width", [50, 140])
def test_every_study_is_listed_within_the_window(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["study", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < width
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == studies.names()


def test_what_is_shown_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "show", "demo"]) == 0
    assert capsys.readouterr().out == (studies.FOLDER / "demo.toml").read_text()
    assert main(["study", "show", "nothing"]) == 2
    assert "study 'nothing' is unknown; one of cifar10-18-34-short, " in capsys.readouterr().err


@pytest.mark.parametrize("width", [50, 140])
def test_a_checked_file_says_what_it_would_do(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(FILE)
    assert main(["study", "check", "my.toml"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) < width
    for words in (
        "networks  plain-8, ResNet-8, plain-14, ResNet-14",
        "settings  lr=0.1; lr=0.01",
        "runs      16: 4 networks x 2 seeds x 2 settings",
        "resnet-bench sweep --study my.toml",
    ):
        assert words in told
    assert "40 steps of 128 images" in " ".join(told.split())


def test_a_wrong_file_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my.toml"
    for text, message in (
        (FILE.replace("steps = 40", "stepz = 40"), f"{file}: protocol.stepz: there is no such field; nearest: steps"),
        (FILE.replace("synthetic:3x8x8", "svnh"), "svnh"),
        (FILE.replace("lr = [", "lr [="), "(at line 11, column 4)"),
    ):
        file.write_text(text)
        assert main(["study", "check", str(file)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert main(["sweep", "--study", str(file), "--results", str(tmp_path / "results"), "--device", "cpu"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
