"""The files that a run's checkpoints lie in: two generations, sealed. Whoever only compares digests needs no torch."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.errors import UsageError
from resnet_bench.files import Damaged, digest_in, read_regular, unseal
from resnet_bench.results.rows import SCHEMA_VERSION

KIND = f"resnet-bench checkpoint 3, schema {SCHEMA_VERSION}"
NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
MOST_BYTES = 4 << 30
NO_FILE = (errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.ENXIO)  # a pipe, a device, a link to itself, larger than any


@dataclass(frozen=True)
class Sealed:
    """What a checkpoint's file holds.

    Attributes:
        payload: whole, as it was written.
        digest: its SHA-256, as 64 hex digits.
    """

    payload: memoryview
    digest: str


def read_sealed(path: Path) -> Sealed:
    """The content of a checkpoint's file, once it is known that every byte is what was written.

    Raises:
        FileNotFoundError: no such file.
        Damaged: no plain file, or not what was written.
        UsageError: it cannot be read.
    """
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in NO_FILE:
            raise Damaged(error.strerror or str(error)) from None
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return Sealed(unseal(KIND, content), digest_in(KIND, content))


def exchanged(found: str, recorded: str) -> str:
    """What to say of a finished run's checkpoint with another digest than its result has."""
    return (
        f"not what the run ended with (SHA-256 of its content {found[:12]}..., in result.json {recorded[:12]}...): "
        "exchanged or written again; restore it, or move the run's folder away and train it again"
    )
