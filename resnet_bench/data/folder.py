"""The pixels of a folder of images: decoded once, kept as they are or resized, then cached as one file.

Images that are small are kept as they are, and must be of one size. Larger ones, of any size and shape, are resized by
the recipe that is usual for ImageNet: for evaluation the shorter side to 256, then the central square of 224 (or in
that proportion); for training, boxes of random size and shape are cut out of the whole image (`batches.resized_crops`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from resnet_bench.data.dataset import Dataset, Images, Labels, Resized
from resnet_bench.data.listing import Progress
from resnet_bench.data.picture import SHORTER_SIDE, central_square, file_digest, picture_size, read_picture
from resnet_bench.data.summary import channel_statistics
from resnet_bench.data.tree import Classes, Tree
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import Damaged, read_regular, seal, unseal, write_atomically
from resnet_bench.machine import available_cores
from resnet_bench.text import one_line

SMALLEST_SIDE, LARGEST_KEPT, LARGEST_SIDE = 8, 96, 512  # pixels
USUAL_SIDE = 224  # of images that are resized, unless the user says another
CACHE_KIND = "resnet-bench images 3"
RESIZED = ("sources", "aspects", "statistics")
VALIDATING = ("validation_images", "validation_labels")
MOST_CACHED = 2 << 30  # bytes
MOST_MEMORY = 0.7  # share of the machine's memory that pixels may take
AT_ONCE = 1024  # files that wait for a thread
Item = TypeVar("Item")
Result = TypeVar("Result")


def dataset_name(folder: Path, reserved: frozenset[str]) -> str:
    """The folder's name in [a-z0-9._-]; one that a known dataset has gets `-folder` added, so as not to pose as it.

    Letters of other scripts are told by a hash of the whole name, so that two such folders are two datasets.
    """
    spelt = folder.resolve().name.lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", spelt).strip("-.") or "images"
    composed = unicodedata.normalize("NFC", spelt)
    if any(not letter.isascii() and not unicodedata.name(letter, "").startswith("LATIN ") for letter in composed):
        name += f"-{hashlib.sha256(os.fsencode(composed)).hexdigest()[:6]}"
    return f"{name}-folder" if name in reserved else name


def image_side(tree: Tree, asked: int | None, progress: Progress | None = None) -> int | None:
    """Pixels a side that the images are resized to: as asked; None if all are small and of one size; else 224.

    Raises:
        UsageError: that size is not to be had; an unreadable image.
    """
    if asked is not None:
        if not SMALLEST_SIDE <= asked <= LARGEST_SIDE:
            where = one_line(f"{tree.root}@{asked}")
            raise UsageError(f"{where}: images are resized to {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side")
        return asked
    paths = tree.files()
    first = picture_size(paths[0])
    small = max(first) <= LARGEST_KEPT and all(size == first for size in _each(paths, picture_size, progress))
    return None if small else USUAL_SIDE


def image_shape(tree: Tree, side: int | None) -> tuple[int, int, int]:
    """(3, height, width): `side` twice, or as the first training image has it."""
    width, height = (side, side) if side else picture_size(next(tree.by_split())[2])
    return 3, height, width


def read(tree: Tree, name: str, cache: Path, progress: Progress | None = None, side: int | None = None) -> Dataset:
    """The images as RGB, in the order of class and file name; upright, where EXIF says how they lie.

    Decoded pixels are kept in `cache` under a key made of every file's split, class, name and content, and its own
    digest is checked when it is read.

    Args:
        tree: the images of a folder.
        name: of the dataset.
        cache: where decoded pixels are kept.
        progress: told how many images were read; each is read twice, for the key and for its pixels.
        side: pixels a side that the images are resized to; None: they are kept as they are.

    Raises:
        UsageError: an unreadable image; images that are kept, but of different or too small sizes; names the file.
        Failure: they would not fit into the machine's memory.
    """
    shape = image_shape(tree, side)[1:]
    _check_memory(tree, shape, side)
    cached = cache / "decoded" / f"{name}-{_content_key(tree, side, _half(progress, 0))}.images"
    dataset = _read_cached(cached, name)
    if dataset is None:
        dataset = _write_cached(cached, _decode_all(tree, name, side, _half(progress, 1)))
    elif progress is not None:
        progress(len(tree.files()), len(tree.files()))
    return replace(dataset, split=tree.split())


def _half(progress: Progress | None, which: int) -> Progress | None:
    """Told of one half of the work, it tells of the whole."""
    return progress and (lambda done, total: progress((which * total + done) // 2, total))


def _content_key(tree: Tree, side: int | None, progress: Progress | None) -> str:
    key = hashlib.sha256(f"{side}\0".encode())
    digests = _each(tree.files(), file_digest, progress)
    for (split, name, path), digest in zip(tree.by_split(), digests, strict=True):
        key.update(f"{split}\0{name}\0{path.relative_to(tree.root)}\0".encode() + digest)
    return key.hexdigest()[:16]


def _decode_all(tree: Tree, name: str, side: int | None, progress: Progress | None) -> Dataset:
    paths = tree.files()
    num_train = sum(map(len, tree.train.values()))
    end = num_train + sum(map(len, tree.test.values()))
    if side is None:
        height, width = _kept_shape(paths[0])
        views, source_side = _allocate(len(paths), height, width), 0
        sources, aspects = None, None
    else:
        source_side = round(side * SHORTER_SIDE)
        views, sources = _allocate(len(paths), side, side), _allocate(num_train, source_side, source_side)
        aspects = np.empty(num_train, np.float32)

    def fill(number: int) -> None:
        picture = read_picture(paths[number])
        if side is None:
            views[number] = _kept(picture, views.shape[2:], paths[number], paths[0])
            return
        views[number] = _channels(central_square(picture, side, paths[number]))
        if number < num_train and sources is not None and aspects is not None:
            squeezed = picture.resize((source_side, source_side), Image.Resampling.BILINEAR)
            sources[number], aspects[number] = _channels(squeezed), picture.width / picture.height

    for _ in _each(range(len(paths)), fill, progress):
        pass
    resized = None
    if sources is not None and aspects is not None:
        resized = Resized(sources, aspects, channel_statistics(views[:num_train]))
    return Dataset(
        name,
        tuple(tree.train),
        views[:num_train],
        _labels(tree.train),
        views[num_train:end],
        _labels(tree.test),
        resized,
        validation_images=views[end:] if tree.validation else None,
        validation_labels=_labels(tree.validation) if tree.validation else None,
    )


def _allocate(count: int, height: int, width: int) -> Images:
    return np.empty((count, 3, height, width), np.uint8)


def _check_memory(tree: Tree, shape: tuple[int, int], side: int | None) -> None:
    num_train = sum(map(len, tree.train.values()))
    squares = num_train * round(side * SHORTER_SIDE) ** 2 if side else 0
    need = 3 * (len(tree.files()) * shape[0] * shape[1] + squares)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > MOST_MEMORY * there:
        where, less = one_line(str(tree.root)), max(SMALLEST_SIDE, min(shape) // 2)
        raise Failure(
            f"{where}: at {min(shape)} pixels a side these images need {need / 1e9:,.1f} GB of memory, and this "
            f"machine has {there / 1e9:,.1f} GB; take fewer, or a smaller size, as in {where}@{less}"
        )


def _each(items: Sequence[Item], work: Callable[[Item], Result], progress: Progress | None) -> Iterator[Result]:
    """What is made of each, in order, on all cores; the first error is raised, and nothing goes on after it."""
    pool = ThreadPoolExecutor(available_cores())
    try:
        for start in range(0, len(items), AT_ONCE):
            for done, result in enumerate(pool.map(work, items[start : start + AT_ONCE]), start=start + 1):
                if progress is not None:
                    progress(done, len(items))
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _kept_shape(first: Path) -> tuple[int, int]:
    width, height = read_picture(first).size
    if min(width, height) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
        raise UsageError(f"{one_line(str(first))}: {width}x{height} pixels; the networks need at least {least}")
    return height, width


def _kept(picture: Image.Image, shape: tuple[int, ...], path: Path, first: Path) -> Images:
    if (picture.height, picture.width) != shape:
        sizes = f"{path}: {picture.width}x{picture.height} pixels, but {first} has {shape[1]}x{shape[0]}"
        raise UsageError(
            f"{one_line(sizes)}; small images are kept as they are and must be of one size, others are resized: "
            "FOLDER@64, say"
        )
    return _channels(picture)


def _channels(picture: Image.Image) -> Images:
    """RGB pixels as uint8 [3, H, W]."""
    return np.asarray(picture).transpose(2, 0, 1)


def _labels(classes: Classes) -> Labels:
    return np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes.values()])


def _read_cached(path: Path, name: str) -> Dataset | None:
    """The cached dataset; None if there is none or it is not what was written."""
    try:
        with np.load(io.BytesIO(unseal(CACHE_KIND, read_regular(path, 2 * MOST_CACHED))), allow_pickle=False) as stored:
            values: dict[str, Any] = {key: stored[key] for key in stored.files}
        if "sources" in values:
            values["resized"] = Resized(*(values.pop(name) for name in RESIZED))
        return Dataset(name=name, classes=tuple(map(str, values.pop("classes"))), **values)
    except (OSError, Damaged, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _write_cached(path: Path, dataset: Dataset) -> Dataset:
    """Best effort: without a writable cache, or if there are too many, the images are decoded again next time."""
    resized = {name: getattr(dataset.resized, name) for name in RESIZED} if dataset.resized else {}
    pixels: dict[str, Any] = {
        "train_images": dataset.train_images,
        "train_labels": dataset.train_labels,
        "test_images": dataset.test_images,
        "test_labels": dataset.test_labels,
        **{name: array for name in VALIDATING if (array := getattr(dataset, name)) is not None},
        **resized,
    }
    if sum(array.nbytes for array in pixels.values()) > MOST_CACHED:
        return dataset
    arrays = io.BytesIO()
    np.savez(arrays, classes=np.array(dataset.classes), **pixels)
    with contextlib.suppress(OSError, Failure):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, seal(CACHE_KIND, arrays.getbuffer()))
    return dataset
