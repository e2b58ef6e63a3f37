"""The other known datasets, small but in their true formats: found, told apart, fetched, checked, read."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from resnet_bench.cli import main
from resnet_bench.data import idx, known, sources
from resnet_bench.data.batches import BatchStream
from resnet_bench.data.cifar import CIFAR100
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.download import Limits, RemoteFile
from resnet_bench.data.fileset import FileSet, family
from resnet_bench.data.known import KNOWN
from resnet_bench.data.sources import find_source
from resnet_bench.data.stl10 import STL10
from resnet_bench.data.summary import channel_statistics, class_counts
from resnet_bench.data.svhn import SVHN
from resnet_bench.errors import Failure, UsageError
from resnet_bench.studies import find
from tests.data.test_cifar import python2_pickle

LIMITS = Limits(timeout_s=5, answer_s=5)
DEBIAN = idx.FASHION_MNIST.system[0]


def idx_bytes(values: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def idx_contents(seed: int, train: int = 30, test: int = 20) -> dict[str, bytes]:
    luck = np.random.default_rng(seed)
    contents = {}
    for count, images, labels in ((train, idx.IMAGES[0], idx.LABELS[0]), (test, idx.IMAGES[1], idx.LABELS[1])):
        contents[images] = idx_bytes(luck.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        contents[labels] = idx_bytes(luck.integers(0, 10, count, dtype=np.uint8))
    return contents


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def packed(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: gzip.compress(content, mtime=0) for name, content in contents.items()}


def accepting(files: FileSet, contents: dict[str, bytes], *urls: str) -> FileSet:
    """The set with the checksums of these bytes."""
    remote = tuple(
        RemoteFile(name, len(content), md5(content), "", tuple(url + name for url in urls))
        for name, content in contents.items()
    )
    return replace(files, files=remote, system=(), unpacked_md5={})


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


PLAIN = idx_contents(0)
PACKED = packed(PLAIN)
FILES = accepting(idx.MNIST, PACKED)


# ---------------------------------------------------------------------------------------------- IDX files


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_idx_files_are_read_packed_and_unpacked(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "packed" / folder, PACKED)
    write(tmp_path / "plain" / folder, {name.removesuffix(".gz"): content for name, content in PLAIN.items()})
    for place in ("packed", "plain"):
        found = FILES.find([("DATA", tmp_path / place)])
        assert found == tmp_path / place / folder
        dataset = FILES.read(found)
        assert dataset.train_images.shape == (30, 1, 28, 28) and dataset.test_labels.shape == (20,)
        assert dataset.train_images[3, 0, 5, 7] == PLAIN[idx.IMAGES[0]][16 + 3 * 784 + 5 * 28 + 7]
        assert dataset.classes == tuple("0123456789")


def test_an_altered_file_is_refused_and_left(tmp_path: Path) -> None:
    altered = bytearray(PACKED[idx.IMAGES[0]])
    altered[len(altered) // 2] ^= 1
    folder = write(tmp_path, {**PACKED, idx.IMAGES[0]: bytes(altered)})
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte\.gz: truncated or altered"):
        FILES.read(folder)
    assert (folder / idx.IMAGES[0]).read_bytes() == bytes(altered)


def test_the_same_content_packed_anew_is_accepted(tmp_path: Path) -> None:
    anew = {name: gzip.compress(content, 1, mtime=1) for name, content in PLAIN.items()}
    folder = write(tmp_path, anew)
    with pytest.raises(UsageError, match="truncated or altered"):
        FILES.read(folder)
    tolerant = replace(FILES, unpacked_md5={name: md5(content) for name, content in PLAIN.items()})
    assert tolerant.read(folder).digest == FILES.read(write(tmp_path / "original", PACKED)).digest


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (idx.IMAGES[0], b"\x00\x00\x0d\x01", "not an IDX file"),
        (idx.IMAGES[0], b"\x00\x00\x08\x03\x00", "ends within its header"),
        (idx.IMAGES[0], PLAIN[idx.IMAGES[0]][:-1], "are announced"),
        (idx.IMAGES[0], PLAIN[idx.LABELS[0]], "has 1 dimensions where 3 are needed"),
        (idx.LABELS[0], PLAIN[idx.IMAGES[0]], "has 3 dimensions where 1 are needed"),
        (idx.IMAGES[0], bytes([0, 0, 8, 65]) + struct.pack(">65I", *[1] * 65) + b"x", "has 65 dimensions where 3"),
        (idx.IMAGES[0], idx_bytes(np.zeros((30, 0, 28), np.uint8)), "do not fit"),
        (idx.IMAGES[0], bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3), "are announced"),
        (idx.LABELS[0], PLAIN[idx.LABELS[1]], "do not fit"),
        (idx.LABELS[0], idx_bytes(np.full(30, 10, np.uint8)), "label 10 is none of 10 classes"),
    ],
)
def test_content_that_is_none_is_one_line(name: str, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        idx.assemble("mnist", idx.DIGITS, {**PLAIN, name: content})
    assert "\n" not in str(raised.value) and name in str(raised.value)


def test_a_set_without_images_is_refused() -> None:
    with pytest.raises(UsageError, match="mnist: no test images"):
        idx.assemble("mnist", idx.DIGITS, idx_contents(0, test=0))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_under_their_dotted_names_are_the_same(tmp_path: Path, ending: str) -> None:
    contents = PACKED if ending else {name.removesuffix(".gz"): content for name, content in PLAIN.items()}
    folder = write(tmp_path, {idx.dotted(name): content for name, content in contents.items()})
    assert (folder / f"t10k-images.idx3-ubyte{ending}").exists() and FILES.find([("DATA", folder)]) == folder
    assert FILES.read(folder).digest == FILES.read(write(tmp_path / "usual", PACKED)).digest


def packed_zeros(megabytes: int) -> bytes:
    """A small file that unpacks to so many."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("known_unpacked", [True, False])
def test_a_packed_file_that_unpacks_to_more_than_it_may_is_refused_before_it_is_unpacked(
    tmp_path: Path, known_unpacked: bool
) -> None:
    folder = write(tmp_path, {**PACKED, idx.IMAGES[0]: packed_zeros(64)})
    unpacked = {name: md5(content) for name, content in PLAIN.items()} if known_unpacked else {}
    files = replace(FILES, unpacked_md5=unpacked, most_bytes=2 << 20)
    tracemalloc.start()
    with pytest.raises(UsageError, match="truncated or altered") as raised:
        files.read(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20 and ("unpacks to more than 2,097,152 bytes" in str(raised.value)) == known_unpacked


def test_only_plain_files_of_bearable_size_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, PACKED)
    (folder / idx.IMAGES[0]).unlink()
    os.mkfifo(folder / idx.IMAGES[0])
    assert FILES.find([("DATA", folder)]) is None
    with pytest.raises(UsageError, match="is missing"):
        FILES.read(folder)
    (folder / idx.IMAGES[0]).unlink()
    with (folder / idx.IMAGES[0]).open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(UsageError, match="is larger than 67,108,864 bytes"):
        FILES.read(folder)


@pytest.mark.skipif(not DEBIAN.exists(), reason="the package dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_packs_it() -> None:
    source = find_source("fashion-mnist", environ={"XDG_CACHE_HOME": "/nowhere"})
    dataset = source.load(None)
    assert source.found and source.where == str(DEBIAN)
    assert dataset.train_images.shape == (60_000, 1, 28, 28) and dataset.test_images.shape == (10_000, 1, 28, 28)
    assert np.bincount(dataset.train_labels).tolist() == [6000] * 10 and dataset.classes[9] == "Ankle boot"


# ---------------------------------------------------------------------------------------------- told apart


def test_sets_with_the_same_names_are_told_apart_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = packed(idx_contents(1))
    for name, contents in (("mnist", PACKED), ("kmnist", other)):
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], files=accepting(KNOWN[name].files, contents)))
    first, second = write(tmp_path / "a", PACKED), write(tmp_path / "b", other)
    assert find_source("cifar10", str(first)).name == "mnist"
    assert find_source("cifar10", str(second)).name == "kmnist"
    third = write(tmp_path / "c", packed(idx_contents(2)))
    with pytest.raises(UsageError, match=f"may be mnist or fashion-mnist or kmnist; say which, as in mnist:{third}"):
        find_source("cifar10", str(third))
    assert find_source("cifar10", f"kmnist:{third}").name == "kmnist"
    with pytest.raises(UsageError, match="truncated or altered"):
        find_source("cifar10", f"kmnist:{third}").load(None)
    with pytest.raises(UsageError, match="no SVHN lies there"):
        find_source("cifar10", f"svhn:{third}")


def test_unpacked_files_of_another_set_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"mnist": PLAIN, "fashion-mnist": idx_contents(1), "kmnist": idx_contents(2)}
    unpacked = [{name: md5(content) for name, content in contents[of].items()} for of in ("mnist", "fashion-mnist")]
    sets = [accepting(KNOWN[name].files, packed(contents[name])) for name in contents]
    known_sets = [replace(files, unpacked_md5=md5s) for files, md5s in zip(sets, [*unpacked, {}], strict=True)]
    for name, files in zip(contents, family(*known_sets), strict=True):
        monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], files=files))
    folders = {
        of: write(tmp_path / of, {name.removesuffix(".gz"): content for name, content in content.items()})
        for of, content in contents.items()
    }
    for name in ("mnist", "kmnist"):  # of which one knows its own unpacked files, the other does not
        with pytest.raises(UsageError, match=r"this is Fashion-MNIST's train-images-idx3-ubyte, not .*MNIST's train"):
            find_source("cifar10", f"{name}:{folders['fashion-mnist']}").load(None)
    assert find_source("cifar10", str(folders["mnist"])).load(None).name == "mnist"
    source = find_source("cifar10", f"kmnist:{folders['kmnist']}")
    assert "unpacked, of which no checksum is published: only its structure can be checked" in source.reason
    assert source.load(None).name == "kmnist"
    with pytest.raises(UsageError, match="truncated or altered: md5 is"):  # whose own are known
        find_source("cifar10", f"mnist:{folders['kmnist']}").load(None)
    write(folders["kmnist"], {"train-labels-idx1-ubyte": PLAIN[idx.LABELS[0]]})  # one of another
    with pytest.raises(UsageError, match="this is MNIST's train-labels-idx1-ubyte, not KMNIST's train-labels"):
        find_source("cifar10", f"kmnist:{folders['kmnist']}").load(None)
    swapped = write(folders["mnist"], {"t10k-labels-idx1-ubyte": PLAIN[idx.LABELS[0]]})
    with pytest.raises(UsageError, match="this is MNIST's train-labels-idx1-ubyte, not MNIST's t10k-labels"):
        find_source("cifar10", f"mnist:{swapped}").load(None)


def test_the_unpacked_files_of_fashion_mnist_are_known_to_be_its_own() -> None:
    for files in (idx.MNIST, idx.KMNIST):
        assert files.published["9018921c3c673c538a1fc5bad174d6f9"] == "Fashion-MNIST's train-labels-idx1-ubyte"
    digests = [*idx.MNIST.unpacked_md5.values(), *idx.FASHION_MNIST.unpacked_md5.values()]
    assert len(set(digests)) == 8 and set(digests) <= set(idx.KMNIST.published)


def test_every_known_dataset_says_where_it_would_be_fetched(tmp_path: Path) -> None:
    environ = {"RESNET_BENCH_CACHE": str(tmp_path)}
    for name in set(KNOWN) - {"fashion-mnist"}:
        source = find_source(name, environ=environ)
        assert (source.name, source.found, source.image_shape) == (name, False, KNOWN[name].image_shape)
        assert KNOWN[name].files.origin in source.where
    where = find_source("cifar100", environ=environ).where
    assert where == f"not found yet; will be fetched from www.cs.toronto.edu, dataset.bj.bcebos.com into {tmp_path}"
    assert set(KNOWN) <= set(sources.BUILTIN)


def test_the_hosts_of_ones_own_mirrors_are_named_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_BENCH_MNIST_URL", "https://me:secret@mirror.example:8080/mnist/ https://[ x")
    hosts = "mirror.example, an address that is none, an address without a host"
    assert idx.MNIST.origin == f"will be fetched from {hosts}"


# ---------------------------------------------------------------------------------------------- fetched


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A server on loopback with the packed files."""
    write(tmp_path / "served", PACKED)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served"))
    ) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_all_files_are_fetched_and_only_once(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    files = accepting(idx.MNIST, PACKED, mirror)
    found = files.obtain([], tmp_path / "cache", limits=LIMITS)
    assert found == tmp_path / "cache" / "mnist" and files.read(found).train_labels.shape == (30,)
    monkeypatch.setenv("RESNET_BENCH_OFFLINE", "1")
    assert files.obtain([], tmp_path / "cache", limits=LIMITS) == found
    with pytest.raises(Failure, match="MNIST is not here and could not be downloaded") as raised:
        files.obtain([("DATA", tmp_path / "empty")], tmp_path / "other", limits=LIMITS)
    assert f"DATA: {tmp_path / 'empty'}: nothing there" in str(raised.value)


def test_a_mirror_of_ones_own(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("RESNET_BENCH_MNIST_URL", mirror)
    assert FILES.read(FILES.obtain([], tmp_path / "cache", limits=LIMITS)).name == "mnist"


# ---------------------------------------------------------------------------------------------- other formats


def mat_bytes(count: int, seed: int) -> tuple[bytes, Any, Any]:
    luck = np.random.default_rng(seed)
    images, labels = luck.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), luck.integers(1, 11, (count, 1))
    file = io.BytesIO()
    savemat(file, {"X": images, "y": labels.astype(np.uint8)})
    return file.getvalue(), images, labels


def test_svhn(tmp_path: Path) -> None:
    train, images, labels = mat_bytes(12, 0)
    contents = {"train_32x32.mat": train, "test_32x32.mat": mat_bytes(5, 1)[0]}
    files = accepting(SVHN, contents)
    dataset = files.read(files.find([("DATA", write(tmp_path / "svhn", contents).parent)]) or tmp_path)
    assert dataset.train_images.shape == (12, 3, 32, 32) and dataset.test_images.shape == (5, 3, 32, 32)
    assert dataset.train_images[4, 2, 30, 1] == images[30, 1, 2, 4]
    assert dataset.train_labels.tolist() == [label % 10 for label in labels[:, 0]]
    broken = accepting(SVHN, {**contents, "train_32x32.mat": b"no MATLAB"})
    with pytest.raises(UsageError, match=r"train_32x32\.mat: not a MATLAB file"):
        broken.read(write(tmp_path / "broken", {**contents, "train_32x32.mat": b"no MATLAB"}))


def tar_bytes(folder: str, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_stl10_from_the_archive_and_the_folder(tmp_path: Path) -> None:
    luck, members = np.random.default_rng(0), {}
    for split, count in (("train", 4), ("test", 3)):
        members[f"{split}_X.bin"] = luck.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tobytes()
        members[f"{split}_y.bin"] = luck.integers(1, 11, count, dtype=np.uint8).tobytes()
    packed_bytes = tar_bytes("stl10_binary", {"unlabeled_X.bin": b"many", **members})
    remote = replace(STL10.archive, size=len(packed_bytes), md5=md5(packed_bytes))
    files = replace(STL10, archive=remote, members={name: md5(content) for name, content in members.items()})
    folder = write(tmp_path / "stl10_binary", members)
    write(tmp_path / "packed", {remote.name: packed_bytes})
    dataset = files.read(folder)
    assert files.read(files.find([("", tmp_path / "packed")]) or tmp_path).digest == dataset.digest
    row, column = 7, 90  # stored by columns
    stored = np.frombuffer(members["train_X.bin"], np.uint8).reshape(4, 3, 96, 96)
    assert dataset.train_images[2, 1, row, column] == stored[2, 1, column, row]
    assert dataset.train_labels.tolist() == [label - 1 for label in members["train_y.bin"]]


def test_cifar100_has_its_fine_classes(tmp_path: Path) -> None:
    luck, members = np.random.default_rng(0), {}
    names = [b"class %d" % number for number in range(100)]
    for name, count in (("train", 6), ("test", 4)):
        data = luck.integers(0, 256, (count, 3072), dtype=np.uint8)
        fine = luck.integers(0, 100, count).tolist()
        members[name] = python2_pickle({b"data": data, b"fine_labels": fine, b"coarse_labels": [0] * count})
    members["meta"] = python2_pickle({b"fine_label_names": names, b"coarse_label_names": [b"all"]})
    files = replace(CIFAR100, members={name: md5(content) for name, content in members.items()})
    dataset = files.read(write(tmp_path / "cifar-100-python", members))
    assert dataset.name == "cifar100" and len(dataset.classes) == 100 and dataset.train_images.shape == (6, 3, 32, 32)


# ---------------------------------------------------------------------------------------------- published checksums


def test_checksums_are_those_of_torchvision() -> None:
    from torchvision import datasets

    for ours, theirs in (
        (idx.MNIST, datasets.MNIST), (idx.FASHION_MNIST, datasets.FashionMNIST), (idx.KMNIST, datasets.KMNIST)
    ):  # fmt: skip
        assert sorted((file.name, file.md5) for file in ours.files) == sorted(theirs.resources)
    assert [(f.name, f.md5) for f in SVHN.files] == [tuple(datasets.SVHN.split_list[s][1:]) for s in ("train", "test")]
    assert STL10.archive.md5 == datasets.STL10.tgz_md5 and CIFAR100.archive.md5 == datasets.CIFAR100.tgz_md5
    listed = dict([*datasets.STL10.train_list, *datasets.STL10.test_list])
    assert dict(STL10.members) == {name: listed[name] for name in STL10.members}
    assert tuple(idx.CLOTHES) == tuple(datasets.FashionMNIST.classes)
    assert tuple(idx.KUZUSHIJI) == tuple(datasets.KMNIST.classes)
    assert known.KNOWN["stl10"].files is STL10


# ---------------------------------------------------------------------------------------------- the commands


def test_statistics_by_hand() -> None:
    images = np.zeros((4, 2, 2, 2), np.uint8)
    images[:2, 0] = 255
    labels = np.array([0, 1, 1, 1])
    dataset = Dataset("x", ("a", "b"), images, labels, images[:1], labels[:1])
    assert channel_statistics(dataset.train_images).tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert class_counts(dataset) == [("a", 1, 1), ("b", 3, 0)]


def test_commands_about_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESNET_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(KNOWN, "kmnist", replace(KNOWN["kmnist"], files=accepting(idx.KMNIST, PACKED)))
    write(tmp_path / "cache" / "kmnist", PACKED)
    assert main(["data", "list"]) == 0
    listed = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert listed["kmnist"][1:4] == ["yes", "28x28x1", "10"] and listed["stl10"][1:5] == ["no", "96x96x3", "-", "-"]
    assert main(["data", "stats", "--data", "kmnist"]) == 0
    assert "training pixels scaled to 0..1, by channel: mean 0.5" in capsys.readouterr().out
    assert main(["data", "stats", "--data", "svhn"]) == 1
    assert "data fetch --data svhn" in capsys.readouterr().err
    assert main(["data", "fetch", "--data", "digits"]) == 2
    assert "cifar100" in capsys.readouterr().err


@pytest.mark.parametrize(("dataset", "expected"), [("mnist", "crop"), ("svhn", "crop"), ("cifar100", "crop-flip")])
def test_augmentation_fits_the_dataset(dataset: str, expected: str) -> None:
    runs = find("cifar10-short").runs(dataset, depths=[8], seeds=[0])
    assert {run.augmentation for run in runs} == {expected}
    draws = BatchStream(500, 500, 0, expected).draws(0)
    assert bool(draws[:, 3].any()) == (expected == "crop-flip") and len(draws[:, 1].unique()) == 9
