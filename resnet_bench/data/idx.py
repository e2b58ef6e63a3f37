"""MNIST and the sets that took its shape: four IDX files, perhaps gzipped (28x28, one channel, 10 classes)."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import RemoteFile
from resnet_bench.data.fileset import FileSet, family
from resnet_bench.errors import UsageError

UINT8 = 0x08  # the type code of IDX for unsigned bytes
SIDE = 28
IMAGES = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
LABELS = ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def parse(content: bytes, dimensions: int, where: str) -> NDArray[np.uint8]:
    """An array of unsigned bytes: two zeros, the type, the number of dimensions, their sizes (big endian), the values.

    Args:
        content: of the file.
        dimensions: how many it must have.
        where: for the message.

    Raises:
        UsageError: it is not that; says where.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise UsageError(f"{where}: not an IDX file of unsigned bytes")
    if content[3] != dimensions:
        raise UsageError(f"{where}: has {content[3]} dimensions where {dimensions} are needed")
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UsageError(f"{where}: ends within its header")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise UsageError(f"{where}: holds {len(content) - header:,} values where {shape} are announced")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def dotted(name: str) -> str:
    """train-images.idx3-ubyte for train-images-idx3-ubyte: both spellings are about."""
    return name.replace("-idx", ".idx")


def assemble(name: str, classes: tuple[str, ...], contents: Mapping[str, bytes]) -> Dataset:
    """The dataset from the content of its files, by name, unpacked.

    Raises:
        UsageError: a file is not what its name says, or they do not fit one another.
    """
    images = [parse(contents[file], 3, f"{name}: {file}") for file in IMAGES]
    labels = [parse(contents[file], 1, f"{name}: {file}") for file in LABELS]
    for pictures, numbers, pair in zip(images, labels, zip(IMAGES, LABELS, strict=True), strict=True):
        if pictures.shape[1:] != (SIDE, SIDE) or numbers.shape != pictures.shape[:1]:
            shapes = f"{pictures.shape} images and {numbers.shape} labels"
            raise UsageError(f"{name}: {' and '.join(pair)}: {shapes} do not fit")
        if len(numbers) and int(numbers.max()) >= len(classes):
            raise UsageError(f"{name}: {pair[1]}: label {numbers.max()} is none of {len(classes)} classes")
    return Dataset(
        name=name,
        classes=classes,
        train_images=images[0][:, None].copy(),
        train_labels=labels[0].astype(np.int64),
        test_images=images[1][:, None].copy(),
        test_labels=labels[1].astype(np.int64),
    ).checked(name)


def _files(sizes_and_md5: Mapping[str, tuple[int, str]], *mirrors: str) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, size, md5, "", tuple(mirror + name for mirror in mirrors))
        for name, (size, md5) in sizes_and_md5.items()
    )


DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

# Sizes and md5 of the gzipped files as their authors publish them, and as torchvision has them. The md5 of the unpacked
# files: of MNIST's as several projects publish them (secml's loader and others, all the same); of Fashion-MNIST's, of
# what is in Debian's package, and as published too. Of KMNIST's none is known.
MNIST, FASHION_MNIST, KMNIST = family(
    FileSet(  # LeCun et al. 1998
        name="mnist",
        title="MNIST",
        files=_files(
            {
                IMAGES[0]: (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                LABELS[0]: (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
                IMAGES[1]: (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
                LABELS[1]: (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
            },
            "https://ossci-datasets.s3.amazonaws.com/mnist/",  # torchvision's mirror
            "https://storage.googleapis.com/cvdf-datasets/mnist/",  # github.com/cvdfoundation/mnist
            "http://yann.lecun.com/exdb/mnist/",  # the authors'; refuses at times
        ),
        assemble=functools.partial(assemble, "mnist", DIGITS),
        folders=("mnist", "MNIST/raw", "MNIST"),
        unpacked_md5={
            IMAGES[0]: "6bbc9ace898e44ae57da46a324031adb",
            LABELS[0]: "a25bea736e30d166cdddb491f175f624",
            IMAGES[1]: "2646ac647ad5339dbf082846283269ea",
            LABELS[1]: "27ae3e4e09519cfbb04c329615203637",
        },
        spelled=dotted,
    ),
    FileSet(  # Xiao et al. 2017
        name="fashion-mnist",
        title="Fashion-MNIST",
        files=_files(
            {
                IMAGES[0]: (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                LABELS[0]: (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
                IMAGES[1]: (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
                LABELS[1]: (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
            },
            # The authors' repository, and their bucket as torchvision has it.
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        assemble=functools.partial(assemble, "fashion-mnist", CLOTHES),
        folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
        system=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's package dataset-fashion-mnist
        unpacked_md5={
            IMAGES[0]: "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            LABELS[0]: "9018921c3c673c538a1fc5bad174d6f9",
            IMAGES[1]: "8181f5470baa50b63fa0f6fddb340f0a",
            LABELS[1]: "15d484375f8d13e6eb1aabb0c3f46965",
        },
        spelled=dotted,
    ),
    FileSet(  # Clanuwat et al. 2018
        name="kmnist",
        title="KMNIST",
        files=_files(
            {
                IMAGES[0]: (18_165_135, "bdb82020997e1d708af4cf47b453dcf7"),
                LABELS[0]: (29_497, "e144d726b3acfaa3e44228e80efcd344"),
                IMAGES[1]: (3_041_136, "5c965bf0a639b31b8f53240b1b52f4d7"),
                LABELS[1]: (5_120, "7320c461ea6c1c855c0b718fb2a4b134"),
            },
            # One host, by both schemes (torchvision-ruby and torchvision have them): its files changed early on, and no
            # mirror is documented to have them as they are now (github.com/rois-codh/kmnist, issue 29, asks for one).
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        assemble=functools.partial(assemble, "kmnist", KUZUSHIJI),
        folders=("kmnist", "KMNIST/raw", "KMNIST"),
        spelled=dotted,
    ),
)
