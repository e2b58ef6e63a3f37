"""Life signs: what a process is at while it says nothing else, told once a second by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BEAT_SECONDS = 1.0
Show = Callable[[str, float], None]  # what goes on, and for how many seconds it has


@dataclass(eq=False)
class Signs:
    """Where life signs go to, and the work that is under way: pieces within pieces, the innermost last."""

    show: Show
    clock: Callable[[], float] = time.monotonic
    works: list[tuple[str, float]] = field(default_factory=list)  # (what, since when)

    def beat(self) -> None:
        """Tell of the innermost piece of work; not while others tell of what is within it."""
        works = self.works[-1:]
        if _signs[-1:] == [self] and works:
            what, since = works[0]
            self.show(what, self.clock() - since)

    def _watch(self, end: threading.Event) -> None:
        while not end.wait(BEAT_SECONDS):
            self.beat()


_signs: list[Signs] = []  # of this process, the innermost last; whoever uses the library alone has none


@contextlib.contextmanager
def life_signs(show: Show) -> Iterator[Signs]:
    """While this is entered `show` is told of what is `busy` within it."""
    signs, end = Signs(show), threading.Event()
    thread = threading.Thread(target=signs._watch, args=(end,), daemon=True)
    _signs.append(signs)
    thread.start()
    try:
        yield signs
    finally:
        end.set()
        thread.join()
        _signs.remove(signs)


@contextlib.contextmanager
def busy(what: str, since: float | None = None) -> Iterator[None]:
    """A piece of work that may take seconds and says nothing: `compiling plain-20`; `since`: when it began (now)."""
    if not _signs:
        yield
        return
    signs = _signs[-1]
    signs.works.append((what, signs.clock() if since is None else since))
    try:
        yield
    finally:
        signs.works.pop()
