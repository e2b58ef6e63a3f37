"""Study files: TOML that people write, copy and keep with their results."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from resnet_bench.config.arms import Networks
from resnet_bench.config.fields import told_at, unknown_field
from resnet_bench.config.protocol import Protocol
from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.schema import Invalid, shown

MOST_BYTES = 1 << 16
DATA = "data"  # what a file calls the field `dataset`
TABLES = {"networks": Networks, "protocol": Protocol}
HEADS = ("name", "meaning", DATA, "seeds")  # what stands before the first table


def read_fields(path: Path, *, follow: bool = True) -> dict[str, Any]:
    """The fields of the study in a file, by name; `follow` a link to it, or refuse that.

    Raises:
        UsageError: the file cannot be read, is no TOML (with the line), or no study (with the place in it).
    """
    try:
        return parse_fields(read_regular(path, MOST_BYTES, follow=follow))
    except OSError as error:
        raise UsageError(f"{error.strerror}; a study file is one of text (TOML)") from None


def parse_fields(content: bytes) -> dict[str, Any]:
    """The fields of the study that the content of a file says, and its text. Raises UsageError."""
    try:
        text = content.decode("utf-8-sig")
        value = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"line {content[: error.start].count(10) + 1}: is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is no TOML: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError("is no TOML that can be read: a number too long, or lists too deep") from None
    return {**fields_of(value), "text": text}


def fields_of(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of a study that a file's values say. Raises UsageError."""
    with told_at():
        return _fields(value)


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of a study, by name."""
    _check_names(value, [*HEADS, *TABLES, "vary"], ["name", DATA, "seeds", *TABLES])
    made: dict[str, Any] = dict(value)
    made["dataset"] = made.pop(DATA)
    for name, record in TABLES.items():
        table = _table(made[name], name)
        needed = [f.name for f in fields(record) if f.default is f.default_factory is MISSING]
        _check_names(table, _names(record), needed, name)
        made[name] = record(**table)
    for name, values in _table(made.get("vary", {}), "vary").items():
        if not isinstance(values, list):
            raise Invalid(f"{shown(values)} is not a list of values", "vary", name)
    _check_rate(value["protocol"], value.get("vary", {}))
    return made


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{shown(value)} is not a table; write [{name}] above its fields", name)
    return value


def _check_names(table: Mapping[str, Any], known: Sequence[str], needed: Sequence[str], *place: str) -> None:
    """Raise Invalid for a field that does not belong there, or is missing."""
    for name in table:
        if name not in known:
            other = next((head for head, names in _places().items() if name in names), None)
            if other is not None:
                raise Invalid(f"there is no such field here; it belongs {other}", *place, name)
            raise unknown_field(name, known, *place)
    for name in needed:
        if name not in table:
            raise Invalid("is missing", *place, name)


def _places() -> dict[str, Sequence[str]]:
    """Where which fields belong, in words."""
    return {"before the first table": HEADS, **{f"in [{name}]": _names(record) for name, record in TABLES.items()}}


def _names(record: type[Any]) -> list[str]:
    return [f.name for f in fields(record)]


def _check_rate(protocol: Mapping[str, Any], vary: Mapping[str, Any]) -> None:
    """Raise Invalid if another optimizer would be given the learning rate that is usual for SGD unsaid."""
    others = [name for name in (protocol.get("optimizer", "sgd"), *vary.get("optimizer", [])) if name != "sgd"]
    if others and "lr" not in protocol and "lr" not in vary:
        why = f"is missing: 0.1, as where none is said, is for sgd; 0.001 is usual for {others[0]}"
        raise Invalid(why, "protocol", "lr")


# ---------------------------------------------------------------------------------------------- writing


def to_toml(head: Mapping[str, Any], networks: Networks, protocol: Protocol, vary: Mapping[str, Any]) -> str:
    """A study as a file, `head` being what stands before the first table; what has its default is left out."""
    told = _told_fields(networks)
    builders = told.pop("builders", {})
    parts = ["".join(_lines(head)), _told_table("networks", told)]
    parts += [_told_table("networks.builders", builders)] if builders else []
    parts += [_told_table("protocol", _told_fields(protocol))]
    parts += [_told_table("vary", vary)] if vary else []
    return "\n".join(parts)


def _told_fields(record: Any) -> dict[str, Any]:
    """The fields that are not as they would be anyway, and the learning rate, which some optimizers ask for."""
    values = {f.name: (f, getattr(record, f.name)) for f in fields(record)}
    return {name: value for name, (f, value) in values.items() if name == "lr" or value not in (f.default, _made(f))}


def _made(field: Any) -> Any:
    return None if field.default_factory is MISSING else field.default_factory()


def _told_table(name: str, values: Mapping[str, Any]) -> str:
    return "".join([f"[{name}]\n", *_lines(values)])


def _lines(values: Mapping[str, Any]) -> Iterable[str]:
    for name, value in values.items():
        key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else _value(name)
        yield f"{key} = {_value(value)}\n"


def _value(value: Any) -> str:
    """A value as TOML has it: bool, int, float, str, or a list of them."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # what JSON escapes TOML escapes in the same way, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))  # a step among shares
    return str(value).lower() if isinstance(value, bool) else repr(value)
