"""CIFAR-10 as Kaggle has it: numbered PNG files, and their labels in a CSV file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_bench.cli import main
from resnet_bench.data.cifar import CLASSES
from resnet_bench.data.sources import find_source
from resnet_bench.errors import Failure, UsageError

COUNT = 40
NAMES = [CLASSES[number % 4] for number in range(COUNT)]  # four of ten classes


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """The folder as it is when both archives are unpacked."""
    luck = np.random.default_rng(0)
    folder = tmp_path / "cifar-10"
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True)
    for number in range(1, COUNT + 1):
        (folder / "train" / f"{number}.png").write_bytes(png(luck.integers(0, 256, (3, 32, 32), dtype=np.uint8)))
    (folder / "test" / "1.png").write_bytes(png(np.zeros((3, 32, 32), np.uint8)))
    rows = [f"{number},{name}\n" for number, name in enumerate(NAMES, start=1)]
    (folder / "trainLabels.csv").write_text("".join(["id,label\n", *rows]))
    return folder


def test_a_fifth_of_each_class_is_kept_and_recorded(kaggle: Path) -> None:
    for data in (kaggle, kaggle.parent, f"cifar10-kaggle:{kaggle}"):
        source = find_source("cifar10", str(data))
        assert source.name == "cifar10-kaggle" and source.image_shape == (3, 32, 32)
        assert (
            "a fifth of each class of train/ kept for the test (test/ has no labels and is not used)" in source.reason
        )
    dataset = source.load(None)
    assert dataset.name == "cifar10-kaggle" and dataset.classes == CLASSES
    assert np.bincount(dataset.train_labels, minlength=10).tolist() == [8] * 4 + [0] * 6
    assert np.bincount(dataset.test_labels).tolist() == [2] * 4
    assert len(dataset.split) == COUNT and {split for _, _, split in dataset.split} == {"train", "test"}
    kept = [(image, name) for image, name, split in dataset.split if split == "test"]
    for (image, name), pixels, label in zip(kept, dataset.test_images, dataset.test_labels, strict=True):
        with Image.open(kaggle / image) as picture:
            assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), pixels)
        assert name == CLASSES[label] == NAMES[int(Path(image).stem) - 1]


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as raised:
        find_source("cifar10", f"cifar10-kaggle:{folder}").load(None)
    assert str(raised.value).isprintable() and str(folder) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("", "begins with '' where id,label is needed"),
        ("id;label\n1;cat\n", "begins with 'id;label' where id,label is needed"),
        ("id,label\n1,wolf\n", "line 2 is no number and class of CIFAR-10"),
        ("id,label\n1,cat,dog\n", "line 2 is no number and class"),
        ("id,label\n../../1,cat\n", "line 2 is no number and class"),
        ("id,label\n\u0661,cat\n", "line 2 is no number and class"),
        ("id,label\n1,cat\n1,dog\n", "line 3: image 1 has two labels"),
        ("id,label\n41,cat\n", "41.png: missing, but trainLabels.csv has it"),
        ("id,label\n1,cat\n2,dog\n", ".png: has no label in trainLabels.csv"),
        ('id,label\n1,"cat\n', "unexpected end of data"),
    ],
)
def test_labels_that_do_not_fit_are_refused(kaggle: Path, labels: str, words: str) -> None:
    (kaggle / "trainLabels.csv").write_text(labels)
    assert words in refused(kaggle)


def test_images_that_are_none_are_refused(kaggle: Path) -> None:
    path = kaggle / "train" / "7.png"
    path.write_bytes(b"%!PS-Adobe")
    assert "7.png: not a readable PNG image" in refused(kaggle)
    Image.new("RGB", (33, 32)).save(path)
    assert "33x32 pixels where 32x32 are needed" in refused(kaggle)
    path.write_bytes(bytes(1 << 17))
    assert "7.png: is larger than 65,536 bytes" in refused(kaggle)
    path.unlink()
    os.mkfifo(path)
    assert "7.png: is no plain file" in refused(kaggle)


def test_what_is_still_packed_is_said(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / "train").rename(kaggle / "elsewhere")
    (kaggle / "train.7z").write_bytes(b"7z")
    assert "train.7z: still packed, and 7z files are not read; unpack it: 7z x train.7z" in refused(kaggle)
    (tmp_path / "cifar-10.zip").write_bytes(b"PK")
    assert "cifar-10.zip: still packed; unpack it, then train.7z in it" in refused(tmp_path / "cifar-10.zip")


def test_it_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_BENCH_CACHE", str(tmp_path))
    source = find_source("cifar10-kaggle")
    assert not source.found and "by hand, with an account, from www.kaggle.com/c/cifar-10/data" in source.where
    with pytest.raises(Failure, match="CIFAR-10 of Kaggle is not here") as raised:
        source.load(None)
    assert "\n" not in str(raised.value)


def test_verify_says_what_it_is(kaggle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", "--data", str(kaggle)]) == 0
    assert "cifar10-kaggle: 32 train and 8 test images, 32x32x3, 10 classes" in capsys.readouterr().out
