"""Runs of one study from several machines: joined, verified, nothing overwritten, broken off and gone on with."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_bench.analysis.rules import VERSION
from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.config.study import Protocol, Study
from resnet_bench.config.study import twins as twins_of
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER
from resnet_bench.files import write_json
from resnet_bench.results.tables import PLAN, RUNS, read_csv, to_csv
from resnet_bench.study import merge as merge_module
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.merge import Merged, merge
from resnet_bench.study.verify import verify
from tests.study.test_study import contents, do, twins


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, small_data: Dataset) -> Path:
    """Folders of one study: of seed 0, of seeds 0 and 1."""
    base = RunConfig(
        protocol="test/1", dataset="synthetic-3x8x8", arch="residual", depth=8, shortcut="a", seed=0,
        steps=4, batch_size=16, lr=0.05, row_every=2, row_train_images=20,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("machines")
    do(place / "a", small_data, twins(base))
    do(place / "b", small_data, twins(base, seeds=(0, 1)))
    return place


@pytest.fixture
def copies(machines: Path, tmp_path: Path) -> Path:
    shutil.copytree(machines, tmp_path, dirs_exist_ok=True)
    return tmp_path


def keep(folder: StudyFolder, seeds: tuple[int, ...]) -> None:
    """Give it the file of the study that its runs are of, with these seeds."""
    protocol = Protocol(
        name="test/1", steps=4, batch_size=16, lr=0.05, row_every=2, row_train_images=20, augmentation="crop-flip"
    )
    study = Study(name="made", dataset="synthetic-3x8x8", seeds=seeds, networks=twins_of([8]), protocol=protocol)
    (folder.path / "study.toml").write_text(study.to_toml())
    (folder.path / "SHA256SUMS").unlink()
    with folder.lock():
        merge_module.collect(folder)


def studies(place: Path, *names: str) -> list[StudyFolder]:
    return [StudyFolder(place / name) for name in names]


def test_a_new_folder_gets_all_and_the_others_are_left_as_they_are(copies: Path) -> None:
    a, b, into = studies(copies, "a", "b", "into")
    before = contents(a.path), contents(b.path)
    merged = merge(into, [a, b])
    assert (len(merged.copied), merged.already, merged.unfinished) == (4, 0, 0)
    assert (contents(a.path), contents(b.path)) == before
    assert verify(into) == [] and into.read_execution() == b.read_execution()
    assert len(read_csv(into.path / RUNS.file, RUNS)) == len(into.read_plan()) == 4
    for run_id, folder in ((run_id, into.run(run_id)) for run_id in merged.copied):
        source = (a if "s0" in run_id else b).run(run_id)
        assert (folder.path / "checkpoint.pt").read_bytes() == (source.path / "checkpoint.pt").read_bytes()
    after = contents(into.path)
    assert merge(into, [a, b]) == Merged([], 4, 0) and contents(into.path) == after


def test_only_what_lacks_is_copied(copies: Path) -> None:
    a, b = studies(copies, "a", "b")
    kept = contents(a.path / "runs")
    merged = merge(a, [b])
    assert sorted(run_id.split("-")[3] for run_id in merged.copied) == ["s1", "s1"] and merged.already == 2
    assert kept.items() <= contents(a.path / "runs").items() and verify(a) == []


def planned(folder: StudyFolder) -> dict[int, set[int]]:
    """The versions of the rules that its runs were planned under, by seed."""
    found: dict[int, set[int]] = {}
    for row in folder.read_plan():
        found.setdefault(row.seed, set()).add(row.rules)
    return found


def replan(folder: StudyFolder, rules: int) -> None:
    """As if it had been planned under other rules; 0: before that was recorded."""
    rows = [dataclasses.replace(row, rules=rules, twin_digest=row.twin_digest if rules else "")
            for row in folder.read_plan()]  # fmt: skip
    later = () if rules else ("setting", "rules", "twin_digest")
    columns = [name for name in PLAN.columns if name not in later]
    (folder.path / PLAN.file).write_text(to_csv(PLAN, rows, columns))
    with folder.lock():
        merge_module.collect(folder)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_two_machines_planned_has_the_earlier_rules(copies: Path, first: bool) -> None:
    a, b, into = studies(copies, "a", "b", "into")
    replan(b, VERSION + 1)
    merge(into, [a, b] if first else [b, a])
    assert planned(into) == {0: {VERSION}, 1: {VERSION + 1}} and verify(into) == []


def test_a_plan_from_before_the_rules_were_recorded_stays_that(copies: Path) -> None:
    a, b, again = studies(copies, "a", "b", "again")
    shutil.copytree(a.path, again.path)
    replan(a, 0)
    before = (a.path / PLAN.file).read_bytes()
    merge(a, [again])
    assert (a.path / PLAN.file).read_bytes() == before
    merge(a, [b])
    assert planned(a) == {0: {0}, 1: {VERSION}} and verify(a) == []


def test_a_run_that_was_only_begun_makes_way_for_a_finished_one(copies: Path) -> None:
    a, b = studies(copies, "a", "b")
    run_id = next(iter(b.results().keys() - a.results().keys()))
    shutil.copytree(b.run(run_id).path, a.run(run_id).path)
    for name in ("result.json", "checkpoint.pt"):
        (a.run(run_id).path / name).unlink()
    with a.run(run_id).lock(), pytest.raises(UsageError, match=f"1 run in work there .{run_id}"):
        merge(a, [b])
    assert run_id in merge(a, [b]).copied and verify(a) == []
    assert not (a.path / "runs" / ".merge").exists()


def test_different_results_of_one_run_are_refused_by_name(
    copies: Path, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = studies(copies, "a", "b")
    run_id, row = next(iter(a.results().items()))
    real = StudyFolder.results

    def results(self: StudyFolder, **options: Any) -> dict[str, Any]:
        rows = real(self, **options)
        return rows | {run_id: dataclasses.replace(row, final_test_top1_err=1.25)} if self == b else rows

    monkeypatch.setattr(StudyFolder, "results", results)
    before = contents(a.path)
    with pytest.raises(UsageError, match=rf"run {run_id} is finished in .* different results: final_test_top1_err"):
        merge(a, [b])
    assert contents(a.path) == before


def test_what_is_not_one_study_is_refused(copies: Path, small_run: RunConfig, small_data: Dataset) -> None:
    (a,) = studies(copies, "a")
    before = contents(a.path)
    tiny = dataclasses.replace(small_run, steps=2, row_every=2, seed=7)
    other = synthetic((3, 8, 8), num_train=90, num_test=32, num_classes=4)
    refused: list[tuple[RunConfig, Dataset, str]] = [
        (dataclasses.replace(tiny, protocol="test/2"), small_data, "has protocol test/2, run .* has test/1"),
        (tiny, other, "has dataset_digest"),
        (dataclasses.replace(tiny, seed=0), small_data, "residual-8 seed 0 is planned with another configuration"),
    ]
    for number, (run, data, what) in enumerate(refused):
        do(copies / f"other{number}", data, [run])
        with pytest.raises(UsageError, match=what):
            merge(a, studies(copies, f"other{number}"))
    with pytest.raises(UsageError, match="cannot be merged into itself"):
        merge(a, [a])
    with pytest.raises(UsageError, match="no folder of a study"):
        merge(a, studies(copies, "nothing"))
    assert contents(a.path) == before


def test_another_execution_or_study_file_is_refused(copies: Path) -> None:
    a, b = studies(copies, "a", "b")
    keep(a, (0,))
    keep(b, (1,))
    with pytest.raises(UsageError, match=r"b/study\.toml: another study than .*a/study\.toml, where seeds is without"):
        merge(a, [b])
    (b.path / "study.toml").unlink()
    other = dataclasses.replace(EAGER, memory_format="nhwc", threads=1)
    write_json(b.path / "execution.json", dataclasses.asdict(other))
    with b.lock():
        merge_module.collect(b)
    with pytest.raises(UsageError, match="the study is made in mode eager, fp32, nhwc"):
        merge(a, [b])


def test_a_study_file_that_was_added_to_is_taken(copies: Path) -> None:
    a, b = studies(copies, "a", "b")
    keep(a, (0,))
    keep(b, (0, 1))
    wider = (b.path / "study.toml").read_bytes()
    assert merge(a, [b]).copied and (a.path / "study.toml").read_bytes() == wider and verify(a) == []
    keep(b, (0,))
    assert merge(a, [b]).copied == [] and (a.path / "study.toml").read_bytes() == wider and verify(a) == []


def test_what_is_damaged_is_refused(copies: Path) -> None:
    a, b = studies(copies, "a", "b")
    path = next(iter(b.path.glob("runs/*/curves.csv")))
    path.write_text(path.read_text().replace(",", ";", 1))
    with pytest.raises(Failure, match="is not what was written, so nothing was copied"):
        merge(a, [b])
    assert len(a.results()) == 2


@pytest.mark.parametrize(
    ("at", "call"), [("_copy_file", 1), ("_copy_file", 3), ("write_atomically", 1), ("collect", 1)]
)
def test_broken_off_anywhere_it_goes_on(copies: Path, monkeypatch: pytest.MonkeyPatch, at: str, call: int) -> None:
    a, b = studies(copies, "a", "b")
    calls, real = 0, getattr(merge_module, at)

    def die(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(merge_module, at, die)
        with pytest.raises(KeyboardInterrupt):
            merge(a, [b])
    merge(a, [b])
    assert verify(a) == [] and len(a.results()) == 4 and not (a.path / "runs" / ".merge").exists()


def test_on_the_command_line(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call: Callable[..., int] = lambda *words: main(["merge", *map(str, words)])  # noqa: E731
    assert call(copies / "into", copies / "a", copies / "b") == 0
    out = capsys.readouterr().out
    assert "into: 4 runs copied and verified; 0 were there with the same results, 0 planned ones" in out
    assert call(copies / "into", copies / "none") == 2
    assert "none: no such folder" in capsys.readouterr().err
