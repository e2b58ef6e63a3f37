"""The study's file beside its results: when it is written, what it may become, and that verify reads it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from resnet_bench import studies
from resnet_bench.cli import main
from resnet_bench.config.study import Protocol, Study, twins
from resnet_bench.errors import UsageError
from resnet_bench.files import to_json
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.kept import STUDY, keep_study
from resnet_bench.study.records import SUMS
from resnet_bench.study.sums import sums_of, write_sums
from resnet_bench.study.verify import verify

FILE = """# a comment of mine
name = "tiny"
data = "digits"
seeds = [0]

[networks]
arms = ["plain", "residual-a"]
depths = [8]

[protocol]
steps = 4
batch_size = 8
rows = 1
row_train_images = 8
row_test_images = 8
final_train_images = 8
"""
STUDY_8 = Study(name="tiny", dataset="digits", seeds=(0,), networks=twins([8]), protocol=Protocol(steps=4))


def begin(folder: StudyFolder, study: Study) -> None:
    """Write down the runs, and what each is, as a sweep does."""
    runs = study.runs()
    folder.path.mkdir()
    folder.add_to_plan(runs)
    for run in runs:
        folder.run(run.run_id).path.mkdir(parents=True, exist_ok=True)
        identity = {"run_id": run.run_id, "dataset_digest": "0" * 64, "config": dataclasses.asdict(run)}
        folder.run(run.run_id).config.write_bytes(to_json(identity))


def test_the_file_is_kept_word_for_word_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "my.toml", tmp_path / "tiny"
    file.write_text(FILE)
    words = ["sweep", "--study", str(file), "--results", str(tmp_path), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    kept = folder / STUDY
    assert kept.read_text() == FILE and f"  {STUDY}\n" in (folder / SUMS).read_text()
    assert main(["verify", str(folder)]) == 0
    file.write_text(FILE.replace("steps = 4", "steps = 5"))
    capsys.readouterr()
    assert main(words) == 2
    assert "holds another study, or one that was added to since: protocol.steps is 5, was 4" in capsys.readouterr().err
    assert kept.read_text() == FILE
    file.write_text(FILE.replace("seeds = [0]", "seeds = [0, 1]"))
    assert main(words) == 0 and kept.read_text() == file.read_text()
    assert main(["verify", str(folder)]) == 0
    one = ["run", *words[1:], "--arch", "residual", "--shortcut", "b", "--depth", "14", "--seed", "7"]
    assert main(one) == 0 and kept.read_text() == file.read_text()
    assert main(["verify", str(folder)]) == 0
    text = kept.read_text().replace("batch_size = 8", "batch_size = 9")
    kept.write_text(text)
    write_sums(StudyFolder(folder))
    faults = verify(StudyFolder(folder))
    assert len(faults) == 5 and all("has batch_size 8, the study 9" in fault for fault in faults)
    kept.write_text("name = 5")
    write_sums(StudyFolder(folder))
    assert verify(StudyFolder(folder)) == [f"{kept}: data: is missing"]
    assert main(words) == 2 and kept.read_text() == "name = 5"


def test_a_study_on_other_data_or_with_flags_is_kept_as_it_is_then(tmp_path: Path) -> None:
    words = ["sweep", "--study", "demo", "--results", str(tmp_path), "--depths", "8", "--seeds", "0", "--lr", "0.5"]
    assert main([*words, "--device", "cpu", "--dry-run"]) == 0 and not (tmp_path / "demo-lr0.5").exists()
    study = studies.demo.on("pets")
    keep_study(StudyFolder(tmp_path / study.name), study)
    assert Study.load(tmp_path / "demo-pets" / STUDY) == study
    assert {run.protocol for run in study.runs()} == {"digits-220/1"}


def test_an_older_folder_gets_the_file_if_its_runs_agree(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "tiny")
    begin(folder, STUDY_8)
    write_sums(folder)
    keep_study(folder, STUDY_8)
    assert Study.load(folder.path / STUDY) == STUDY_8
    lines = (folder.path / SUMS).read_text().splitlines()
    assert lines == [f"{digest}  {name}" for name, digest in sums_of(folder).items()]
    (folder.path / STUDY).unlink()
    other = dataclasses.replace(STUDY_8, protocol=Protocol(steps=4, momentum=0.5))
    with pytest.raises(UsageError, match=r"holds runs of another study than tiny: run plain-.* has momentum 0\.9, the"):
        keep_study(folder, other)
    assert not (folder.path / STUDY).exists()


def test_a_folder_without_runs_takes_any_study_and_a_link_none(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "tiny")
    keep_study(folder, STUDY_8)
    other = dataclasses.replace(STUDY_8, protocol=Protocol(steps=7))
    keep_study(folder, other)
    assert Study.load(folder.path / STUDY) == other
    (folder.path / STUDY).rename(tmp_path / "elsewhere.toml")
    (folder.path / STUDY).symlink_to(tmp_path / "elsewhere.toml")
    with pytest.raises(UsageError, match="is a link, not a plain file"):
        keep_study(folder, other)


def test_a_planned_run_by_other_rules_is_a_fault(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "tiny")
    begin(folder, STUDY_8)
    keep_study(folder, STUDY_8)
    folder.add_to_plan(dataclasses.replace(STUDY_8, seeds=(1,), protocol=Protocol(steps=9)).runs())
    faults = [fault for fault in verify(folder) if STUDY in fault]
    assert len(faults) == 2 and all("of plan.csv is not by its rules" in fault for fault in faults)


def test_the_data_of_a_study_may_be_a_folder(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESNET_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    text = FILE.replace('"digits"', '"pets"').replace('name = "tiny"', 'name = "mine"').replace("= 8\n", "= 2\n")
    Path("my.toml").write_text(text)
    assert main(["study", "check", "my.toml"]) == 0
    assert "data      pets: " in capsys.readouterr().out
    words = ["sweep", "--study", "my.toml", "--device", "cpu", "--quiet"]
    assert main(words) == 0
    assert Path("results/mine", STUDY).read_text() == text and main(["verify", "results/mine"]) == 0
    image_folder.rename(tmp_path / "dogs")
    assert main(["study", "check", "my.toml"]) == 2
    assert "dataset 'pets' is unknown" in capsys.readouterr().err
