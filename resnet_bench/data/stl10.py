"""STL-10 (Coates et al. 2011): 5,000 + 8,000 labelled images of 96x96; the unlabelled ones are not used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from resnet_bench.data.archive import ArchiveFiles
from resnet_bench.data.dataset import Dataset, Images, Labels
from resnet_bench.data.download import RemoteFile
from resnet_bench.errors import UsageError

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")  # labels 1 to 10
SIDE = 96


@dataclass(frozen=True)
class Stl10Files(ArchiveFiles):
    """The archive of binary files."""

    def read(self, path: Path) -> Dataset:
        """From the archive or from the extracted folder.

        Raises:
            UsageError: a file is missing, truncated or altered.
        """
        contents = self.read_members(path)
        train = _split(contents["train_X.bin"], contents["train_y.bin"], f"{path}: train")
        test = _split(contents["test_X.bin"], contents["test_y.bin"], f"{path}: test")
        return Dataset("stl10", CLASSES, *train, *test).checked(str(path))


def _split(pixels: bytes, numbers: bytes, where: str) -> tuple[Images, Labels]:
    labels = np.frombuffer(numbers, np.uint8).astype(np.int64) - 1
    if len(pixels) != len(labels) * 3 * SIDE * SIDE:
        raise UsageError(f"{where}: {len(pixels):,} bytes of pixels and {len(labels):,} labels do not fit")
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2)), labels  # stored by columns


STL10 = Stl10Files(
    title="STL-10",
    archive=RemoteFile(
        name="stl10_binary.tar.gz",
        size=2_640_397_119,
        md5="91f7769df0f17e558f3565bffb0c7dfb",
        sha256="",
        urls=(
            "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",  # the authors' page has moved there
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",  # as torchvision has it
        ),
    ),
    folder="stl10_binary",
    members=MappingProxyType(
        {
            "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            "train_y.bin": "5a34089d4802c674881badbb80307741",
            "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        }
    ),
    most_bytes=256 << 20,
)
