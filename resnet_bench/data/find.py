"""Which data somebody means, looked for with a sign of life."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from resnet_bench.terminal import is_terminal, progress_line

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source


def find_data(default: str, data: str | None, quiet: bool = False) -> Source:
    """The source that `data` names, else the default; on a terminal the files of a folder are counted meanwhile.

    Raises:
        UsageError: see data.sources.find_source.
    """
    from resnet_bench.data.sources import find_source

    return find_source(default, data, progress=progress_line("listing", quiet or not is_terminal(sys.stdout)))
