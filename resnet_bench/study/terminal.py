"""Tables as text for the present terminal: as wide as it is, but never so narrow that a number would be cut."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table of any length, at once: the first `texts` columns are aligned left, the others right."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(cells[:texts], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[texts:], widths[texts:], strict=True)]
        return "  ".join([*left, *right]).rstrip() + "\n"

    return line(header) + line(["-" * width for width in widths]) + "".join(map(line, rows))


def to_text(table: Table, *lines: str) -> str:
    """The table, and lines under it."""
    console = Console(highlight=False)
    # In a window narrower than the table whole lines break, which can be read; cut numbers cannot.
    natural = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, natural)
    with console.capture() as captured:
        console.print(table)
        for line in lines:
            console.print(line, soft_wrap=True)
    return captured.get()
