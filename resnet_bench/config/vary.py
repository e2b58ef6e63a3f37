"""What a study varies, which its file has in [vary]: fields, each with values. A setting is one value of each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from resnet_bench.config.arms import Networks
from resnet_bench.config.fields import check_list, unknown_field
from resnet_bench.config.protocol import Protocol
from resnet_bench.config.run import RunConfig
from resnet_bench.schema import Invalid, field_value

Setting = Mapping[str, Any]  # field -> value; empty where nothing is varied

OF_PROTOCOL = [f.name for f in fields(Protocol) if f.name != "name"]
BESIDE = ("init_seed", "batch_seed")  # of a run alone
RECORDS: dict[str, type[Any]] = {
    **dict.fromkeys(OF_PROTOCOL, Protocol),
    "family": Networks,
    **dict.fromkeys(BESIDE, RunConfig),
}
PLACES = {"depth": "networks.depths", "arm": "networks.arms", "seed": "seeds"}  # axes that a study has anyway
PLACES |= {f"{name}s": place for name, place in PLACES.items()}


def checked(vary: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    """The values of each field that is varied, as the field has them. Raises Invalid."""
    return {name: _values(name, given) for name, given in vary.items()}


def _values(name: str, given: Sequence[Any]) -> tuple[Any, ...]:
    if name in PLACES:
        raise Invalid(f"is an axis of its own; write the values in {PLACES[name]}", "vary", name)
    if name not in RECORDS:
        raise unknown_field(name, RECORDS, "vary")
    values = tuple(_value(name, value, str(number)) for number, value in enumerate(given))
    check_list(values, "vary", name)
    return values


def _value(name: str, value: Any, number: str) -> Any:
    try:
        if value is None:
            raise Invalid("None is no value to be varied")
        return field_value(RECORDS[name], name, value)
    except Invalid as error:
        raise Invalid(error.why, "vary", name, number, *error.path[1:]) from None


def settings_of(vary: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Every combination of the values, the last field's changing first; one empty setting without any."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def words(setting: Setting) -> str:
    """`steps=400, lr=0.1`; empty where nothing is varied."""
    return ", ".join(f"{name}={_word(value)}" for name, value in setting.items())


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_word, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value != int(value):
        return repr(value)
    return str(int(value) if isinstance(value, float) else value)
