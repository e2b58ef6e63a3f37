"""The one way to standard output and standard error: what is handed over here can command no terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

from resnet_bench.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SILENT_SECONDS = 2.0  # on a terminal, before what takes long is shown
LOG_SECONDS = 5.0  # the same in a log
COUNT_SECONDS = 0.5  # between two counts on a terminal


class _Screen:
    """What stands on the terminal now: the line that the next one replaces, and when anything was said last."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # another thread shows what takes long
        self.passing = ""
        self.stream: IO[str] | None = None  # where the passing line stands
        self.spoke = time.monotonic()

    def write(self, text: str, stream: IO[str] | None) -> None:
        """Write text that stays, in the place of the passing line; a stream of None is a closed one."""
        with self.lock:
            self.wipe()
            self.spoke = time.monotonic()
            if stream is not None:  # closed by whoever started the process
                stream.write(text)
                stream.flush()

    def show(self, line: str, stream: IO[str]) -> None:
        """What is written over next; cut to the terminal's width, as a line that breaks cannot be."""
        with self.lock:
            from rich.cells import set_cell_size

            shown = set_cell_size(line, _width(stream) - 1).rstrip()
            if shown != self.passing:
                self.wipe()
                stream.write(shown)
                stream.flush()
                self.passing, self.stream = shown, stream

    def wipe(self) -> None:
        """Take the passing line away."""
        if self.passing and self.stream is not None:
            from rich.cells import cell_len

            self.stream.write(f"\r{' ' * cell_len(self.passing)}\r")
            self.stream.flush()
        self.passing = ""


_screen = _Screen()


def say(text: str = "", end: str = "\n") -> None:
    """Write text to standard output, at once; its lines stay lines, everything else that is no print is escaped."""
    _screen.write(visible(f"{text}{end}"), sys.stdout)


def complain(text: str, end: str = "\n") -> None:
    """The same to standard error."""
    _screen.write(visible(f"{text}{end}"), sys.stderr)


def wipe() -> None:
    """Take the passing line away, if one stands on the terminal."""
    with _screen.lock, contextlib.suppress(OSError, ValueError):  # nobody reads, or the stream is closed
        _screen.wipe()


def sayer(quiet: bool) -> Callable[[str], None]:
    """Says a line at once, or nothing."""

    def say_line(line: str) -> None:
        if not quiet:
            say(one_line(line))

    return say_line


def progress_line(what: str, quiet: bool) -> Callable[[int, int], None] | None:
    """For what takes longer than a moment: a line that counts on a terminal, a line per quarter elsewhere.

    What it returns takes how much is done, and of how much; 0 while that is not known.
    """
    if quiet:
        return None
    quarter, last, begun = 0, time.monotonic(), False

    def show(done: int, total: int) -> None:
        nonlocal quarter, last, begun
        on_terminal = is_terminal(sys.stdout)
        before, quarter = quarter, 4 * done // total if total else 0
        finished = begun and 0 < total <= done
        if finished or (time.monotonic() - last >= COUNT_SECONDS and (on_terminal or quarter > before)):
            share = f" of {total:,} ({100 * done // total} %)" if total else ""
            line = one_line(f"{what} {done:,}{share}")
            if on_terminal and not finished:
                _screen.show(line, sys.stdout)
            else:
                say(line)
            last, begun = time.monotonic(), not finished

    return show


class LifeLine:
    """Shows what takes long and says nothing: on a terminal as a passing line, in a log once, as a line that stays.

    `log` writes that line: `say` where standard output is for people, `complain` where it is an answer for programs.
    """

    def __init__(self, log: Callable[[str], None] = complain) -> None:
        self._log = log
        self._told = ""

    def __call__(self, what: str, seconds: float) -> None:
        """`what` has been going on for so long; "" is work that has no name, which a log has no use for."""
        silent = min(seconds, time.monotonic() - _screen.spoke)
        terminal = next((stream for stream in (sys.stderr, sys.stdout) if is_terminal(stream)), None)
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or the stream is closed
            if terminal is not None:
                if silent >= SILENT_SECONDS:
                    _screen.show(f"{one_line(what) or 'working'} ... {seconds:.0f} s", terminal)
            elif what not in ("", self._told) and silent >= LOG_SECONDS:
                self._told = what
                self._log(one_line(f"{what} ..."))


def is_terminal(stream: IO[str] | None) -> bool:
    """Does a person see at once what is written to it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _width(stream: IO[str]) -> int:
    try:
        return max(10, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return 80


# ---------------------------------------------------------------------------------------------- rich, and tables


def console() -> Console:
    """What rich writes with: a name is never taken for markup or for an emoji."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table of any length, at once: the first `texts` columns are aligned left, the others right."""
    from rich.cells import cell_len  # of letters that take two places

    lines = [[one_line(cell) for cell in cells] for cells in (header, *rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            padded.append(cell + blank if number < texts else blank + cell)
        return "  ".join(padded).rstrip() + "\n"

    return line(lines[0]) + line(["-" * width for width in widths]) + "".join(map(line, lines[1:]))


def to_text(table: Table, *lines: str) -> str:
    """The table, and lines under it: plain text, as wide as the terminal, but no number is cut."""
    from rich.console import Console

    made = Console(
        file=io.StringIO(), force_terminal=False, color_system=None, markup=False, emoji=False, highlight=False
    )
    # In a window narrower than the table whole lines break, which can be read; cut numbers cannot.
    natural = made.measure(table, options=made.options.update(width=1000)).maximum
    made.width = max(made.width, natural)
    with made.capture() as captured:
        made.print(table)
        for line in lines:
            made.print(line, soft_wrap=True)
    return captured.get()
