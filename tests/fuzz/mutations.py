"""Valid files made invalid: bytes turned, cut, repeated; values of JSON exchanged for absurd ones."""

from __future__ import annotations

import copy
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))  # `make fuzz` sets it; without it every run finds the same
FUZZ = settings(
    max_examples=EXAMPLES or 30,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)

ABSURD: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 2**70, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "\x00", "\x1b[31m", "\ud800", "\u202e",
    "=1+1", "../../etc/passwd", "/dev/zero",
    "x" * 100_000, [], [[]], [None], {}, {"": {}},
]  # fmt: skip


@st.composite
def mutated_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """`valid` with up to four changes of bytes, its end cut off, or parts of it repeated or removed."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("set", "set", "word", "cut", "remove", "repeat", "insert")))
        start = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 64))
        if kind == "set" and content:
            content[start] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
        elif kind == "word":
            word = draw(st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**32 - 1)))
            content[start : start + 4] = word.to_bytes(4, draw(st.sampled_from(("little", "big"))))
        elif kind == "cut":
            del content[start:]
        elif kind == "remove":
            del content[start : start + length]
        elif kind == "repeat":
            content[start:start] = content[start : start + length] * draw(st.integers(1, 100))
        else:
            content[start:start] = draw(st.binary(min_size=1, max_size=16))
    return bytes(content)


@st.composite
def mutated_value(draw: st.DrawFn, valid: Any) -> Any:
    """A JSON-like value in which up to three places hold something absurd, or are missing, or have a new neighbour."""
    root = [copy.deepcopy(valid)]
    for _ in range(draw(st.integers(1, 3))):
        place: Any = root
        key: Any = 0
        while isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 5)):
            place = place[key]
            key = draw(st.sampled_from(sorted(place, key=repr) if isinstance(place, dict) else range(len(place))))
        kind = draw(st.sampled_from(("absurd", "absurd", "remove", "add")))
        if kind == "absurd" or place is root:
            place[key] = copy.deepcopy(draw(st.sampled_from(ABSURD)))  # another change may go into it
        elif kind == "remove":
            del place[key]
        elif isinstance(place, dict):
            place[draw(st.sampled_from(("", "stranger", "\x1b")))] = copy.deepcopy(draw(st.sampled_from(ABSURD)))
        else:
            place.append(copy.deepcopy(draw(st.sampled_from(ABSURD))))
    return root[0]
