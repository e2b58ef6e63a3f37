"""Stopping politely: at SIGTERM, SIGHUP and Ctrl-C the running step is finished and saved; only a second Ctrl-C is not
waited for.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# 75: EX_TEMPFAIL of sysexits.h, "try again", for schedulers; what a terminal sends is 128 and more, as in shells.
EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130, signal.SIGHUP: 129}
REPEATED_SECONDS = 1.0


def in_main_thread() -> bool:
    """Only it may say what becomes of signals."""
    return threading.current_thread() is threading.main_thread()


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. Not an Exception: nothing that handles failures may swallow it.

    A KeyboardInterrupt, whatever asked, so that scripts and notebooks take it for what it is.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        super().__init__(f"stopped by {signal.Signals(number).name}; everything is saved")


class StoppedAtOnce(Stopped):
    """The signal came where nothing was to be finished first, or a second time: perhaps in the middle of a step."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.args = (f"stopped at once by {signal.Signals(number).name}; what was on disk is intact",)


class TimeIsUp(Stopped):
    """So much time was given, and it is over."""

    def __init__(self) -> None:
        KeyboardInterrupt.__init__(self, "the time is over; everything is saved")
        self.exit_code = 0


class StopRequest:
    """Whether a signal, or the time, has asked to stop.

    Inside `politely` the first signal only asks; elsewhere it stops at once.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._number: int | None = None
        self._clock, self._end = clock, math.inf
        self._polite = False
        self._left = -math.inf  # when a signal was last answered by stopping at once

    @property
    def asked(self) -> bool:
        """Did a signal come, or is the time over."""
        return self._number is not None or self._clock() >= self._end

    def raise_if_asked(self, *, saved: bool = True) -> None:
        """Raise Stopped if a signal came, StoppedAtOnce if not everything could be saved; TimeIsUp if the time is."""
        if self._number is not None:
            raise (Stopped if saved else StoppedAtOnce)(self._number)
        if self._clock() >= self._end:
            raise TimeIsUp

    @contextmanager
    def within(self, hours: float | None) -> Iterator[None]:
        """While this is entered, the time is over after so many hours; None: never."""
        before = self._end
        self._end = math.inf if hours is None else self._clock() + 3600 * hours
        try:
            yield
        finally:
            self._end = before

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
        # Schedulers and `timeout` send SIGTERM twice, a terminal that closes and its shell a SIGHUP each.
        at_it = self._polite or time.monotonic() - self._left < REPEATED_SECONDS
        if at_it and number != signal.SIGINT:
            return  # what was asked is being done
        self._left = time.monotonic()
        raise StoppedAtOnce(number)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals while this is entered, if by the main thread: no other can.

        Under `nohup` SIGHUP stays ignored. SIGINT does not: shells have what they start in the background ignore it,
        and `executors.jobs` has its workers do so until they are here.
        """
        before = {
            number: signal.signal(number, self._handle)
            for number in EXIT_CODES
            if in_main_thread() and (number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN)
        }
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
