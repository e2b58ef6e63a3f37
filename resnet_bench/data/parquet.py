"""CIFAR-10 and CIFAR-100 as Hugging Face has them: Parquet files of PNG images, checked by what is in them.

No checksum of such a file is published by the authors. But the pixels and labels, written as in the authors' binary
version, must have the checksums of its batches; by these the batches also come into their order, which is not that of
the Parquet files (they follow the order of files in the archive).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_bench.data.dataset import Images, Labels
from resnet_bench.data.png import MOST_BYTES, decode_png
from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.text import one_line

SIDE = 32
IMAGE_COLUMNS = ("img", "image")
MOST_FILE = 512 << 20  # bytes
MOST_UNPACKED = 1 << 30  # bytes of a row group, as announced
ROWS = 1000  # decoded at a time


@dataclass(frozen=True)
class ParquetFiles:
    """What is accepted.

    Attributes:
        title: the dataset's name as people write it.
        folder: where the files lie under the dataset's folder.
        labels: columns of labels, in the order of the bytes before an image in the binary version; the last is ours.
        train: SHA-1 of each batch of training images in the binary version, in order.
        test: that of the test images.
        batch: training images in a batch.
        test_images: how many.
    """

    title: str
    folder: str
    labels: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    batch: int
    test_images: int = 10_000

    def find(self, path: Path) -> Path | None:
        """The folder of the files, at the path or in their usual folder in it, by their names and columns."""
        return next((place for place in (path, path / self.folder) if self._lies_at(place)), None)

    def _lies_at(self, folder: Path) -> bool:
        if not (_shards(folder, "train") and _shards(folder, "test")):
            return False
        try:
            columns = _columns(_shards(folder, "train")[0])
        except UsageError:
            return True  # what is wrong with it is said when it is read
        return set(self.labels) <= columns and bool(columns & set(IMAGE_COLUMNS))

    def check(self, folder: Path) -> None:
        """Raise UsageError if the files cannot be read at all."""
        _columns(_shards(folder, "train")[0])

    def read(self, folder: Path) -> tuple[Images, Labels, Images, Labels]:
        """Images [N, 3, 32, 32] and labels for training, then for the test, in the order of the archive.

        Raises:
            UsageError: pyarrow is not installed; a file is unreadable, or its images are not the dataset's.
        """
        images, labels = self._decode(folder, "train", self.batch * len(self.train))
        places = {}
        for start in range(0, len(images), self.batch):
            found = _sha1(images[start : start + self.batch], labels[start : start + self.batch])
            self._check(folder, "train", found, found in self.train and found not in places)
            places[found] = start
        order = np.concatenate([np.arange(places[sha1], places[sha1] + self.batch) for sha1 in self.train])
        test_images, test_labels = self._decode(folder, "test", self.test_images)
        found = _sha1(test_images, test_labels)
        self._check(folder, "test", found, found == self.test)
        return images[order], _ours(labels)[order], test_images, _ours(test_labels)

    def _check(self, folder: Path, split: str, found: str, right: bool) -> None:
        if not right:
            raise UsageError(
                f"{folder}: {split}: images and labels are not those of {self.title}: written as in its binary version "
                f"their SHA-1 is {found}, which is not published or there twice; put unaltered files there"
            )

    def _decode(self, folder: Path, split: str, count: int) -> tuple[Images, Labels]:
        """Images [count, 3, 32, 32] and all labels [count, columns] of a split, as they come."""
        images = np.empty((count, 3, SIDE, SIDE), np.uint8)
        labels = np.empty((count, len(self.labels)), np.int64)
        end = 0
        for path in _shards(folder, split):
            for pictures, numbers in _rows(path, self.labels):
                where = f"{path}: rows {end} to {end + len(pictures) - 1}"
                if end + len(pictures) > count:
                    raise UsageError(f"{path}: more than {count:,} images; {self.title} has no more for {split}")
                if numbers.min(initial=0) < 0 or numbers.max(initial=0) > 255:
                    raise UsageError(f"{where}: labels {numbers.min()} to {numbers.max()} are none")
                for picture in pictures:
                    images[end] = decode_png(picture, SIDE, f"{path}: row {end}")
                    end += 1
                labels[end - len(pictures) : end] = numbers
        if end != count:
            raise UsageError(f"{folder}: {end:,} images for {split}; {self.title} has {count:,}")
        return images, labels


def _shards(folder: Path, split: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{split}-*.parquet") if path.is_file()) if folder.is_dir() else []


def _ours(labels: Labels) -> Labels:
    return np.ascontiguousarray(labels[:, -1])


def _sha1(images: Images, labels: Labels) -> str:
    """Of the images as a file of the binary version holds them: for each its labels, a byte each, then its pixels."""
    sha1 = hashlib.sha1(usedforsecurity=False)
    for start in range(0, len(images), ROWS):
        pixels = images[start : start + ROWS].reshape(-1, 3 * SIDE * SIDE)
        sha1.update(np.concatenate([labels[start : start + ROWS].astype(np.uint8), pixels], axis=1).tobytes())
    return sha1.hexdigest()


def _open(path: Path) -> Any:
    """The file as pyarrow reads it.

    Raises:
        UsageError: pyarrow is not installed, or cannot read it, or it is too large.
    """
    try:
        pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(f"{path}: to read it, pyarrow is needed: pip install 'resnet-bench[parquet]'") from None
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(read_regular(path, MOST_FILE)))
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if max((group.total_byte_size for group in groups), default=0) > MOST_UNPACKED:
            raise ValueError(f"a row group of more than {MOST_UNPACKED:,} bytes is announced")
        return file
    except Exception as error:  # what is wrong with a file is said by nearly any exception
        raise _unreadable(path, error) from None


def _columns(path: Path) -> set[str]:
    return set(_open(path).schema_arrow.names)


def _rows(path: Path, labels: tuple[str, ...]) -> Iterator[tuple[list[bytes], Labels]]:
    """The PNG files, and the labels [N, columns], of some rows at a time."""
    file = _open(path)
    try:
        pictures = next(name for name in IMAGE_COLUMNS if name in file.schema_arrow.names)
        for batch in file.iter_batches(ROWS, columns=[pictures, *labels], use_threads=False):
            column = batch.column(pictures)
            cells = (column.field("bytes") if hasattr(column, "field") else column).to_pylist()
            if not all(isinstance(cell, bytes) and len(cell) <= MOST_BYTES for cell in cells):
                raise ValueError(f"a cell of {pictures} is no PNG file of so few pixels")
            numbers = [batch.column(name).to_numpy(zero_copy_only=False) for name in labels]
            if not all(np.issubdtype(values.dtype, np.integer) for values in numbers):
                raise ValueError(f"{', '.join(labels)}: not all are whole numbers")
            yield cells, np.stack(numbers, axis=1).astype(np.int64)
    except StopIteration:
        raise _unreadable(path, KeyError("no column img or image")) from None
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UsageError:
    why = one_line(getattr(error, "strerror", None) or str(error))[:200]
    return UsageError(f"{path}: not a readable Parquet file of images and labels ({why}); put an unaltered copy there")
