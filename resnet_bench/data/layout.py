"""Which folder of a folder of images is for what: the layouts and names that are understood, each in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRAIN, TEST, VALIDATION = "train", "test", "val"
SPELLINGS = {  # in any case
    TRAIN: ("train", "training"),
    TEST: ("test", "testing"),
    VALIDATION: ("val", "valid", "validation", "eval"),
}
_SPLIT_OF = {name: split for split, names in SPELLINGS.items() for name in names}
_WORD = re.compile(rf"(^|[^a-z])({'|'.join(_SPLIT_OF)})(set|data|images)?([^a-z]|$)")


@dataclass(frozen=True)
class Layout:
    """What the folders of a folder of images mean.

    Attributes:
        folders: those with class folders in them; (): the class folders lie there themselves.
        test: which of them is for the test; "": a fifth of each class is kept for it.
        validation: which of them is for validation; "": none.
    """

    folders: tuple[str, ...]
    test: str = ""
    validation: str = ""

    @property
    def looks(self) -> str:
        """As it is written in a sentence."""
        return ", ".join(f"{name}/<class>/*" for name in self.folders) or "<class>/*"


LAYOUTS = (
    Layout((TRAIN, TEST), TEST),
    Layout((TRAIN, VALIDATION), VALIDATION),
    Layout((TRAIN, VALIDATION, TEST), TEST, VALIDATION),
    Layout((TRAIN,)),
    Layout(()),
)
UNDERSTOOD = f"understood are {'; '.join(layout.looks for layout in LAYOUTS)} (docs/data.md)"
SPELT = "; ".join(", ".join(f"{name}/" for name in names) for names in SPELLINGS.values())


def split_of(name: str) -> str | None:
    """The split that a folder of this name is; None: it is none."""
    return _SPLIT_OF.get(name.casefold())


def is_like_a_split(name: str) -> bool:
    """Does a word of it say so, as in test1, train_images and val-set; those of SPELLINGS too."""
    return _WORD.search(name.casefold()) is not None


def to_markdown() -> str:
    """Both tables."""
    lines = ["| in the folder | for training | for the test | for validation |", "| --- | --- | --- | --- |"]
    for layout in LAYOUTS:
        shared_out = "the rest of each class", "a fifth of each class"
        train, test = (f"`{TRAIN}/`", f"`{layout.test}/`") if layout.test else shared_out
        validation = f"`{layout.validation}/`" if layout.validation else ""
        lines.append(f"| `{layout.looks}` | {train} | {test} | {validation} |")
    lines += ["", "| folder | names of it, in any case |", "| --- | --- |"]
    lines += [f"| `{split}/` | {', '.join(f'`{name}/`' for name in names)} |" for split, names in SPELLINGS.items()]
    return "\n".join(lines) + "\n"
