"""The JSON files of a run, each a dataclass: what it is, where it was worked on, what came of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_bench.config.run import RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.results.rows import DIGEST, DIGEST_OR_NONE, RUN_ID, RunRow
from resnet_bench.results.tables import (
    CONFUSION,
    CURVES,
    MAX_BYTES,
    SIGNALS,
)
from resnet_bench.schema import MAX_JSON_BYTES, Invalid, from_json, parse_json

RESULT = "result.json"
SUMS = "SHA256SUMS"
COLLECTED = (CURVES, SIGNALS, CONFUSION)  # tables that each run writes its own rows of
CONFIG, ENVIRONMENT = "config.json", "environment.json"
CRLF = "line ends CRLF instead of LF (as git makes them with core.autocrlf), and otherwise what was written"
MEND = "restore the file, or remove the run's folder to train it again"


@dataclass(frozen=True)
class Identity:
    """config.json of a run: what it is.

    Of a network that a function of the user's builds it holds the digest of its shapes too: see models.own.Findings.
    """

    run_id: str = field(metadata={"rule": RUN_ID})
    dataset_digest: str = field(metadata={"rule": DIGEST})
    config: RunConfig
    network_digest: str = field(default="", metadata={"rule": DIGEST_OR_NONE})


@dataclass(frozen=True)
class Attempt:
    """One start of a run: when, from which step, and what was otherwise than in the attempt before, as [old, new]."""

    utc: str
    from_step: int
    changed: dict[str, Any]


@dataclass(frozen=True)
class History:
    """environment.json of a run: where it was last worked on, and how often."""

    environment: dict[str, Any]
    attempts: tuple[Attempt, ...]
    started_utc: str = ""
    num_attempts: int = 0
    bit_exact: bool = True


@dataclass(frozen=True)
class Result:
    """result.json of a run: its row of runs.csv, the SHA-256 of its other files, and one over both."""

    row: RunRow
    files: dict[str, str] = field(metadata={"rule": DIGEST})
    digest: str = field(metadata={"rule": DIGEST})

    def check_together(self) -> None:
        """Raise Invalid for a name that is not one of a run's files."""
        known = {CONFIG, ENVIRONMENT, *(table.file for table in COLLECTED)}
        for name in self.files:
            if name not in known:
                raise Invalid(
                    f"there is no such file of a run; there are {', '.join(sorted(known))}", "files", name[:100]
                )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object as it stands in a plain file; UsageError for anything else."""
    try:
        value = parse_json(read_regular(path, MAX_JSON_BYTES, follow=False))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {MEND}") from None
    except Invalid as error:
        raise UsageError(f"{path}: {error}; {MEND}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object; {MEND}")
    return value


def checked(record: type[Any], value: dict[str, Any], path: Path) -> Any:
    """The record that a JSON object of a file is; UsageError, which names file, field and value, if it is none."""
    try:
        return from_json(record, value)
    except Invalid as error:
        raise UsageError(f"{path}: {error}; {MEND}") from None


def result_digest(row: Any, files: Any) -> str:
    """SHA-256 over the canonical JSON of what a result says."""
    return hashlib.sha256(json.dumps([row, files], sort_keys=True).encode()).hexdigest()


def differs_in_line_ends(path: Path, expected: str) -> bool:
    """Would the file have this SHA-256 if its line ends were LF; asked where it has another one."""
    content = read_regular(path, MAX_BYTES, follow=False)
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == expected
