"""Study files, mutated: a study, or one line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from resnet_bench import studies
from resnet_bench.config.study import Study
from resnet_bench.config.study_file import fields_of
from resnet_bench.errors import UsageError
from tests.fuzz.mutations import FUZZ, mutated_bytes, mutated_value

TEXT = studies.cifar10_paper.text + '[vary]\nsteps = [50000, 64000]\noptimizer = ["sgd", "adam"]\n'


def read(make: Callable[[], Study]) -> None:
    """Read it; what is read can be written and read again, and gives runs."""
    try:
        study = make()
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < 2_000
        return
    assert Study.parse(study.to_toml().encode()) == study
    assert len({run.run_id for run in study.runs()}) == len(study.runs()) > 0


@FUZZ
@given(st.data())
def test_any_bytes_are_a_study_or_refused_in_one_line(data: st.DataObject) -> None:
    content = data.draw(mutated_bytes(TEXT.encode()))
    read(lambda: Study.parse(content))


@FUZZ
@given(st.data())
def test_any_values_are_a_study_or_refused_in_one_line(data: st.DataObject) -> None:
    value: Any = data.draw(mutated_value(tomllib.loads(TEXT)))
    if isinstance(value, dict):
        read(lambda: Study(**fields_of(value)))
