"""What `sweep` says beforehand: the runs in their order, and what of them fits into the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_bench.cli import main

WORDS = ("sweep", "--study", "demo", "--device", "cpu", "--dry-run")


def test_a_dry_run_says_the_order_and_what_fits_into_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--results", str(tmp_path), "--hours", "100000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line.removeprefix("to do  ").split("  ")[0] for line in lines[:12]]
    assert titles == [
        f"{name} seed {seed}" for seed in (0, 1, 2) for name in ("plain-56", "ResNet-56", "plain-20", "ResNet-20")
    ]
    assert lines[-1] == "in 100000 h: everything complete (12 runs)"
    assert main([*WORDS, "--results", str(tmp_path), "--hours", "0.000001"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "in 1e-06 h: no run finished"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hours", ["0", "-1", "soon", "inf"])
def test_hours_are_a_positive_number(hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, f"--hours={hours}"]) == 2
    assert f"'{hours}' is not a positive number of hours" in capsys.readouterr().err
