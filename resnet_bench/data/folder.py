"""A folder of images by class: decoded by Pillow once, kept as they are or resized, then cached as one file.

    train/<class>/*, test/<class>/*    as they are; val/ (valid/, validation/) is for the test where there is no test/
    <class>/*, or only train/          split here: a fifth of each class is kept for the test

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
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from resnet_bench.data.dataset import Dataset, Images, Labels, Resized
from resnet_bench.data.statistics import channel_statistics
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import write_atomically
from resnet_bench.machine import available_cores
from resnet_bench.sealed import Damaged, seal, unseal

# Of the formats that Pillow reads by itself, those that hold pictures.
SUFFIXES = frozenset(
    """
    .apng .avif .bmp .dib .gif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .pbm .pcx .pgm .png .pnm .ppm
    .qoi .sgi .tga .tif .tiff .webp
    """.split()  # noqa: SIM905
)
TRAIN, TEST, VALIDATION = "train", "test", ("val", "valid", "validation")
HELD_OUT = (TEST, *VALIDATION)
SMALLEST_SIDE, LARGEST_KEPT, LARGEST_SIDE = 8, 96, 512  # pixels
USUAL_SIDE = 224  # of images that are resized, unless the user says another
SHORTER_SIDE = 256 / 224  # of an image before its central square is taken, in sides of that square
TEST_SHARE, SPLIT_SEED = 0.2, 0
CACHE_KIND = "resnet-bench images 2"
RESIZED = ("sources", "aspects", "statistics")
VALIDATING = ("validation_images", "validation_labels")
MOST_CACHED = 2 << 30  # bytes
MOST_MEMORY = 0.7  # share of the machine's memory that pixels may take
MOST_LENGTHS = 100  # the longer side of an image, in shorter ones
ORIENTATION = 0x0112  # the EXIF tag; from 5 on width and height are exchanged
Progress = Callable[[int, int], None]  # (done, total)
Classes = dict[str, list[Path]]  # sorted image files by class


def dataset_name(folder: Path, reserved: frozenset[str]) -> str:
    """The folder's name in [a-z0-9._-]; one that a known dataset has gets `-folder` added, so as not to pose as it."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-.") or "images"
    return f"{name}-folder" if name in reserved else name


def is_image_folder(folder: Path) -> bool:
    """Does it look like one: train/ or test/, or a folder with an image in it."""
    return any((folder / name).is_dir() for name in (TRAIN, *HELD_OUT)) or _has_images(folder)


def _has_images(root: Path) -> bool:
    return any(files for files in _class_folders(root).values())


# ---------------------------------------------------------------------------------------------- which images


@dataclass(frozen=True)
class Tree:
    """The image files of a folder.

    Attributes:
        train: by class.
        test: by class; the same classes.
        split_here: they were one tree.
        validation: by class; the same classes; empty: there is no such folder beside the test images.
    """

    root: Path
    train: Classes
    test: Classes
    split_here: bool
    validation: Classes = field(default_factory=dict)

    def files(self) -> list[Path]:
        """All of them, training images first, then those for the test."""
        splits = (self.train, self.test, self.validation)
        return [path for classes in splits for files in classes.values() for path in files]

    def split(self) -> tuple[tuple[str, str, str], ...]:
        """(image, class, split) for each, if they were one tree."""
        return tuple(
            (path.relative_to(self.root).as_posix(), name, split)
            for split, classes in (("train", self.train), ("test", self.test))
            for name, files in classes.items()
            for path in files
            if self.split_here
        )


def list_images(folder: Path) -> Tree:
    """The images of a folder, in the order of class and file name.

    Raises:
        UsageError: a class is missing or has too few images, or there is no image at all; names the place.
    """
    root = folder / TRAIN
    if any(_is_image(path) for path in _entries(root)):  # a class of that name
        return _split(folder, _class_folders(folder))
    there = [name for name in HELD_OUT if (folder / name).is_dir()]
    held_out = next((name for name in there if _has_images(folder / name)), next(iter(there), None))
    if held_out is None:
        return _split(folder, _class_folders(root if root.is_dir() else folder))
    if not root.is_dir():
        raise UsageError(f"{folder}: no folder train/ beside {held_out}/; expected train/<class>/* and test/<class>/*")
    used = [held_out, *(name for name in there if held_out == TEST != name and _has_images(folder / name))]
    splits = {name: _class_folders(folder / name) for name in (TRAIN, *used[:2])}
    if not any(files for split in splits.values() for files in split.values()):
        raise UsageError(f"{folder}: no image in {TRAIN}/<class>/ and {held_out}/<class>/ ({_suffixes()})")
    for split, other in (pair for name in splits if name != TRAIN for pair in ((TRAIN, name), (name, TRAIN))):
        for name, files in splits[other].items():
            if name not in splits[split]:
                raise UsageError(f"{folder}: class {name!r} is missing in {split}/ (it is in {other}/); add it there")
            if not files:
                raise UsageError(
                    f"{folder / other / name}: no image in this class folder; add some or remove the class"
                )
    validation = splits[used[1]] if len(used) > 1 else {}
    return _checked(Tree(folder, splits[TRAIN], splits[held_out], False, validation))


def _checked(tree: Tree) -> Tree:
    if len(tree.train) < 2:
        raise UsageError(f"{tree.root}: one class only, {next(iter(tree.train))!r}; there is nothing to tell apart")
    return tree


def _split(root: Path, classes: Classes) -> Tree:
    """A fifth of each class for the test, by a hash of class and name: the same images wherever the folder lies."""
    if not any(classes.values()):
        raise UsageError(f"{root}: no image in <class>/ or train/<class>/ ({_suffixes()})")
    test: Classes = {}
    for name, files in classes.items():
        if len(files) < 2:
            place = root / TRAIN / name if (root / TRAIN / name).is_dir() else root / name
            many = "one image" if files else "no image"
            raise UsageError(f"{place}: {many}; a class that is split needs two: add some or remove the class")
        test[name] = sorted(sorted(files, key=_draw)[: max(1, round(TEST_SHARE * len(files)))])
    train = {name: sorted(set(files) - set(test[name])) for name, files in classes.items()}
    return _checked(Tree(root, train, test, split_here=True))


def _draw(path: Path) -> bytes:
    return hashlib.sha256(f"{SPLIT_SEED}:{path.parent.name}/{path.name}".encode()).digest()


def _class_folders(root: Path) -> Classes:
    classes = sorted(path for path in _entries(root) if path.is_dir())
    return {path.name: sorted(filter(_is_image, _entries(path))) for path in classes}


def _entries(root: Path) -> list[Path]:
    """What lies in a folder and is not hidden; nothing if it is none."""
    try:
        paths = [path for path in root.iterdir() if not path.name.startswith(".")] if root.is_dir() else []
    except OSError as error:
        raise UsageError(f"{root}: cannot be read ({error.strerror}); move it away or change its permissions") from None
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{root}: the name {os.fsencode(path.name)!r} is not UTF-8; rename it") from None
    return paths


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))


def image_side(tree: Tree, asked: int | None) -> int | None:
    """Pixels a side that the images are resized to: as asked; None if all are small and of one size; else 224.

    Raises:
        UsageError: that size is not to be had; an unreadable image.
    """
    if asked is not None:
        if not SMALLEST_SIDE <= asked <= LARGEST_SIDE:
            raise UsageError(
                f"{tree.root}@{asked}: images are resized to {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side"
            )
        return asked
    first = _size(tree.files()[0])
    small = max(first) <= LARGEST_KEPT and all(_size(path) == first for path in tree.files())
    return None if small else USUAL_SIDE


def image_shape(tree: Tree, side: int | None) -> tuple[int, int, int]:
    """(3, height, width): `side` twice, or as the first training image has it."""
    width, height = (side, side) if side else _size(tree.files()[0])
    return 3, height, width


def _size(path: Path) -> tuple[int, int]:
    """(width, height) by the file's header, turned as EXIF says."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return (image.height, image.width) if turned else image.size
    except Exception as error:  # see read_picture
        raise _unreadable(path, error) from None


# ---------------------------------------------------------------------------------------------- their pixels


def read(folder: Path, name: str, cache: Path, progress: Progress | None = None, side: int | None = None) -> Dataset:
    """The folder's images as RGB, in the order of class and file name; upright, where EXIF says how they lie.

    Decoded pixels are kept in `cache` under a key made of every file's name and content, and its own digest
    is checked when it is read.

    Args:
        folder: with the images.
        name: of the dataset.
        cache: where decoded pixels are kept.
        progress: told how many images were decoded.
        side: pixels a side that the images are resized to; None: they are kept as they are.

    Raises:
        UsageError: as list_images; an unreadable image; images that are kept, but of different or too small sizes;
            names the file.
        Failure: they would not fit into the machine's memory.
    """
    tree = list_images(folder)
    if side is not None:
        _check_memory(tree, side)
    cached = cache / "decoded" / f"{name}-{_content_key(tree)}.images"
    dataset = _read_cached(cached, name) or _write_cached(cached, _decode_all(tree, name, side, progress))
    return replace(dataset, split=tree.split())


def _content_key(tree: Tree) -> str:
    key = hashlib.sha256()
    for path in tree.files():
        key.update(f"{path.relative_to(tree.root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
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

    _for_each(len(paths), fill, progress)
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


def central_square(picture: Image.Image, side: int, path: Path) -> Image.Image:
    """The shorter side resized to 256 for a side of 224, else in that proportion; then the central square.

    Raises:
        UsageError: the picture at `path` is too long for that.
    """
    shorter = round(side * SHORTER_SIDE)
    width, height = picture.size
    check_lengths(picture, path)
    tall = width <= height
    size = (shorter, int(shorter * height / width)) if tall else (int(shorter * width / height), shorter)
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return resized.crop((left, top, left + side, top + side))


def check_lengths(picture: Image.Image, path: Path) -> None:
    """Raise UsageError if it is so long that its shorter side cannot be resized within reason."""
    if max(picture.size) > MOST_LENGTHS * min(picture.size):
        raise UsageError(f"{path}: {picture.width}x{picture.height} pixels, too long and narrow; cut it")


def _allocate(count: int, height: int, width: int) -> Images:
    return np.empty((count, 3, height, width), np.uint8)


def _check_memory(tree: Tree, side: int) -> None:
    num_train = sum(map(len, tree.train.values()))
    need = 3 * (len(tree.files()) * side**2 + num_train * round(side * SHORTER_SIDE) ** 2)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > MOST_MEMORY * there:
        raise Failure(
            f"{tree.root}: at {side} pixels a side these images need {need / 1e9:,.1f} GB of memory, and this machine "
            f"has {there / 1e9:,.1f} GB; take fewer, or a smaller size, as in {tree.root}@{side // 2}"
        )


def _for_each(count: int, work: Callable[[int], None], progress: Progress | None) -> None:
    """Decode on all cores; the first error is raised, and nothing goes on after it."""
    pool = ThreadPoolExecutor(available_cores())
    try:
        for done, _ in enumerate(pool.map(work, range(count)), start=1):
            if progress is not None and done % 1000 == 0:
                progress(done, count)
    finally:
        pool.shutdown(cancel_futures=True)


def _kept_shape(first: Path) -> tuple[int, int]:
    width, height = read_picture(first).size
    if min(width, height) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
        raise UsageError(f"{first}: {width}x{height} pixels; the networks need at least {least}")
    return height, width


def _kept(picture: Image.Image, shape: tuple[int, ...], path: Path, first: Path) -> Images:
    if (picture.height, picture.width) != shape:
        raise UsageError(
            f"{path}: {picture.width}x{picture.height} pixels, but {first} has {shape[1]}x{shape[0]}; small images are "
            "kept as they are and must be of one size, others are resized: DATA=FOLDER@64, say"
        )
    return _channels(picture)


def _channels(picture: Image.Image) -> Images:
    """RGB pixels as uint8 [3, H, W]."""
    return np.asarray(picture).transpose(2, 0, 1)


def _labels(classes: Classes) -> Labels:
    return np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes.values()])


def read_picture(path: Path) -> Image.Image:
    """As RGB, turned as EXIF says; of 16-bit values the upper 8 bits. UsageError if it is no readable image."""
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError(f"mode {image.mode}: values without a known range; save it with 8 or 16 bits")
            if image.mode.startswith("I;16"):
                shifted = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                shifted.getexif().update(image.getexif())
                return ImageOps.exif_transpose(shifted).convert("RGB")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # a broken image can raise anything, from EOFError to struct.error
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: not a readable image ({error}); replace or remove it")


def _read_cached(path: Path, name: str) -> Dataset | None:
    """The cached dataset; None if there is none or it is not what was written."""
    try:
        with np.load(io.BytesIO(unseal(CACHE_KIND, path.read_bytes())), allow_pickle=False) as stored:
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
