"""One picture: opened by what the file holds, within a limit of pixels, upright, as RGB; its central square."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_bench.errors import UsageError
from resnet_bench.files import read_regular
from resnet_bench.text import one_line

# Of the formats that Pillow knows, those that hold pictures and that it reads by itself; others (PostScript) start
# programs. A file is what its content says, whatever its name is; TGA comes last, as nothing marks it.
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI", "ICO", "PCX", "SGI", "TGA",
)  # fmt: skip
SUFFIXES = frozenset(
    """
    .apng .avif .bmp .dib .gif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .pbm .pcx .pgm .png .pnm .ppm
    .qoi .sgi .tga .tif .tiff .webp
    """.split()  # noqa: SIM905
)
MOST_BYTES = 1 << 29  # of a file
MOST_PIXELS = (1 << 30) // 4 // 3  # of a picture: 89 megapixels, from where on Pillow warns
MOST_LENGTHS = 100  # the longer side of a picture, in shorter ones
SHORTER_SIDE = 256 / 224  # of a picture before its central square is taken, in sides of that square
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(path: Path) -> Image.Image:
    """As RGB, turned as EXIF says; of 16-bit values the upper 8 bits.

    Raises:
        UsageError: no plain file, no readable picture of one of FORMATS, or one of more than MOST_PIXELS.
    """
    content = _content(path)
    try:
        with _BOUNDED, Image.open(io.BytesIO(content), formats=_formats()) as image:
            _check_pixels(image.size)
            image.load()  # some formats turn themselves here, and say so in what getexif gives afterwards
            turn = TURNS.get(_orientation(image))
            picture = _eight_bits(image).convert("RGB")
            return picture if turn is None else picture.transpose(turn)
    except Exception as error:  # a broken image can raise anything, from EOFError to struct.error
        raise _unreadable(path, _why(error)) from None


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of what read_picture gives; also decoded, as headers and pixels do not always agree."""
    return read_picture(path).size


def file_digest(path: Path) -> bytes:
    """SHA-256 of what the file holds. UsageError if it is no plain file."""
    return hashlib.sha256(_content(path)).digest()


def central_square(picture: Image.Image, side: int, path: Path) -> Image.Image:
    """The shorter side resized to 256 for a side of 224, else in that proportion; then the central square.

    Raises:
        UsageError: the picture at `path` is too long for that.
    """
    shorter = round(side * SHORTER_SIDE)
    width, height = picture.size
    check_lengths(picture, path)
    tall = width <= height
    size = (shorter, int(shorter * height / width)) if tall else (int(shorter * width / height), shorter)
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return resized.crop((left, top, left + side, top + side))


def check_lengths(picture: Image.Image, path: Path) -> None:
    """Raise UsageError if it is so long that its shorter side cannot be resized within reason."""
    if max(picture.size) > MOST_LENGTHS * min(picture.size):
        raise UsageError(f"{one_line(str(path))}: {picture.width}x{picture.height} pixels, too long and narrow; cut it")


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{one_line(str(path))}: no such file") from None
    except OSError as error:
        what = "a folder" if path.is_dir() else error.strerror
        raise UsageError(f"{one_line(str(path))}: cannot be read as a picture ({what}); replace or remove it") from None


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_pixels(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise Image.DecompressionBombError


def _orientation(image: Image.Image) -> int:
    """How it lies, 1 to 8, by its EXIF, whatever type the value has there; 1 if that says nothing of sense."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
        if isinstance(value, bytes) and len(value) == 1:
            value = value[0]
        number = int(value.strip("\0 ") if isinstance(value, str) else value)
    except Exception:  # bad EXIF is no bad picture, and can raise anything too
        return 1
    return number if number in TURNS else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}: values without a known range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def _why(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {MOST_PIXELS // 10**6} megapixels: make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return "it is in none of the formats that are read"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"{one_line(str(path))}: not a readable image ({one_line(why)}); replace or remove it")


class _Bounded(contextlib.AbstractContextManager[None]):
    """While a picture is open, in any thread: Pillow's own limit is ours, and no warning of it reaches a terminal.

    Pillow looks at its limit also where a format hides a larger picture in a smaller one. Filters of warnings belong to
    the process: the first thread that comes sets them, the last that goes sets them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: tuple[int | None, warnings.catch_warnings[None]]

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = Image.MAX_IMAGE_PIXELS, warnings.catch_warnings()
                self._before[1].__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                Image.MAX_IMAGE_PIXELS = MOST_PIXELS

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                Image.MAX_IMAGE_PIXELS, filters = self._before
                filters.__exit__(None, None, None)


_BOUNDED = _Bounded()
