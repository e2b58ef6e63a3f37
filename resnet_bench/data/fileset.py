"""Datasets that are a few files, each with a published checksum: find them, or fetch them, check and read them."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import DEFAULT_LIMITS, Limits, Progress, RemoteFile
from resnet_bench.data.obtain import Wanted, fetch_all
from resnet_bench.errors import UsageError

MOST_BYTES = 1 << 30  # of one file, packed or unpacked


@dataclass(frozen=True)
class FileSet:
    """What a dataset consists of.

    Attributes:
        name: as in --data.
        title: as people write it.
        files: with their checksums; those that end in .gz may also lie there unpacked, without that ending.
        assemble: makes the dataset of the files' content, unpacked, by the names in `files`.
        folders: where, under a place that is searched, the files usually lie.
        system: folders of this machine where packages of the distribution put them.
        unpacked_md5: of what is in a .gz, where others have packed the same content anew.
    """

    name: str
    title: str
    files: tuple[RemoteFile, ...]
    assemble: Callable[[Mapping[str, bytes]], Dataset]
    folders: tuple[str, ...] = ()
    system: tuple[Path, ...] = ()
    unpacked_md5: Mapping[str, str] = field(default_factory=dict)

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
            return path is not None and bool(self._content(path, file, strictly=True))
        except UsageError:
            return False

    @staticmethod
    def _lies_at(folder: Path, file: RemoteFile) -> Path | None:
        names = (file.name, file.name.removesuffix(".gz"))
        return next((folder / name for name in names if (folder / name).is_file()), None)

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
        fetch_all(Wanted(self.title, self.files, home), looked, progress, limits)
        return home

    def read(self, folder: Path) -> Dataset:
        """The dataset from its files.

        Raises:
            UsageError: a file is missing, truncated or altered.
        """
        contents = {}
        for file in self.files:
            path = self._lies_at(folder, file)
            if path is None:
                raise UsageError(f"{folder}: {file.name} is missing; put a whole copy of {self.title} there")
            contents[file.name] = self._content(path, file)
        return self.assemble(contents)

    def _content(self, path: Path, file: RemoteFile, *, strictly: bool = False) -> bytes:
        """What the file holds, unpacked; checked where a checksum of it is known, which `strictly` it must be."""
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        packed = path.name == file.name
        found = _md5(content)
        unchecked = None if strictly else found
        known = found == file.md5 if packed else self.unpacked_md5.get(file.name, unchecked) == found
        if file.name.endswith(".gz") and packed:
            content = _unpack(content, path)
            known = known or self.unpacked_md5.get(file.name) == _md5(content)
        if not known:
            raise UsageError(
                f"{path}: truncated or altered: md5 is {found}, expected {file.md5}; put an unaltered copy in its place"
            )
        return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _unpack(content: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return file.read(MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path}: truncated or altered: cannot be unpacked ({error}); put a whole copy there"
        ) from None
