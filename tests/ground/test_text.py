"""Text from elsewhere: escaped for a terminal, for one line, for a spreadsheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_bench.text import counted, from_csv_text, one_line, to_csv_text, visible


def test_nothing_that_commands_a_terminal_is_left() -> None:
    assert visible("cat\x1b[2J\x9b1m \u202edog\nbird") == "cat\\x1b[2J\\x9b1m \\u202edog\nbird"
    assert one_line("a\nb\tc\ud8ffd") == "a\\nb\\tc\\ud8ffd"
    assert one_line("猫 ñ 👩\u200d🚀") == "猫 ñ 👩\u200d🚀"


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A1", "+1+1", "-1", "@SUM(1)", "\tx", "'=x", "''@"])
def test_a_spreadsheet_runs_no_name(name: str) -> None:
    assert to_csv_text(name) == f"'{name}"


@given(st.text() | st.text(alphabet="'=+-@a"))
def test_a_text_comes_back_from_its_cell(text: str) -> None:
    assert from_csv_text(to_csv_text(text)) == text


@pytest.mark.parametrize("name", ["cat", "'quoted'", "", "a=b"])
def test_ordinary_names_are_written_as_they_are(name: str) -> None:
    assert to_csv_text(name) == name == from_csv_text(name)


def test_one_thing_is_not_several() -> None:
    assert [counted(number, "run") for number in (0, 1, 2, 20_000)] == ["0 runs", "1 run", "2 runs", "20,000 runs"]
