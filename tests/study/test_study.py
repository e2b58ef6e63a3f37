"""Studies end to end on tiny networks: run, skip, collect, refuse to mix, go on after a failure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from resnet_bench.cli.status import status_table
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.executors.local import sweep
from resnet_bench.results.tables import CURVES, PLAN, RUNS, read_csv
from resnet_bench.studies import find, names
from resnet_bench.study import run as run_module
from resnet_bench.study.checks import check_writable
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import DataShape, Plan, format_seconds, work
from resnet_bench.study.session import Session
from resnet_bench.study.sweep import Outcome
from tests.conftest import ROOT


def twins(base: RunConfig, seeds: tuple[int, ...] = (0,)) -> list[RunConfig]:
    arms = (("plain", "none"), ("residual", "a"))
    return [dataclasses.replace(base, arch=arch, shortcut=s, seed=seed) for seed in seeds for arch, s in arms]


def do(place: Path, dataset: Dataset, runs: list[RunConfig]) -> Outcome:
    study = StudyFolder(place)
    check_writable(study)
    session = Session.open(study, dataset, torch.device("cpu"))
    return sweep(session, Plan(runs, study.results(), DataShape(dataset.image_shape, 96, 32)), quiet=True)


def test_fewer_training_images_than_a_batch_are_refused_before_anything_is_made(
    tmp_path: Path, small_run: RunConfig
) -> None:
    few = synthetic((3, 8, 8), num_train=15, num_test=4, num_classes=4)
    with pytest.raises(UsageError, match=r"15 training images, fewer than the 16 of a batch.*--data with at least 16"):
        do(tmp_path / "tiny", few, twins(small_run))
    assert not (tmp_path / "tiny").exists()
    enough = synthetic((3, 8, 8), num_train=16, num_test=4, num_classes=4)
    assert [row.status for row in do(tmp_path / "tiny", enough, twins(small_run)).rows] == ["ok", "ok"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_without_images_are_refused(split: str, small_data: Dataset) -> None:
    none = {f"{split}_{what}": getattr(small_data, f"{split}_{what}")[:0] for what in ("images", "labels")}
    with pytest.raises(UsageError, match=f"no {'training' if split == 'train' else 'test'} images"):
        dataclasses.replace(small_data, **none)


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_study_leaves_what_the_dictionary_says(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    outcome = do(tmp_path / "tiny", small_data, twins(small_run))
    assert [row.status for row in outcome.rows] == ["ok", "ok"] and outcome.failed == []
    for table, count in ((PLAN, 2), (RUNS, 2), (CURVES, 6)):
        assert len(read_csv(tmp_path / "tiny" / table.file, table)) == count
    plain, residual = read_csv(tmp_path / "tiny" / "runs.csv", RUNS)
    assert (plain.arch, residual.arch) == ("plain", "residual")
    assert plain.init_digest == residual.init_digest and plain.batches_digest == residual.batches_digest
    assert (plain.params, plain.macs) == (residual.params, residual.macs)
    last = read_csv(tmp_path / "tiny" / "curves.csv", CURVES)[2]
    assert (plain.final_test_top1_err, plain.final_test_images) == (last.test_top1_err, 32)
    assert (plain.final_train_clean_top1_err, plain.final_train_clean_images) == (last.train_clean_top1_err, 96)
    folder = tmp_path / "tiny" / "runs" / plain.run_id
    assert {path.name for path in folder.iterdir()} >= {"config.json", "environment.json", "curves.csv", "result.json"}
    identity = json.loads((folder / "config.json").read_text())
    assert identity["run_id"] == plain.run_id and identity["dataset_digest"] == small_data.digest
    assert identity["config"]["weight_decay"] == 1e-4


def test_a_finished_run_is_never_run_again(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    before = contents(tmp_path / "tiny")
    do(tmp_path / "tiny", small_data, twins(small_run))
    assert contents(tmp_path / "tiny") == before
    assert len(do(tmp_path / "tiny", small_data, twins(small_run, seeds=(0, 1))).rows) == 4
    assert {name: value for name, value in contents(tmp_path / "tiny").items() if name in before and "runs/" in name} \
        == {name: value for name, value in before.items() if "runs/" in name}  # fmt: skip


def test_collecting_twice_gives_the_same_bytes(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    before = contents(tmp_path / "tiny")
    collect(StudyFolder(tmp_path / "tiny"))
    assert contents(tmp_path / "tiny") == before


def test_other_data_protocol_or_configuration_are_refused(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    do(tmp_path / "tiny", small_data, twins(small_run))
    before = contents(tmp_path / "tiny")
    other = synthetic((3, 8, 8), num_train=90, num_test=32, num_classes=4)
    with pytest.raises(UsageError, match="dataset_digest"):
        do(tmp_path / "tiny", other, twins(small_run, seeds=(5,)))
    with pytest.raises(UsageError, match="protocol"):
        do(tmp_path / "tiny", small_data, [dataclasses.replace(small_run, protocol="test/2", seed=5)])
    with pytest.raises(UsageError, match="residual-8 seed 0 stands there with another configuration"):
        do(tmp_path / "tiny", small_data, [dataclasses.replace(small_run, lr=0.01)])
    assert contents(tmp_path / "tiny") == before


def test_rows_are_never_dropped_because_run_folders_are_gone(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    import shutil

    do(tmp_path / "tiny", small_data, twins(small_run))
    shutil.rmtree(tmp_path / "tiny" / "runs")
    with pytest.raises(UsageError, match="holds 2 runs without a folder"):
        do(tmp_path / "tiny", small_data, twins(small_run))
    assert len(read_csv(tmp_path / "tiny" / "runs.csv", RUNS)) == 2


def test_a_run_that_fails_does_not_stop_the_others(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_module.fit

    def out_of_memory(state: object, job: run_module.Job, sink: object) -> None:
        if job.config.arch == "plain":
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(state, job, sink)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "fit", out_of_memory)
    outcome = do(tmp_path / "tiny", small_data, twins(small_run))
    assert [row.arch for row in outcome.rows] == ["residual"]
    assert len(outcome.failed) == 1 and "out of memory" in outcome.failed[0]
    assert "failed" in status_table(StudyFolder(tmp_path / "tiny"))
    monkeypatch.setattr(run_module, "fit", real)
    outcome = do(tmp_path / "tiny", small_data, twins(small_run))  # the same command goes on
    assert len(outcome.rows) == 2 and "failed" not in status_table(StudyFolder(tmp_path / "tiny"))
    assert outcome.rows[0].attempts == 2


def test_divergence_is_a_result_and_the_study_goes_on(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    wild = dataclasses.replace(small_run, arch="plain", shortcut="none", lr=1e18)
    outcome = do(tmp_path / "tiny", small_data, [wild, small_run])
    assert [row.status for row in outcome.rows] == ["diverged", "ok"] and outcome.failed == []
    assert outcome.rows[0].diverged_step and outcome.rows[0].final_test_top1_err is None
    assert "1 diverged, 1 done" in status_table(StudyFolder(tmp_path / "tiny"))


def test_disk_trouble_ends_the_sweep_with_the_path(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise Failure(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(run_module, "write_csv", full)
    with pytest.raises(Failure, match=r"curves\.csv: No space left"):
        do(tmp_path / "tiny", small_data, twins(small_run))
    assert StudyFolder(tmp_path / "tiny").results() == {}


def test_a_results_folder_that_cannot_be_written_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written: .*set --results"):
        check_writable(StudyFolder(tmp_path / "file" / "demo"))


def test_studies_hold_the_runs_that_the_documents_name() -> None:
    sizes = {name: len(find(name).runs()) for name in names()}
    assert sizes == {
        "demo": 12, "cifar10-short": 30, "cifar10-paper": 50, "fashion-mnist-short": 4,
        "cifar10-18-34-short": 4, "digits-full": 50, "digits-shortcuts": 27,
    }  # fmt: skip
    for study in map(find, names()):
        ids = [run.run_id for run in study.runs()]
        assert len(set(ids)) == len(ids) and len({run.protocol for run in study.runs()}) == 1


def test_depths_and_seeds_choose_runs_without_changing_them() -> None:
    study = find("cifar10-paper")
    everything = {run.run_id for run in study.runs()}
    assert {run.run_id for run in study.runs(depths=[20, 110], seeds=[0])} < everything


def test_the_results_folder_carries_the_name_of_the_data() -> None:
    assert find("cifar10-short").folder_name("cifar10") == "cifar10-short"
    assert find("cifar10-short").folder_name("cifar10-jpeg") == "cifar10-jpeg-short"
    assert find("demo").folder_name("digits") == "demo"
    assert find("demo").folder_name("pets") == "demo-pets"


def test_run_ids_are_stable_and_content_addressed(small_run: RunConfig) -> None:
    assert find("demo").runs()[0].run_id == "plain-none-d20-s0-676a7e47"
    assert dataclasses.replace(small_run, weight_decay=2e-4).run_id != small_run.run_id


def test_evaluation_took_about_a_quarter_of_the_committed_short_study() -> None:
    rows = [row for row in read_csv(ROOT / "results" / "cifar10-jpeg-short" / "runs.csv", RUNS) if row.exclusive]
    seconds = sum(row.eval_seconds for row in rows), sum(row.train_seconds for row in rows)
    assert len(rows) > 20 and seconds[0] < 0.27 * sum(seconds)


def test_the_first_table_of_the_readme_is_that_of_the_committed_study() -> None:
    table = (ROOT / "results" / "cifar10-jpeg-short" / "tables" / "errors.md").read_text()
    found = [line.split(" | ") for line in table.splitlines() if line[2:3].isdecimal()]
    expected = [[f"{cells[0]} layers", *cells[3:]] for cells in found]
    text = (ROOT / "README.md").read_text()
    assert len(expected) == 5
    for cells in expected:
        assert " | ".join(cells).replace(" (3)", "") in text


def test_evaluation_of_the_short_study_is_planned_under_a_quarter() -> None:
    shape = DataShape((3, 32, 32))
    for run in find("cifar10-short").runs():
        train = work(
            dataclasses.replace(run, row_every=10**9, final_train_images=1), DataShape((3, 32, 32), num_test=1)
        )
        assert (work(run, shape) - train) / work(run, shape) < 0.25


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (100, "2 min"), (7300, "2 h 2 min"), (86_400 * 3, "3.0 days")]
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
