"""Files that are whole or not there: replaced or published in one act, and lasting through a power cut."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resnet_bench.errors import Failure, UsageError

# What file systems without a call say to it: CIFS, FAT and FUSE have no links or no fsync of folders.
NO_SUCH_CALL = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
Guard = Callable[[], None]  # asked before a file is put in its place; raises if it is no longer this process's to write


@contextlib.contextmanager
def open_regular(path: Path, limit: int, *, follow: bool = True) -> Iterator[io.BufferedReader]:
    """A plain file, open to be read; what is none (a pipe, a device, a folder) is never waited for or read.

    Args:
        path: the file.
        limit: bytes it may have at most.
        follow: open what a symbolic link names; else a link is refused.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be opened; `strerror` says why in a few words, also if it is no plain file or too large.
    """
    link = 0 if follow else os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | link)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "is a link, not a plain file", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(error.errno, "is no plain file", str(path)) from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise _too_large(path, limit)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_regular(path: Path, limit: int, *, follow: bool = True) -> bytes:
    """The content of a plain file; arguments and errors as of `open_regular`."""
    with open_regular(path, limit, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        if len(content) > size:  # it has grown; only now, as a buffer of all that may be read is allocated
            content += file.read(limit + 1 - len(content))
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def sha256_of(path: Path, limit: int, *, follow: bool = False) -> str:
    """SHA-256 of a plain file, read piece by piece; arguments and errors as of `open_regular`."""
    with open_regular(path, limit, follow=follow) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"is larger than {limit:,} bytes", str(path))


def unguarded() -> None:
    """The guard of files that nobody else could own."""


def write_atomically(path: Path, content: bytes, *, keep_as: Path | None = None, guard: Guard = unguarded) -> None:
    """Replace `path` by `content`, so that at any instant the old or the new file is there, whole.

    Args:
        path: the file.
        content: all of it.
        keep_as: if given, the old file is kept under this name; between the two renames only that name exists.
        guard: asked first, and again when all that is left is to rename.

    Raises:
        Failure: the folder cannot be written; names the path, the need and the reason. Or what the guard raises.
    """
    guard()
    temporary = temporary_name(path)
    try:
        _write_through(temporary, content)
        guard()
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, len(content)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish(path: Path, content: bytes, guard: Guard = unguarded) -> None:
    """Create `path` with `content` in one act that fails if the path exists: of two writers only one succeeds.

    Where the file system has no links, that is as sure as the guard: a file is renamed to what was not there before.

    Raises:
        Failure: the path exists, or the folder cannot be written. Or what the guard raises.
    """
    guard()
    temporary = temporary_name(path)
    try:
        _write_through(temporary, content)
        guard()
        _link_or_rename(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, len(content)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _link_or_rename(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL | {errno.EPERM}:  # EPERM: what link(2) says of FAT
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder; only its owner, who holds its lock, may call this."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other writer uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def fsync_folder(folder: Path) -> None:
    """Make renames in the folder last through a power cut, where the file system can do that for folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL | {errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def make_own_folder(folder: Path) -> None:
    """Make a folder in one that is there, or find it there; a link is refused: files elsewhere would be overwritten.

    Raises:
        UsageError: it is a link, or a file.
        Failure: it cannot be made, or what it belongs into is not there.
    """
    check_own_folder(folder)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{folder}: is a file where a folder belongs; move it away and call again") from None
    except OSError as error:
        raise Failure(f"cannot make {folder}: {error.strerror}; free or unlock the place and call again") from None


def check_own_folder(folder: Path) -> None:
    """Raise UsageError if it is a link to somewhere else."""
    if folder.is_symlink():
        raise UsageError(
            f"{folder}: is a link, so files elsewhere would be overwritten; remove it, or put a folder in its place"
        )


def cannot_write(path: Path, error: OSError, size: int) -> Failure:
    """The one message for a full, locked or vanished disk."""
    why = error.strerror or str(error)
    return Failure(f"cannot write {path} ({size:,} bytes): {why}; mend that and call again: what was there is intact")


def write_json(path: Path, value: dict[str, Any], guard: Guard = unguarded) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomically(path, to_json(value), guard=guard)


def to_json(value: dict[str, Any]) -> bytes:
    """JSON as every file of a study has it."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


# ---------------------------------------------------------------------------------------------- sealed files
# A line that names the format, a line with the SHA-256 of the rest, and the rest: whoever reads one knows that every
# byte is what was written, before anything is made of it.


class Damaged(Exception):
    """The content is not what was written."""


def seal(kind: str, payload: bytes | memoryview) -> bytes:
    """The file's content; `kind` is one line, as in `resnet-bench checkpoint 1`."""
    return b"\n".join((kind.encode(), hashlib.sha256(payload).hexdigest().encode(), payload))


def unseal(kind: str, content: bytes) -> memoryview:
    """The payload. Damaged if the file is of another kind, truncated or altered anywhere."""
    head = kind.encode() + b"\n"
    end = len(head) + 64
    if not content.startswith(head) or content[end : end + 1] != b"\n":
        raise Damaged(f"not a file of kind {kind!r}")
    payload = memoryview(content)[end + 1 :]
    expected, found = content[len(head) : end], hashlib.sha256(payload).hexdigest().encode()
    if found != expected:
        raise Damaged(f"SHA-256 is {found[:12].decode()}..., should be {expected[:12].decode(errors='replace')}...")
    return payload


def digest_in(kind: str, content: bytes) -> str:
    """The SHA-256 of the payload, as a sealed file says it; `unseal` knows whether that is true."""
    return content[len(kind) + 1 :][:64].decode("ascii", errors="replace")
