"""Which data a study is trained on: what the user names decides, else the study's own dataset is found or fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.config.builders import find_source as find_module
from resnet_bench.config.builders import is_function
from resnet_bench.data import builtin, folder, own
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.known import KNOWN
from resnet_bench.data.listing import Account
from resnet_bench.data.tree import is_image_folder, list_images
from resnet_bench.errors import UsageError
from resnet_bench.places import cache_folder, user_path
from resnet_bench.text import one_line

Progress = Callable[[int, int], None]  # (done, total), bytes, files or images; a total of 0: not known yet
BUILTIN = (*KNOWN, "digits", "synthetic")


@dataclass(frozen=True)
class Source:
    """A dataset that can be loaded, and why it is this one."""

    name: str
    where: str  # where the images lie or come from
    reason: str  # why this source was chosen
    image_shape: tuple[int, int, int]  # (channels, height, width)
    found: bool  # False: loading fetches it first
    load: Callable[[Progress | None], Dataset]
    augmentation: str | None = None  # what fits; None: by the name, see config.AUGMENTATION_OF
    account: Account | None = None  # of what in a folder of images is not used

    @property
    def left_out(self) -> str:
        """A line about what in a folder of images is not used; "" if everything is."""
        return self.account.summary() if self.account else ""

    def __str__(self) -> str:
        """What it is, and in a second line what of it is not used."""
        told = one_line(f"data {self.name}: {self.where} ({self.reason})")
        return f"{told}\n{self.left_out}" if self.left_out else told


def find_source(
    default: str,
    data: str | None = None,
    environ: Mapping[str, str] = os.environ,
    progress: Progress | None = None,
) -> Source:
    """The source that `data` names: a dataset's name, the place of a known one, or a folder of images.

    Args:
        default: what to use where `data` is not given, written like that; or a dataset's name, where `data` is an empty
            folder (CIFAR-10 is fetched into it).
        data: a name, a path, or both as in mnist:PATH; a folder of images with the size that they are to be resized
            to, as in PATH@64; or package.module:function, which is called for its shape.
        environ: RESNET_BENCH_DATA and RESNET_BENCH_CACHE are read from here.
        progress: told how many files of a folder of images have been found, and then looked at.

    Raises:
        UsageError: nothing at `data`, or something that is no dataset.
    """
    if not data and not _is_place(default):
        return _named(default, [], "the study's own dataset", environ)
    data = data or default
    name, _, rest = data.partition(":")
    if name in KNOWN and rest:
        place = _existing(user_path(rest), data)
        if KNOWN[name].files.find([("--data", place)]) is None:
            raise UsageError(f"--data {data}: no {KNOWN[name].files.title} lies there")
        return _named(name, [("--data", place)], f"--data {data}", environ)
    if name in BUILTIN or (is_function(data) and not user_path(data).exists()):
        return _named(data, [], f"--data {data}", environ)
    place, side = _place_and_side(data)
    if known := _recognise(place, data):
        if side:
            raise UsageError(f"--data {data}: only folders of images are resized; leave out @{side}")
        title = KNOWN[known].files.title
        return _named(known, [("--data", place)], f"--data {data} holds {title}", environ)
    if place.is_dir() and not side and not any(place.iterdir()):
        return _named(default, [("--data", place)], f"--data {data} is empty", environ)
    if is_image_folder(place):
        return _image_folder(place, side, f"--data {data} is a folder of images", environ, progress)
    raise UsageError(
        f"--data {data}: neither a known dataset as it is published (cifar-10-python.tar.gz, say) nor images in "
        "train/<class>/ and test/<class>/, or in <class>/"
    )


def _is_place(default: str) -> bool:
    """Does a study say where its data lie, rather than what they are called."""
    name, _, rest = default.partition(":")
    before, _, side = default.rpartition("@")
    place = before if before and side.isdecimal() else default
    return bool(name in KNOWN and rest) or (name not in BUILTIN and user_path(place).exists())


def _place_and_side(data: str) -> tuple[Path, int | None]:
    """What PATH@64 says, if it does not exist as it stands."""
    before, _, after = data.rpartition("@")
    if before and after.isdecimal() and not user_path(data).exists():
        if before.partition(":")[0] in BUILTIN:
            raise UsageError(f"--data {data}: only folders of images are resized; leave out @{after}")
        return _existing(user_path(before), data), int(after)
    return _existing(user_path(data), data), None


def _existing(place: Path, data: str) -> Path:
    if not place.exists():
        raise UsageError(
            f"--data {data}: no such file or folder, and no dataset of that name (known: {', '.join(BUILTIN)})"
        )
    return place


def _recognise(place: Path, data: str) -> str:
    """The name of the known dataset that lies there; "" if none does."""
    places = [("--data", place)]
    named = {name: found for name, known in KNOWN.items() if (found := known.files.find(places)) is not None}
    for name, found in named.items():
        if KNOWN[name].files.recognises(found):
            return name
    if len(named) > 1:
        raise UsageError(f"--data {data}: may be {' or '.join(named)}; say which, as in {next(iter(named))}:{data}")
    return next(iter(named), "")


def _named(name: str, places: list[tuple[str, Path]], reason: str, environ: Mapping[str, str]) -> Source:
    kind, _, shape_text = name.partition(":")
    if kind == "digits":
        return Source("digits", "inside scikit-learn", reason, (3, 8, 8), True, lambda _: builtin.digits())
    if kind == "synthetic":
        shape = _parse_shape(shape_text) if shape_text else (3, 32, 32)
        dataset = builtin.synthetic(shape, num_train=256, num_test=64) if shape_text else builtin.synthetic()
        return Source(dataset.name, "made here", reason, shape, True, lambda _: dataset)
    if kind in KNOWN:
        return _known(kind, places, reason, environ)
    if is_function(name):
        return _function(name, reason)
    raise UsageError(f"dataset {name!r} is unknown; one of {', '.join(BUILTIN)}, or the path of a folder of images")


def _function(name: str, reason: str) -> Source:
    dataset = own.read_function(name, frozenset(BUILTIN))
    return Source(dataset.name, str(find_module(name)), reason, dataset.image_shape, True, lambda _: dataset)


def _parse_shape(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) <= 512 for part in parts):
        raise UsageError(f"synthetic:{text}: write channels x height x width, as in synthetic:3x32x32")
    channels, height, width = map(int, parts)
    if min(height, width) < folder.SMALLEST_SIDE:
        raise UsageError(f"synthetic:{text}: the networks need at least {folder.SMALLEST_SIDE} pixels a side")
    return channels, height, width


def usual_places(environ: Mapping[str, str] = os.environ) -> list[tuple[str, Path]]:
    """Where known datasets are looked for when the user does not say: RESNET_BENCH_DATA, then the cache."""
    places = (
        [("RESNET_BENCH_DATA", user_path(environ["RESNET_BENCH_DATA"]))] if environ.get("RESNET_BENCH_DATA") else []
    )
    return [*places, ("cache", cache_folder(environ))]


def _known(name: str, places: list[tuple[str, Path]], reason: str, environ: Mapping[str, str]) -> Source:
    known = KNOWN[name]
    target = places[0][1] if places else cache_folder(environ)
    everywhere = [*places, *usual_places(environ)]
    system = [("system", folder) for folder in known.files.system]
    found = ((label, known.files.find([(label, place)])) for label, place in [*everywhere, *system])
    label, path = next(((label, path) for label, path in found if path is not None), ("", None))
    why = f"{reason}, found at {label}" if label else f"{reason}, found nowhere"
    if path is not None and (note := known.files.note(path)):
        why += f"; {note}"

    def load(progress: Progress | None) -> Dataset:
        return known.files.read(known.files.obtain(everywhere, target, progress=progress))

    where = str(path) if path else f"not found yet; {known.files.origin} into {target}"
    return Source(name, where, why, known.image_shape, path is not None, load)


def _image_folder(
    place: Path, asked: int | None, reason: str, environ: Mapping[str, str], progress: Progress | None
) -> Source:
    tree = list_images(place, progress)
    side = folder.image_side(tree, asked, progress)
    name = folder.dataset_name(place, frozenset(BUILTIN)) + (f"-{side}" if side else "")
    cache = cache_folder(environ)
    how = [f"resized to {side}x{side}"] if side else []
    return Source(
        name,
        str(place),
        ", ".join([reason, *how, *tree.notes]),
        folder.image_shape(tree, side),
        True,
        lambda p: folder.read(tree, name, cache, p, side),
        "resized-crop-flip" if side else None,
        tree.account,
    )
