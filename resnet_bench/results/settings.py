"""The text of the column `setting`, what a study varies of its runs: `steps=400, lr=0.1`."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

Value = int | float | str
REPLICATES = ("init_seed", "batch_seed")  # varied, they repeat a run as its seed does, and are no axis
_BETWEEN = re.compile(r",\s*(?=[A-Za-z_][\w.]*=)")  # a comma within a value is none of them


def parse(setting: str) -> dict[str, Value]:
    """The value of each field, a number where it is one; nothing of an empty text.

    Raises:
        ValueError: it is not `field=value`, several of them with commas between.
    """
    values: dict[str, Value] = {}
    for part in _BETWEEN.split(setting) if setting else ():
        name, sign, text = part.partition("=")
        if not sign or not name.strip() or name.strip() in values:
            raise ValueError(f"{setting!r} is not field=value, with commas between several")
        values[name.strip()] = _value(text.strip())
    return values


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def axes_of(settings: Iterable[str]) -> dict[str, list[Value]]:
    """The values of each field: numbers first, ascending, then texts in the order in which they come.

    Raises:
        ValueError: one is no setting.
    """
    found: dict[str, dict[Value, None]] = {}
    for setting in settings:
        for name, value in parse(setting).items():
            found.setdefault(name, {})[value] = None
    return {name: [*_numbers(values), *(v for v in values if isinstance(v, str))] for name, values in found.items()}


def _numbers(values: Iterable[Value]) -> list[int | float]:
    return sorted(value for value in values if not isinstance(value, str))


def in_order(settings: Sequence[str]) -> list[str]:
    """Each setting once, by its values in the order of `axes_of`, the first field outermost."""
    axes = axes_of(settings)
    places = {name: {value: place for place, value in enumerate(values)} for name, values in axes.items()}

    def key(setting: str) -> tuple[int, ...]:
        values = parse(setting)
        return tuple(place[values[name]] if name in values else -1 for name, place in places.items())

    return sorted(dict.fromkeys(settings), key=key)


def text_of(values: Mapping[str, Value]) -> str:
    """`steps=400, lr=0.1`, the inverse of `parse`; empty without values."""
    return ", ".join(f"{name}={number(value)}" for name, value in values.items())


def number(value: Value) -> str:
    """A value as a reader writes it: `1e-05` as that, 400 without a point."""
    return value if isinstance(value, str) else f"{value:.10g}"


def file_names(settings: Sequence[str]) -> dict[str, str]:
    """By setting a name that any file and any mark in a page may have: `steps-400-lr-0_1`."""
    names: dict[str, str] = {}
    for setting in settings:
        whole = re.sub(r"[^a-z0-9_]+", "-", setting.lower().replace(".", "_")).strip("-")[:60] or "setting"
        free = (whole if number == 1 else f"{whole}-{number}" for number in itertools.count(1))
        names[setting] = next(name for name in free if name not in names.values())
    return names
