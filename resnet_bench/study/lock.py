"""Locks of a study: freed by the system when their process dies, and never trusted longer than others see them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import cannot_write

NAME = ".lock"
POLL_SECONDS = 0.05
HELD_BY_OTHERS = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}


class Taken(Exception):
    """Another process holds the lock."""


class Gone(Failure):
    """The folder that was worked in is not there any more."""


class Lost(Failure):
    """What this process worked on is no longer its own."""


class Lock:
    """A lock that this process holds, as far as its file is still the one that others would try."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def why_lost(self) -> str:
        """What became of the lock's file or its folder, in words; "" while the lock is one that others see."""
        try:
            if os.path.samestat(os.lstat(self.path), os.fstat(self._descriptor)):
                return ""
            return f"{self.path} was replaced meanwhile"
        except OSError:
            missing = self.path if self.path.parent.is_dir() else self.path.parent
            return f"{missing} was moved or deleted meanwhile"

    def release(self) -> None:
        """Let others have it."""
        with contextlib.suppress(OSError):  # a forked child may hold the file open, so closing it is not enough
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


@contextlib.contextmanager
def holding(path: Path, timeout: float = math.inf) -> Iterator[Lock]:
    """Hold the lock of which `path` is the file; the file is made if need be, its folder never.

    Args:
        path: of the lock's file; it stays when the lock is released.
        timeout: seconds to wait for another process that holds it.

    Raises:
        Taken: another process held it all the time.
        Gone: there is no such folder.
        UsageError: the folder cannot be written, the file is no plain file, or the file system has no locks.
        Failure: the disk is full, or in trouble.
    """
    lock = _acquire(path, timeout)
    try:
        yield lock
    finally:
        lock.release()


def _acquire(path: Path, timeout: float) -> Lock:
    end = time.monotonic() + timeout
    while True:
        lock = Lock(path, descriptor := _open(path))
        try:
            if _flock(path, descriptor) and not lock.why_lost():
                return lock
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= end:
            raise Taken(f"{path}: another process holds it")
        time.sleep(POLL_SECONDS)


def _open(path: Path) -> int:
    """The file, for writing: a network file system locks no other."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _cannot_open(path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(path)
    return descriptor


def _cannot_open(path: Path, error: OSError) -> Failure | UsageError:
    folder = path.parent
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return gone(folder)
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return _not_plain(path)
    if error.errno in NO_RIGHT:
        return UsageError(f"{folder} cannot be written: {error.strerror}; get the right to, or work on a copy of it")
    return cannot_write(path, error, 0)


def gone(folder: Path) -> Gone:
    """The one message for a folder that was there when the work began."""
    return Gone(
        f"{folder} was moved or deleted meanwhile; nothing was put in its place, and what was finished is where the "
        "folder is now: move it back and call again to go on"
    )


def _not_plain(path: Path) -> UsageError:
    return UsageError(f"{path}: is a link, a folder or a pipe, not a file that can be locked; remove it and call again")


def _flock(path: Path, descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Was it free."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD_BY_OTHERS:
            return False
        raise _no_locks(path, error.strerror) from None
    return True


def _no_locks(place: Path, why: str | None) -> UsageError:
    return UsageError(
        f"{place} cannot be locked: {why}; put the results on a file system with flock (--results): a local disk, "
        "NFS 4, Lustre mounted with -o flock"
    )


def check_lockable(path: Path, descriptor: int, place: Path) -> None:
    """Raise UsageError about `place` unless this open file, which nobody else knows, can be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise _no_locks(place, error.strerror) from None
    if Lock(path, descriptor).why_lost():
        raise _no_locks(place, "its file system gives an open file another number than its name")


def is_held(path: Path) -> bool:
    """Does another process hold the lock now; nothing is made or written.

    Raises:
        UsageError: the file system has no locks.
    """
    descriptor = _open_to_look(path)
    if descriptor is None:
        return False
    try:
        return not _flock(path, descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def undisturbed(path: Path, timeout: float) -> Iterator[None]:
    """Keep away those who hold the lock to write, as far as that can be had without writing; others may look too."""
    descriptor = _open_to_look(path)
    try:
        end = time.monotonic() + timeout
        with contextlib.suppress(UsageError):
            while descriptor is not None and not _flock(path, descriptor, fcntl.LOCK_SH) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_to_look(path: Path) -> int | None:
    """The file, if it is one that somebody may hold."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
