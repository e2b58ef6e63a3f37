"""Who owns a folder while others work in it: locks that vanish, folders that move, links, disks that lack calls."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_bench.cli import main
from resnet_bench.cli.status import status_table
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import EAGER
from resnet_bench.executors import jobs
from resnet_bench.files import fsync_folder, publish, write_atomically
from resnet_bench.frames import load
from resnet_bench.results.tables import RUNS
from resnet_bench.study import sweep as sweep_module
from resnet_bench.study.checks import check_writable
from resnet_bench.study.collecting import collect_late
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.lock import Gone, Taken, holding, is_held
from resnet_bench.study.plan import Plan
from resnet_bench.study.run import RunSink
from resnet_bench.study.verify import verify
from tests.study.test_study import contents, do, twins

Meanwhile = Callable[..., None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Something that is done once, with the run's folder, in the middle of the first run that is trained."""

    def plan(what: Callable[[Path], None], arch: str = "plain") -> None:
        todo, real = [what], RunSink.step

        def step(sink: RunSink, state: Any) -> None:
            if todo and state.step == 6 and sink.folder.path.name.startswith(arch):
                todo.pop()(sink.folder.path)
            real(sink, state)

        monkeypatch.setattr(RunSink, "step", step)

    return plan


# ---------------------------------------------------------------------------------------------- the lock


def test_a_lock_is_held_by_one_and_makes_no_folder(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_held(path) and not path.exists()
    with holding(path) as lock:
        assert is_held(path) and lock.why_lost() == ""
        with pytest.raises(Taken), holding(path, timeout=0):
            pass
    assert not is_held(path)
    with pytest.raises(Gone, match="none was moved or deleted meanwhile"), holding(tmp_path / "none" / ".lock"):
        pass
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link to itself", "link", "folder", "pipe"])
def test_what_cannot_be_a_lock_is_one_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "demo"
    study.mkdir()
    path = study / ".lock"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind == "link to itself" else tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"\.lock: is a link, a folder or a pipe.*; remove it and call again"):
        check_writable(StudyFolder(study))
    assert main(["report", str(study)]) == 2 and main(["status", str(study)]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "is a link, a folder or a pipe" in captured.err
    assert not (tmp_path / "elsewhere").exists()


# ---------------------------------------------------------------------------------------------- the owner


def remove_lock(folder: Path) -> None:
    (folder / ".lock").unlink()


def replace_lock(folder: Path) -> None:
    remove_lock(folder)
    (folder / ".lock").touch()


def make_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / ".lock").touch()


def move(folder: Path) -> None:
    folder.rename(folder.parent.parent / "moved")


@pytest.mark.parametrize(
    ("what", "why"),
    [(remove_lock, r"\.lock was moved or deleted"), (replace_lock, r"\.lock was replaced"),
     (make_anew, r"\.lock was replaced"), (shutil.rmtree, "[0-9a-f]{8} was moved or deleted"),
     (move, "[0-9a-f]{8} was moved or deleted")],
)  # fmt: skip
def test_who_lost_a_run_stops_it_writes_nothing_more_and_goes_on_with_the_others(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile, what: Any, why: str
) -> None:
    there: dict[str, bytes] = {}

    def mischief(folder: Path) -> None:
        what(folder)
        there.update(contents(folder))

    meanwhile(mischief)
    runs = twins(small_run)
    outcome = do(tmp_path / "tiny", small_data, runs)
    assert [row.arch for row in outcome.rows] == ["residual"] and len(outcome.failed) == 1
    assert outcome.failed[0].startswith("plain-8 seed 0: ") and "\n" not in outcome.failed[0]
    assert re.search(why + " meanwhile; this process left the run as it is", outcome.failed[0])
    assert contents(tmp_path / "tiny" / "runs" / runs[0].run_id) == there
    assert verify(StudyFolder(tmp_path / "tiny")) == []
    assert len(do(tmp_path / "tiny", small_data, runs).rows) == 2  # the same command goes on


def test_a_run_that_another_process_finishes_is_not_damaged(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile
) -> None:
    place, runs, finished = tmp_path / "tiny", twins(small_run), {}

    def take_over(folder: Path) -> None:
        remove_lock(folder)
        assert len(do(place, small_data, runs[:1]).rows) == 1
        finished.update(contents(folder))

    meanwhile(take_over)
    outcome = do(place, small_data, runs)
    assert len(outcome.rows) == 2 and len(outcome.failed) == 1
    assert finished and contents(place / "runs" / runs[0].run_id) == finished
    assert verify(StudyFolder(place)) == []


def test_tables_are_never_written_where_a_result_is(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile
) -> None:
    meanwhile(lambda folder: (folder / "result.json").write_text("by hand") and None)
    with pytest.raises(UsageError, match=r"result\.json: not readable"):  # collecting finds it
        do(tmp_path / "tiny", small_data, twins(small_run)[:1])
    assert (next((tmp_path / "tiny" / "runs").iterdir()) / "result.json").read_text() == "by hand"


@pytest.mark.parametrize("what", ["moved", "deleted"])
def test_a_study_that_goes_away_leaves_no_ghost(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile, what: str
) -> None:
    place, runs = tmp_path / "tiny", twins(small_run)

    def away(folder: Path) -> None:
        if what == "moved":
            place.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(place)

    meanwhile(away)
    with pytest.raises(Gone, match=f"{place} was moved or deleted meanwhile; nothing was put in its place"):
        do(place, small_data, runs)
    assert not place.exists()
    with pytest.raises(Gone):
        StudyFolder(place).settle_execution(EAGER)
    with pytest.raises(Gone):
        sweep_module.open_plan(StudyFolder(place), Plan(runs, {}, None), small_data)  # type: ignore[arg-type]
    assert not place.exists()
    if what == "moved":
        (tmp_path / "elsewhere").rename(place)
        assert len(do(place, small_data, runs).rows) == 2 and verify(StudyFolder(place)) == []


def test_collecting_keeps_the_rows_of_a_run_whose_folder_went_meanwhile(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile
) -> None:
    place, runs = tmp_path / "tiny", twins(small_run)
    do(place, small_data, runs[1:])
    rows = (place / "runs.csv").read_bytes()
    meanwhile(lambda folder: shutil.rmtree(folder.with_name(runs[1].run_id)))
    with pytest.raises(UsageError, match="holds 1 run without a folder"):
        do(place, small_data, runs)
    assert (place / "runs.csv").read_bytes() == rows


def test_the_trouble_of_a_worker_process_is_told_as_text(monkeypatch: pytest.MonkeyPatch, small_data: Dataset) -> None:
    def fail(*_: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")

    class Connection:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def send(self, message: Any) -> None:
            self.said.append(message)

    monkeypatch.setattr(jobs, "run_what_is_free", fail)
    connection: Any = Connection()
    study, plan = StudyFolder(Path("none")), Plan([], {}, None)  # type: ignore[arg-type]
    jobs._work(jobs.Task(study, small_data, torch.device("cpu"), jobs.Execution(), 60.0, 1, 2, plan), connection)
    [error] = connection.said
    assert isinstance(error, Failure) and "Input/output error: 'somewhere'" in str(error)


# ---------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", ["figures", "tables"])
def test_what_lies_behind_a_link_is_not_overwritten(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place, elsewhere = tmp_path / "tiny", tmp_path / "elsewhere"
    do(place, small_data, twins(small_run)[:1])
    elsewhere.mkdir()
    for file in ("errors.md", "curves.png", ".mine.tmp"):
        (elsewhere / file).write_text("mine")
    (place / name).symlink_to(elsewhere)
    before = contents(elsewhere)
    assert main(["report", str(place), "--quiet"]) == 2
    assert f"{name}: is a link, so files elsewhere would be overwritten" in capsys.readouterr().err
    with pytest.raises(UsageError, match=f"{name}: is a link"):
        do(place, small_data, twins(small_run))
    assert contents(elsewhere) == before
    assert [fault for fault in verify(StudyFolder(place)) if "is a link" in fault]


def test_a_run_folder_that_is_a_link_is_refused_before_training(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tiny" / "runs").mkdir(parents=True)
    (tmp_path / "tiny" / "runs" / small_run.run_id).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"{small_run.run_id}: is a link"):
        do(tmp_path / "tiny", small_data, [small_run])
    assert contents(tmp_path / "elsewhere") == {}


def test_the_study_itself_may_lie_on_another_disk(tmp_path: Path, small_run: RunConfig, small_data: Dataset) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "tiny").symlink_to(tmp_path / "disk")
    assert len(do(tmp_path / "tiny", small_data, [small_run]).rows) == 1
    assert verify(StudyFolder(tmp_path / "tiny")) == [] and (tmp_path / "disk" / "runs.csv").exists()


# ---------------------------------------------------------------------------------------------- looking on


def test_the_curves_so_far_of_unfinished_runs_are_read_and_nothing_else_changes(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile
) -> None:
    study, found = StudyFolder(tmp_path / "tiny"), []

    def look_on(folder: Path) -> None:
        with study.lock():
            collect_late(study)
        assert verify(study) == []
        found.append(load(study.path))

    runs = twins(small_run)
    for arch in ("plain", "residual"):  # of nothing finished, and of one run
        meanwhile(look_on, arch)
        do(study.path, small_data, [run for run in runs if run.arch == arch])
    first, second = (frames.unfinished_curves for frames in found)
    assert list(first["run_id"]) == [runs[0].run_id] and list(first["step"]) == [4]
    assert list(second["run_id"]) == [runs[1].run_id] and list(second["step"]) == [4]
    columns = ["arch", "depth", "shortcut", "seed"]
    assert second[columns].to_numpy().tolist() == [["residual", 8, "a", 0]]
    assert found[1].curves.dtypes.equals(found[0].curves.dtypes) and list(second) == list(found[1].finished_curves)
    assert list(found[1].finished_curves["step"]) == [4, 8, 12] and len(found[1].curves) == 4
    whole = load(study.path)
    assert len(whole.curves) == 6 and not len(whole.unfinished_curves) and verify(study) == []


def test_curves_of_another_run_in_an_unfinished_ones_folder_are_refused(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    study, (plain, residual) = StudyFolder(tmp_path / "tiny"), twins(small_run)
    do(study.path, small_data, [plain])
    study.add_to_plan([plain, residual])
    shutil.copytree(study.run(plain.run_id).path, study.run(residual.run_id).path)
    with pytest.raises(UsageError, match=rf"{residual.run_id}/curves\.csv: holds rows of run '{plain.run_id}'"):
        load(study.path)


def test_a_report_of_runs_without_a_row_is_refused(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path / "tiny")
    (study.path / "runs" / "begun").mkdir(parents=True)
    with study.lock(), pytest.raises(UsageError, match="no run is finished yet"):
        collect_late(study)
    assert not (study.path / RUNS.file).exists()


def test_what_is_in_work_is_told_from_what_is_wrong(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, meanwhile: Meanwhile, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "tiny"
    words: list[tuple[int, str, str]] = []

    def look_on(folder: Path) -> None:
        for command in (["verify"], ["status"], ["report"]):
            capsys.readouterr()
            code = main([*command, str(place)])
            words.append((code, *capsys.readouterr()))

    meanwhile(look_on)
    do(place, small_data, twins(small_run)[:1])
    (verified, status, report) = words
    assert verified[0] == 0 and "0 of 1 planned runs are finished; 1 in work, not checked" in verified[1]
    assert "1 running" in status[1]
    assert report[0] == 0 and "in work: 1 of 1 planned" in report[1]  # the curves so far
    words.clear()
    meanwhile(look_on, "residual")  # of an old study, to which runs are added
    do(place, small_data, twins(small_run))
    (verified, status, report) = words
    assert verified[0] == 0 and "1 of 2 planned runs are finished; 1 in work, not checked" in verified[1]
    assert "1 done, 1 running" in status[1]
    assert report[0] == 0 and "in work: 1 of 2 planned" in report[1] and (place / "report.html").exists()
    assert verify(StudyFolder(place)) == []


def test_runs_that_are_finished_and_not_in_the_tables_are_no_fault_and_drawn(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    place = tmp_path / "tiny"
    with monkeypatch.context() as patch:
        patch.setattr(sweep_module, "collect", lambda study: [])  # killed before that
        do(place, small_data, twins(small_run))
    assert main(["verify", str(place)]) == 0
    assert "2 of 2 planned runs are finished, 2 of them not in the tables yet" in capsys.readouterr().out
    assert main(["report", str(place), "--quiet"]) == 0
    assert len((place / "runs.csv").read_text().splitlines()) == 3 and verify(StudyFolder(place)) == []
    lines = (place / "runs.csv").read_text().splitlines(keepends=True)
    (place / "runs.csv").write_text("".join(lines[:2]))  # a row taken away is a fault all the same
    assert any("runs.csv: altered" in fault for fault in verify(StudyFolder(place)))


def test_verify_does_not_call_wrong_what_was_right_a_moment_later(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tiny"
    do(place, small_data, [small_run])
    content = (place / "curves.csv").read_bytes()
    (place / "curves.csv").write_bytes(b"")
    real = StudyFolder.undisturbed

    def undisturbed(study: StudyFolder, timeout: float) -> Any:
        (place / "curves.csv").write_bytes(content)  # the writer has finished, so the lock is free
        return real(study, timeout)

    monkeypatch.setattr(StudyFolder, "undisturbed", undisturbed)
    assert verify(StudyFolder(place)) == []


def test_verify_says_what_is_none_of_the_study_and_passes_over_what_killed_writers_left(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset
) -> None:
    place, runs = tmp_path / "tiny", twins(small_run)
    do(place, small_data, runs[:1])
    finished = place / "runs" / runs[0].run_id
    half = place / "runs" / runs[1].run_id
    shutil.copytree(finished, half)
    (half / "result.json").unlink()
    (half / ".curves.csv.77.0123abcd.tmp").write_text("torn")
    (finished / ".result.json.77.0123abcd.tmp").write_text("torn")
    (place / ".runs.csv.77.0123abcd.tmp").write_text("torn")
    assert verify(StudyFolder(place)) == []
    (place / "notes.txt").write_text("mine")
    (finished / "notes.txt").write_text("mine")
    advice = "not in SHA256SUMS; remove it if it is not the study's, else a report adds it"
    assert verify(StudyFolder(place)) == [f"{place / 'notes.txt'}: {advice}", f"{finished / 'notes.txt'}: {advice}"]


def test_a_run_that_ends_while_status_looks_is_not_called_interrupted(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(tmp_path / "tiny", small_data, [small_run])
    monkeypatch.setattr(StudyFolder, "results", lambda study, check_files=True: {})  # as it was a moment ago
    assert "1 done" in status_table(StudyFolder(tmp_path / "tiny"))


# ---------------------------------------------------------------------------------------------- disks that lack calls


def failing(real: Callable[..., Any], code: int, when: Callable[[Any], bool] = lambda target: True) -> Any:
    def call(target: Any, *arguments: Any, **options: Any) -> Any:
        if when(target):
            raise OSError(code, os.strerror(code), None if isinstance(target, int) else str(target))
        return real(target, *arguments, **options)

    return call


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP", "ENOSYS", "EBADF"])
def test_a_folder_that_cannot_be_synced_is_borne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, getattr(errno, code), is_folder))
    write_atomically(tmp_path / "file", b"content")
    publish(tmp_path / "other", b"content")
    fsync_folder(tmp_path)
    assert contents(tmp_path) == {"file": b"content", "other": b"content"}


@pytest.mark.parametrize("when", [is_folder, lambda descriptor: not is_folder(descriptor)])
def test_a_disk_in_trouble_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: Any) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, errno.EIO, when))
    with pytest.raises(Failure, match=r"cannot write .*file .7 bytes.: Input/output error"):
        write_atomically(tmp_path / "file", b"content")


@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP", "ENOSYS"])
def test_without_links_a_result_is_published_once_as_well(
    tmp_path: Path, small_run: RunConfig, small_data: Dataset, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(os, "link", failing(os.link, getattr(errno, code)))
    assert len(do(tmp_path / "tiny", small_data, twins(small_run)).rows) == 2
    result = StudyFolder(tmp_path / "tiny").run_folders()[0].result
    before = contents(result.parent)
    with pytest.raises(Failure, match="File exists"):
        publish(result, b"another")
    assert contents(result.parent) == before and verify(StudyFolder(tmp_path / "tiny")) == []
    monkeypatch.setattr(os, "link", failing(os.link, errno.EIO))
    with pytest.raises(Failure, match="Input/output error"):
        publish(tmp_path / "other", b"another")


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "ENOTSUP"])
def test_a_file_system_without_locks_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, getattr(errno, code)))
    words = ["sweep", "--study", "demo", "--depths", "8", "--results", str(tmp_path / "results"), "--threads", "1"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'results' / 'demo'} cannot be locked: {os.strerror(getattr(errno, code))}" in error
    assert "--results" in error and error.count("\n") == 1 and "Errno" not in error and contents(tmp_path) == {}


@pytest.mark.parametrize("code", ["EACCES", "EROFS"])
def test_a_folder_that_cannot_be_written_is_said_with_the_way_out(
    tmp_path: Path,
    small_run: RunConfig,
    small_data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
) -> None:
    place, why = tmp_path / "tiny", os.strerror(getattr(errno, code))
    do(place, small_data, [small_run])

    def to_write(real: Any) -> Any:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> Any:
            if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(place)):
                raise OSError(getattr(errno, code), why, str(path))
            return real(path, flags, *arguments, **options)

        return call

    monkeypatch.setattr(os, "open", to_write(os.open))
    assert main(["report", str(place)]) == 2
    error = capsys.readouterr().err
    assert f"{place} cannot be written: {why}; get the right to, or work on a copy of it" in error
    assert error.count("\n") == 1
    with pytest.raises(UsageError, match=rf"{place} cannot be written: {why}; set --results"):
        check_writable(StudyFolder(place))
    assert main(["verify", str(place)]) == 0 and main(["status", str(place)]) == 0
