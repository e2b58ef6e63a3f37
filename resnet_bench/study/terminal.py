"""Tables as text for the present terminal: as wide as it is, but never so narrow that a number would be cut."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


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
