"""CIFAR-10 as Kaggle's competition has it: train/1.png and so on, their labels in trainLabels.csv; test/ has none.

The test images have no labels and most are none of CIFAR-10's, so they are not used: a fifth of the training images of
each class is kept for the test. That is another dataset than `cifar10`, and has another name.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_bench.data.cifar import CLASSES
from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.data.download import DEFAULT_LIMITS, Limits, Progress
from resnet_bench.data.png import MOST_BYTES, decode_png
from resnet_bench.data.split import kept_for_test
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import read_regular
from resnet_bench.text import one_line

NAME, TITLE = "cifar10-kaggle", "CIFAR-10 of Kaggle"
ZIP, PACKED, PICTURES, LABELS = "cifar-10.zip", "train.7z", "train", "trainLabels.csv"
HEADER = ["id", "label"]
SIDE = 32
MOST_LABELS = 16 << 20  # bytes
MOST_IMAGES = 100_000


@dataclass(frozen=True)
class KaggleFiles:
    """The unpacked folder; that it is still packed is said."""

    title: str = TITLE
    system: tuple[Path, ...] = ()
    origin: str = "to be downloaded by hand, with an account, from www.kaggle.com/c/cifar-10/data"

    def recognises(self, path: Path) -> bool:
        """Its names are its own."""
        return True

    def note(self, path: Path) -> str:
        """That the test images are made here."""
        unused = " (test/ has no labels and is not used)" if (path / "test").is_dir() else ""
        return f"a fifth of each class of train/ kept for the test{unused}"

    def find(self, places: Sequence[tuple[str, Path]]) -> Path | None:
        """The folder with trainLabels.csv and train/, packed or not, or the zip file, at the first place with one."""
        for _, path in places:
            for candidate in (path, path / NAME, path / "cifar-10"):
                pictures = (candidate / PICTURES).is_dir() or (candidate / PACKED).is_file()
                if pictures and (candidate / LABELS).is_file():
                    return candidate
            for candidate in (path, path / ZIP):
                if candidate.name == ZIP and candidate.is_file():
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
        """Where it lies.

        Raises:
            Failure: nowhere; it cannot be fetched without an account.
        """
        if found := self.find([*places, ("cache", cache)]):
            return found
        raise Failure(
            f"{TITLE} is not here, and is {self.origin}; unpack it and {PACKED} in it, and name (--data) the folder "
            f"that holds {PICTURES}/ and {LABELS}"
        )

    def read(self, path: Path) -> Dataset:
        """The images of train/ in the order of their numbers, without and with the fifth that is kept for the test.

        Raises:
            UsageError: it is still packed; a label or an image is missing or not what it should be.
        """
        if path.is_file():
            raise UsageError(f"{path}: still packed; unpack it, then {PACKED} in it (7z x {PACKED})")
        pictures = path / PICTURES
        if not pictures.is_dir():
            raise UsageError(f"{path / PACKED}: still packed, and 7z files are not read; unpack it: 7z x {PACKED}")
        labels = _read_labels(path / LABELS)
        there = {entry.name for entry in pictures.iterdir() if entry.suffix == ".png"}
        for number in labels:
            if f"{number}.png" not in there:
                raise UsageError(f"{pictures / f'{number}.png'}: missing, but {LABELS} has it; unpack {PACKED} again")
        if len(there) > len(labels):
            extra = min(there - {f"{number}.png" for number in labels})
            raise UsageError(f"{pictures / one_line(extra)}: has no label in {LABELS}; remove it, or add that")
        return _assemble(pictures, labels).checked(str(path))


def _assemble(pictures: Path, labels: dict[int, str]) -> Dataset:
    by_class = defaultdict[str, list[str]](list)
    for number in sorted(labels):
        by_class[labels[number]].append(f"{number}.png")
    kept = frozenset[str]().union(*(kept_for_test(label, names) for label, names in by_class.items()))
    train = [number for number in sorted(labels) if f"{number}.png" not in kept]
    test = [number for number in sorted(labels) if f"{number}.png" in kept]
    rows = [(f"{PICTURES}/{number}.png", labels[number], "train") for number in train]
    rows += [(f"{PICTURES}/{number}.png", labels[number], "test") for number in test]
    return Dataset(
        name=NAME,
        classes=CLASSES,
        train_images=_images(pictures, train),
        train_labels=np.array([CLASSES.index(labels[number]) for number in train], np.int64),
        test_images=_images(pictures, test),
        test_labels=np.array([CLASSES.index(labels[number]) for number in test], np.int64),
        split=tuple(rows),
    )


def _images(folder: Path, numbers: list[int]) -> Images:
    images = np.empty((len(numbers), 3, SIDE, SIDE), np.uint8)
    for place, number in enumerate(numbers):
        path = folder / f"{number}.png"
        try:
            content = read_regular(path, MOST_BYTES)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; replace it") from None
        images[place] = decode_png(content, SIDE, str(path))
    return images


def _read_labels(path: Path) -> dict[int, str]:
    """The class of each image by its number."""
    try:
        text = read_regular(path, MOST_LABELS).decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if (header := next(rows, [])) != HEADER:
            raise ValueError(f"begins with {one_line(','.join(header))[:100]!r} where id,label is needed")
        labels: dict[int, str] = {}
        for row in rows:
            number, label = row if len(row) == len(HEADER) else ("", "")
            if not (number.isascii() and number.isdecimal() and len(number) < 10) or label not in CLASSES:
                raise ValueError(f"line {rows.line_num} is no number and class of CIFAR-10")
            if labels.setdefault(int(number), label) != label or len(labels) > MOST_IMAGES:
                raise ValueError(f"line {rows.line_num}: image {number} has two labels, or there are too many")
        return labels
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: {one_line(why)}; put Kaggle's file there") from None


CIFAR10_KAGGLE = KaggleFiles()
