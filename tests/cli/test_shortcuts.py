"""Commands that say in a word what is called most, and studies that are named by their file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from resnet_bench.cli import main, make_parser
from resnet_bench.config.study import Study


@pytest.mark.parametrize(("word", "study"), [("demo", "demo"), ("cifar-sweep", "auto")])
def test_a_shortcut_is_the_sweep_of_a_study_with_its_cost(word: str, study: str) -> None:
    options = ["--depths", "8", "--seeds", "0,1", "--optimizer", "adam", "--executor", "ray"]
    short = vars(make_parser().parse_args([word, *options]))
    assert short == vars(make_parser().parse_args(["sweep", "--study", study, "--cost", *options]))
    assert make_parser().parse_args([word, "--no-cost"]).cost is False
    assert make_parser().parse_args(["sweep", "--study", study]).cost is False


def test_the_plan_of_the_demo(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["demo", "--dry-run", "--device", "cpu", "--results", str(tmp_path / "results")]) == 0
    assert "12 of 12 runs to do" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_study_file_stands_for_the_folder_of_the_name_inside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Study, "load", lambda path: SimpleNamespace(name="mine"), raising=False)
    Path("my.toml").touch()
    for words, folder in ((["my.toml"], "results/mine"), (["my.toml", "--results", "other"], "other/mine")):
        for command in ("status", "verify", "report", "surgery", "complexity", "throughput"):
            assert main([command, *words]) == 2
            assert f"{folder}: no such folder" in capsys.readouterr().err
    Path("results/mine").mkdir(parents=True)
    assert main(["status", "my.toml"]) == 0


def test_a_folder_is_not_looked_for_below_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["status", str(tmp_path), "--results", "results"]) == 2
    assert "--results is for a study file" in capsys.readouterr().err
