"""Files of a study that somebody sent: wrong in shape, absurd in value, no files at all; each gets one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnet_bench.cli import main
from resnet_bench.cli.status import status_table
from resnet_bench.errors import UsageError
from resnet_bench.frames import load
from resnet_bench.results.tables import CONFUSION, CURVES, RUNS, SIGNALS, read_csv, study_name, to_csv, write_csv
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import EXECUTION, RunFolder, StudyFolder
from resnet_bench.study.records import result_digest
from resnet_bench.study.sums import SUMS
from resnet_bench.study.verify import verify
from tests import studies
from tests.conftest import ROOT

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    monkeypatch.setattr("os.fsync", lambda _: None)
    return studies.make("tiny", (20,), num_seeds=1, every=110).write_runs(tmp_path)


def first(study: StudyFolder) -> RunFolder:
    return study.run_folders()[0]


def sign(run: RunFolder, change: Change) -> None:
    """Change result.json and give it the digest that belongs to it, as an attacker would."""
    value = json.loads(run.result.read_bytes())
    changed = change(value)
    value = value if changed is None else changed
    if isinstance(value, dict):
        value["digest"] = result_digest(value.get("row"), value.get("files"))
    run.result.write_text(json.dumps(value))


def put(place: str, *names: str) -> Change:
    """The change that puts JSON text (`place`) at a field."""

    def change(value: dict[str, Any]) -> None:
        *above, last = names
        for name in above:
            value = value[name]
        value[last] = json.loads(place)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put('["config.json"]', "files"), r"field 'files': \['config.json'\] is not an object"),
        (put("null", "row"), "field 'row': None is not an object"),
        (put("NaN", "row", "train_seconds"), "not readable as JSON .NaN is no number"),
        (put("1e999", "row", "train_seconds"), "not readable as JSON .Infinity is no number"),
        (put("null", "row", "train_seconds"), "field 'row.train_seconds': None is not a number"),
        (put("-1", "row", "eval_seconds"), "field 'row.eval_seconds': -1 is not between 0 and 1"),
        (put('"\\ud800"', "row", "device"), "not readable as JSON"),
        (put('"GPU"', "row", "threads"), "field 'row.threads': 'GPU' is not a whole number"),
        (put("0", "row", "num_classes"), "field 'row.num_classes': 0 is not between 2 and"),
        (put("-1e308", "row", "best_test_top1_err"), r"field 'row.best_test_top1_err': -1e\+308 is not between 0 and"),
        (put("221", "row", "best_step"), "field 'row.best_step': 221 is after the last step, 220"),
        (put(f'"{"x" * 1_000_000}"', "row", "dataset"), "is longer than 1,000 characters"),
        (put("1" + "0" * 4_000, "row", "steps"), "field 'row.steps': a whole number of 13,288 bits is not between"),
        (put(f'"{"a" * 64}"', "files", "/dev/zero"), "field 'files./dev/zero': there is no such file of a run"),
        (put('"no"', "row", "stranger"), "field 'row': has 'stranger', which is unknown"),
        (lambda value: [value], "not a JSON object"),
    ],
)
def test_a_result_of_another_shape_is_named_by_field_and_value(
    study: StudyFolder, change: Change, message: str
) -> None:
    sign(first(study), change)
    with pytest.raises(UsageError, match=message) as caught:
        study.results(check_files=False)
    assert str(first(study).result) in str(caught.value) and "restore the file" in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert any("result.json" in fault for fault in verify(study))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "has no config, dataset_digest, run_id;"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"run_id": "a", "run_id": "b"}', "'run_id' stands there twice"),
        (
            '{"run_id": "x", "dataset_digest": "%s", "config": {"seed": 0}}' % ("0" * 64),
            "field 'config': has no arch",
        ),
    ],
)
def test_a_configuration_of_another_shape_is_said_by_status(study: StudyFolder, content: str, message: str) -> None:
    first(study).result.unlink()
    first(study).config.write_text(content)
    with pytest.raises(UsageError, match=rf"config.json: .*{message}"):
        status_table(study)


def test_steps_that_are_none_are_said_by_status(study: StudyFolder) -> None:
    first(study).result.unlink()
    value = json.loads(first(study).config.read_bytes())
    del value["config"]["steps"]
    first(study).config.write_text(json.dumps(value))
    with pytest.raises(UsageError, match="field 'config': has no steps;"):
        status_table(study)


@pytest.mark.parametrize("content", ['{"mode": 1}', '{"mode": "warp"}', '{"modus": "eager"}', "[]", '{"mode": NaN}'])
def test_an_execution_that_is_none_is_said(study: StudyFolder, content: str) -> None:
    (study.path / EXECUTION).write_text(content)
    with pytest.raises(UsageError, match=r"execution\.json"):
        study.read_execution()


@pytest.mark.parametrize(
    "content", ['{"environment": [], "attempts": []}', '{"environment": {}, "attempts": [{}]}', "{}"]
)
def test_a_history_that_is_none_is_said(study: StudyFolder, content: str) -> None:
    first(study).environment.write_text(content)
    with pytest.raises(UsageError, match=r"environment\.json: (field|has no)"):
        first(study).read_history()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_pipe, make_link, make_folder])
@pytest.mark.parametrize("name", ["result.json", "runs.csv", "curves.csv", SUMS, "runs/curves.csv", "checkpoint.pt"])
def test_what_is_no_plain_file_is_never_waited_for(study: StudyFolder, make: Callable[[Path], None], name: str) -> None:
    inside = name in ("result.json", "runs/curves.csv", "checkpoint.pt")
    path = (first(study).path if inside else study.path) / Path(name).name
    path.unlink(missing_ok=True)
    make(path)
    faults = verify(study)
    assert any(str(path) in fault and "plain file" in fault for fault in faults), faults
    if path.name in (RUNS.file, CURVES.file) and not inside:
        with pytest.raises(UsageError, match=rf"{path.name}: is .*plain file"):
            load(study.path)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("num_classes", "0", "0 is not between 2 and 1,000,000"),
        ("final_test_top1_err", "-1e308", r"-1e\+308 is not between 0 and 100"),
        ("steps", "-5", "-5 is not between 0 and"),
        ("train_seconds", "", "is empty"),
        ("device", "x" * 1_000_000, "(longer than 1,000 characters|field larger than field limit)"),
        ("dataset", "y" * 1_001, "is longer than 1,000 characters"),
        ("dataset_digest", "0", "'0' is not a SHA-256"),
        ("precision", "fp7", "'fp7' is not one of fp32, tf32, bf16"),
    ],
)
def test_absurd_values_of_a_table_are_named_by_row_and_column(
    study: StudyFolder, column: str, cell: str, message: str
) -> None:
    header, *lines = (study.path / RUNS.file).read_text().splitlines()
    cells = lines[0].split(",")
    cells[header.split(",").index(column)] = cell
    (study.path / RUNS.file).write_text("\n".join([header, ",".join(cells), *lines[1:], ""]))
    with pytest.raises(UsageError, match=message) as caught:
        load(study.path)
    assert "runs.csv" in str(caught.value) and len(str(caught.value)) < 500


def test_norms_that_no_network_has_are_refused_and_the_largest_are_drawn(tmp_path: Path) -> None:
    from resnet_bench.report.signal_figures import signal_figures

    rows = studies.with_insides(studies.make("norms", (20,), num_seeds=1), points=2)
    signals = rows.others[SIGNALS]
    rows.others[SIGNALS] = [
        replace(row, grad_norm=5e-324 if row.layer_index % 2 else 3.4e38, response_std=1e30) for row in signals
    ]
    frames = load(rows.write(tmp_path))
    for draw in signal_figures(frames).values():
        draw(frames).canvas.draw()  # type: ignore[attr-defined]
    rows.others[SIGNALS] = [replace(row, grad_norm=1e308) for row in signals]
    with pytest.raises(UsageError, match=r"signals.csv: row 2, column 'grad_norm': 1e\+308 is not between 0 and"):
        load(rows.write(tmp_path))


def test_a_loss_that_grew_without_end_is_a_result(study: StudyFolder) -> None:
    rows = [replace(row, train_loss=1e30, test_loss=3e38) for row in read_csv(study.path / CURVES.file, CURVES)]
    write_csv(study.path / CURVES.file, CURVES, rows)
    assert load(study.path).curves["train_loss"].max() == 1e30


def test_a_row_after_the_last_step_is_refused(study: StudyFolder) -> None:
    rows = read_csv(study.path / CURVES.file, CURVES)
    write_csv(study.path / CURVES.file, CURVES, [*rows[:-1], replace(rows[-1], step=10**9)])
    with pytest.raises(UsageError, match="has a row of step 1000000000, after its last one"):
        load(study.path)


def test_cells_that_a_spreadsheet_would_run_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(1)", "'quoted", "\tx", "'=y", "plain"]
    count = studies.with_insides(studies.demo()).others[CONFUSION][0]
    rows = [replace(count, true_class=name) for name in names]
    path = tmp_path / CONFUSION.file
    write_csv(path, CONFUSION, rows)
    assert read_csv(path, CONFUSION) == rows
    cells = [line.split(",")[1].strip('"') for line in path.read_text().splitlines()]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)


def test_semicolons_are_told_from_commas(tmp_path: Path) -> None:
    path = tmp_path / CURVES.file
    path.write_text(to_csv(CURVES, studies.demo().curves).replace(",", ";"))
    with pytest.raises(UsageError, match=r"curves.csv: row 1: its cells are separated by ';'; wanted are commas"):
        read_csv(path, CURVES)


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"a\x1b[31m", b"a\xe2\x80\xaeb"])
def test_a_folder_whose_name_cannot_stand_in_a_table_is_said(
    tmp_path: Path, name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    studies.demo().write(folder.parent)
    (tmp_path / "demo").rename(folder)
    for command in ("status", "verify", "report"):
        assert main([command, str(folder)]) == 2
        said = capsys.readouterr().err
        assert "rename it" in said and said.count("\n") == 1


def test_a_zero_byte_in_a_path_is_said() -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        study_name(Path("a\0b"))


def test_status_verify_and_report_need_no_torch(study: StudyFolder) -> None:
    code = (
        "import sys\n"
        "class Forbidden:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert name.split('.')[0] != 'torch', name\n"
        "sys.meta_path.insert(0, Forbidden())\n"
        "from resnet_bench.cli import main\n"
        "sys.exit(sum(main([command, sys.argv[1]]) for command in ('status', 'report', 'verify')))"
    )
    subprocess.run([sys.executable, "-c", code, str(study.path)], cwd=ROOT, check=True, timeout=120)


def test_collecting_again_gives_the_same_bytes(study: StudyFolder) -> None:
    before = {path: path.read_bytes() for path in study.path.iterdir() if path.is_file()}
    collect(study)
    assert before == {path: path.read_bytes() for path in before} and verify(study) == []
