"""A folder of images, train/<class>/* and test/<class>/*: decoded by Pillow once, then cached as one file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet_bench.data.dataset import Dataset, Images, Labels
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import write_atomically
from resnet_bench.sealed import Damaged, seal, unseal

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SMALLEST_SIDE = 8
CACHE_KIND = "resnet-bench images 1"
Progress = Callable[[int, int], None]  # (done, total)


def dataset_name(folder: Path, reserved: frozenset[str]) -> str:
    """The folder's name in [a-z0-9._-]; one that a known dataset has gets `-folder` added, so as not to pose as it."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-.") or "images"
    return f"{name}-folder" if name in reserved else name


def list_images(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """{"train" | "test": {class: sorted image files}}.

    Raises:
        UsageError: a split or a class is missing, there is no image at all, or a class has none; names the place.
    """
    splits = {split: _list_split(folder, split) for split in ("train", "test")}
    if not any(files for split in splits.values() for files in split.values()):
        raise UsageError(f"{folder}: no image in train/<class>/ and test/<class>/ ({', '.join(sorted(SUFFIXES))})")
    for split, other in (("train", "test"), ("test", "train")):
        for name, files in splits[other].items():
            if name not in splits[split]:
                raise UsageError(f"{folder}: class {name!r} is missing in {split}/ (it is in {other}/); add it there")
            if not files:
                raise UsageError(
                    f"{folder / other / name}: no image in this class folder; add some or remove the class"
                )
    return splits


def _list_split(folder: Path, split: str) -> dict[str, list[Path]]:
    root = folder / split
    if not root.is_dir():
        raise UsageError(f"{folder}: no folder {split}/; expected train/<class>/* and test/<class>/*")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {name: sorted(path for path in (root / name).iterdir() if _is_image(path)) for name in classes}


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_shape(folder: Path) -> tuple[int, int, int]:
    """(3, height, width) of the first training image; the others are checked when all are read."""
    first = next(iter(list_images(folder)["train"].values()))[0]
    decoded = _decode(first)
    return 3, decoded.shape[0], decoded.shape[1]


def read(folder: Path, name: str, cache: Path, progress: Progress | None = None) -> Dataset:
    """The folder's images as RGB, in the order of class and file name.

    Decoded pixels are kept in `cache` under a key made of every file's name and content, and its own digest
    is checked when it is read.

    Raises:
        UsageError: as list_images; an unreadable image; images of different or too small sizes; names the file.
    """
    splits = list_images(folder)
    cached = cache / "decoded" / f"{name}-{_content_key(folder, splits)}.images"
    dataset = _read_cached(cached, name)
    if dataset is None:
        dataset = _decode_all(name, splits, progress)
        _write_cached(cached, dataset)
    return dataset


def _files(splits: dict[str, dict[str, list[Path]]]) -> Iterator[Path]:
    return (path for classes in splits.values() for files in classes.values() for path in files)


def _content_key(folder: Path, splits: dict[str, dict[str, list[Path]]]) -> str:
    key = hashlib.sha256()
    for path in _files(splits):
        key.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()[:16]


def _decode_all(name: str, splits: dict[str, dict[str, list[Path]]], progress: Progress | None) -> Dataset:
    paths = list(_files(splits))
    shape = _decode(paths[0]).shape
    if min(shape[:2]) < SMALLEST_SIDE:
        raise UsageError(f"{paths[0]}: {shape[1]}x{shape[0]} pixels; the networks need at least {SMALLEST_SIDE}x8")
    pixels = np.empty((len(paths), *shape), np.uint8)  # [N, H, W, 3]
    for number, path in enumerate(paths):
        image = _decode(path)
        if image.shape != shape:
            sizes = f"{image.shape[1]}x{image.shape[0]} pixels, but {paths[0]} has {shape[1]}x{shape[0]}"
            raise UsageError(f"{path}: {sizes}; all images must be of one size")
        pixels[number] = image
        if progress is not None and (number + 1) % 1000 == 0:
            progress(number + 1, len(paths))
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    num_train = sum(map(len, splits["train"].values()))
    return Dataset(
        name,
        tuple(splits["train"]),
        images[:num_train],
        _labels(splits["train"]),
        images[num_train:],
        _labels(splits["test"]),
    )


def _labels(classes: dict[str, list[Path]]) -> Labels:
    return np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes.values()])


def _decode(path: Path) -> Images:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a broken image can raise anything, from EOFError to struct.error
        raise UsageError(f"{path}: not a readable image ({error}); replace or remove it") from None


def _read_cached(path: Path, name: str) -> Dataset | None:
    """The cached dataset; None if there is none or it is not what was written."""
    try:
        with np.load(io.BytesIO(unseal(CACHE_KIND, path.read_bytes())), allow_pickle=False) as stored:
            values: dict[str, Any] = {key: stored[key] for key in stored.files}
        return Dataset(name=name, classes=tuple(map(str, values.pop("classes"))), **values)
    except (OSError, Damaged, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _write_cached(path: Path, dataset: Dataset) -> None:
    """Best effort: without a writable cache the images are simply decoded again next time."""
    arrays = io.BytesIO()
    np.savez(
        arrays,
        classes=np.array(dataset.classes),
        train_images=dataset.train_images,
        train_labels=dataset.train_labels,
        test_images=dataset.test_images,
        test_labels=dataset.test_labels,
    )
    with contextlib.suppress(OSError, Failure):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, seal(CACHE_KIND, arrays.getbuffer()))
