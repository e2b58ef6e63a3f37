"""Mutated pictures give pixels or one line; of trees of any kind each entry is used or left out, exactly once."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnet_bench.data import picture
from resnet_bench.data.layout import split_of
from resnet_bench.data.listing import Reason
from resnet_bench.data.picture import picture_size, read_picture
from resnet_bench.data.tree import list_images
from resnet_bench.errors import UsageError
from tests.fuzz.mutations import FUZZ, mutated_bytes

MOST_PIXELS = 1 << 16
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000")


def valid(name: str) -> bytes:
    """A small picture in that format, turned by EXIF where it has that."""
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    content = io.BytesIO()
    how = {"exif": turned} if name in {"PNG", "JPEG", "TIFF", "WEBP"} else {}
    Image.fromarray(pixels).save(content, name, **how)
    return content.getvalue()


VALID = {name: valid(name) for name in FORMATS}


@pytest.fixture(scope="module", autouse=True)
def _small_limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "MOST_PIXELS", MOST_PIXELS)
        yield


@FUZZ
@given(st.data())
@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_picture_gives_pixels_or_one_line(name: str, data: st.DataObject) -> None:
    content = data.draw(mutated_bytes(VALID[name]))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "x.png"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            image = read_picture(path)
            assert image.mode == "RGB" and image.size == picture_size(path)
            assert 0 < image.width * image.height <= MOST_PIXELS
        except UsageError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error) and "object at" not in str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 64 << 20, peak


# ---------------------------------------------------------------------------------------------- trees

NAMES = (
    "train", "Test", "test", "val", "EVAL", "training", "test1", "cat", "dog", "Dog", "caf\u00e9", "cafe\u0301", "more",
    "__MACOSX", ".hidden", "labels", "a\nb", "x y,z",
)  # fmt: skip
FILES = ("0.png", "1.JPG", "2.webp", "notes.txt", "a.HEIC", ".DS_Store", "Thumbs.db", "plain", "cat")
TARGETS = (".", "..", "../..", "nowhere", "../cat", "../train/cat", "0.png", "loop", "/dev/null", "/dev/zero")

leaves = st.dictionaries(
    st.sampled_from(FILES), st.sampled_from(("file", "file", "file", "pipe")) | st.sampled_from(TARGETS), max_size=4
)
trees = st.recursive(
    leaves,
    lambda below: st.builds(
        lambda folders, files: {**files, **folders},
        st.dictionaries(st.sampled_from(NAMES), below | st.sampled_from(TARGETS), max_size=4),
        leaves,
    ),
    max_leaves=12,
)


def usual(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    """Class folders of pictures, so that not everything is refused."""
    files = {f"{number}.png": "file" for number in range(3)}
    return st.fixed_dictionaries({name: st.builds(lambda more: {**more, **files}, trees) for name in names})


plausible = st.builds(
    lambda top, splits: {**top, **splits},
    st.just({}) | leaves | trees,
    usual(("cat", "dog")) | st.dictionaries(st.sampled_from(NAMES[:6]), usual(("cat", "dog")), min_size=1, max_size=3),
)


def build(root: Path, tree: dict[str, object]) -> None:
    root.mkdir()
    for name, what in tree.items():
        if isinstance(what, dict):
            build(root / name, what)
        elif what == "file":
            (root / name).touch()
        elif what == "pipe":
            os.mkfifo(root / name)
        else:
            (root / name).symlink_to(str(what))


@FUZZ
@given(trees | plausible)
def test_each_entry_of_any_tree_is_used_or_left_out_exactly_once(tree: dict[str, object]) -> None:
    place = Path(tempfile.mkdtemp())
    root = place / "a" / "b" / "pets"  # links lead up two folders
    try:
        root.parent.mkdir(parents=True)
        build(root, tree)
        try:
            found = list_images(root)
        except UsageError as error:
            assert str(error).startswith(str(root)) and "\n" not in str(error)
            return
        used = Counter(path.relative_to(root).as_posix() for path in found.files())
        account = found.account.left_out
        left = Counter(one.removesuffix("/") for places in account.values() for one in places)
        assert max((used + left).values()) == 1 and not used & left
        assert {*entries(root)} <= {*used, *left} | {one for one in entries(root) if is_below(one, {*left})}
        for one in used:
            assert (root / one).is_file() and not one.split("/")[-1].startswith(".")
        assert all((root / one).is_symlink() for one in account.get(Reason.BROKEN, []))
        assert all(is_behind_a_link(root, one) for one in account.get(Reason.AGAIN, []))
        assert len({split_of(one.split("/")[0]) for one in used}) <= 3
        assert list(found.train) == list(found.test) and len(found.train) >= 2
        assert all(files for classes in (found.train, found.test, found.validation) for files in classes.values())
        assert found.account.summary().count("\n") == 0
    finally:
        shutil.rmtree(place)


def entries(root: Path) -> Iterator[str]:
    """Everything that lies there under a name of its own, but folders that are gone into: files, pipes and links."""
    for above, folders, files in os.walk(root):
        for name in files + [name for name in folders if (Path(above) / name).is_symlink()]:
            one = (Path(above) / name).relative_to(root).as_posix()
            if not (root / one).is_dir():
                yield one


def is_behind_a_link(root: Path, one: str) -> bool:
    """Is it a link, or reached by one."""
    path = root / one
    return any(above.is_symlink() for above in (path, *path.parents) if root in above.parents)


def is_below(one: str, left: set[str]) -> bool:
    """Does it lie in a folder that is left out as a whole."""
    parts = one.split("/")
    return any("/".join(parts[:number]) in left for number in range(1, len(parts)))
