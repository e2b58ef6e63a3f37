"""One picture: which formats, how it lies, how large it may be, what is never opened."""

from __future__ import annotations

import os
import struct
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_bench.data import picture
from resnet_bench.data.folder import image_side
from resnet_bench.data.inputs import Inputs
from resnet_bench.data.picture import FORMATS, TURNS, picture_size, read_picture
from resnet_bench.data.tree import list_images
from resnet_bench.errors import UsageError
from resnet_bench.trained.predict import of_files

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
SHORT, LONG, TEXT, BYTE, UNDEFINED, FLOAT, SIGNED = 3, 4, 2, 1, 7, 11, 8


def exif(kind: int, value: bytes, count: int = 1) -> bytes:
    """EXIF that holds an orientation of any type, and nothing else."""
    head = b"Exif\0\0II*\0\x08\0\0\0\x01\0"
    return head + struct.pack("<HHI", 0x0112, kind, count) + value.ljust(4, b"\0")[:4] + b"\0\0\0\0"


def saved(path: Path, **how: object) -> Path:
    Image.fromarray(PIXELS).save(path, **how)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_up_and_the_size_is_that_of_the_pixels(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    said = Image.Exif()
    said[0x0112] = orientation
    how = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"x.{suffix}", exif=said, **how)
    image = Image.fromarray(PIXELS)
    upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    assert np.array_equal(np.asarray(read_picture(path)), np.asarray(upright))
    assert picture_size(path) == upright.size


@pytest.mark.parametrize(
    ("kind", "value", "count", "turned"),
    [
        (SHORT, b"\x06\0", 1, True), (LONG, b"\x06", 1, True), (BYTE, b"\x06", 1, True), (UNDEFINED, b"\x06", 1, True),
        (TEXT, b"6\0", 2, True), (TEXT, b"6", 1, True), (TEXT, b" 6 ", 3, True), (FLOAT, b"\0\0\xc0\x40", 1, True),
        (SHORT, b"\x09\0", 1, False), (SHORT, b"\0\0", 1, False), (SIGNED, b"\xff\xff", 1, False),
        (TEXT, b"abc", 3, False), (TEXT, b"", 1, False), (BYTE, b"\x01\x06", 2, False), (SHORT, b"", 0, False),
        (99, b"\x06", 1, False), (TEXT, b"\xff\xff\xff\xff", 1 << 30, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_orientation_of_any_type_is_read_and_bad_exif_ignored(
    tmp_path: Path, suffix: str, kind: int, value: bytes, count: int, turned: bool
) -> None:
    path = saved(tmp_path / f"x.{suffix}", exif=exif(kind, value, count))
    assert read_picture(path).size == picture_size(path) == ((32, 40) if turned else (40, 32))


def test_one_picture_with_an_orientation_of_no_sense_changes_nothing_for_its_folder(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            said = exif(SHORT, b"\x09\0") if number == 1 else b""
            saved(tmp_path / name / f"{number}.jpg", exif=said)
    assert image_side(list_images(tmp_path), None) is None


def test_every_format_is_read_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    for name in sorted(set(FORMATS) - {"QOI"}):
        if name not in picture._formats():
            continue
        image.save(tmp_path / "x.png", format=name)
        assert min(read_picture(tmp_path / "x.png").size) > 0, name


def test_a_picture_that_is_a_program_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **_: pytest.fail(f"{words} started"))
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    for suffix in ("png", "jpg", "tiff"):
        (tmp_path / f"x.{suffix}").write_bytes(page)
        with pytest.raises(UsageError, match=r"not a readable image .it is in none of the formats that are read."):
            read_picture(tmp_path / f"x.{suffix}")


def test_no_picture_is_opened_elsewhere_or_in_other_formats() -> None:
    package = Path(picture.__file__).parent.parent
    opened = [path for path in package.rglob("*.py") for _ in range(path.read_text().count("Image.open("))]
    assert sorted(path.name for path in opened) == ["picture.py", "png.py"]
    assert all("formats=" in path.read_text().split("Image.open(")[1].split(" as ")[0] for path in opened)
    assert not {"EPS", "WMF", "IPTC", "MPEG", "FITS"} & set(FORMATS)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    monkeypatch.setattr(picture, "MOST_PIXELS", 1000)
    yield 1000
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before  # all is as it was


@pytest.mark.parametrize("size", [(32, 32), (40, 60), (1000, 2)])  # below Pillow's error at twice the limit, and above
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, size: tuple[int, int], small_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", size).save(tmp_path / "x.png")
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(UsageError, match=r"x.png: not a readable image .more than 0 megapixels: make it smaller."):
        read_picture(tmp_path / "x.png")


def test_a_picture_within_another_is_held_to_the_limit_too(tmp_path: Path, small_limit: int) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "x.ico", sizes=[(64, 64)])
    content = bytearray((tmp_path / "x.ico").read_bytes())
    content[6:8] = bytes((16, 16))  # what the directory says of it
    (tmp_path / "x.ico").write_bytes(content)
    with pytest.raises(UsageError, match="megapixels"):
        read_picture(tmp_path / "x.ico")


def test_warnings_of_pillow_reach_nobody(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    palette = Image.new("P", (8, 8))
    palette.save(tmp_path / "x.png", transparency=bytes(range(200)))
    read_picture(tmp_path / "x.png")
    saved(tmp_path / "x.tiff", tiffinfo={0x0112: 6})
    content = (tmp_path / "x.tiff").read_bytes()
    tag = content.index(struct.pack("<HHI", 0x0112, SHORT, 1))
    (tmp_path / "x.tiff").write_bytes(content[: tag + 4] + struct.pack("<I", 2) + content[tag + 8 :])
    read_picture(tmp_path / "x.tiff")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", r"pipe.png: cannot be read as a picture \(is no plain file\)"),
        ("device", r"device.png: cannot be read as a picture \(is no plain file\)"),
        ("folder", r"folder.png: cannot be read as a picture \(a folder\)"),
        ("nothing", "nothing.png: no such file"),
        ("large", r"large.png: cannot be read as a picture \(is larger than 536,870,912 bytes\)"),
    ],
)
def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / f"{kind}.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, picture.MOST_BYTES + 1)
    with pytest.raises(UsageError, match=message):
        read_picture(path)
    examples, problems = of_files([path, saved(tmp_path / "good.png")], Inputs.imagenet(32))
    assert [example.name for example in examples] == [str(tmp_path / "good.png")] and len(problems) == 1


def test_names_in_messages_command_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31m\n.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"/\\x1b\[31m\\n.png: not a readable image"):
        read_picture(tmp_path / "\x1b[31m\n.png")
