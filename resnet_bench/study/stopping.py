"""Stopping politely: at SIGTERM and Ctrl-C the running step is finished and saved; a second Ctrl-C does not wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75: EX_TEMPFAIL of sysexits.h, "try again"


class Stopped(BaseException):
    """The process was asked to stop. Not an Exception: nothing that handles failures may swallow it."""

    def __init__(self, number: int) -> None:
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        super().__init__(f"stopped by {signal.Signals(number).name}; everything is saved")


class StoppedAtOnce(Stopped):
    """The signal came where nothing was to be finished first, or a second time: perhaps in the middle of a step."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.args = (f"stopped at once by {signal.Signals(number).name}; what was on disk is intact",)


class StopRequest:
    """Whether a signal has asked to stop. Inside `politely` the first one only asks; elsewhere it stops at once."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._polite = False

    @property
    def asked(self) -> bool:
        """Did a signal come."""
        return self._number is not None

    def raise_if_asked(self, *, saved: bool = True) -> None:
        """Raise Stopped if a signal came; StoppedAtOnce if not everything could be saved."""
        if self._number is not None:
            raise (Stopped if saved else StoppedAtOnce)(self._number)

    @contextmanager
    def politely(self) -> Iterator[None]:
        """A stretch of work that looks at the request by itself, at least every few seconds."""
        self._polite = True
        try:
            yield
        finally:
            self._polite = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._polite and self._number is None:
            self._number = number
            return
        if self._polite and number == signal.SIGTERM:
            return  # schedulers and `timeout` send it twice; what was asked is being done
        raise StoppedAtOnce(number)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle SIGTERM and SIGINT while this is entered; only the main thread may enter it."""
        before = {number: signal.signal(number, self._handle) for number in EXIT_CODES}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
