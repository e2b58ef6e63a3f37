"""Folders of the user: what ~ stands for, and where the cache is."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.errors import Failure, UsageError

CACHE = "RESNET_BENCH_CACHE"


def user_path(text: str | Path) -> Path:
    """The path with a leading ~ or ~NAME replaced. UsageError where there is no such user, or he has no home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"{text}: no home folder is known for that; write the whole path, or ./~...") from None


def home_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """HOME, else what the system's list of users says; None for a user who has neither, as in containers."""
    try:
        home = Path(environ.get("HOME") or Path("~").expanduser())
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


@dataclass(frozen=True)
class Cache:
    """Where fetched and decoded data are kept, and why there."""

    folder: Path
    reason: str


def find_cache(environ: Mapping[str, str] = os.environ) -> Cache:
    """RESNET_BENCH_CACHE; else in XDG_CACHE_HOME; else in ~/.cache; where that cannot be, in the temporary folder.

    Raises:
        UsageError: RESNET_BENCH_CACHE names the home of nobody.
        Failure: the folder among the temporary ones cannot be made, or is somebody else's.
    """
    if environ.get(CACHE):
        return Cache(user_path(environ[CACHE]), CACHE)
    base = environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Cache(Path(base, "resnet-bench"), "XDG_CACHE_HOME")
    home = home_folder(environ)
    if home is not None and can_be(folder := home / ".cache" / "resnet-bench"):
        return Cache(folder, "the home folder")
    why = "there is no home folder" if home is None else f"{home} cannot be written"
    return Cache(_temporary(why), f"{why}; {CACHE} names a place that lasts")


def can_be(folder: Path) -> bool:
    """Is the folder there, or can it be made."""
    if folder.is_dir():
        return True
    there = next((path for path in folder.parents if path.exists()), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _temporary(why: str) -> Path:
    """A folder of this user alone among the temporary ones, where anybody may have made one of its name."""
    mend = f"{why}, so the cache would be there; set {CACHE} to a folder that can be written"
    try:
        folder = Path(tempfile.gettempdir(), f"resnet-bench-cache-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Failure(f"no place for the cache ({error.strerror or error}): {mend}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Failure(f"{folder} is not a folder of this user alone: {mend}")
    return folder


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of `find_cache`."""
    return find_cache(environ).folder
