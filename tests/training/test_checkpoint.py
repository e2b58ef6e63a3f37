"""Checkpoints that no run can have written: refused or set aside with one line, before anything of them is used."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_bench.cli import main
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.select import with_validation
from resnet_bench.errors import UsageError
from resnet_bench.results.rows import RunRow
from resnet_bench.study.folder import RunFolder, StudyFolder, result_json
from resnet_bench.study.verify import verify
from resnet_bench.trained.runs import weights_of_run
from resnet_bench.trained.surgery import TrainedStudy
from resnet_bench.training import checkpoint
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.generations import NEWEST, PREVIOUS
from resnet_bench.training.state import Job
from tests.conftest import CPU
from tests.study.test_study import do

Stored = dict[str, Any]
STEM = "stem.weight"


@pytest.fixture(scope="module")
def config() -> RunConfig:
    """Six steps of Adam, whose state holds numbers too; a row after each second one."""
    return RunConfig(
        protocol="test/1", dataset="synthetic-3x8x8", arch="residual", depth=8, shortcut="a", seed=0,
        steps=6, batch_size=16, lr=0.01, row_every=2, row_train_images=20, optimizer="adam",
    )  # fmt: skip


@pytest.fixture(scope="module")
def split_data(small_data: Dataset) -> Dataset:
    return with_validation(small_data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: RunConfig, split_data: Dataset) -> Path:
    """A study of two finished runs, which all tests copy."""
    place = tmp_path_factory.mktemp("finished") / "study"
    do(place, split_data, [config, replace(config, seed=1)])
    return place


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> StudyFolder:
    return StudyFolder(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture
def run(study: StudyFolder, config: RunConfig) -> RunFolder:
    """A finished run whose result, as older ones, does not say which checkpoint is its own."""
    folder = study.run(config.run_id)
    row = row_of(folder)
    folder.result.write_bytes(result_json(folder, replace(row, checkpoint_digest="")))
    return folder


def row_of(folder: RunFolder) -> RunRow:
    row = folder.read_result()
    assert row is not None
    return row


def unfinish(folder: RunFolder) -> None:
    """As a run is that was broken off after its last step."""
    folder.result.unlink()
    (folder.path.parent.parent / "runs.csv").unlink()


def reseal(folder: RunFolder, change: Callable[[Stored], None]) -> bytes:
    """Change what the checkpoint holds, and seal it again, as anyone can."""
    path = folder.path / NEWEST
    stored = checkpoint.decode(path.read_bytes())
    change(stored)
    path.write_bytes(checkpoint.encode(stored))
    return path.read_bytes()


def put(*keys: Any, value: Any) -> Callable[[Stored], None]:
    """A change of one value: `put("numbers", "step", value=-1)`."""

    def change(stored: Stored) -> None:
        place: Any = stored
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def drop(*keys: Any) -> Callable[[Stored], None]:
    def change(stored: Stored) -> None:
        place: Any = stored
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


JUNK: dict[str, tuple[Callable[[Stored], None], str]] = {
    "a step before the first": (put("numbers", "step", value=-5), "numbers.step is -5, not a whole number from 0 to 6"),
    "a step after the last": (put("numbers", "step", value=7), "numbers.step is 7, not a whole number from 0 to 6"),
    "a step that is a text": (put("numbers", "step", value="6"), "numbers.step is '6', not a whole number"),
    "a step that is no whole number": (put("numbers", "step", value=6.0), r"numbers.step is 6.0, not a whole number"),
    "a step that is a tensor": (put("numbers", "step", value=torch.tensor(6)), "numbers.step is a Tensor"),
    "no step": (drop("numbers", "step"), "numbers is a (dict|list), which is not what it should be"),
    "numbers that are a list": (put("numbers", value=[1]), "numbers is a (dict|list), which is not what it should be"),
    "a rate that is none": (put("numbers", "lr", value=float("nan")), "numbers.lr is nan"),
    "a warm-up that the run has not": (put("numbers", "lr_warmup_steps", value=3), "numbers.lr_warmup_steps is 3"),
    "a divergence": (put("numbers", "diverged_step", value=3), "numbers.diverged_step is 3"),
    "a digest that is none": (put("numbers", "batches_digest", value="x" * 64), "batches_digest is 'x+.*, not 64 hex"),
    "more errors than images": (put("meter", "wrong", value=torch.tensor(97)), "meter.wrong is 97, .* from 0 to 96"),
    "a counter of another type": (put("meter", "wrong", value=torch.tensor(1.0)), "meter.wrong is torch.float32"),
    "counters that are numbers": (put("meter", "wrong", value=3), "meter.wrong is 3, not a tensor"),
    "a counter that would be spread": (put("meter", "wrong", value=torch.zeros(1, dtype=torch.int64)), r"\[1\], not"),
    "a loss that is not finite": (put("meter", "loss_sum", value=torch.tensor(float("inf")).double()), "not finite"),
    "no seconds": (put("seconds", value=[]), "seconds is a list, not a list of 2"),
    "seconds that are a text": (put("seconds", value=["1", 0.0]), r"seconds\[0\] is '1', not a number"),
    "no time at all": (put("seconds", value=[0.0, 0.0]), r"seconds\[0\] is 0, after 6 steps"),
    "a model that is none": (put("model", value=3), "model .*is not the state of the run's network"),
    "a model of texts": (put("model", STEM, value="x"), "(model.stem.weight is 'x', not a tensor|is not the state)"),
    "a layer too few": (drop("model", "head.bias"), "model .*is not the state of the run's network"),
    "a layer too many": (put("model", "more", value=torch.zeros(1)), "model .*is not the state of the run's network"),
    "a stem that would be spread": (
        put("model", STEM, value=torch.ones(16, 3, 1, 1)), r"model.stem.weight is .*\[16, 3, 1, 1\], not .* 3, 3\]",
    ),
    "a bias that would be spread": (put("model", "head.bias", value=torch.ones(1)), r"model.head.bias is .*\[1\], not"),
    "weights of another type": (put("model", "head.bias", value=torch.ones(4).double()), "head.bias is torch.float64"),
    "weights that are not finite": (put("model", "head.bias", value=torch.full((4,), torch.nan)), "head.bias holds"),
    "rows that are none": (put("rows", value={"x": 1}), "rows is a dict, not a list"),
    "a row that is a number": (put("rows", 1, value=4), r"rows\[1\] is 4, not a row"),
    "a row with a list": (put("rows", 1, "lr", value=[[1]]), r"rows\[1\] is a dict, not a row"),
    "a row with a text": (put("rows", 1, "lr", value="x"), r"rows\[1\].*lr.*x"),
    "a row of another run": (put("rows", 1, "run_id", value="other"), r"rows\[1\] is of run other"),
    "a row that is missing": (drop("rows", 1), "rows are of 2 steps, not of the 3 up to step 6"),
    "signals of a later step": (put("signals", 0, "step", value=7), r"signals\[0\] is of run .* step 7"),
    "a confusion that is a text": (put("confusion", value="x"), "confusion is 'x', not a list of 4"),
    "a confusion of another size": (put("confusion", value=[[1]]), "confusion is a list, not a list of 4"),
    "a negative confusion": (put("confusion", 1, 2, value=-1), r"confusion\[1\]\[2\] is -1"),
    "a selection that is junk": (put("selected", value=7), "selected is 7, which is not what it should be"),
    "a selection of nothing": (put("selected", value={}), "selected is a dict, which is not what it should be"),
    "a selected step after the last": (put("selected", "step", value=9), "selected.step is 9"),
    "an error of 1000 %": (put("selected", "validation_top1_err", value=1e3), "selected.validation_top1_err is 1000"),
    "a selected stem that would be spread": (put("selected", "model", STEM, value=torch.ones(1)), "selected.model"),
    "classes that are a number": (put("about", "classes", value=4), "about.classes is 4, not a list of 4"),
    "a class too few": (drop("about", "classes", 0), "about.classes is a list, not a list of 4"),
    "a class that is a number": (put("about", "classes", 0, value=4), r"about.classes\[0\] is 4, not a text"),
    "facts that are a list": (put("about", value=[1]), "about is a list, which is not what it should be"),
    "images that are none": (put("about", "inputs", value="{}"), "about.inputs"),
}  # fmt: skip
# What only goes on with the run looks at.
FOR_TRAINING: dict[str, tuple[Callable[[Stored], None], str]] = {
    "an optimizer that is a text": (put("momentum", value="x"), r"momentum is 'x', not a list of \d+"),
    "an optimizer too small": (drop("momentum", 0), r"momentum is a list, not a list of \d+"),
    "an average that would be spread": (put("momentum", 1, value=torch.zeros(1)), r"momentum\[1\] is .*\[1\], not"),
    "an update before the first": (put("momentum", 0, value=torch.tensor(-1.0)), r"momentum\[0\] is -1, at step 6"),
    "other initial weights": (put("numbers", "init_digest", value="0" * 64), "not that of the initial weights"),
}


@pytest.mark.parametrize("case", JUNK)
def test_weights_are_never_taken_from_what_no_run_writes(case: str, run: RunFolder) -> None:
    change, message = JUNK[case]
    content = reseal(run, change)
    with pytest.raises(UsageError, match=rf"checkpoint.pt: damaged \(.*({message})") as caught:
        weights_of_run(run.path)
    assert "\n" not in str(caught.value) and (run.path / NEWEST).read_bytes() == content


@pytest.fixture(scope="module")
def expected(config: RunConfig, split_data: Dataset) -> Callable[[RunFolder], Expected]:
    state = Job.of(config, DeviceData.of(split_data, CPU)).initial_state(split_data.digest)

    def of(folder: RunFolder) -> Expected:
        return Expected.of_state(state, config, json.loads(folder.config.read_text()))

    return of


@pytest.mark.parametrize("case", {**JUNK, **FOR_TRAINING})
def test_what_no_run_writes_is_set_aside(case: str, run: RunFolder, expected: Callable[[RunFolder], Expected]) -> None:
    change, message = {**JUNK, **FOR_TRAINING}[case]
    shutil.copy(run.path / NEWEST, run.path / PREVIOUS)
    content = reseal(run, change)
    found, (note,) = checkpoint.load(run.path, lambda fields: check_stored(fields, expected(run)))
    assert found is not None and found.step == 6  # of the generation before
    assert re.search(message, note), note
    assert "checkpoint.pt is damaged" in note and "set aside as checkpoint.pt.damaged" in note and "\n" not in note
    assert (run.path / "checkpoint.pt.damaged").read_bytes() == content


def test_a_negative_step_does_not_make_a_sweep_run_on_for_ever(
    run: RunFolder, study: StudyFolder, config: RunConfig, split_data: Dataset
) -> None:
    before = row_of(run)
    reseal(run, put("numbers", "step", value=-(10**9)))
    unfinish(run)
    outcome = do(study.path, split_data, [config])
    assert outcome.failed == [] and row_of(run).batches_digest == before.batches_digest
    assert json.loads(run.environment.read_text())["attempts"][-1]["from_step"] == 0  # not gone on with
    assert (run.path / "checkpoint.pt.damaged").exists() and not verify(study)


@pytest.mark.parametrize("identity", [[], {}, 3, None, {"run_id": torch.zeros(2)}], ids=repr)
def test_a_checkpoint_of_another_run_is_refused_and_stays(
    identity: Any, run: RunFolder, config: RunConfig, split_data: Dataset
) -> None:
    content = reseal(run, put("identity", value=identity))
    with pytest.raises(UsageError, match=r"checkpoint.pt: of another run than residual-a-d8-s0-"):
        weights_of_run(run.path)
    unfinish(run)
    with pytest.raises(UsageError, match="the checkpoint is of another configuration or other data"):
        do(run.path.parent.parent, split_data, [config])
    assert (run.path / NEWEST).read_bytes() == content


# ---------------------------------------------------------------------------------------------- bound to the result


@pytest.fixture(params=["another run's", "other weights", "another state of the run"])
def exchanged(request: pytest.FixtureRequest, study: StudyFolder, config: RunConfig) -> RunFolder:
    """A finished run with a well-formed checkpoint that is not its own."""
    folder = study.run(config.run_id)
    if request.param == "another run's":
        shutil.copy(study.run(replace(config, seed=1).run_id).path / NEWEST, folder.path / NEWEST)
    elif request.param == "other weights":
        reseal(folder, lambda stored: stored["model"][STEM].mul_(2))
    else:
        reseal(folder, put("selected", value=None))
    return folder


def test_a_result_names_its_checkpoint(study: StudyFolder, config: RunConfig) -> None:
    folder = study.run(config.run_id)
    line = (folder.path / NEWEST).read_bytes().split(b"\n")[1].decode()
    assert row_of(folder).checkpoint_digest == line and len(line) == 64
    assert verify(study) == [] and weights_of_run(folder.path).classes is not None
    for other in study.run_folders():  # in a clone there are none
        (other.path / NEWEST).unlink()
    assert verify(study) == []


def test_a_checkpoint_that_was_exchanged_is_no_ones(exchanged: RunFolder, study: StudyFolder, tmp_path: Path) -> None:
    told = r"checkpoint.pt: not what the run ended with \(SHA-256 of its content .*exchanged or written again"
    (fault,) = verify(study)
    assert re.search(told, fault)
    with pytest.raises(UsageError, match=told):
        weights_of_run(exchanged.path)
    content = (exchanged.path / NEWEST).read_bytes()
    words = ("--data", "digits", "--arch", "residual", "--depth", "8", "--results", str(tmp_path / "r"), "--quiet")
    for command in (
        ("export", str(exchanged.path), "--out", str(tmp_path / "w.safetensors")),
        ("predict", str(exchanged.path), "x.png"),
        ("finetune", "--weights", str(exchanged.path), *words),
    ):
        assert main([*command]) == 2
    assert not (tmp_path / "w.safetensors").exists() and not (tmp_path / "r").exists()
    assert (exchanged.path / NEWEST).read_bytes() == content


def test_surgery_takes_no_other_checkpoint(
    exchanged: RunFolder, study: StudyFolder, split_data: Dataset, config: RunConfig
) -> None:
    nets = TrainedStudy(study, DeviceData.of(split_data, CPU), split_data.digest)
    with pytest.raises(UsageError, match="not what the run ended with"):
        nets.load(row_of(exchanged))
    theirs = study.run(replace(config, seed=1).run_id)
    net = nets.load(row_of(theirs))
    stored = checkpoint.decode((theirs.path / NEWEST).read_bytes())
    assert torch.equal(net.model.stem.weight, stored["model"][STEM])


# ---------------------------------------------------------------------------------------------- no plain files


def no_file(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to itself":
        path.symlink_to(path.name)
    elif kind == "a folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(5 << 30)  # takes no room


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a link to itself", "a folder", "larger than any"])
def test_only_a_plain_file_is_a_checkpoint(
    kind: str, run: RunFolder, study: StudyFolder, config: RunConfig, split_data: Dataset
) -> None:
    no_file(run.path / NEWEST, kind)
    with pytest.raises(UsageError, match=r"checkpoint.pt: damaged \((is no plain file|is a link|is larger than)"):
        weights_of_run(run.path)
    assert any("checkpoint.pt: damaged (is " in fault for fault in verify(study))
    unfinish(run)
    assert do(study.path, split_data, [config]).failed == []  # set aside, and trained anew


def test_a_checkpoint_that_is_not_ours_to_read_is_named(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("resnet_bench.training.generations.read_regular", denied)
    for read in (weights_of_run, checkpoint.load):
        with pytest.raises(UsageError, match=r"checkpoint.pt: cannot be read: Permission denied"):
            read(run.path)
    assert (run.path / NEWEST).exists()
