"""What lies in a folder: each entry is a picture, a folder, or left out for a reason that is kept and said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from resnet_bench.data.picture import SUFFIXES
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

Progress = Callable[[int, int], None]  # (done, total); a total of 0: not known yet
MOST_FOLDERS = 50_000  # beside each other; ImageNet's largest release has 21,841 classes
MOST_ENTRIES = 10_000_000
# What systems and archives leave beside files, in any case.
SYSTEM_NAMES = frozenset(
    "__macosx desktop.ini ehthumbs.db thumbs.db @eadir lost+found $recycle.bin".split()  # noqa: SIM905
) | {"system volume information", "icon\r"}


PICTURE, FOLDER = "picture", "folder"  # what an entry is, if it is not left out


class Reason(Enum):
    """Why an entry is not used; the value follows a number in a sentence."""

    HIDDEN = "hidden"
    SYSTEM = "of the operating system"
    SUFFIX = "not named as pictures"
    BROKEN = "behind a link that leads nowhere"
    SPECIAL = "neither file nor folder"
    LOOSE = "in no class folder"
    UNLABELLED = "unlabelled, as without class folders"
    BESIDE = "beside the folders of the splits"
    AGAIN = "behind a link to a folder that is read anyway"


@dataclass(frozen=True)
class Listing:
    """The entries of one folder; names in order.

    Attributes:
        place: of the folder in the folder of images, as in "train/cat"; "" for that itself.
        pictures: files, by their suffix.
        folders: links to folders too.
        left_out: all others.
    """

    place: str
    pictures: list[str]
    folders: list[str]
    left_out: list[tuple[Reason, str]]

    def at(self, name: str) -> str:
        """The place of one of its entries."""
        return f"{self.place}/{name}" if self.place else name


class Account:
    """The entries of a folder of images that are not used, by reason; whoever looks into it looks through this.

    Args:
        root: the folder of images.
        progress: told how many entries have been seen.
    """

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self.left_out: dict[Reason, list[str]] = {}
        self._progress = progress
        self._seen = 0

    def look(self, place: str) -> Listing:
        """What lies at a place; nothing of it is in the account yet.

        Raises:
            UsageError: it cannot be read, or what would be used in it has a name that is not UTF-8; too many entries.
        """
        folder = self.root / place
        found: dict[str | Reason, list[str]] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    found.setdefault(_kind(entry), []).append(entry.name)
        except OSError as error:
            raise _unreadable(folder, error) from None
        pictures, folders = sorted(found.pop(PICTURE, [])), sorted(found.pop(FOLDER, []))
        left_out = [(reason, name) for reason in Reason for name in sorted(found.get(reason, []))]
        _check_names(folder, [*folders, *pictures])
        if len(folders) > MOST_FOLDERS:
            many = f"{len(folders):,} folders beside each other; {MOST_FOLDERS:,} are understood as classes"
            raise UsageError(f"{one_line(str(folder))}: {many}")
        self._count(len(pictures) + len(folders) + len(left_out))
        return Listing(place, pictures, folders, left_out)

    def enter(self, place: str) -> Listing:
        """The same, and what is no picture and no folder is in the account."""
        listing = self.look(place)
        for reason, name in listing.left_out:
            self.leave(reason, listing.at(name))
        return listing

    def leave(self, reason: Reason, *places: str) -> None:
        """Note that the images at these places are not used, and why."""
        if places:
            self.left_out.setdefault(reason, []).extend(places)

    def pictures_below(self, place: str, above: Iterable[str]) -> list[str]:
        """The places of all pictures in a folder and its sub-folders, in order; links are followed, but not round.

        Args:
            place: of the folder.
            above: places of the folders that it lies in; a link to them, or to what was read here already, is left out.
        """
        found: list[str] = []
        seen = {self._identity(one) for one in above}
        named, linked = [place], list[str]()  # a folder's own name comes before links to it
        while named or linked:
            here = named.pop() if named else linked.pop(0)
            if (identity := self._identity(here)) in seen:
                self.leave(Reason.AGAIN, here)
                continue
            seen.add(identity)
            listing = self.enter(here)
            found += map(listing.at, listing.pictures)
            for name in listing.folders:
                below = listing.at(name)
                (linked if (self.root / below).is_symlink() else named).append(below)
        return sorted(found, key=lambda one: one.split("/"))

    def _identity(self, place: str) -> tuple[int, int]:
        try:
            status = (self.root / place).stat()
        except OSError as error:
            raise _unreadable(self.root / place, error) from None
        return status.st_dev, status.st_ino

    def is_same(self, one: str, other: str) -> bool:
        """Are both places one folder."""
        return self._identity(one) == self._identity(other)

    def _count(self, entries: int) -> None:
        self._seen += entries
        if self._seen > MOST_ENTRIES:
            raise UsageError(f"{one_line(str(self.root))}: more than {MOST_ENTRIES:,} files; take a part of them")
        if self._progress is not None:
            self._progress(self._seen, 0)

    def lines(self, most: int = 5) -> list[str]:
        """A line for each reason, as in `3 hidden: .a, .b, train/.c`, with the first names."""
        told = []
        for reason in Reason:
            if places := self.left_out.get(reason):
                kinds = f" ({_suffixes(places)})" if reason is Reason.SUFFIX else ""
                told.append(f"{len(places):,} {reason.value}{kinds}: {few(places, most)}")
        return told

    def summary(self) -> str:
        """One line, as in `left out: 3 hidden: .a and 2 more; 1 in no class folder: train/x.png`; or ""."""
        return f"left out: {'; '.join(self.lines(1))}" if self.left_out else ""


def _kind(entry: os.DirEntry[str]) -> str | Reason:
    name = entry.name
    if name.startswith("."):
        return Reason.HIDDEN
    if name.casefold() in SYSTEM_NAMES:
        return Reason.SYSTEM
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return PICTURE if is_picture_name(name) else Reason.SUFFIX
        return Reason.SPECIAL if Path(entry.path).exists() else Reason.BROKEN
    except OSError:  # a link to itself, or into what must not be read
        return Reason.BROKEN


def is_picture_name(name: str) -> bool:
    """Has it the suffix of a picture."""
    return _suffix(name) in SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - of millions of names


def _check_names(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            where = one_line(str(folder))
            raise UsageError(f"{where}: the name {os.fsencode(name)!r} is not UTF-8; rename it") from None


def _unreadable(folder: Path, error: OSError) -> UsageError:
    why = f"cannot be read ({error.strerror}); move it away or change its permissions"
    return UsageError(f"{one_line(str(folder))}: {why}")


def _suffixes(places: Iterable[str]) -> str:
    counted = Counter(_suffix(place) or "no suffix" for place in places)
    return few([suffix for suffix, _ in counted.most_common()], 3)


def few(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are, as in `a, b and 7 more`; harmless for a line."""
    told = ", ".join(map(one_line, names[:most]))
    return f"{told} and {len(names) - most:,} more" if len(names) > most else told
