"""CIFAR-10 and CIFAR-100 as Parquet files, small but in their true format: the same dataset as the archive's."""

from __future__ import annotations

import hashlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_bench.data.cifar import CIFAR10, CIFAR100, CLASSES, CifarFiles
from resnet_bench.data.known import KNOWN
from resnet_bench.data.sources import find_source
from resnet_bench.errors import UsageError
from tests.data.test_cifar import CLASSES as PUBLISHED
from tests.data.test_cifar import FILES, PER_BATCH, write_folder
from tests.data.test_kaggle import png

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (make install sets it up)")
TRAIN, TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


def parquet_bytes(images: np.ndarray[Any, Any], image: str = "img", **labels: np.ndarray[Any, Any]) -> bytes:
    from pyarrow.parquet import write_table

    cells = [{"bytes": png(pixels), "path": None} for pixels in images]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {image: pyarrow.array(cells, kind)} | {name: pyarrow.array(values) for name, values in labels.items()}
    file = io.BytesIO()
    write_table(pyarrow.table(columns), file, row_group_size=30)
    return file.getvalue()


def binary_sha1(images: np.ndarray[Any, Any], *labels: np.ndarray[Any, Any]) -> str:
    """As in the authors' binary version: for each image its labels, a byte each, then its pixels."""
    content = b"".join(bytes([*map(int, of)]) + pixels.tobytes() for pixels, *of in zip(images, *labels, strict=True))
    return hashlib.sha1(content).hexdigest()


def write(folder: Path, train: bytes, test: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRAIN).write_bytes(train)
    (folder / TEST).write_bytes(test)
    return folder


@pytest.fixture(scope="module")
def archive_data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return FILES.read(write_folder(tmp_path_factory.mktemp("archive") / "cifar-10-batches-py"))


@pytest.fixture(scope="module")
def files(archive_data: Any) -> CifarFiles:
    """Accepts the small archive's images also as Parquet."""
    batches = [slice(start, start + PER_BATCH) for start in range(0, 5 * PER_BATCH, PER_BATCH)]
    data = archive_data
    parquet = replace(
        CIFAR10.parquet,
        train=tuple(binary_sha1(data.train_images[at], data.train_labels[at]) for at in batches),
        test=binary_sha1(data.test_images, data.test_labels),
        batch=PER_BATCH,
        test_images=PER_BATCH,
    )
    return replace(FILES, parquet=parquet)


@pytest.fixture(scope="module")
def contents(archive_data: Any) -> tuple[bytes, bytes]:
    """The two files, training batches in the order in which Hugging Face's converter met them in the archive."""
    data = archive_data
    order = np.concatenate([np.arange(PER_BATCH) + PER_BATCH * batch for batch in (3, 2, 1, 4, 0)])
    train = parquet_bytes(data.train_images[order], label=data.train_labels[order])
    return train, parquet_bytes(data.test_images, label=data.test_labels)


def test_it_is_the_archives_dataset(
    files: CifarFiles, contents: tuple[bytes, bytes], archive_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "cifar10" / "plain_text", *contents)
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], files=files))
    for data in (folder, folder.parent, f"cifar10:{folder.parent}"):
        source = find_source("mnist", str(data))
        dataset = source.load(None)
        assert source.name == dataset.name == "cifar10" and "checked by the binary version's SHA-1" in source.reason
        assert dataset.digest == archive_data.digest and dataset.classes == CLASSES == PUBLISHED
    with pytest.raises(UsageError, match="no CIFAR-100 lies there"):
        find_source("mnist", f"cifar100:{folder}")


def test_several_files_a_split_and_another_name_of_the_column(
    files: CifarFiles, archive_data: Any, tmp_path: Path
) -> None:
    data = archive_data
    test = parquet_bytes(data.test_images, "image", label=data.test_labels)
    folder = write(tmp_path, parquet_bytes(data.train_images[:50], "image", label=data.train_labels[:50]), test)
    (folder / TRAIN).rename(folder / "train-00000-of-00002.parquet")
    rest = parquet_bytes(data.train_images[50:], "image", label=data.train_labels[50:])
    (folder / "train-00001-of-00002.parquet").write_bytes(rest)
    assert files.read(folder).digest == data.digest


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    luck = np.random.default_rng(0)
    images, fine, coarse = luck.integers(0, 256, (8, 3, 32, 32), np.uint8), np.arange(8) + 90, np.arange(8)
    parquet = replace(
        CIFAR100.parquet,
        train=(binary_sha1(images[:6], coarse[:6], fine[:6]),),
        test=binary_sha1(images[6:], coarse[6:], fine[6:]),
        batch=6,
        test_images=2,
    )
    columns = [{"fine_label": fine[at], "coarse_label": coarse[at]} for at in (slice(0, 6), slice(6, 8))]
    folder = write(
        tmp_path / "cifar100", parquet_bytes(images[:6], **columns[0]), parquet_bytes(images[6:], **columns[1])
    )
    files = replace(CIFAR100, parquet=parquet)
    assert files.find([("", tmp_path)]) == folder and CIFAR10.find([("", folder)]) is None
    dataset = files.read(folder)
    assert dataset.train_labels.tolist() == [90, 91, 92, 93, 94, 95] and dataset.classes[99] == "worm"
    assert np.array_equal(dataset.test_images, images[6:])


def one_line(files: CifarFiles, folder: Path) -> str:
    with pytest.raises(UsageError) as raised:
        files.read(folder)
    assert str(raised.value).isprintable() and str(folder) in str(raised.value)
    return str(raised.value)


def test_other_images_are_refused(
    files: CifarFiles, contents: tuple[bytes, bytes], archive_data: Any, tmp_path: Path
) -> None:
    data = archive_data
    images = data.train_images.copy()
    images[7, 1, 2, 3] ^= 1  # one bit of one pixel
    folder = write(tmp_path, parquet_bytes(images, label=data.train_labels), contents[1])
    assert "train: images and labels are not those of CIFAR-10" in one_line(files, folder)
    labels = data.test_labels.copy()
    labels[0] = (labels[0] + 1) % 10
    write(tmp_path, contents[0], parquet_bytes(data.test_images, label=labels))
    assert "test: images and labels are not those of CIFAR-10" in one_line(files, folder)
    write(tmp_path, parquet_bytes(data.train_images[:-1], label=data.train_labels[:-1]), contents[1])
    assert "99 images for train; CIFAR-10 has 100" in one_line(files, folder)
    twice = [*range(20), *range(20), *range(40, 100)]
    write(tmp_path, parquet_bytes(data.train_images[twice], label=data.train_labels[twice]), contents[1])
    assert "there twice" in one_line(files, folder)
    small = np.zeros((100, 3, 16, 16), np.uint8)
    write(tmp_path, parquet_bytes(small, label=data.train_labels), contents[1])
    assert "row 0: not a readable PNG image (16x16 pixels where 32x32" in one_line(files, folder)
    write(tmp_path, parquet_bytes(data.train_images, label=data.train_labels - 1), contents[1])
    assert "labels -1 to" in one_line(files, folder)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"<html>"])
def test_a_file_that_is_none_is_one_line(
    files: CifarFiles, contents: tuple[bytes, bytes], tmp_path: Path, content: bytes
) -> None:
    folder = write(tmp_path, content, contents[1])
    assert "not a readable Parquet file" in one_line(files, folder)
    with pytest.raises(UsageError, match="not a readable Parquet file"):
        find_source("mnist", str(folder))
    write(tmp_path, contents[0][:-500], contents[1])
    assert "not a readable Parquet file" in one_line(files, folder)


def test_other_parquet_files_are_no_dataset(tmp_path: Path) -> None:
    images = np.zeros((3, 3, 32, 32), np.uint8)
    folder = write(tmp_path, *[parquet_bytes(images, target=np.arange(3))] * 2)
    with pytest.raises(UsageError, match="neither a known dataset"):
        find_source("mnist", str(folder))


def test_without_pyarrow_the_extra_is_named(
    contents: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "plain_text", *contents)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for data in (str(folder), f"cifar10:{folder}"):
        with pytest.raises(UsageError, match=r"pyarrow is needed: pip install 'resnet-bench\[parquet\]'"):
            find_source("mnist", data).load(None)
