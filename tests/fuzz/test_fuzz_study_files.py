"""A study's own files, mutated and signed again as an attacker would: status, verify, collecting and the report."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_bench.cli.status import status_table
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import sha256_of
from resnet_bench.frames import load
from resnet_bench.report import canvas, render, summarize
from resnet_bench.results.tables import CLAIMS, COMPLEXITY, RUNS, SPLIT, THROUGHPUT
from resnet_bench.study import records
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.sums import SUMS
from resnet_bench.study.verify import verify
from tests import studies
from tests.fuzz.mutations import ABSURD, EXAMPLES, FUZZ, mutated_bytes, mutated_value

FEW = settings(
    max_examples=EXAMPLES // 4 or 8,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# What is a number but absurd, or a text that is none; what ABSURD has is written as CSV would have it.
CELLS = [
    *map(str, ABSURD),
    "3.4e38",
    "-3.4e38",
    "1e-320",
    "100",
    "1000000000000000",
    "9" * 18,
    "True",
    "a;b",
    "\n",
    "é",
]


@dataclass(frozen=True)
class Whole:
    """A study, and what every file of it held at first."""

    study: StudyFolder
    contents: dict[Path, bytes]

    def texts(self, suffix: str) -> list[Path]:
        """Its files with that suffix, in order; none of the report's."""
        return [path for path in sorted(self.contents) if path.name.endswith(suffix) and path.name != CLAIMS.file]

    @contextlib.contextmanager
    def having(self, path: Path, content: bytes) -> Iterator[None]:
        """Put other content in a file, and the run's result in order with that; afterwards all is as it was."""
        try:
            path.write_bytes(content)
            result = path.parent / records.RESULT
            if path.name != records.RESULT and result.exists():
                sign(result, json.loads(result.read_bytes()))
            yield
        finally:
            for place in self.study.path.rglob("*"):
                if place.is_file() and place not in self.contents:
                    place.unlink()
            for place, before in self.contents.items():
                if not place.exists() or place.read_bytes() != before:
                    place.write_bytes(before)


def sign(path: Path, value: Any) -> None:
    """Write result.json with the digests that belong to what it says and to the files there are."""
    with contextlib.suppress(Exception):
        for name in value["files"]:
            value["files"][name] = sha256_of(path.parent / name, 1 << 30)
    with contextlib.suppress(Exception):
        value["digest"] = records.result_digest(value["row"], value["files"])
    path.write_bytes(json.dumps(value).encode())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    rows = studies.with_surgery(studies.with_insides(studies.make("tiny", (20, 56), num_seeds=2, every=44), points=2))
    rows.others[COMPLEXITY] = studies.complexity_rows((20, 56))
    rows.others[THROUGHPUT] = studies.throughput_rows((20, 56))
    with mock.patch("os.fsync"):
        study = rows.write_runs(tmp_path_factory.mktemp("fuzz"))
        unfinished = study.run(rows.runs[0].run_id)
        unfinished.result.unlink()
        (study.path / RUNS.file).unlink()
        collect(study)
        assert verify(study) == []
        yield Whole(study, {path: path.read_bytes() for path in study.path.rglob("*") if path.is_file()})


def looked_at(study: StudyFolder) -> None:
    """All that reads a study without drawing it: a result, or one line."""
    looks: list[Callable[[], object]] = [
        lambda: status_table(study),
        lambda: [folder.read_history() for folder in study.run_folders()],
        lambda: [folder.read_identity() for folder in study.run_folders()],
        study.read_execution,
        lambda: load(study.path),
        lambda: collect(study),
    ]
    for fault in verify(study):
        assert "\n" not in fault
    for look in looks:
        with one_line():
            look()


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    try:
        yield
    except (UsageError, Failure) as error:
        assert "\n" not in str(error) and len(str(error)) < 2_000, str(error)[:3_000]


@FUZZ
@given(st.data())
def test_any_value_in_a_json_file_is_read_or_refused_in_one_line(whole: Whole, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(whole.texts(".json")))
    value = data.draw(mutated_value(json.loads(whole.contents[path])))
    with whole.having(path, json.dumps(value).encode()):
        if path.name == records.RESULT:
            sign(path, value)
        looked_at(whole.study)


@FUZZ
@given(st.data())
def test_any_bytes_in_a_file_are_read_or_refused_in_one_line(whole: Whole, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([*whole.texts(".json"), *whole.texts(".csv"), *whole.texts(SUMS)]))
    with whole.having(path, data.draw(mutated_bytes(whole.contents[path]))):
        looked_at(whole.study)


@st.composite
def mutated_table(draw: st.DrawFn, valid: bytes) -> bytes:
    """A CSV file in which up to three cells, or whole columns, hold something absurd."""
    header, *rows = csv.reader(io.StringIO(valid.decode()))
    for _ in range(draw(st.integers(1, 3))):
        column, cell = draw(st.integers(0, len(header) - 1)), draw(st.sampled_from(CELLS))
        chosen = rows if draw(st.booleans()) else [draw(st.sampled_from(rows))] if rows else []
        for row in chosen:
            row[column] = cell
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


@FEW
@given(st.data())
def test_any_table_is_drawn_or_refused_in_one_line(whole: Whole, data: st.DataObject) -> None:
    own = [path for path in whole.texts(".csv") if path.parent == whole.study.path and path.name != SPLIT.file]
    path = data.draw(st.sampled_from(own))
    content = data.draw(mutated_table(whole.contents[path]))
    with whole.having(path, content), mock.patch.object(canvas, "save", drawn), one_line():
        render(whole.study.path)
        summarize(whole.study.path)


def drawn(figure: Any, stem: Path) -> list[Path]:
    """Draw it small, which takes a tenth of the time; the page wants a picture there."""
    figure.set_dpi(30)
    stem.parent.mkdir(exist_ok=True)
    figure.savefig(stem.with_suffix(".png"))
    return []


def test_the_study_is_what_it_was_after_all_that(whole: Whole) -> None:
    assert verify(whole.study) == []
