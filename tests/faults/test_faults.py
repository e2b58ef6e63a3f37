"""Every fault of docs/reliability.md with its small count, and for each kind a control with the protection off."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from resnet_bench.cli.status import status_table
from resnet_bench.data import folder as image_folders
from resnet_bench.data.tree import list_images
from resnet_bench.errors import UsageError
from resnet_bench.files import seal
from resnet_bench.results.tables import CURVES, RUNS, read_csv
from resnet_bench.study import checks as study_checks
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from resnet_bench.training import checkpoint
from tests.conftest import ROOT
from tests.data import test_cifar
from tests.faults import checks
from tests.faults.work import CRASHED, LOSSES, Work, command_line, finish, small_runs, start


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "study", small_runs(2))


def log_of(work: Work) -> str:
    return (work.place.parent / f"{work.place.name}.log").read_text()


@pytest.fixture
def finished(work: Work) -> Work:
    assert finish(work) == 0
    return work


# ---------------------------------------------------------------------------------------------- kills


def digits_work(place: Path, **values: object) -> Work:
    runs = tuple(dataclasses.replace(run, dataset="digits") for run in small_runs(2, steps=600, row_every=20))
    return Work(place, runs, data="digits", checkpoint_seconds=0.2, **values)  # type: ignore[arg-type]


def test_f1_random_kills_lose_nothing(tmp_path: Path) -> None:
    count = checks.random_kills(digits_work(tmp_path / "study"), kills=10, seed=0, least=0.3, most=1.5)
    assert count.faults == [] and count.tried == 10 and count.resumed >= 2


def test_f1_control_batches_that_forget_the_position_are_noticed(tmp_path: Path) -> None:
    work = digits_work(tmp_path / "study", fault="forgetful_batches")
    count = checks.random_kills(work, kills=2, seed=0, least=0.8, most=1.5)
    assert any("differs from the run" in fault for fault in count.faults)


def test_f2_crash_points_of_every_write(tmp_path: Path) -> None:
    """Every third; the campaign tries all."""
    count = checks.crash_points(Work(tmp_path / "study", small_runs(1, steps=1, row_every=1)), every=3)
    assert count.faults == [] and count.tried > 15


def test_f2_control_a_writer_without_replace_is_noticed(tmp_path: Path) -> None:
    work = Work(tmp_path / "study", small_runs(1), fault="without_replace:3")
    assert finish(work) == CRASHED
    _, notes = checkpoint.load(StudyFolder(work.place).run_folders()[0].path)
    assert any("is damaged" in note for note in notes)


def test_f22_preemption_storm(tmp_path: Path) -> None:
    runs = tuple(dataclasses.replace(run, dataset="digits") for run in small_runs(4, steps=120, row_every=20))
    work = Work(tmp_path / "study", runs, data="digits", checkpoint_seconds=0.2)
    count = checks.preemption_storm(work, 0.5, seed=1)
    assert count.faults == [] and count.tried >= 1


# ---------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("phase", ["step", "eval", "save", "publish"])
@pytest.mark.parametrize(("number", "code"), checks.SIGNALS.items())
def test_f3_a_signal_stops_politely_and_the_same_command_goes_on(
    work: Work, phase: str, number: str, code: int
) -> None:
    assert finish(dataclasses.replace(work, fault=f"signal_in:{phase}:{number}:1")) == code
    assert f"by {number}" in log_of(work) and "Traceback" not in log_of(work)
    assert finish(work) == 0
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == [] and verify(StudyFolder(work.place)) == []


@pytest.mark.parametrize("phase", ["step", "save", "fsync"])
def test_f4_a_second_signal_stops_at_once_and_harmlessly(work: Work, phase: str) -> None:
    assert finish(dataclasses.replace(work, fault=f"signal_in:{phase}:SIGINT:2")) == 130
    assert finish(work) == 0
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == []


def test_f3_a_signal_during_the_report_and_then_the_same_command(tmp_path: Path) -> None:
    words = ["sweep", "--study", "demo", "--depths", "8", "--seeds", "0", "--results", str(tmp_path / "results")]
    assert command_line(words, tmp_path / "log", fault="signal_in:render:SIGTERM:1") == 75
    assert "the same command goes on" in (tmp_path / "log").read_text()
    assert command_line(words, tmp_path / "log") == 0
    assert verify(StudyFolder(tmp_path / "results" / "demo")) == []


def test_f3_a_signal_during_a_download_that_hangs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/cifar-10-python.tar.gz"
        environ = {**os.environ, "RESNET_BENCH_CIFAR10_URL": url, "RESNET_BENCH_CACHE": str(tmp_path)}
        environ = {name: value for name, value in environ.items() if name != "RESNET_BENCH_OFFLINE"}
        command = [sys.executable, "-m", "resnet_bench", "data", "fetch"]
        child = subprocess.Popen(command, env={**environ, "no_proxy": "*", "PYTHONPATH": str(ROOT)})
        server.settimeout(60)
        connection, _ = server.accept()
        child.terminate()
        assert child.wait(timeout=10) == 75
        connection.close()


# ---------------------------------------------------------------------------------------------- damaged files


def interrupted(work: Work) -> Path:
    """A run broken off after several checkpoints; its folder."""
    assert finish(dataclasses.replace(work, fault="signal_in:eval:SIGTERM:1")) == 75
    return StudyFolder(work.place).run_folders()[0].path


def test_f6_a_truncated_checkpoint_is_set_aside_and_the_older_one_used(work: Work) -> None:
    folder = interrupted(work)
    kept = work.place.with_name("kept")
    shutil.copytree(work.place, kept)
    assert {checkpoint.NEWEST, checkpoint.PREVIOUS} <= {path.name for path in folder.iterdir()}
    for content in checks.truncations(folder / checkpoint.NEWEST):
        (folder / checkpoint.NEWEST).write_bytes(content)
        stored, notes = checkpoint.load(folder)
        assert stored is not None and len(notes) == 1 and checkpoint.NEWEST in notes[0]
        assert (folder / f"{checkpoint.NEWEST}.damaged").read_bytes() == content
        shutil.rmtree(work.place)
        shutil.copytree(kept, work.place)
    (folder / checkpoint.NEWEST).write_bytes(b"torn")
    assert finish(work) == 0 and "is damaged" in log_of(work)
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == []


def test_f6_without_any_good_checkpoint_the_run_starts_anew_and_says_so(work: Work) -> None:
    folder = interrupted(work)
    for name in (checkpoint.NEWEST, checkpoint.PREVIOUS):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert finish(work) == 0 and "the run starts anew" in log_of(work)
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == []


def test_f5_crashes_while_resuming_from_a_damaged_checkpoint(work: Work) -> None:
    folder = interrupted(work)
    (folder / checkpoint.NEWEST).write_bytes(b"torn")
    kept = work.place.with_name("kept")
    shutil.copytree(work.place, kept)
    for number in range(1, 9):
        assert finish(dataclasses.replace(work, fault=f"crash_at:{number}")) == CRASHED
        assert finish(work) == 0
        count = checks.Count()
        checks.compare(work.place, checks.reference(work), count)
        assert count.faults == [], number
        shutil.rmtree(work.place)
        shutil.copytree(kept, work.place)


def batches_are_refused(batches: Path) -> bool:
    try:
        test_cifar.FILES.read(batches)
    except UsageError:
        return True
    return False


def flippable(work: Work, images: Path) -> dict[str, tuple[Path, Callable[[], bool]]]:
    """Files of each kind, each with what must notice that it was altered."""
    run = StudyFolder(work.place).run_folders()[0].path
    faulty = checks.study_is_faulty(work.place)
    files = {
        str(path.relative_to(work.place)): (path, faulty)
        for path in [
            *run.iterdir(),
            *(work.place / name for name in ("plan.csv", "runs.csv", "curves.csv", "SHA256SUMS")),
        ]
        if path.name not in (".lock", checkpoint.NEWEST)
    }
    newest = run / checkpoint.NEWEST
    batches = images.parent / "cifar-10-batches-py"
    if not batches.exists():
        test_cifar.write_folder(batches)
    return {
        **files,
        "batch": (batches / "data_batch_3", lambda: batches_are_refused(batches)),
        "checkpoint": (newest, checks.checkpoint_is_refused(newest)),
        "images": (images, lambda: image_folders._read_cached(images, "pets") is None),
    }


@pytest.fixture
def cached_images(image_folder: Path, tmp_path: Path) -> Path:
    image_folders.read(list_images(image_folder), "pets", tmp_path / "cache")
    return next((tmp_path / "cache" / "decoded").iterdir())


def test_f7_every_flipped_bit_is_noticed(finished: Work, cached_images: Path) -> None:
    assert verify(StudyFolder(finished.place)) == []
    count = checks.bit_flips(flippable(finished, cached_images), flips=200, seed=0)
    assert count.faults == [] and count.tried == 200
    assert verify(StudyFolder(finished.place)) == []


def test_f7_control_a_loader_without_the_digest_takes_flipped_bits(finished: Work) -> None:
    content = bytearray((StudyFolder(finished.place).run_folders()[0].path / checkpoint.NEWEST).read_bytes())
    chance, taken = random.Random(0), 0
    for _ in range(30):
        flipped = content.copy()
        flipped[chance.randrange(200, len(content))] ^= 4
        try:
            torch.load(io.BytesIO(flipped[len(checkpoint.KIND) + 66 :]), weights_only=True)
            taken += 1
        except Exception:
            continue
    assert taken > 10


def test_verify_names_row_by_row_what_is_wrong(finished: Work) -> None:
    place = finished.place
    lines = (place / "curves.csv").read_text().splitlines(keepends=True)
    (place / "curves.csv").write_text("".join([*lines[:3], lines[2], lines[4].replace("0.0", "1.0"), *lines[5:]]))
    (place / "runs.csv").write_text("".join((place / "runs.csv").read_text().splitlines(keepends=True)[:-1]))
    StudyFolder(place).run_folders()[0].environment.write_text("{}")
    faults = "\n".join(verify(StudyFolder(place)))
    for part in (
        "curves.csv: altered (SHA-256",
        "curves.csv: row 4: run_id=",
        "environment.json: altered since the run was finished",
    ):
        assert part in faults
    shutil.rmtree(StudyFolder(place).run_folders()[0].path)
    faults = "\n".join(verify(StudyFolder(place)))
    assert (
        "result.json: missing (or no plain file), but SHA256SUMS names it" in faults
        and "not what the run's folder holds" in faults
    )


# ---------------------------------------------------------------------------------------------- disk


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EACCES"])
@pytest.mark.parametrize(
    ("call", "part"),
    [("fsync", "checkpoint.pt"), ("replace", "curves.csv"), ("link", "result.json"), ("fsync", "runs.csv"),
     ("replace", "plan.csv")],
)  # fmt: skip
def test_f8_disk_errors_end_the_sweep_name_the_path_and_lose_nothing(
    work: Work, code: str, call: str, part: str
) -> None:
    assert finish(dataclasses.replace(work, fault=f"disk_error:{code}:{call}:{part}")) == 1
    log = log_of(work)
    assert part in log and "Traceback" not in log and "bytes)" in log
    assert os.strerror(getattr(__import__("errno"), code)) in log
    assert finish(work) == 0
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == [] and verify(StudyFolder(work.place)) == []


def test_f9_a_study_that_is_deleted_meanwhile_is_one_line(work: Work) -> None:
    assert finish(dataclasses.replace(work, fault=f"folder_deleted:{work.place}")) == 1
    assert f"{work.place} was moved or deleted meanwhile" in log_of(work) and "Traceback" not in log_of(work)
    assert not work.place.exists()  # no ghost of it is made
    assert finish(work) == 0


def test_file_systems_that_lack_a_call_are_borne_or_refused_at_once(tmp_path: Path) -> None:
    count = checks.lacking_calls(Work(tmp_path / "study", small_runs(1, steps=2)))
    assert count.faults == [] and count.tried == 10


def test_f10_too_little_space_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from resnet_bench.cli import main

    usage = type("usage", (), {"free": 1_000_000})
    monkeypatch.setattr(study_checks.shutil, "disk_usage", lambda path: usage)
    assert main(["sweep", "--study", "demo", "--results", str(tmp_path), "--device", "cpu"]) == 1
    assert "1.0 MB are free" in capsys.readouterr().err
    assert not list((tmp_path / "demo" / "runs").iterdir())


# ---------------------------------------------------------------------------------------------- several processes


def test_f11_four_processes_on_twenty_runs(tmp_path: Path) -> None:
    count = checks.many_processes(tmp_path / "study", processes=4, runs=20)
    assert count.faults == []


def test_f11_control_without_the_lock_runs_are_done_twice(tmp_path: Path) -> None:
    count = checks.many_processes(tmp_path / "study", processes=4, runs=12, fault="without_lock")
    assert count.faults != []


def test_f11_a_dead_process_frees_its_run_and_status_tells_running_from_interrupted(tmp_path: Path) -> None:
    runs = tuple(dataclasses.replace(run, dataset="digits") for run in small_runs(1, steps=2000, row_every=5))
    work = Work(tmp_path / "study", runs, data="digits", checkpoint_seconds=0.2)
    child = start(work)
    study = StudyFolder(work.place)
    while not (study.run_folders() and study.run_folders()[0].table(CURVES).exists()):
        child.join(0.05)
        assert child.is_alive()
    assert "running" in status_table(study)
    child.kill()
    child.join()
    assert "interrupted" in status_table(study)


def test_who_lost_a_run_damages_nothing_and_the_same_command_goes_on(work: Work) -> None:
    count = checks.lost_ownership(work, times=len(LOSSES), seed=0)
    assert count.faults == [] and count.tried == len(LOSSES)


def test_control_without_a_look_at_the_lock_a_finished_run_is_damaged(work: Work) -> None:
    work = dataclasses.replace(work, runs=small_runs(1, steps=40))
    first = start(dataclasses.replace(work, fault="blind_owner"))
    checks.wait_for_a_lock_that_is_gone(work, first)
    assert finish(work) == 0
    first.join(120)
    assert any("altered since the run was finished" in fault for fault in verify(StudyFolder(work.place)))


def test_a_repository_that_a_hook_names_is_left_alone(tmp_path: Path) -> None:
    count = checks.foreign_repository(Work(tmp_path / "study", small_runs(1, steps=2)))
    assert count.faults == [] and count.tried == 3


def test_pipes_in_place_of_a_study_s_files_hold_nothing_up(tmp_path: Path) -> None:
    count = checks.no_plain_files(Work(tmp_path / "study", small_runs(1, steps=2)), kinds=("pipe",), seconds=20)
    assert count.faults == [] and count.tried == 27


# ---------------------------------------------------------------------------------------------- bad numbers, memory


@pytest.mark.parametrize("what", ["stages.2.0.bn2.running_var", "stem.weight", "head.bias"])
@pytest.mark.parametrize("step", [1, 5, 8])
def test_f15_what_is_not_finite_is_a_result_and_leaves_no_checkpoint(work: Work, what: str, step: int) -> None:
    assert finish(dataclasses.replace(work, fault=f"not_finite:{what}:{step}")) == 0
    plain, residual = read_csv(work.place / "runs.csv", RUNS)
    assert (plain.status, residual.status) == ("diverged", "ok")
    assert plain.diverged_step in (step, step + 1) and plain.final_test_top1_err is None
    folder = StudyFolder(work.place).run(plain.run_id).path
    stored, _ = checkpoint.load(folder)
    assert stored is None or all(value.isfinite().all() for value in stored["model"].values())


@pytest.mark.parametrize("kind", ["host", "device"])
def test_f16_out_of_memory_fails_that_run_with_advice_and_the_others_go_on(work: Work, kind: str) -> None:
    assert finish(dataclasses.replace(work, fault=f"out_of_memory:{kind}")) == 1
    assert "out of memory; free some" in log_of(work) and "the batch size is part of the protocol" in log_of(work)
    assert [row.arch for row in read_csv(work.place / "runs.csv", RUNS)] == ["residual"]


# ---------------------------------------------------------------------------------------------- hostile files


class Marker:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_f19_a_crafted_checkpoint_runs_no_code(work: Work, tmp_path: Path) -> None:
    folder = interrupted(work)
    for payload in (pickle.dumps(Marker(tmp_path / "marker")), _torch_file(Marker(tmp_path / "marker"))):
        (folder / checkpoint.NEWEST).write_bytes(seal(checkpoint.KIND, payload))
        stored, notes = checkpoint.load(folder)
        assert stored is not None and "refused by the restricted loader" in notes[0]
        (folder / checkpoint.PREVIOUS).rename(folder / checkpoint.NEWEST)
        shutil.copy(folder / checkpoint.NEWEST, folder / checkpoint.PREVIOUS)
    assert not (tmp_path / "marker").exists()


def _torch_file(value: object) -> bytes:
    file = io.BytesIO()
    torch.save({"model": value}, file)
    return file.getvalue()


def test_f19_the_control_marker_would_be_written(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Marker(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"row": 1, "files": {}, "digest": ""}', b"\xff\xfe", b"[" * 100_000, b'{"row": NaN}']
)  # fmt: skip
def test_f20_hostile_json_is_one_clear_line(finished: Work, content: bytes) -> None:
    folder = StudyFolder(finished.place).run_folders()[0]
    folder.result.write_bytes(content)
    with pytest.raises(UsageError, match=r"result\.json") as caught:
        folder.read_result()
    assert "\n" not in str(caught.value)


def test_f21_a_changed_configuration_is_refused(work: Work) -> None:
    folder = interrupted(work)
    value = json.loads((folder / "config.json").read_text())
    value["config"]["lr"] = 0.01
    (folder / "config.json").write_text(json.dumps(value))
    assert finish(work) == 2 and "another configuration or other data" in log_of(work)


def test_f21_other_data_under_the_same_name_are_refused(work: Work) -> None:
    interrupted(work)
    assert finish(dataclasses.replace(work, data="digits")) == 2
    assert "another configuration or other data" in log_of(work)


def test_f21_a_checkpoint_of_another_run_is_refused(work: Work) -> None:
    folder = interrupted(work)
    assert finish(dataclasses.replace(work, runs=small_runs(2)[1:])) == 0
    other = next(path for path in StudyFolder(work.place).run_folders() if path.path != folder)
    shutil.copy(other.path / checkpoint.NEWEST, folder / checkpoint.NEWEST)
    assert finish(work) == 2 and "the checkpoint is of another configuration" in log_of(work)


def test_f21_another_version_is_recorded_as_not_bit_exact(work: Work) -> None:
    folder = interrupted(work)
    value = json.loads((folder / "environment.json").read_text())
    value["environment"]["torch_version"] = "2.10.0"
    (folder / "environment.json").write_text(json.dumps(value))
    assert finish(work) == 0
    changed, other = read_csv(work.place / "runs.csv", RUNS)
    assert (changed.bit_exact, other.bit_exact) == (False, True)
    attempts = json.loads((folder / "environment.json").read_text())["attempts"]
    assert attempts[1]["changed"] == {"torch_version": ["2.10.0", torch.__version__]}


def test_checkpoint_interval_is_no_part_of_the_result(work: Work) -> None:
    assert finish(work) == 0  # a checkpoint after every step; the reference saves once, at the end
    count = checks.Count()
    checks.compare(work.place, checks.reference(work), count)
    assert count.faults == []
    assert len(read_csv(work.place / CURVES.file, CURVES)) == 8
