"""Studies that vary what runs take of their data: one folder, several settings, each compared with its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_bench.analysis.rules import VERSION
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.prepare import prepare
from resnet_bench.errors import UsageError
from resnet_bench.execution import Execution
from resnet_bench.executors.local import collect_now, open_plan, sweep
from resnet_bench.executors.ray.shared import Demand, Flag, Settled, Shared, Terms, versions
from resnet_bench.executors.ray.worker import do_run, settle
from resnet_bench.results.rows import PlanRow, RunRow
from resnet_bench.results.tables import CURVES, PLAN, read_csv, to_csv, write_csv
from resnet_bench.study import folder as folder_module
from resnet_bench.study.checks import check
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import DataShape, Plan, work
from resnet_bench.study.session import Session
from resnet_bench.study.verify import verify
from resnet_bench.trained.runs import checkpoint_of_run
from tests.conftest import CPU, ROOT

SIDES = (8, 4)


def varied(base: RunConfig, seed: int = 0) -> list[RunConfig]:
    """Twins at each side."""
    runs = [replace(base, seed=seed, image_side=side, crop_padding=2) for side in SIDES]
    return [replace(run, arch=arch, shortcut=s) for run in runs for arch, s in (("plain", "none"), ("residual", "a"))]


def plan_of(place: Path, dataset: Dataset, runs: list[RunConfig]) -> Plan:
    settings = {run.run_id: f"image_side={run.image_side}" for run in runs}
    return Plan(runs, StudyFolder(place).results(), DataShape.of_data(dataset), settings)


def do(place: Path, dataset: Dataset, runs: list[RunConfig], jobs: int = 1) -> list[RunRow]:
    session = Session.open(StudyFolder(place), dataset, CPU, jobs=jobs)
    return sweep(session, plan_of(place, dataset, runs), quiet=True).rows


def bits(place: Path) -> list[object]:
    rows = read_csv(place / CURVES.file, CURVES)
    digests = [(row.dataset_digest, row.batches_digest) for row in StudyFolder(place).results().values()]
    return [replace(row, train_seconds=0.0, eval_seconds=0.0) for row in rows] + digests


def test_a_study_of_two_sides_has_the_same_bits_side_by_side(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    runs = varied(small_run)
    rows = do(tmp_path / "one", small_data, runs)
    assert {(row.input_size, row.dataset_digest) for row in rows} == {
        ("8x8x3", small_data.digest),
        ("4x4x3", prepare(small_data, 4).digest),
    }
    by_side = {size: [row for row in rows if row.input_size == size] for size in ("8x8x3", "4x4x3")}
    for plain, residual in by_side.values():
        assert plain.batches_digest == residual.batches_digest and plain.init_digest == residual.init_digest
    assert by_side["8x8x3"][0].macs > 3 * by_side["4x4x3"][0].macs
    assert verify(StudyFolder(tmp_path / "one")) == []
    do(tmp_path / "two", small_data, runs, jobs=2)
    assert bits(tmp_path / "one") == bits(tmp_path / "two")


def test_a_node_of_a_cluster_prepares_for_each_run_and_has_the_same_bits(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    runs = [run for run in varied(small_run) if run.arch == "plain"]
    do(tmp_path / "here", small_data, runs)
    study = StudyFolder(tmp_path / "there")
    (study.path / "runs").mkdir(parents=True)
    with Flag.raised(study) as flag:
        plan = plan_of(study.path, small_data, runs)
        shared = Shared(Terms(study, flag, Demand(), versions()), small_data, plan.shape, 60.0)
        settled = settle(shared, Execution(), plan, "eager")
        assert isinstance(settled, Settled), settled
        assert [do_run(shared, settled.execution, run).kind for run in runs] == ["done", "done"]
    open_plan(study, plan, small_data)
    collect_now(study)
    assert bits(study.path) == bits(tmp_path / "here")


def test_few_images_of_each_class_are_all_that_a_run_sees(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    run = replace(small_run, images_per_class=4, batch_size=8)
    (row,) = do(tmp_path / "few", small_data, [run])
    assert (row.train_images, row.final_train_clean_images, row.final_test_images) == (16, 16, 32)
    assert row.dataset_digest == prepare(small_data, images_per_class=4).digest
    assert [curve.epoch for curve in read_csv(tmp_path / "few" / "curves.csv", CURVES)] == [2.0, 4.0, 6.0]


def test_finished_runs_are_compared_with_those_of_their_setting(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    place = tmp_path / "two"
    plain = [run for run in varied(small_run) if run.arch == "plain"]
    done = do(place, small_data, plain)
    assert len(do(place, small_data, [*plain, *(replace(run, seed=1) for run in plain)])) == 2 * len(done)
    other = synthetic((3, 8, 8), num_train=90, num_test=32, num_classes=4)
    with pytest.raises(UsageError, match="dataset_digest"):
        do(place, other, [replace(run, seed=2) for run in plain])
    with pytest.raises(UsageError, match="protocol"):
        do(place, small_data, [replace(run, seed=2, protocol="test/2") for run in plain])
    with pytest.raises(UsageError, match="plain-8 seed 0 with image_side=4 stands there with another configuration"):
        do(place, small_data, [replace(plain[1], lr=0.01)])


def test_what_cannot_be_had_is_refused_before_anything_is_made(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    few = replace(small_run, images_per_class=3)
    many = replace(small_run, images_per_class=90)
    wrong = replace(small_run, image_side=5)
    wide = replace(small_run, crop_padding=8)
    for run, told in (
        (few, r"12 training images, fewer than the 16 of a batch.*images_per_class"),
        (many, r"training images; 90 are needed"),
        (wrong, r"image_side 5: images of 8x8 pixels"),
        (wide, r"crop_padding 8: crops of images of 8 pixels"),
    ):
        with pytest.raises(UsageError, match=told):
            do(tmp_path / "none", small_data, [run])
    assert not (tmp_path / "none").exists()


def test_a_trained_network_knows_what_its_images_were_averaged_from(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    runs = [run for run in varied(small_run) if run.arch == "plain"]
    do(tmp_path / "two", small_data, runs)
    study = StudyFolder(tmp_path / "two")
    for run, box in zip(runs, (1, 2), strict=True):
        row = study.results()[run.run_id]
        about = checkpoint_of_run(study.run(run.run_id), row).about
        assert about is not None and about.inputs.box == box
        assert about.inputs.shape == (3, run.image_side, run.image_side)
        assert about.inputs.prepare(small_data).digest == row.dataset_digest


def test_the_work_of_a_run_is_that_of_its_images(small_run: RunConfig) -> None:
    shape = DataShape((3, 32, 32), num_classes=10)
    small, usual = replace(small_run, image_side=8), replace(small_run, image_side=32)
    assert work(usual, shape) == work(small_run, shape)
    assert 14 < work(usual, shape) / work(small, shape) <= 16
    few = shape.of_run(replace(small_run, image_side=16, images_per_class=20))
    assert few == DataShape((3, 16, 16), 200, 10_000, 10)
    with pytest.raises(UsageError, match="a side of 4, 8, 16 or 32"):
        work(replace(small_run, image_side=5), shape)


# ---------------------------------------------------------------------------------------------- plan.csv


@pytest.mark.parametrize("name", ["digits-full", "cifar10-jpeg-short"])
def test_plans_of_older_studies_keep_their_bytes(name: str, tmp_path: Path) -> None:
    before = (ROOT / "results" / name / PLAN.file).read_bytes()
    place = tmp_path / name
    shutil.copytree(ROOT / "results" / name, place, ignore=shutil.ignore_patterns("figures", "tables", "runs"))
    study = StudyFolder(place)
    configs = [StudyFolder(ROOT / "results" / name).run(row.run_id).read_identity().config for row in study.read_plan()]
    study.add_to_plan(configs)
    assert (place / PLAN.file).read_bytes() == before


def test_a_study_that_nothing_is_added_to_keeps_its_bytes(tmp_path: Path) -> None:
    older = ROOT / "results" / "fashion-mnist-short"
    study = StudyFolder(tmp_path / older.name)
    shutil.copytree(older, study.path)
    with study.lock():
        study.add_to_plan([folder.read_identity().config for folder in study.run_folders()])
        collect(study)
    names = [path.relative_to(older) for path in older.rglob("*") if path.is_file()]
    assert all((study.path / name).read_bytes() == (older / name).read_bytes() for name in names)


def test_a_setting_is_written_where_there_is_one_and_stays(tmp_path: Path, small_run: RunConfig) -> None:
    place = tmp_path / "study"
    place.mkdir()
    study, runs = StudyFolder(place), [replace(small_run, lr=lr) for lr in (0.1, 0.2)]
    settings = {run.run_id: f"lr={run.lr}" for run in runs}
    study.add_to_plan([replace(small_run, seed=1)])
    assert (place / PLAN.file).read_text().splitlines()[0] == "run_id,family,arch,depth,shortcut,seed,rules,twin_digest"
    study.add_to_plan(runs, settings)
    assert {row.run_id: row.setting for row in study.read_plan()} == {
        replace(small_run, seed=1).run_id: "",
        **settings,
    }
    study.add_to_plan(runs)
    assert {row.setting for row in study.read_plan()} == {"", "lr=0.1", "lr=0.2"}
    with pytest.raises(UsageError, match=r"residual-8 seed 0 with lr=0\.1 stands there with another configuration"):
        study.add_to_plan([replace(small_run, steps=3)], {replace(small_run, steps=3).run_id: "lr=0.1"})


def test_a_plan_keeps_the_rules_that_stood_when_each_run_was_planned(
    tmp_path: Path, small_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, later = StudyFolder(tmp_path), replace(small_run, seed=1)
    study.add_to_plan([small_run])
    before = (tmp_path / PLAN.file).read_bytes()
    monkeypatch.setattr(folder_module, "VERSION", VERSION + 1)
    study.add_to_plan([small_run])
    assert (tmp_path / PLAN.file).read_bytes() == before
    study.add_to_plan([small_run, later])
    assert [(row.seed, row.rules, row.twin_digest) for row in study.read_plan()] == [
        (0, VERSION, small_run.twin_digest), (1, VERSION + 1, later.twin_digest)
    ]  # fmt: skip


def test_a_study_from_before_gets_the_columns_with_the_first_run_that_is_added(
    tmp_path: Path, small_run: RunConfig
) -> None:
    study, later = StudyFolder(tmp_path), replace(small_run, seed=1)
    row = PlanRow(run_id=small_run.run_id, arch="residual", depth=8, shortcut="a", seed=0)
    older = ["run_id", "arch", "depth", "shortcut", "seed"]
    (tmp_path / PLAN.file).write_text(to_csv(PLAN, [row], older))
    study.add_to_plan([small_run])
    assert (tmp_path / PLAN.file).read_text() == to_csv(PLAN, [row], older)
    study.add_to_plan([small_run, later])
    assert (tmp_path / PLAN.file).read_text().splitlines()[0] == ",".join([*older, "rules", "twin_digest"])
    assert [(row.rules, row.twin_digest) for row in study.read_plan()] == [(0, ""), (VERSION, later.twin_digest)]


def test_a_setting_that_no_study_has_is_refused(tmp_path: Path) -> None:
    row = PlanRow(run_id="a", arch="plain", depth=8, shortcut="none", seed=0, setting="two\nlines")
    write_csv(tmp_path / PLAN.file, PLAN, [row])
    with pytest.raises(UsageError, match=r"row 2, column 'setting'.*is not a setting \(fields and values"):
        read_csv(tmp_path / PLAN.file, PLAN)


def test_all_runs_of_a_plan_are_checked(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    runs = [small_run, replace(small_run, seed=1, image_side=6)]
    session = Session.open(StudyFolder(tmp_path), small_data, CPU)
    with pytest.raises(UsageError, match="image_side 6"):
        check(session.study, plan_of(tmp_path, small_data, runs), small_data, session.execution)
