"""matplotlib, loaded so that no setting of a user's has a say in it; no other module imports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_settings() -> Iterator[None]:
    """No backend named by the environment (a notebook's, say), no matplotlibrc, no talk about folders and fonts.

    A matplotlibrc in the current folder comes before what the environment names, so for matplotlib there is none.
    """
    names = ("MPLBACKEND", "MATPLOTLIBRC")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    exists, logger = os.path.exists, logging.getLogger("matplotlib")
    level = logger.level
    os.environ["MATPLOTLIBRC"] = os.devnull  # nothing stands there
    os.path.exists = lambda path: path != "matplotlibrc" and exists(path)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.path.exists = exists
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(before)


with _without_settings():
    from matplotlib import get_configdir, rc_context, rcdefaults, rcParams
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch, Rectangle
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    get_configdir()  # asked for later otherwise, and then told of where there is none

__all__ = [
    "Artist", "Axes", "Figure", "FigureCanvasAgg", "FixedLocator", "FuncFormatter", "Line2D", "LogLocator",
    "MaxNLocator", "NullLocator", "Patch", "Rectangle", "Text", "findfont", "get_font", "rcParams", "rc_context",
    "rcdefaults", "to_rgb",
]  # fmt: skip
