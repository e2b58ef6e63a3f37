"""What the records of a study file have in common: rules of fields, and how what is wrong is told."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any

from resnet_bench.errors import UsageError
from resnet_bench.schema import Invalid, Rule, shown

IN_FILES = {"dataset": "data"}  # what files call a field otherwise


def ruled(rule: Rule, default: Any) -> Any:
    """A field with a default, and what it may hold."""
    return field(default=default, metadata={"rule": rule})


@contextlib.contextmanager
def told_at(*place: str) -> Iterator[None]:
    """What is wrong with a value is told with its place in a study file: `protocol.steps: 0 is not ...`."""
    try:
        yield
    except Invalid as error:
        path = [IN_FILES.get(name, name) for name in (*place, *error.path)]
        raise UsageError(f"{'.'.join(path)}: {error.why}") from None


def check_list(values: Sequence[Any], *path: str) -> None:
    """Raise Invalid if there are none, or one twice."""
    if not values:
        raise Invalid("is empty; there must be one value at least", *path)
    doubled = [value for value in values if values.count(value) > 1]
    if doubled:
        raise Invalid(f"{shown(doubled[0])} stands there twice", *path)


def unknown_field(name: str, known: Iterable[str], *path: str) -> Invalid:
    """That there is no such field, and which there are, the most similar first."""
    there = list(known)
    near = difflib.get_close_matches(name, there, n=1)
    nearest = f"nearest: {near[0]}; " if near else ""
    return Invalid(f"there is no such field; {nearest}there are {', '.join(there)}", *path, shown(name)[1:-1])
