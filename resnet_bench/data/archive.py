"""Datasets that are one archive of known members: find it, packed or extracted, and read it, every byte checked.

Nothing is extracted to disk, and nothing is handed on whose checksum is not right.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.data.download import DEFAULT_LIMITS, Limits, Progress, RemoteFile, file_digests
from resnet_bench.data.obtain import Wanted, fetch_all, rejected
from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.text import one_line

MOST_PASSED_OVER = 4 << 30  # bytes of a member that is not read: STL-10's unlabelled images have 2.8 GB


@dataclass(frozen=True)
class ArchiveFiles:
    """What is accepted as a dataset.

    Attributes:
        title: its name as people write it.
        archive: with its checksums.
        folder: of the members, in the archive and where it was extracted.
        members: md5 of each that is read, by name.
        most_bytes: of one member that is read.
    """

    title: str
    archive: RemoteFile
    folder: str
    members: Mapping[str, str]
    most_bytes: int = 64 << 20

    @property
    def system(self) -> tuple[Path, ...]:
        """Folders of this machine where packages of the distribution put it: none."""
        return ()

    @property
    def origin(self) -> str:
        """Where it would come from."""
        return f"will be fetched from {self._wanted(Path()).hosts}"

    def _wanted(self, home: Path) -> Wanted:
        return Wanted(self.title, (self.archive,), home)

    def note(self, path: Path) -> str:
        """Nothing: every byte of it is checked."""
        return ""

    def recognises(self, path: Path) -> bool:
        """Its names are its own."""
        return True

    def find(self, places: Sequence[tuple[str, Path]]) -> Path | None:
        """The archive or folder of members at, or directly in, the first of the (label, path) places that has one.

        Goes by names alone; `read_members` checks the content.
        """
        for _, path in places:
            for candidate in (path, path / self.archive.name, path / self.folder):
                if candidate.name == self.archive.name and candidate.is_file():
                    return candidate
                if any((candidate / member).is_file() for member in self.members):
                    return candidate
        return None

    def obtain(
        self,
        places: Sequence[tuple[str, Path]],
        cache: Path,
        *,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Path:
        """Its path: where it lies already (the places, then the cache), else downloaded into the cache.

        Raises:
            Failure: it is nowhere and cannot be downloaded; says what was tried, and the ways on.
        """
        if cache not in [path for _, path in places]:
            places = [*places, ("cache", cache)]
        if found := self.find(places):
            return found
        fetch_all(self._wanted(cache), [f"{n}: {p}" for n, p in places], progress, limits)
        return cache / self.archive.name

    def read_members(self, path: Path) -> dict[str, bytes]:
        """The content of every member by name, from the archive or from the folder.

        Raises:
            UsageError: a file is missing, truncated or altered. It is kept aside at `<path>.rejected`.
        """
        try:
            contents = dict(_folder_members(path, self) if path.is_dir() else _archive_members(path, self))
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            why = one_line(getattr(error, "strerror", None) or str(error))
            raise UsageError(f"{path}: cannot be read ({why}); put a whole copy of {self.title} there") from error
        if missing := [name for name in self.members if name not in contents]:
            raise UsageError(f"{path}: {', '.join(missing)} missing; put a whole copy of {self.title} there")
        return contents


def _folder_members(folder: Path, files: ArchiveFiles) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member, checked. The very bytes that were hashed are handed on."""
    for name, md5 in files.members.items():
        path = folder / name
        if not path.is_file():
            continue
        content = read_regular(path, files.most_bytes)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise rejected(path, f"md5 is {found}, expected {md5}")
        yield name, content


def _archive_members(path: Path, files: ArchiveFiles) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member that is wanted, checked, straight from the checked archive."""
    _check_archive(path, files.archive)
    names = {f"{files.folder}/{name}": name for name in files.members}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = names.get(member.name)
            if member.size > (files.most_bytes if name else MOST_PASSED_OVER):
                raise UsageError(
                    f"{path}: {member.name!r} has {member.size} bytes, refused; {files.title} has no such file"
                )
            # Whatever is not a regular file of a known name is passed over; nothing is ever written.
            if name and member.isreg() and (file := archive.extractfile(member)):
                content = file.read()
                found = hashlib.md5(content, usedforsecurity=False).hexdigest()
                if found != files.members[name]:
                    raise rejected(path, f"md5 of {name} is {found}, expected {files.members[name]}")
                yield name, content


def _check_archive(path: Path, expected: RemoteFile) -> None:
    if (size := path.stat().st_size) != expected.size:
        raise rejected(path, f"has {size} bytes, expected {expected.size}")
    md5, sha256 = file_digests(path)
    if not expected.accepts(md5, sha256):
        wanted = f"{expected.sha256} (md5 {expected.md5})" if expected.sha256 else f"md5 {expected.md5}"
        raise rejected(path, f"sha256 is {sha256} (md5 {md5}), expected {wanted}")
