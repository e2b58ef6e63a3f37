"""The pictures of a folder by split and class, if its layout is understood, and the account of all else in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from resnet_bench.data.layout import (
    LAYOUTS,
    SPELT,
    TEST,
    TRAIN,
    UNDERSTOOD,
    VALIDATION,
    Layout,
    is_like_a_split,
    split_of,
)
from resnet_bench.data.listing import Account, Listing, Progress, Reason, few, is_picture_name
from resnet_bench.data.split import kept_for_test
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

Classes = Mapping[str, list[Path]]  # sorted image files by class
Places = dict[str, list[str]]  # the same, each as its place in the folder


@dataclass(frozen=True)
class Tree:
    """The image files of a folder.

    Attributes:
        root: the folder.
        train: by class.
        test: by class; the same classes.
        split_here: they were one tree.
        account: of the entries that are not used.
        validation: by class; the same classes; empty: there is no such folder beside the test images.
        notes: how the folder was understood, where that could have been otherwise.
    """

    root: Path
    train: Classes
    test: Classes
    split_here: bool
    account: Account
    validation: Classes = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def by_split(self) -> Iterator[tuple[str, str, Path]]:
        """(split, class, image) for each: training images first, then those for the test."""
        for split, classes in ((TRAIN, self.train), (TEST, self.test), (VALIDATION, self.validation)):
            for name, files in classes.items():
                for path in files:
                    yield split, name, path

    def files(self) -> list[Path]:
        """All of them, in that order."""
        return [path for _, _, path in self.by_split()]

    def split(self) -> tuple[tuple[str, str, str], ...]:
        """(image, class, split) for each, if they were one tree."""
        if not self.split_here:
            return ()
        return tuple((path.relative_to(self.root).as_posix(), name, split) for split, name, path in self.by_split())


def is_image_folder(folder: Path) -> bool:
    """May it be meant as one: is there a folder or a picture in it."""
    if not folder.is_dir():
        return False
    inside = Account(folder).look("")
    return bool(inside.folders or inside.pictures)


def list_images(folder: Path, progress: Progress | None = None) -> Tree:
    """The images of a folder, in the order of class and file name, and the account of everything else in it.

    Args:
        folder: in one of LAYOUTS.
        progress: told how many entries have been seen.

    Raises:
        UsageError: its layout is none of LAYOUTS, or could be meant in two ways; a class is missing, is there twice or
            has too few images; something cannot be read. Names the place.
    """
    tree = _Reader(Account(folder, progress)).tree()
    if progress is not None:
        count = len(tree.files())
        progress(count, count)
    return tree


class _Reader:
    """Decides which layout a folder has, and reads it so."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.notes: list[str] = []
        self.nested = 0  # pictures in sub-folders of classes

    def tree(self) -> Tree:
        top = self.account.enter("")
        self.account.leave(Reason.LOOSE, *top.pictures)
        named = self._split_folders(top)
        inside = {split: self.account.look(name) for split, name in named.items()}
        with_classes = {split for split in named if inside[split].folders}
        if not with_classes:
            return self._one_tree(top)
        if TRAIN not in with_classes:
            self._refuse(f"no folder {TRAIN}/ with class folders beside {named[min(with_classes)]}/")
        self._leave_unlabelled(named, inside)
        layout = next(layout for layout in LAYOUTS if set(layout.folders) == with_classes)
        return self._splits(layout, named, [name for name in top.folders if name not in named.values()])

    # ------------------------------------------------------------------------------------------ folders of splits

    def _split_folders(self, top: Listing) -> dict[str, str]:
        """The folders that are called like splits, by split."""
        named: dict[str, str] = {}
        for name in top.folders:
            if (split := split_of(name)) is None:
                continue
            if split in named:
                raise self._error("", f"{named[split]}/ and {name}/ both mean {split}/; keep one of them")
            named[split] = name
        for reason, name in top.left_out:
            if reason is Reason.BROKEN and split_of(name):
                raise self._error(name, "a link that leads nowhere; mend or remove it")
        return named

    def _leave_unlabelled(self, named: dict[str, str], inside: dict[str, Listing]) -> None:
        """Pictures for a test without classes, as competitions have them, cannot be tested on."""
        for split, listing in inside.items():
            if listing.folders:
                continue
            if not listing.pictures:
                raise self._error(named[split], "no image in it; fill it or remove it")
            self.account.leave(Reason.UNLABELLED, f"{named[split]}/")

    def _splits(self, layout: Layout, named: dict[str, str], others: list[str]) -> Tree:
        used = [named[split] for split in layout.folders]
        for number, name in enumerate(used):
            if same := next((one for one in used[:number] if self.account.is_same(one, name)), None):
                raise self._error(name, f"the same folder as {same}/; remove one of them")
        splits = {split: self._class_folders(named[split]) for split in layout.folders}
        train = splits[TRAIN]
        for name in others:
            self._leave_beside(name, train)
        if not any(files for classes in splits.values() for files in classes.values()):
            self._refuse(f"no image in {' and '.join(f'{name}/<class>/' for name in used)}")
        for split, classes in splits.items():
            if split != TRAIN:
                self._check_same(train, classes, named[TRAIN], named[split])
            for name, files in classes.items():
                if not files:
                    why = "no image in this class folder; add some or remove the class"
                    raise self._too_few(f"{named[split]}/{name}", why)
        if not layout.test:
            return self._shared_out(train, named[TRAIN])
        if named[layout.test] != TEST:
            self.notes.append(f"tested on {named[layout.test]}/")
        return self._made(train, splits[layout.test], splits.get(layout.validation, {}))

    def _leave_beside(self, name: str, classes: Iterable[str]) -> None:
        """A folder beside those of the splits is left out, unless it seems to be meant as one, or as a class."""
        inside, known = self.account.look(name), {_plain(one) for one in classes}
        if _plain(name) in known:
            raise self._error(name, f"a class that lies beside {TRAIN}/ would be left out; move it there or away")
        if inside.folders and (is_like_a_split(name) or known & {_plain(one) for one in inside.folders}):
            why = "holds class folders, but would be left out"
            raise self._error(name, f"{why}; give it a name that is understood ({SPELT}), or move it away")
        self.account.leave(Reason.BESIDE, f"{name}/")

    def _check_same(self, train: Places, held_out: Places, train_name: str, name: str) -> None:
        """Raise UsageError unless both have the same classes."""
        if not {*map(_plain, train)} & {*map(_plain, held_out)}:
            why = f"holds none of the classes of {train_name}/, but {few([f'{one}/' for one in held_out], 3)}"
            raise self._error(name, f"{why}; pictures without classes cannot be tested on: move them away")
        for mine, here, theirs, there in ((train, train_name, held_out, name), (held_out, name, train, train_name)):
            for missing in (one for one in theirs if one not in mine):
                why = f"class {missing!r} is missing in {here}/ (it is in {there}/)"
                like = next((one for one in mine if _plain(one) == _plain(missing)), None)
                raise self._error("", f"{why}; {_alike(missing, like) if like else 'add it there'}")

    # ------------------------------------------------------------------------------------------ one tree

    def _one_tree(self, top: Listing) -> Tree:
        if not top.folders:
            self._refuse("no class folders")
        self._check_not_splits(top.folders)
        classes = self._classes(top)
        if not any(classes.values()):
            published = "a known dataset as it is published (cifar-10-python.tar.gz, say)"
            self._refuse(f"neither {published} nor images in <class>/")
        return self._shared_out(classes, "")

    def _check_not_splits(self, names: list[str]) -> None:
        """A folder called like a split may be a class (trains, say) if it is the only such one among class folders."""
        suspects = [name for name in names if is_like_a_split(name)]
        if not suspects:
            return
        nested = [name for name in suspects if self.account.look(name).folders]
        if nested:
            self._refuse(f"{few([f'{name}/' for name in nested], 3)}: is it a split? such are called {SPELT}")
        if len(suspects) > 1 or not any(self.account.look(name).pictures for name in names if name not in suspects):
            self._refuse(f"no class folders in {few([f'{name}/' for name in suspects], 3)}")
        self.notes.append(f"{suspects[0]}/ taken for a class")

    def _shared_out(self, classes: Places, above: str) -> Tree:
        """A fifth of each class for the test, by a hash of class and name: the same images wherever the folder lies."""
        train: Places = {}
        test: Places = {}
        for name, files in classes.items():
            place = f"{above}/{name}" if above else name
            if len(files) < 2:
                many = "one image" if files else "no image"
                raise self._too_few(place, f"{many}; a class that is split needs two: add some or remove the class")
            within = {file: file[len(place) + 1 :] for file in files}
            kept = kept_for_test(name, list(within.values()))
            test[name] = [file for file in files if within[file] in kept]
            train[name] = [file for file in files if within[file] not in kept]
        self.notes.append("a fifth of each class kept for the test")
        return self._made(train, test, {}, split_here=True)

    # ------------------------------------------------------------------------------------------ classes

    def _class_folders(self, place: str) -> Places:
        listing = self.account.enter(place)
        self.account.leave(Reason.LOOSE, *map(listing.at, listing.pictures))
        return self._classes(listing)

    def _classes(self, listing: Listing) -> Places:
        """The pictures of each class folder of a listing, those of its sub-folders too."""
        for reason, name in listing.left_out:
            if reason is Reason.BROKEN and not is_picture_name(name):
                raise self._error(listing.at(name), "a link that leads nowhere, beside classes; mend or remove it")
        by_form: dict[str, str] = {}
        for name in listing.folders:
            other = by_form.setdefault(unicodedata.normalize("NFC", name), name)
            if other != name:
                raise self._error(listing.place, f"two classes of one name; {_alike(name, other)}")
        above = {"", listing.place}
        return {name: self._pictures(listing.at(name), above) for name in listing.folders}

    def _pictures(self, place: str, above: Iterable[str]) -> list[str]:
        pictures = self.account.pictures_below(place, above)
        for picture in pictures:
            within, _, rest = picture[len(place) + 1 :].partition("/")
            if rest:
                self.nested += 1
                if split_of(within):
                    why = f"a split within a class; if {place}/ is the data, give that folder"
                    raise self._error(f"{place}/{within}", why)
        return pictures

    def _made(self, train: Places, test: Places, validation: Places, *, split_here: bool = False) -> Tree:
        root = self.account.root
        if len(train) < 2:
            only = next(iter(train))
            hint = "if its folders are the classes, give that folder"
            raise self._error("", f"one class only, {only!r}; there is nothing to tell apart ({hint})")
        if self.nested:
            self.notes.append(f"{self.nested:,} of the images in sub-folders of classes")

        def paths(places: Places) -> dict[str, list[Path]]:
            return {name: [root / file for file in files] for name, files in places.items()}

        notes = tuple(map(one_line, self.notes))
        return Tree(root, paths(train), paths(test), split_here, self.account, paths(validation), notes)

    # ------------------------------------------------------------------------------------------ what is wrong

    def _error(self, place: str, why: str) -> UsageError:
        return UsageError(one_line(f"{self.account.root / place}: {why}"))

    def _too_few(self, place: str, why: str) -> UsageError:
        """The same, and what there is instead of images."""
        left_out = self.account.summary()
        return self._error(place, f"{why} ({left_out})" if left_out else why)

    def _refuse(self, why: str) -> NoReturn:
        raise self._too_few("", f"{why}; {UNDERSTOOD}")


def _plain(name: str) -> str:
    """What names have in common that look alike."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _alike(name: str, other: str) -> str:
    """How two names that look alike differ."""
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return f"{name!a} and {other!a} look the same, their accents are stored in two ways; give both one name"
    return f"{other!r} is another name; give both one name"
