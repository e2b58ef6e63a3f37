"""Street View House Numbers, cropped digits (Netzer et al. 2011): two MATLAB files of 32x32 images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_bench.data.dataset import Dataset, Images, Labels
from resnet_bench.data.download import RemoteFile
from resnet_bench.data.fileset import FileSet
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
BASE = "http://ufldl.stanford.edu/housenumbers/"


def assemble(contents: Mapping[str, bytes]) -> Dataset:
    """The dataset from its two files; the 531,131 extra images are not used.

    Raises:
        UsageError: a file does not hold what it should.
    """
    (train_images, train_labels), (test_images, test_labels) = (_split(contents[name], name) for name in (TRAIN, TEST))
    digits = tuple(str(digit) for digit in range(10))
    return Dataset("svhn", digits, train_images, train_labels, test_images, test_labels).checked("svhn")


def _split(content: bytes, name: str) -> tuple[Images, Labels]:
    from scipy.io import loadmat  # takes a while to load, and few studies need it

    try:
        values: dict[str, Any] = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        images, labels = values["X"], values["y"].reshape(-1)
        images = np.ascontiguousarray(images.transpose(3, 2, 0, 1))  # [32, 32, 3, N] -> [N, 3, 32, 32]
    except Exception as error:  # a file that is none makes the reader raise nearly anything
        raise UsageError(f"svhn: {name}: not a MATLAB file of images X and labels y ({one_line(str(error))})") from None
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32) or labels.shape != images.shape[:1]:
        raise UsageError(f"svhn: {name}: {images.dtype} images {images.shape} and {labels.shape} labels do not fit")
    return images, (labels % 10).astype(np.int64)  # the digit 0 has the label 10


SVHN = FileSet(
    name="svhn",
    title="SVHN",
    files=(
        RemoteFile(TRAIN, 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373", "", (BASE + TRAIN,)),
        RemoteFile(TEST, 64_275_384, "eb5a983be6a315427106f1b164d9cef3", "", (BASE + TEST,)),
    ),
    assemble=assemble,
    folders=("svhn", "SVHN"),
    most_bytes=256 << 20,
)
