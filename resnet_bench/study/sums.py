"""SHA256SUMS: the digest of every file of a study that lasts."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from resnet_bench.busy import busy
from resnet_bench.files import sha256_of, write_atomically
from resnet_bench.results.tables import (
    MAX_BYTES,
)
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.records import SUMS


def sums_of(study: StudyFolder) -> dict[str, str]:
    """SHA-256 of every file of finished runs, and of every file that belongs to no run, by its path in the study.

    Links, pipes, devices, and names of two lines are no files of a study.
    """
    finished = [folder.path for folder in study.run_folders() if folder.result.exists()]
    paths = itertools.chain(_files_in(str(study.path), but="runs"), *(_files_in(str(path)) for path in finished))
    names = {Path(path).relative_to(study.path).parts: path for path in paths}
    return {"/".join(parts): sha256_of(Path(names[parts]), MAX_BYTES) for parts in sorted(names)}


def _files_in(folder: str, but: str = "") -> Iterator[str]:
    """The plain files in a folder, however deep, that last; not those in the entry `but` of it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == but:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files_in(entry.path)
            elif entry.is_file(follow_symlinks=False) and _is_kept(entry.name):
                yield entry.path


def _is_kept(name: str) -> bool:
    return not name.startswith((".", "checkpoint", SUMS)) and "\n" not in name


@busy("computing digests")
def write_sums(study: StudyFolder) -> None:
    """Write SHA256SUMS, which `sha256sum -c` reads too."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sums_of(study).items())
    write_atomically(study.path / SUMS, os.fsencode(text))  # the name of a file may be any bytes
