"""The schema: CSV round trip, every kind of bad file named by row and column, the data dictionary is current."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import write_atomically
from resnet_bench.results.dictionary import data_dictionary
from resnet_bench.results.rows import CurveRow, RunRow, parse_row
from resnet_bench.results.tables import CURVES, RUNS, read_csv, to_csv, write_csv
from tests import studies
from tests.conftest import ROOT


def curve(step: int = 1, **values: object) -> CurveRow:
    return dataclasses.replace(studies.demo().curves[0], step=step, **values)  # type: ignore[arg-type]


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    study = studies.demo()
    for table, rows in ((RUNS, study.runs), (CURVES, study.curves)):
        write_csv(tmp_path / table.file, table, rows)
        assert read_csv(tmp_path / table.file, table) == rows


def test_what_was_not_measured_is_an_empty_cell_and_stays_nan(tmp_path: Path) -> None:
    write_csv(tmp_path / "curves.csv", CURVES, [curve(test_loss=math.inf, train_loss=math.nan)])
    row = read_csv(tmp_path / "curves.csv", CURVES)[0]
    assert math.isnan(row.test_loss) and math.isnan(row.train_loss)


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = to_csv(CURVES, [curve(1), curve(2)])
    (tmp_path / "curves.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(read_csv(tmp_path / "curves.csv", CURVES)) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train_loss", "trainloss", r"row 1: column 'train_loss' is missing"),
        ("step,", "step,step,", r"row 1: column 'step' is unknown or doubled"),
        (",2,", ",1,", r"row 3: run_id=.*, step=1 stands in row 2 already"),
        (",2,", ",two,", r"row 3, column 'step': 'two' is not a whole number"),
        (",2,", ",,", r"row 3, column 'step': is empty"),
        (",0.5,", ",much,", r"row 2, column 'train_loss': 'much' is not a number"),
        (",0.5,", ",inf,", r"row 2, column 'train_loss': 'inf' is not a finite number"),
        (",0.5,", ",", r"row 2: 15 cells instead of 16; the line is torn"),
        (studies.demo().curves[0].run_id, "../../x", r"row 2, column 'run_id': '../../x' is not a run id"),
        (studies.demo().curves[0].run_id, "=cmd|x", r"row 2, column 'run_id'"),
    ],
)
def test_bad_files_are_named_by_row_and_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = to_csv(CURVES, [curve(1, train_loss=0.5), curve(2, train_loss=0.25)])
    assert old in text
    path = tmp_path / "curves.csv"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        read_csv(path, CURVES)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_csv(tmp_path / "runs.csv", RUNS)
    (tmp_path / "runs.csv").write_bytes(b"\xff\xfe\x00run_id")
    with pytest.raises(UsageError, match="not a CSV file"):
        read_csv(tmp_path / "runs.csv", RUNS)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_run_id_is_safe_or_refused(text: str) -> None:
    value = json.loads(json.dumps(dataclasses.asdict(studies.demo().runs[0])))
    try:
        row = parse_row(RunRow, {**value, "run_id": text}, "test")
    except UsageError:
        return
    assert row.run_id == text and "/" not in text and text not in ("", ".", "..")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "curves.csv"
    path.write_bytes(to_csv(CURVES, []).encode() + content)
    try:
        read_csv(path, CURVES)
    except UsageError as error:
        assert "\n" not in str(error)


def test_json_of_another_schema_is_refused() -> None:
    with pytest.raises(UsageError, match="has no arch"):
        parse_row(RunRow, {"run_id": "x"}, "result.json")


def test_write_atomically_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.csv"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Failure, match=r"cannot write .*runs\.csv .*: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]


def test_the_data_dictionary_is_current() -> None:
    assert (ROOT / "results" / "README.md").read_text() == data_dictionary(), (
        "python -m resnet_bench.results.dictionary writes it"
    )


def test_a_column_that_came_later_may_be_missing(tmp_path: Path) -> None:
    rows = studies.demo().runs
    older = [name for name in RUNS.columns if name not in RUNS.later]
    assert "family" not in older
    path = tmp_path / RUNS.file
    path.write_text(to_csv(RUNS, rows, older))
    assert read_csv(path, RUNS) == rows and {row.family for row in rows} == {"cifar"}
    value = {name: cell for name, cell in dataclasses.asdict(rows[0]).items() if name in older}
    assert parse_row(RunRow, value, "here") == rows[0]
    with pytest.raises(UsageError, match="column 'depth' is missing"):
        path.write_text(to_csv(RUNS, rows, [name for name in older if name != "depth"]))
        read_csv(path, RUNS)
