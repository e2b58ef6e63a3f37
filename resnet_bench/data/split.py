"""Which images are kept for the test where nobody has said: a fifth of each class, the same ones everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

TEST_SHARE, SPLIT_SEED = 0.2, 0


def kept_for_test(label: str, names: Sequence[str]) -> frozenset[str]:
    """The names of a class's files that are kept: a fifth of them, at least one, by a hash of class and name."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{SPLIT_SEED}:{label}/{name}".encode()).digest())
    return frozenset(drawn[: max(1, round(TEST_SHARE * len(names)))])
