"""Files of known datasets, mutated: a dataset or one line, never a traceback, in bounded memory.

Where a checksum stands before a reader, the reader is given what the checksum would have kept from it.
"""

from __future__ import annotations

import gzip
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_bench.data import idx, svhn
from resnet_bench.data.cifar import CIFAR10, CLASSES
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.kaggle import CIFAR10_KAGGLE
from resnet_bench.data.stl10 import STL10
from resnet_bench.errors import Failure, UsageError
from resnet_bench.text import one_line
from tests.data.test_cifar import MEMBERS, PER_BATCH, files_for, tar_bytes
from tests.data.test_kaggle import png
from tests.data.test_known import FILES, PACKED, PLAIN, mat_bytes, md5
from tests.fuzz.mutations import ABSURD, FUZZ, mutated_bytes

MOST_MEMORY = 3 << 30  # bytes that a reader may take beside what the process has


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """A reader that asks for more gets a MemoryError, which is no answer either."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def answered(read: Callable[[], Dataset]) -> None:
    """It returns a dataset that can be trained on, or says in one line what is wrong."""
    try:
        dataset = read()
    except (UsageError, Failure) as error:
        message = str(error)
        assert message and message == one_line(message) and len(message) < 2000, message
        return
    assert len(dataset.train_labels) and len(dataset.test_labels)
    for labels in (dataset.train_labels, dataset.test_labels):
        assert 0 <= labels.min() <= labels.max() < len(dataset.classes)


@pytest.mark.parametrize("name", [idx.IMAGES[0], idx.LABELS[1]])
@FUZZ
@given(data=st.data())
def test_idx(name: str, data: st.DataObject) -> None:
    content = data.draw(mutated_bytes(PLAIN[name]))
    answered(lambda: idx.assemble("mnist", idx.DIGITS, {**PLAIN, name: content}))


@FUZZ
@given(content=mutated_bytes(PACKED[idx.LABELS[0]]) | mutated_bytes(PLAIN[idx.LABELS[0]]).map(gzip.compress))
def test_gzipped_idx(place: Path, content: bytes) -> None:
    for name, packed in PACKED.items():
        (place / name).write_bytes(packed)
    (place / idx.LABELS[0]).write_bytes(content)
    known = {**{name: md5(plain) for name, plain in PLAIN.items()}}
    answered(lambda: FILES.read(place))
    answered(lambda: replace(FILES, unpacked_md5=known).read(place))


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
@FUZZ
@given(data=st.data())
def test_cifar_batches(place: Path, name: str, data: st.DataObject) -> None:
    members = {**MEMBERS, name: data.draw(mutated_bytes(MEMBERS[name]))}
    folder = place / f"batches-{name}"
    folder.mkdir(exist_ok=True)
    for member, content in members.items():
        (folder / member).write_bytes(content)
    answered(lambda: files_for(b"", members).read(folder))


@FUZZ
@given(content=mutated_bytes(gzip.decompress(tar_bytes(MEMBERS))).map(lambda tar: gzip.compress(tar, 1)))
def test_cifar_archive(place: Path, content: bytes) -> None:
    path = place / CIFAR10.archive.name
    path.write_bytes(content)
    answered(lambda: files_for(content).read(path))


MAT = mat_bytes(12, 0)[0]


@FUZZ
@given(content=mutated_bytes(MAT))
def test_svhn(content: bytes) -> None:
    answered(lambda: svhn.assemble({svhn.TRAIN: content, svhn.TEST: MAT}))


STL = {
    "train_X.bin": bytes(2 * 3 * 96 * 96),
    "train_y.bin": bytes([1, 10]),
    "test_X.bin": bytes(3 * 96 * 96),
    "test_y.bin": bytes([3]),
}


@pytest.mark.parametrize("name", sorted(STL))
@FUZZ
@given(data=st.data())
def test_stl10(place: Path, name: str, data: st.DataObject) -> None:
    members = {**STL, name: data.draw(mutated_bytes(STL[name]))}
    folder = place / "stl10"
    folder.mkdir(exist_ok=True)
    for member, content in members.items():
        (folder / member).write_bytes(content)
    files = replace(STL10, members={member: md5(content) for member, content in members.items()})
    answered(lambda: files.read(folder))


CSV = "".join(["id,label\n", *(f"{number},{CLASSES[number % 2]}\n" for number in range(1, 5))]).encode()


@FUZZ
@given(
    content=mutated_bytes(CSV)
    | st.sampled_from([b"id,label\n" + f"1,{cell}\n".encode("utf-8", "surrogatepass") for cell in ABSURD])
)
def test_labels_of_kaggle(place: Path, content: bytes) -> None:
    folder = place / "kaggle"
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for number in range(1, 5):
        (folder / "train" / f"{number}.png").write_bytes(png(np.zeros((3, 32, 32), np.uint8)))
    (folder / "trainLabels.csv").write_bytes(content)
    answered(lambda: CIFAR10_KAGGLE.read(folder))


@pytest.fixture(scope="module")
def parquet(place: Path) -> tuple[Path, bytes]:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (make install sets it up)")
    from tests.data.test_parquet import TEST, TRAIN, parquet_bytes

    luck = np.random.default_rng(0)
    images = luck.integers(0, 256, (5 * PER_BATCH, 3, 32, 32), np.uint8)
    folder = place / "parquet"
    folder.mkdir()
    train = parquet_bytes(images, label=luck.integers(0, 10, len(images)))
    (folder / TEST).write_bytes(parquet_bytes(images[:PER_BATCH], label=luck.integers(0, 10, PER_BATCH)))
    return folder / TRAIN, train


@FUZZ
@given(data=st.data())
def test_parquet(parquet: tuple[Path, bytes], data: st.DataObject) -> None:
    path, valid = parquet
    at_the_end = data.draw(st.booleans())  # where a Parquet file says what it holds
    cut = len(valid) - 1500 if at_the_end else 0
    path.write_bytes(valid[:cut] + data.draw(mutated_bytes(valid[cut:])))
    accepting = replace(CIFAR10.parquet, batch=PER_BATCH, test_images=PER_BATCH)
    answered(lambda: replace(CIFAR10, parquet=accepting).read(path.parent))
