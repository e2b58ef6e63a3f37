"""Sealed files: a line that names the format, a line with the SHA-256 of the rest, and the rest.

Whoever reads one knows that every byte is what was written, before anything is made of it.
"""

from __future__ import annotations

import hashlib


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
