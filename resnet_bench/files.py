"""Files that are whole or not there: replaced or published in one act, and lasting through a power cut."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from resnet_bench.errors import Failure


def write_atomically(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """Replace `path` by `content`, so that at any instant the old or the new file is there, whole.

    Args:
        path: the file.
        content: all of it.
        keep_as: if given, the old file is kept under this name; between the two renames only that name exists.

    Raises:
        Failure: the folder cannot be written; names the path, the need and the reason.
    """
    temporary = temporary_name(path)
    try:
        _write_through(temporary, content)
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, len(content)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish(path: Path, content: bytes) -> None:
    """Create `path` with `content` in one act that fails if the path exists: of two writers only one succeeds.

    Raises:
        Failure: the path exists, or the folder cannot be written.
    """
    temporary = temporary_name(path)
    try:
        _write_through(temporary, content)
        os.link(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, len(content)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


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
    """Make renames in the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError, size: int) -> Failure:
    """The one message for a full, locked or vanished disk."""
    why = error.strerror or str(error)
    return Failure(f"cannot write {path} ({size:,} bytes): {why}; mend that and call again: what was there is intact")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomically(path, to_json(value))


def to_json(value: dict[str, Any]) -> bytes:
    """JSON as every file of a study has it."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
