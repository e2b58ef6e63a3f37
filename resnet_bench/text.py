"""Text from elsewhere (names of classes, folders, servers), made harmless for where it is going to be read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

# Control characters, those that change the direction of text, lone surrogates (bytes of a name that are no UTF-8).
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")


def visible(text: str) -> str:
    r"""The text for a terminal or a log: what would command it, or turn it round, is written as `\x1b`; lines stay."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else _escaped(found[0]), text)


def one_line(text: str) -> str:
    r"""The same for a place that holds one line (a name in a sentence, the cell of a table): `\n` for a new line."""
    return _UNSEEN.sub(lambda found: _escaped(found[0]), text)


def listing(head: str, items: Iterable[str]) -> str:
    """A sentence, and what belongs to it, each on one line."""
    return "\n".join([head, *map(one_line, items)])


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def to_json_text(value: Any) -> str:
    r"""JSON to be read by people too: letters of any language as they are, what cannot be seen as `\u001b`."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def command(*words: object) -> str:
    """A command line to be called as it is printed, each word quoted where a shell would take it apart."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    if not _UNSEEN.search(word):
        return shlex.quote(word)
    # $'...' is how shells write what cannot be seen; a lone surrogate stands for a byte.
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _UNSEEN.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in _bytes(found[0])), escaped) + "'"


def _bytes(character: str) -> bytes:
    try:
        return character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no name of a file holds it
        return b"?"


def to_csv_text(text: str) -> str:
    """A text for the cell of a CSV file: what a spreadsheet would run as a formula gets a `'` before it."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_csv_text(cell: str) -> str:
    """The text that `to_csv_text` made the cell of; other cells are their own text."""
    return cell[1:] if _QUOTED_FORMULA.match(cell) else cell


def counted(number: int, noun: str) -> str:
    """A number of things in words: `1 run`, `20,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
