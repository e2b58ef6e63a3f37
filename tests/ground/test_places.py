"""Where the cache is, and what ~ stands for: also for a user without a home."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import torch

from resnet_bench import doctor
from resnet_bench.cli import main
from resnet_bench.errors import Failure, UsageError
from resnet_bench.places import find_cache, home_folder, user_path
from resnet_bench.trained import weight_files
from tests.conftest import ROOT


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom the system does not know; his folder for temporary files."""
    for name in ("HOME", "XDG_CACHE_HOME", "RESNET_BENCH_CACHE", "RESNET_BENCH_DATA", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", str)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"resnet-bench-cache-{os.getuid()}"


def test_the_cache_is_where_the_user_says_else_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ours = {"RESNET_BENCH_CACHE": "~/mine", "XDG_CACHE_HOME": "/elsewhere", "HOME": str(tmp_path)}
    assert find_cache(ours).folder == tmp_path / "mine"
    del ours["RESNET_BENCH_CACHE"]
    assert find_cache(ours).folder == Path("/elsewhere/resnet-bench")
    ours["XDG_CACHE_HOME"] = "relative"  # which its specification has ignored
    assert find_cache(ours).folder == tmp_path / ".cache" / "resnet-bench"
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_it_is_a_private_folder_among_the_temporary_ones(homeless: Path) -> None:
    assert home_folder() is None and home_folder({"HOME": "relative"}) is None
    cache = find_cache()
    assert cache.folder == homeless and cache.reason.startswith("there is no home folder; RESNET_BENCH_CACHE")
    assert homeless.stat().st_mode & 0o777 == 0o700
    assert find_cache().folder == homeless


def test_a_home_that_cannot_be_written_is_none(homeless: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = find_cache({"HOME": str(tmp_path / "file")})
    assert cache.folder == homeless and "file cannot be written" in cache.reason


def test_a_folder_that_others_can_reach_or_own_is_refused(homeless: Path, tmp_path: Path) -> None:
    homeless.mkdir(mode=0o777)
    homeless.chmod(0o777)
    with pytest.raises(Failure, match=r"not a folder of this user alone: .* set RESNET_BENCH_CACHE"):
        find_cache()
    homeless.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    homeless.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="not a folder of this user alone"):
        find_cache()
    homeless.unlink()
    if os.getuid() == 0:
        homeless.mkdir(mode=0o700)
        os.chown(homeless, 12345, 12345)
        with pytest.raises(Failure, match="not a folder of this user alone"):
            find_cache()


def test_no_place_at_all_is_one_line(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    assert main(["data", "list"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("resnet-bench: no place for the cache (No such file or directory): there is no home folder")
    assert error.count("\n") == 1
    assert "cache unknown: no place for the cache" in doctor.diagnosis()


def test_it_is_said(homeless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--data", "digits"]) == 0
    assert f"cache: {homeless} (there is no home folder;" in capsys.readouterr().out
    assert f"cache {homeless} (there is no home folder;" in doctor.diagnosis()


def test_weights_of_torchvision_need_no_home(homeless: Path) -> None:
    assert torch.hub.get_dir().startswith("~")
    assert weight_files._torch_folder() == homeless / "weights"


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "--study", "demo", "--data", "~nobody-at-all/x"],
        ["sweep", "--study", "demo", "--dry-run", "--results", "~nobody-at-all/x"],
        ["predict", "~nobody-at-all/x", "cat.png"],
        ["finetune", "--data", "~nobody-at-all/x", "--arch", "resnet18", "--mode", "scratch"],
    ],
)
def test_the_home_of_nobody_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "~nobody-at-all/x: no home folder is known for that" in error and error.count("\n") == 1


def test_homes_are_looked_up_in_one_place() -> None:
    with pytest.raises(UsageError, match="no home folder"):
        user_path("~nobody-at-all")
    for path in (ROOT / "resnet_bench").rglob("*.py"):
        code = ast.unparse(ast.parse(path.read_text()))
        assert path.name == "places.py" or not ("expanduser" in code or "Path.home" in code), path
