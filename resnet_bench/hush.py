"""What libraries warn of by themselves is kept from a user's terminal, in this process and in those that it starts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

IGNORE = "ignore"  # what the processes find in PYTHONWARNINGS that one with hushed libraries has started


def warnings_are_wanted() -> bool:
    """Did the user ask for them, with PYTHONWARNINGS=default, python -W, or TORCH_LOGS."""
    return bool(set(sys.warnoptions) - {IGNORE} or os.environ.get("TORCH_LOGS"))


@contextlib.contextmanager
def libraries_hushed() -> Iterator[None]:
    """Show no warning and log nothing below an error while this is entered, unless the user wants to see them.

    What is shown changes, not what is raised: a filter that makes errors of warnings goes on doing so.
    """
    if warnings_are_wanted():
        yield
        return
    disabled, given = logging.root.manager.disable, os.environ.get("PYTHONWARNINGS")
    with warnings.catch_warnings():
        warnings.showwarning = _show_nothing
        logging.disable(logging.WARNING)
        os.environ["PYTHONWARNINGS"] = IGNORE  # for processes that load libraries before any code of ours
        try:
            yield
        finally:
            logging.disable(disabled)
            if given is None:
                os.environ.pop("PYTHONWARNINGS", None)
            else:
                os.environ["PYTHONWARNINGS"] = given


def _show_nothing(*warning: object, **more: object) -> None:
    """In the place of `warnings.showwarning`."""
