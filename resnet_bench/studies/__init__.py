"""The built-in studies, each a file that people may copy: `studies.find("digits-full")`, or `studies.digits_full`."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from resnet_bench.config.study import Study
from resnet_bench.errors import UsageError
from resnet_bench.places import user_path

FOLDER = Path(__file__).parent
SUFFIX = ".toml"


def names() -> list[str]:
    """What they are called."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


@functools.cache
def find(name: str) -> Study:
    """The built-in study of that name; UsageError names the known ones."""
    if name not in names():
        raise UsageError(
            f"study {name!r} is unknown; one of {', '.join(names())}, auto (cifar10-paper on CUDA, else "
            "cifar10-short), or a file of your own, as in my.toml"
        )
    return Study.load(FOLDER / f"{name}{SUFFIX}")


def named(text: str) -> Study:
    """The built-in study of that name, or that of a file: what ends in .toml, or is a path.

    Raises:
        UsageError: there is no such study, or the file is none.
    """
    return Study.load(user_path(text)) if text.endswith(SUFFIX) or os.sep in text else find(text)


def __getattr__(name: str) -> Study:
    """`studies.digits_full`."""
    title = name.replace("_", "-")
    if title not in names():
        raise AttributeError(f"there is no study {title!r}; there are {', '.join(names())}")
    return find(title)


def __dir__() -> list[str]:
    return sorted([*globals(), *(name.replace("-", "_") for name in names())])
