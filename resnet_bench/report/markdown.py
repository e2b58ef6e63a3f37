"""Text as Markdown: one function for each place it can stand in, so that no name becomes markup there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resnet_bench.text import command, one_line

# What Markdown would take for markup anywhere in a line, entities and addresses of the web included. `_` is none within
# words.
_INLINE = re.compile(r"[\\|*`<\[\]]|(?<![^\W_])_|_(?![^\W_])|~|&(?=#|\w+;)|(?<=\w):(?=//)|(?i:(?<=www)\.)")
# What would make it a heading, a list, a quotation or a rule at the begin of a line.
_STARTS = tuple("#>+=~-")
_NUMBERED = re.compile(r"\d+(?=[.)])")


def inline(text: str) -> str:
    """A piece of a line that begins with something else, such as the cell of a table or a part of a sentence."""
    return _INLINE.sub(r"\\\g<0>", one_line(text).strip())


def paragraph(text: str) -> str:
    """A whole line, or all that stands behind the mark of a list's item."""
    line = inline(text)
    number = _NUMBERED.match(line)
    if number:
        return f"{number[0]}\\{line[number.end() :]}"
    return f"\\{line}" if line.startswith(_STARTS) else line


def heading(level: int, text: str) -> str:
    """A line that is a heading."""
    return f"{'#' * level} {re.sub(r'#+$', _each_escaped, inline(text))}\n"


def _each_escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{character}" for character in found[0])


def bold(text: str) -> str:
    """A line that is bold."""
    return f"**{inline(text)}**"


def item(text: str) -> str:
    """An item of a list."""
    return f"- {paragraph(text)}"


def code(*words: str) -> str:
    """A command line, to be called as it stands there."""
    line = command(*words)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if longest else ""
    return f"{fence}{blank}{line}{blank}{fence}"


def table(header: Sequence[str], rules: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; `rules` are `---`, or `---:` for a column of numbers."""
    cells = [list(map(inline, header)), list(rules), *(list(map(inline, row)) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]
