"""CIFAR-10 in its true format but small: found, downloaded, checked, read, and refused when anything is wrong."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import random
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from resnet_bench.data.cifar import CIFAR10 as OFFICIAL
from resnet_bench.data.cifar import CifarFiles
from resnet_bench.data.download import Limits, RemoteFile
from resnet_bench.errors import Failure, UsageError

NAME = "cifar-10-python.tar.gz"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PER_BATCH = 20
LIMITS = Limits(timeout_s=5, answer_s=5)


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes bytes and str as Python 2 wrote its strings, which is how the official batches were made."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        data = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(value: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def contents(dump: Any = python2_pickle) -> dict[str, bytes]:
    """The seven members with random images, pickled by `dump`."""
    draw = np.random.default_rng(0)
    members = {}
    for name in (*OFFICIAL.train, OFFICIAL.test):
        data = draw.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8)
        labels = draw.integers(0, 10, PER_BATCH).tolist()
        members[name] = dump({b"batch_label": b"a batch", b"labels": labels, b"data": data, b"filenames": [b"x.png"]})
    members[OFFICIAL.meta] = dump({b"num_cases_per_batch": PER_BATCH, b"label_names": [c.encode() for c in CLASSES]})
    return members


MEMBERS = contents()


def tar_bytes(members: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """An archive like the official one: another order, a readme, first of all whatever is `extra`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for info in extra:
            archive.addfile(info)
        for name in reversed([*members, "readme.html"]):
            info = tarfile.TarInfo(f"{OFFICIAL.folder}/{name}")
            content = members.get(name, b"<html>")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def files_for(archive: bytes, members: dict[str, bytes] = MEMBERS, *urls: str) -> CifarFiles:
    """Checksums that accept exactly these bytes."""
    md5, sha256 = hashlib.md5(archive).hexdigest(), hashlib.sha256(archive).hexdigest()
    remote = RemoteFile(NAME, len(archive), md5, sha256, urls)
    md5s = {name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    return replace(OFFICIAL, archive=remote, members=md5s)


ARCHIVE = tar_bytes(MEMBERS)
FILES = files_for(ARCHIVE)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESNET_BENCH_OFFLINE", "RESNET_BENCH_CIFAR10_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(ARCHIVE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data" / OFFICIAL.folder)


def write_folder(folder: Path, members: dict[str, bytes] = MEMBERS) -> Path:
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that has the archive."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    served = tmp_path / "served"
    served.mkdir()
    (served / NAME).write_bytes(ARCHIVE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{NAME}"
        server.shutdown()
        thread.join()


# ---------------------------------------------------------------------------------------------- reading


def test_the_official_checksums_are_those_of_torchvision() -> None:
    from torchvision.datasets import CIFAR10

    assert OFFICIAL.archive.md5 == CIFAR10.tgz_md5
    assert OFFICIAL.archive.name == CIFAR10.filename and CIFAR10.url in OFFICIAL.archive.urls
    assert CIFAR10.base_folder == OFFICIAL.folder
    listed = dict(CIFAR10.train_list + CIFAR10.test_list) | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}
    assert dict(OFFICIAL.members) == listed
    assert [name for name, _ in CIFAR10.train_list] == list(OFFICIAL.train)


def test_agrees_with_torchvision(archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    md5 = FILES.members
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in OFFICIAL.train])
    monkeypatch.setattr(CIFAR10, "test_list", [[OFFICIAL.test, md5[OFFICIAL.test]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5[OFFICIAL.meta]})
    from_archive, from_folder = FILES.read(archive), FILES.read(folder)
    assert from_archive.digest == from_folder.digest and from_archive.name == "cifar10"
    for train in (True, False):
        theirs = CIFAR10(str(folder.parent), train=train)
        images = from_archive.train_images if train else from_archive.test_images
        labels = from_archive.train_labels if train else from_archive.test_labels
        assert np.array_equal(images.transpose(0, 2, 3, 1), theirs.data)
        assert labels.tolist() == theirs.targets
        assert list(from_archive.classes) == theirs.classes == list(CLASSES)


def test_reads_what_python_3_and_numpy_2_pickle(tmp_path: Path) -> None:
    members = contents(partial(pickle.dumps, protocol=2))
    folder = write_folder(tmp_path / OFFICIAL.folder, members)
    assert files_for(b"", members).read(folder).digest == FILES.read(write_folder(tmp_path / "old")).digest


def test_reading_leaves_the_disk_alone(archive: Path) -> None:
    before = sorted(archive.parent.rglob("*"))
    FILES.read(archive)
    assert sorted(archive.parent.rglob("*")) == before


# ---------------------------------------------------------------------------------------------- altered files


def assert_rejected(path: Path, altered: bytes, source: Path, *words: str) -> None:
    """Reading `source` fails in one line that names `path` and these words, and `path` was moved aside."""
    path.write_bytes(altered)
    aside = path.with_name(f"{path.name}.rejected")
    with pytest.raises(UsageError) as caught:
        FILES.read(source)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path}: ") and str(aside) in message
    assert all(word in message for word in words), message
    assert not path.exists() and aside.read_bytes() == altered


def flipped(content: bytes, draw: random.Random) -> bytes:
    at, bit = draw.randrange(len(content)), draw.randrange(8)
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("seed", range(20))
def test_every_flipped_bit_is_found(archive: Path, folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    altered = flipped(ARCHIVE, draw)
    found = hashlib.sha256(altered).hexdigest()
    assert_rejected(archive, altered, archive, found, FILES.archive.sha256)
    name = draw.choice(sorted(MEMBERS))
    altered = flipped(MEMBERS[name], draw)
    assert_rejected(folder / name, altered, folder, hashlib.md5(altered).hexdigest(), FILES.members[name])


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncation_is_found(archive: Path, folder: Path, share: float) -> None:
    half = ARCHIVE[: int(share * len(ARCHIVE))]
    assert_rejected(archive, half, archive, f"has {len(half)} bytes, expected {len(ARCHIVE)}")
    batch = MEMBERS["data_batch_3"]
    assert_rejected(folder / "data_batch_3", batch[: int(share * len(batch))], folder, FILES.members["data_batch_3"])


def test_what_cannot_be_moved_is_left(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    archive.write_bytes(b"x")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UsageError, match=r"left where it is .*Read-only file system"):
        FILES.read(archive)
    assert archive.read_bytes() == b"x"


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_a_missing_batch_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=f"{name} missing"):
        FILES.read(folder)


# ---------------------------------------------------------------------------------------------- malice


class Evil:
    """Creates a marker file when it is unpickled carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_does_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = pickle.dumps({b"data": Evil(marker)}, protocol=2)
    pickle.loads(evil)
    assert marker.exists()  # it does bite
    marker.unlink()
    members = {**MEMBERS, "data_batch_1": evil}
    folder = write_folder(tmp_path / OFFICIAL.folder, members)
    with pytest.raises(UsageError, match="system has no place in a batch file"):
        files_for(b"", members).read(folder)  # even were its checksum right
    with pytest.raises(UsageError, match=r"data_batch_1.*md5"):
        FILES.read(folder)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1]), pickle.dumps({b"data": 1})])
def test_a_batch_of_another_format_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    members = {**MEMBERS, "data_batch_1": content}
    folder = write_folder(tmp_path / OFFICIAL.folder, members)
    with pytest.raises(UsageError) as caught:
        files_for(b"", members).read(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def entry(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    "extra",
    [
        entry("../evil", tarfile.REGTYPE),
        entry(f"{OFFICIAL.folder}/../../evil", tarfile.REGTYPE),
        entry("/tmp/evil", tarfile.REGTYPE),
        entry(f"{OFFICIAL.folder}/data_batch_1", tarfile.SYMTYPE, "/etc/passwd"),
        entry(f"{OFFICIAL.folder}/data_batch_1", tarfile.LNKTYPE, "/etc/passwd"),
        entry(f"{OFFICIAL.folder}/data_batch_1", tarfile.CHRTYPE),
        entry(f"{OFFICIAL.folder}/data_batch_1", tarfile.FIFOTYPE),
        entry(f"{OFFICIAL.folder}/data_batch_1", tarfile.DIRTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_hostile_members_are_passed_over_and_nothing_is_written(tmp_path: Path, extra: tarfile.TarInfo) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = folder / NAME
    path.write_bytes(with_member := tar_bytes(MEMBERS, (extra,)))
    assert files_for(with_member).read(path).train_images.shape == (5 * PER_BATCH, 3, 32, 32)
    others = {name: content for name, content in MEMBERS.items() if name != "data_batch_1"}
    path.write_bytes(instead := tar_bytes(others, (extra,)))
    with pytest.raises(UsageError, match="data_batch_1 missing"):
        files_for(instead).read(path)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", folder, path]


@pytest.mark.parametrize(("name", "size"), [(f"{OFFICIAL.folder}/data_batch_1", 2 << 30), ("other", 10 << 30)])
def test_a_huge_member_is_refused(tmp_path: Path, name: str, size: int) -> None:
    bomb = tar_bytes(MEMBERS, (entry(name, tarfile.REGTYPE, size=size),))
    (tmp_path / NAME).write_bytes(bomb)
    with pytest.raises(UsageError, match=f"{size} bytes, refused"):
        files_for(bomb).read(tmp_path / NAME)


def test_a_member_that_is_no_plain_file_or_too_large_is_not_read(folder: Path) -> None:
    with (folder / "data_batch_1").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(UsageError, match="is larger than 67,108,864 bytes"):
        FILES.read(folder)
    (folder / "data_batch_1").unlink()
    os.mkfifo(folder / "data_batch_1")
    with pytest.raises(UsageError, match="data_batch_1 missing"):
        FILES.read(folder)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, label: int) -> None:
    data = np.zeros((1, 3072), np.uint8)
    members = {**MEMBERS, "test_batch": python2_pickle({b"labels": [label], b"data": data})}
    folder = write_folder(tmp_path / OFFICIAL.folder, members)
    with pytest.raises(UsageError, match=f"label {label} of a test image is none of 10 classes"):
        files_for(b"", members).read(folder)


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not gzip")
    with pytest.raises(UsageError, match="cannot be read"):
        files_for(b"not gzip").read(tmp_path / NAME)
    with pytest.raises(UsageError, match="cannot be read"):
        FILES.read(tmp_path / "absent" / NAME)


# ---------------------------------------------------------------------------------------------- finding and obtaining


def test_find_accepts_the_thing_itself_and_what_contains_it(archive: Path, folder: Path, tmp_path: Path) -> None:
    for place, expected in ((archive, archive), (tmp_path, archive), (folder, folder), (folder.parent, folder)):
        assert OFFICIAL.find([("nowhere", tmp_path / "absent"), ("place", place)]) == expected
    (tmp_path / "empty" / OFFICIAL.folder).mkdir(parents=True)
    (tmp_path / "other.tar.gz").write_text("")
    assert (
        OFFICIAL.find([("a", tmp_path / "empty"), ("b", tmp_path / "other.tar.gz"), ("c", tmp_path / "served")]) is None
    )


def test_obtain_prefers_what_is_there(archive: Path, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert FILES.obtain([("DATA", folder), ("other", archive)], cache) == folder
    assert FILES.obtain([], archive.parent) == archive
    assert not cache.exists()


def test_obtain_downloads_into_the_cache(mirror: str, tmp_path: Path) -> None:
    files = replace(FILES, archive=replace(FILES.archive, urls=(mirror,)))
    seen: list[int] = []
    path = files.obtain([], tmp_path / "cache", progress=lambda done, _: seen.append(done), limits=LIMITS)
    assert path == tmp_path / "cache" / NAME and seen[-1] == len(ARCHIVE)
    assert files.read(path).digest == FILES.read(write_folder(tmp_path / "folder")).digest


def test_the_environment_replaces_the_mirrors(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_BENCH_CIFAR10_URL", mirror)
    assert FILES.obtain([], tmp_path / "cache", limits=LIMITS).read_bytes() == ARCHIVE
    with pytest.raises(Failure, match="announces"):  # the official checksums stay
        OFFICIAL.obtain([], tmp_path / "other", limits=LIMITS)


def test_nowhere_and_no_mirror_says_everything_tried_and_the_ways_on(mirror: str, tmp_path: Path) -> None:
    urls = (f"{mirror}.absent", "http://127.0.0.1:9/x")
    files = replace(FILES, archive=replace(FILES.archive, urls=urls))
    cache = tmp_path / "cache"
    with pytest.raises(Failure) as caught:
        files.obtain([("--data", tmp_path / "a"), ("cache", cache)], cache, limits=LIMITS)
    lines = str(caught.value).splitlines()
    assert caught.value.exit_code == 1 and len(lines) == 8
    assert lines[1:3] == [f"  --data: {tmp_path / 'a'}: nothing there", f"  cache: {cache}: nothing there"]
    assert lines[3].startswith(f"  {urls[0]}: HTTP Error 404") and lines[4].startswith(f"  {urls[1]}: ")
    assert str(cache / NAME) in lines[5] and "--data" in lines[6] and "resnet-bench demo" in lines[7]


def test_offline_forbids_downloading(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_BENCH_OFFLINE", "1")
    monkeypatch.setenv("RESNET_BENCH_CIFAR10_URL", mirror)
    with pytest.raises(Failure, match="RESNET_BENCH_OFFLINE=1 forbids downloading"):
        FILES.obtain([], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_a_failure(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(Failure, match=f"cannot write {tmp_path / 'occupied'}.* {len(ARCHIVE)} bytes"):
        FILES.obtain([], tmp_path / "occupied")
