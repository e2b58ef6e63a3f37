"""The standard streams of a command: they are there, and what they do not take never breaks off the work."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from resnet_bench.errors import Failure
from resnet_bench.terminal import complain


class _Stream(io.FileIO):
    """A descriptor to which anything can be written: what cannot be is dropped, and the first reason kept."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, also where somebody has made the descriptor non-blocking."""
        rest = whole = memoryview(data).cast("B")
        while rest and self.failure is None:
            try:
                written = super().write(rest)
                if written is None:
                    select.select([], [self], [])
                rest = rest[written or 0 :]
            except OSError as error:
                self.failure = error
        return len(whole)


class Output:
    """Standard output and error while a command uses them."""

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        _fill_descriptors()
        self._stream, sys.stdout = _guarded(1, sys.stdout, sys.__stdout__)
        _, sys.stderr = _guarded(2, sys.stderr, sys.__stderr__)

    def end(self, code: int) -> int:
        """Write out what is left; the exit code, which is that of the work if all was written or nobody reads it."""
        sys.stdout.flush()
        failure = self._stream.failure if self._stream else None
        if failure is None or isinstance(failure, BrokenPipeError):  # the reader (head, say) has seen enough
            return code
        complain(f"resnet-bench: cannot write to standard output: {failure.strerror}")
        return code or Failure.exit_code

    def restore(self) -> None:
        """Give the process its own streams back."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = self._before


@contextmanager
def output() -> Iterator[Output]:
    """The streams, set up before anything is printed."""
    made = Output()
    try:
        yield made
    finally:
        made.restore()


def _fill_descriptors() -> None:
    """Open those that the caller has closed: the next file that is opened would be taken for one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number, which is this


def _guarded(descriptor: int, now: TextIO | None, own: TextIO | None) -> tuple[_Stream | None, TextIO]:
    """The stream to use instead of `now`: where that is another than Python's own, a caller's, it stays.

    The name of a file may be any bytes, so what cannot be encoded is written as its code.
    """
    if now is None:  # it was closed
        stream = _Stream(descriptor)
        return stream, io.TextIOWrapper(io.BufferedWriter(stream), "utf-8", "backslashreplace")
    if not isinstance(now, io.TextIOWrapper):
        return None, now
    if now is not own:
        now.reconfigure(errors="backslashreplace")
        return None, now
    stream = _Stream(descriptor)
    now.flush()
    at_once = now.write_through
    layer: Any = stream if at_once else io.BufferedWriter(stream)
    return stream, io.TextIOWrapper(
        layer, now.encoding, "backslashreplace", line_buffering=now.line_buffering, write_through=at_once
    )
