"""What a field of a record may hold, said once at the field; cells of CSV and values of JSON are checked by that alone.

A record is a dataclass. The type of a field, and its `Rule` under "rule" in its metadata, say what is allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any

from resnet_bench.errors import UsageError
from resnet_bench.text import from_csv_text, to_csv_text

MAX_TEXT = 1_000  # characters
MAX_WHOLE = 10**15
MAX_NUMBER = 3.5e38  # beyond the largest number in single precision, so whatever a network can give
MAX_JSON_BYTES = 1 << 20


class Invalid(ValueError):
    """A value that its field must not hold: why, and which field of the record."""

    def __init__(self, why: str, *path: str) -> None:
        super().__init__(why)
        self.why, self.path = why, path

    def within(self, name: str) -> Invalid:
        """The same, said of the record that the field is in."""
        return Invalid(self.why, name, *self.path)

    def __str__(self) -> str:
        return f"field {'.'.join(self.path)!r}: {self.why}" if self.path else self.why


@dataclass(frozen=True)
class Rule:
    """What a value must be, beside its type.

    Attributes:
        low: of numbers, the smallest; None: 0 of whole ones, and of others the negative of the largest.
        high: of numbers, the largest; None: MAX_WHOLE, MAX_NUMBER.
        pattern: of texts: what the whole text matches.
        wanted: that in words, for who reads the message.
        among: of texts: all that there are.
        measured: of numbers in a CSV cell or null in JSON: it is never empty. Else an empty one is not finite.
    """

    low: float | None = None
    high: float | None = None
    pattern: str = ""
    wanted: str = ""
    among: tuple[str, ...] = ()
    measured: bool = False


ANY = Rule()


@dataclass(frozen=True)
class Scalar:
    """How the values of one field are checked: int, float, bool or str, perhaps None."""

    kind: type
    optional: bool
    rule: Rule

    @functools.cached_property
    def low(self) -> float:
        """The smallest number."""
        return (0 if self.kind is int else -MAX_NUMBER) if self.rule.low is None else self.rule.low

    @functools.cached_property
    def high(self) -> float:
        """The largest number."""
        return (MAX_WHOLE if self.kind is int else MAX_NUMBER) if self.rule.high is None else self.rule.high

    @functools.cached_property
    def _matches(self) -> Callable[[str], Any]:
        return re.compile(self.rule.pattern or ".*", re.DOTALL).fullmatch

    def of_value(self, value: Any) -> Any:
        """A value of JSON, checked. Raises Invalid."""
        kind = type(value)
        if kind is self.kind or (kind is int and self.kind is float):
            if kind is str:
                return self._text(value)
            return value if kind is bool else self._number(value)
        if value is None and (empty := self._empty()) is not MISSING:
            return empty
        raise Invalid(f"{shown(value)} is not {NAMES[self.kind]}")

    def of_cell(self, cell: str) -> Any:
        """A cell of CSV, checked. Raises Invalid."""
        if cell == "" and self.kind is not str:
            if (empty := self._empty()) is MISSING:
                raise Invalid("is empty")
            return empty
        if self.kind is str:
            return self._text(from_csv_text(cell)) if cell or not self.optional else None
        if self.kind is bool:
            if cell not in ("True", "False"):
                raise Invalid(f"{shown(cell)} is not True or False")
            return cell == "True"
        return self._number(_whole(cell) if self.kind is int else _real(cell))

    def of_cells(self, cells: Sequence[str]) -> Sequence[Any]:
        """Many cells of one column, each as `of_cell` has it. Raises Invalid, which does not say at which."""
        values = self._at_once(cells)
        return [self.of_cell(cell) for cell in cells] if values is None else values

    def _at_once(self, cells: Sequence[str]) -> list[Any] | None:
        """The values, for columns of the usual kind; None: somebody must look at each cell."""
        if self.kind is str:  # few different ones: one object for each saves most of the memory of a large table
            return list(map({cell: self.of_cell(cell) for cell in set(cells)}.__getitem__, cells))
        if self.kind is bool or "" in cells:
            return None
        try:
            if self.kind is float:
                values: list[Any] = list(map(float, cells))
                plain = all(map(math.isfinite, values))
            else:
                joined = "".join(cells)
                plain = joined.isascii() and joined.isdecimal() and max(map(len, cells)) < 19
                values = list(map(int, cells)) if plain else []
        except ValueError:
            return None
        return values if plain and (not values or (self.low <= min(values) and max(values) <= self.high)) else None

    def _empty(self) -> Any:
        """What stands for a value that is not there; MISSING: there must be one."""
        if self.optional:
            return None
        return math.nan if self.kind is float and not self.rule.measured else MISSING

    def _number(self, value: float) -> Any:
        if not self.low <= value <= self.high:
            if value - value != 0:
                hint = "" if self._empty() is MISSING else "; leave it empty if it was not measured"
                raise Invalid(f"'{value}' is not a finite number{hint}")
            raise Invalid(f"{shown(value)} is not between {self.low:,.10g} and {self.high:,.10g}")
        return self.kind(value)

    def _text(self, text: str) -> str:
        rule = self.rule
        if len(text) > MAX_TEXT:
            raise Invalid(f"{shown(text)} is longer than {MAX_TEXT:,} characters")
        if rule.among and text not in rule.among:
            raise Invalid(f"{shown(text)} is not one of {', '.join(rule.among)}")
        if rule.pattern and not self._matches(text):
            raise Invalid(f"{shown(text)} is not {rule.wanted}")
        if not text.isascii() and _SURROGATES.search(text):
            raise Invalid(f"{shown(text)} holds half a character (a lone surrogate)")
        return text


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def shown(value: Any) -> str:
    """A value in a message: on one line, and short."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 400:
        return f"a whole number of {value.bit_length():,} bits"
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 120 else f"{text[:100]}..."


def _whole(cell: str) -> int:
    digits = cell.removeprefix("-")
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= 18):
        raise Invalid(f"{shown(cell)} is not a whole number")
    return int(cell)


def _real(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise Invalid(f"{shown(cell)} is not a number") from None


def to_cell(value: Any) -> str:
    """A value for a cell of CSV; None and numbers that are not finite are empty."""
    if isinstance(value, str):
        return to_csv_text(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def scalar(hint: Any, rule: Rule | None = None) -> Scalar:
    """How a field of that type is checked."""
    optional = isinstance(hint, types.UnionType)
    kind = next(t for t in typing.get_args(hint) if t is not types.NoneType) if optional else hint
    return Scalar(kind, optional, rule or ANY)


def scalars(record: type[Any]) -> dict[str, Scalar]:
    """How each field of a record of scalars is checked, by name, in order."""
    hints = typing.get_type_hints(record)
    return {f.name: scalar(hints[f.name], f.metadata.get("rule")) for f in dataclasses.fields(record)}


def are_doubled(keys: Sequence[Sequence[Any]]) -> bool:
    """May a row's key, given by its columns, stand twice; False is certain. In little memory, whatever the order."""
    hashes = sorted(map(hash, zip(*keys, strict=True)))
    return any(map(operator.eq, hashes, itertools.islice(hashes, 1, None)))


# ---------------------------------------------------------------------------------------------- JSON


def parse_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises Invalid: it is none, or says NaN, a number too large, a key twice."""
    try:
        value = json.loads(
            content.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
        if b"\\ud" in content or b"\\uD" in content:  # halves of a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Invalid(f"not readable as JSON ({error})") from None
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:100]} is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return value


def from_json(hint: Any, value: Any) -> Any:
    """A record (or a field of one) from the value that JSON has for it. Raises Invalid."""
    return _reader(hint, ANY)(value)


def field_value(record: Any, name: str, value: Any) -> Any:
    """What a record has in that field if it is given this value. Raises Invalid."""
    return _part(_readers(record)[name], name, value)


def settle(record: Any) -> None:
    """Check a frozen record while it is made, and give each value the type of its field (1.0 for 1). Raises Invalid.

    Fields that are not compared are no part of its value and stay as they are.
    """
    for name in (f.name for f in dataclasses.fields(record) if f.compare):
        object.__setattr__(record, name, field_value(type(record), name, getattr(record, name)))


@functools.cache
def _readers(record: type[Any]) -> dict[str, Callable[[Any], Any]]:
    hints = typing.get_type_hints(record)
    return {f.name: _reader(hints[f.name], f.metadata.get("rule") or ANY) for f in dataclasses.fields(record)}


@functools.cache
def _reader(hint: Any, rule: Rule) -> Callable[[Any], Any]:
    if hint is Any:
        return lambda value: value
    if dataclasses.is_dataclass(hint):
        return _record_reader(hint)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (dict, Mapping):
        return functools.partial(_dict, _reader(str, ANY), _reader(parts[1], rule))
    if origin is tuple:
        return functools.partial(_tuple, _reader(parts[0], rule))
    return scalar(hint, rule).of_value


def _dict(key: Callable[[Any], Any], item: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{shown(value)} is not an object")
    return {key(name): _part(item, name, part) for name, part in value.items()}


def _tuple(item: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Invalid(f"{shown(value)} is not a list")
    return tuple(_part(item, str(place), part) for place, part in enumerate(value))


def _part(read: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return read(value)
    except Invalid as error:
        raise error.within(name) from None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _record_reader(record: Any) -> Callable[[Any], Any]:
    readers = _readers(record)
    checks_together = hasattr(record, "check_together")
    needed = {f.name for f in dataclasses.fields(record) if f.default is f.default_factory is MISSING}

    def read(value: Any) -> Any:
        if isinstance(value, record):
            return value
        if not isinstance(value, dict):
            raise Invalid(f"{shown(value)} is not an object")
        if not value.keys() <= readers.keys() or not needed <= value.keys():
            missing, unknown = sorted(needed - value.keys()), sorted(value.keys() - readers.keys())
            told = [f"has no {_few(missing)}"] if missing else []
            told += [f"has {_few(list(map(shown, unknown)))}, which is unknown"] if unknown else []
            raise Invalid(f"{', and '.join(told)}; is it of another version?")
        try:
            fields = {name: readers[name](part) for name, part in value.items()}
        except Invalid:  # once more, slower, to say in which field
            fields = {name: _part(readers[name], name, part) for name, part in value.items()}
        try:
            made = record(**fields)
        except UsageError as error:  # what the record says itself of values that do not go together
            raise Invalid(str(error)) from None
        if checks_together:
            made.check_together()
        return made

    return read
