"""Datasets that are a few files, each with a published checksum: find them, or fetch them, check and read them."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import DEFAULT_LIMITS, Limits, Progress, RemoteFile
from resnet_bench.data.obtain import Wanted, fetch_all
from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.text import one_line


@dataclass(frozen=True)
class FileSet:
    """What a dataset consists of.

    Attributes:
        name: as in --data.
        title: as people write it.
        files: with their checksums; those that end in .gz may also lie there unpacked, without that ending.
        assemble: makes the dataset of the files' content, unpacked, by the names in `files`.
        folders: where, under a place that is searched, the files usually lie.
        system: folders of this machine where packages of the distribution put it.
        unpacked_md5: of what is in a .gz, by its name in `files`: it may lie there unpacked, or packed anew by others.
        spelled: makes of a name in `files` the other way in which people write it.
        most_bytes: of one file, packed or unpacked: no more is read, and no more is unpacked.
        published: whose file it is, by md5, packed or unpacked, for every file of the sets with the same names.
    """

    name: str
    title: str
    files: tuple[RemoteFile, ...]
    assemble: Callable[[Mapping[str, bytes]], Dataset]
    folders: tuple[str, ...] = ()
    system: tuple[Path, ...] = ()
    unpacked_md5: Mapping[str, str] = field(default_factory=dict)
    spelled: Callable[[str], str] = str
    most_bytes: int = 64 << 20
    published: Mapping[str, str] = field(default_factory=dict)

    def find(self, places: Sequence[tuple[str, Path]]) -> Path | None:
        """The folder with all files at, or in a usual folder of, the first of the (label, path) places that has one.

        Goes by names alone; `read` checks the content.
        """
        candidates = (path / folder for _, path in places for folder in ("", *self.folders))
        return next((c for c in candidates if all(self._lies_at(c, file) for file in self.files)), None)

    def recognises(self, folder: Path) -> bool:
        """Is the smallest of its files there the one that it should be; sets of the same shape have the same names."""
        file = min(self.files, key=lambda file: file.size)
        path = self._lies_at(folder, file)
        try:
            return path is not None and self._is_right(file, self._content(path, file))
        except UsageError:
            return False

    def note(self, folder: Path) -> str:
        """What cannot be checked of what lies there; "" if a checksum of every file is known."""
        lying = [(file, path) for file in self.files if (path := self._lies_at(folder, file)) is not None]
        if not any(_is_unpacked(path, file) and file.name not in self.unpacked_md5 for file, path in lying):
            return ""
        return "unpacked, of which no checksum is published: only its structure can be checked"

    def _lies_at(self, folder: Path, file: RemoteFile) -> Path | None:
        names = (file.name, file.name.removesuffix(".gz"))
        spellings = (*names, *map(self.spelled, names))
        return next((folder / name for name in spellings if (folder / name).is_file()), None)

    @property
    def origin(self) -> str:
        """Where it would come from."""
        return f"will be fetched from {self._wanted(Path()).hosts}"

    def _wanted(self, home: Path) -> Wanted:
        return Wanted(self.title, self.files, home)

    def obtain(
        self,
        places: Sequence[tuple[str, Path]],
        cache: Path,
        *,
        progress: Progress | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Path:
        """The folder of the files: where they lie already (the places, then the cache), else fetched into the cache.

        Raises:
            Failure: they are nowhere and cannot be fetched; says what was tried, and the ways on.
        """
        home = cache / self.name
        everywhere = [*places, *(("system", folder) for folder in self.system), ("cache", home)]
        if found := self.find(everywhere):
            return found
        looked = [f"{label}: {path}" for label, path in everywhere]
        fetch_all(self._wanted(home), looked, progress, limits)
        return home

    def read(self, folder: Path) -> Dataset:
        """The dataset from its files.

        Raises:
            UsageError: a file is missing, truncated, altered, or another dataset's.
        """
        contents = {}
        for file in self.files:
            path = self._lies_at(folder, file)
            if path is None:
                raise UsageError(f"{folder}: {file.name} is missing; put a whole copy of {self.title} there")
            content = self._content(path, file)
            self._check(path, file, content)
            contents[file.name] = content.unpacked
        return self.assemble(contents)

    def _check(self, path: Path, file: RemoteFile, content: _Content) -> None:
        """Raise UsageError if that is not the file, or cannot be."""
        if self._is_right(file, content):
            return
        for md5 in content.md5s:
            if owner := (self.published.get(md5) or self.owned().get(md5)):
                raise UsageError(
                    f"{path}: this is {owner}, not {self._own(file)}; name that dataset, or put this there"
                )
        expected = self.unpacked_md5.get(file.name) if _is_unpacked(path, file) else file.md5
        if expected is not None:
            raise UsageError(
                f"{path}: truncated or altered: md5 is {content.md5s[0]}, expected {expected}; "
                "put an unaltered copy in its place"
            )

    def _is_right(self, file: RemoteFile, content: _Content) -> bool:
        return any(md5 in (file.md5, self.unpacked_md5.get(file.name)) for md5 in content.md5s)

    def _own(self, file: RemoteFile) -> str:
        return f"{self.title}'s {file.name.removesuffix('.gz')}"

    def owned(self) -> dict[str, str]:
        """Which file of this set it is, by md5, packed or unpacked."""
        packed = {file.md5: self._own(file) for file in self.files}
        return packed | {self.unpacked_md5[f.name]: self._own(f) for f in self.files if f.name in self.unpacked_md5}

    def _content(self, path: Path, file: RemoteFile) -> _Content:
        try:
            content = read_regular(path, self.most_bytes)
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(f"{path}: {why}; put an unaltered copy of {self.title} in its place") from None
        found = _md5(content)
        if path.suffix != ".gz":
            return _Content(content, (found,))
        if found != file.md5 and file.name not in self.unpacked_md5:
            return _Content(b"", (found,))  # nothing that it unpacks to could be accepted
        unpacked = _unpack(content, path, self.most_bytes)
        return _Content(unpacked, (found, _md5(unpacked)))


@dataclass(frozen=True)
class _Content:
    """What a file holds: unpacked, and the md5 of what lies there and, if that is packed, of what is in it."""

    unpacked: bytes
    md5s: tuple[str, ...]


def _is_unpacked(path: Path, file: RemoteFile) -> bool:
    return file.name.endswith(".gz") and path.suffix != ".gz"


def family(*sets: FileSet) -> tuple[FileSet, ...]:
    """Sets whose files have the same names: each knows what is the others'."""
    published = {md5: owner for files in sets for md5, owner in files.owned().items()}
    return tuple(replace(files, published=published) for files in sets)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _unpack(content: bytes, path: Path, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        why = one_line(str(error))
        raise UsageError(f"{path}: truncated or altered: cannot be unpacked ({why}); put a whole copy there") from None
    if len(unpacked) > limit:
        raise UsageError(f"{path}: truncated or altered: unpacks to more than {limit:,} bytes; put a whole copy there")
    return unpacked
