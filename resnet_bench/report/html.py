"""report.html: one file that needs no network and no JavaScript. Document -> HTML."""

from __future__ import annotations

import base64
import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from resnet_bench.report.claim_words import powers, together
from resnet_bench.report.document import Document
from resnet_bench.text import command, one_line

TEMPLATE = "report.html.jinja"


def to_html(document: Document, png: Callable[[str], bytes]) -> str:
    """The report; `png` gives the bytes of a figure by its name."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    environment.filters["command"] = lambda words: command(*words)
    environment.filters["data_uri"] = lambda name: f"data:image/png;base64,{base64.b64encode(png(name)).decode()}"
    environment.filters["size"] = lambda name: png_size(png(name))
    environment.filters["together"] = together
    environment.filters["powers"] = powers
    template = (importlib.resources.files("resnet_bench.report") / TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(document=document)


def _printable(value: Any) -> Any:
    """Every text that goes into the page, without characters that HTML forbids or that turn the text around."""
    return one_line(value) if type(value) is str else value  # what the template itself has made is a Markup


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels: so a browser keeps the room before the picture is decoded."""
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def read_png(folder: Path) -> Callable[[str], bytes]:
    """Reads a figure of a study's folder by its name."""
    return lambda name: (folder / "figures" / f"{name}.png").read_bytes()
