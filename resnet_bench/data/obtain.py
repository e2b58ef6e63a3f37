"""Fetch what a dataset lacks, and say what was tried where that cannot be done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from resnet_bench.data.download import DownloadFailed, Limits, Progress, RemoteFile, fetch
from resnet_bench.errors import Failure, UsageError
from resnet_bench.text import one_line


@dataclass(frozen=True)
class Wanted:
    """The files of a dataset, and the folder that they are fetched into."""

    title: str
    files: tuple[RemoteFile, ...]
    home: Path

    @property
    def setting(self) -> str:
        """The environment variable that replaces the mirrors by others, separated by blanks.

        One that ends in / is a folder, to which the file's name is added.
        """
        return f"RESNET_BENCH_{self.title.upper().replace('-', '')}_URL"

    def urls(self, file: RemoteFile) -> tuple[str, ...]:
        """Where that file is fetched from."""
        given = os.environ.get(self.setting, "").split()
        return tuple(url + file.name if url.endswith("/") else url for url in given) or file.urls

    @property
    def hosts(self) -> str:
        """The machines that deliver it, in the order in which they are asked."""
        return ", ".join(dict.fromkeys(map(_host, self.urls(self.files[0]))))


def _host(url: str) -> str:
    """Without a user's name and password, which may stand in an address."""
    try:
        return one_line(urlsplit(url).hostname or "an address without a host")
    except ValueError:
        return "an address that is none"


def fetch_all(wanted: Wanted, looked: Sequence[str], progress: Progress | None, limits: Limits) -> None:
    """Fetch the files. RESNET_BENCH_OFFLINE=1 forbids it; the checksums hold whatever the mirror.

    Raises:
        Failure: one of them cannot be had; says what was tried (`looked`: places where nothing lay), and the ways on.
    """
    if os.environ.get("RESNET_BENCH_OFFLINE", "0") not in ("", "0"):
        tried = ["not downloaded: RESNET_BENCH_OFFLINE=1 forbids downloading"]
    else:
        try:
            for file in wanted.files:
                fetch(replace(file, urls=wanted.urls(file)), wanted.home, progress=progress, limits=limits)
            return
        except DownloadFailed as error:
            tried = [f"{url}: {reason}" for url, reason in error.failures]
        except Failure as error:
            tried = [str(error)]
    names = ", ".join(file.name for file in wanted.files)
    where = f"{wanted.home / names}" if len(wanted.files) == 1 else f"the folder {wanted.home}"
    raise Failure(
        "\n".join(
            [
                f"{wanted.title} is not here and could not be downloaded",
                *(f"  {place}: nothing there" for place in looked),
                *(f"  {one_line(line)}" for line in tried),
                f"Either put {names} at {where},",
                "or say where it lies, or a folder of images (--data),",
                "or run `resnet-bench demo`, which needs no download.",
            ]
        )
    )


def rejected(path: Path, wrong: str) -> UsageError:
    """Move the file aside, so that the next call does not meet it again, and say so."""
    aside = path.with_name(f"{path.name}.rejected")
    try:
        path.replace(aside)
        state = f"kept aside at {aside}; put an unaltered copy in its place, or leave --data out to download one"
    except OSError as error:
        state = f"left where it is ({error.strerror}); put an unaltered copy in its place"
    return UsageError(f"{path}: truncated or altered: {wrong}; {state}")
