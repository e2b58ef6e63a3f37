"""The parts of the site that are made when it is built, so that they cannot be out of date.

`{include} ../FILE.md` puts in a file of the repository, its links made right; `{commands}` the help of every command;
`{rules}` the rules by which claims are judged; `{notebook} FILE` a notebook, executed. The reports of the committed
studies are copied beside the pages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Files of the repository that have a page of their own here.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
         "results/README.md": "dictionary.md", "docs": "index.md"}  # fmt: skip
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
HELP_WIDTH = "86"
PICTURES = {".png", ".svg"}


# ---------------------------------------------------------------------------------------------- links, included files


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put in what a page includes, and turn links to files of the repository into links of the site."""

    def included(found: re.Match[str]) -> str:
        file = (HERE / found[1]).resolve()
        app.env.note_dependency(str(file))
        return relinked(file.read_text(), file.parent)

    text = relinked(source[0], Path(app.env.doc2path(docname)).parent)
    source[0] = INCLUDE.sub(included, text)


def relinked(text: str, folder: Path) -> str:
    """The text of a file in a folder, its links as a page in docs/ has them; one that leads nowhere stays as it is."""
    return LINK.sub(lambda found: f"{_target((folder / found[1]).resolve(), found[1])}{found[2] or ''}", text)


def _target(file: Path, written: str) -> str:
    if not file.is_relative_to(ROOT) or not file.exists():
        return written
    name = file.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    if name.startswith("results/") and (file.parent / "report.html").exists() and file.name == "README.md":
        return f"site:{name.replace('README.md', 'report.html')}"
    beside = os.path.relpath(file, HERE)
    return beside if file.is_relative_to(HERE) or file.suffix in PICTURES else f"path:{beside}"


def copy_reports(app: Sphinx, error: Exception | None) -> None:
    """Put the reports of the committed studies where the pages link to them."""
    if error is None and app.builder.format == "html":
        for report in sorted((ROOT / "results").glob("*/report.html")):
            place = Path(app.outdir) / report.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(report, place)


# ---------------------------------------------------------------------------------------------- directives


class Commands(SphinxDirective):
    """The help of every command, under a heading each."""

    def run(self) -> list[nodes.Node]:
        """A section for each."""
        from resnet_bench.cli import make_parser

        os.environ["COLUMNS"] = HELP_WIDTH
        helps = {parser.prog: parser.format_help().strip() for parser in leaves(make_parser())}
        parts = [f"## {call}\n\n```text\n{text}\n```\n" for call, text in helps.items()]
        return self.parse_text_to_nodes("\n".join(parts), allow_section_headings=True)


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser itself and those of all its commands, in order."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from leaves(child)


class Rules(SphinxDirective):
    """The rules by which claims are judged, as a list."""

    def run(self) -> list[nodes.Node]:
        """A bullet for each."""
        from resnet_bench.analysis.claims import RULES

        items = [nodes.list_item("", nodes.paragraph(text=rule)) for rule in RULES]
        return [nodes.bullet_list("", *items)]


class Notebook(SphinxDirective):
    """A notebook: executed, then its text, code and output."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Its cells; a cell that fails is an error of the build."""
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError

        path, _ = self.env.relfn2path(self.arguments[0])
        file = HERE / path
        self.env.note_dependency(str(file))
        notebook = nbformat.read(file, as_version=4)
        os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])  # of its process
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(file.parent)}})
        client.log.setLevel("WARNING")
        client.extra_arguments = ["--log-level=ERROR"]  # of the kernel, which else warns of its own ports
        try:
            client.execute()
        except CellExecutionError as error:
            raise self.error(f"{file}: {error.ename}: {error.evalue}") from error
        text = "\n\n".join(as_markdown(cell) for cell in notebook.cells)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def as_markdown(cell: Any) -> str:
    """A cell of a notebook, with what came out of it."""
    if cell.cell_type == "markdown":
        return relinked(cell.source, HERE / "notebooks")
    return "\n\n".join([block("python", cell.source), *map(_output, cell.outputs)])


def block(kind: str, text: str) -> str:
    """A block of code, or a directive."""
    return f"`````{kind}\n{text}\n`````"


def _output(output: Any) -> str:
    if output.output_type == "stream":
        return block("text", output.text.rstrip())
    if image := output.data.get("image/png"):
        return block("{raw} html", f'<img class="output" alt="a figure" src="data:image/png;base64,{image.strip()}">')
    if table := output.data.get("text/html"):
        return block("{raw} html", f'<div class="output frame">{table}</div>')
    return block("text", output.data["text/plain"])


def readable(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str) -> Any:
    """The signature of a dataclass, in which an empty dictionary is one."""
    return signature and signature.replace("<factory>", "{}"), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", read_source)
    app.connect("build-finished", copy_reports)
    app.connect("autodoc-process-signature", readable)
    app.add_directive("commands", Commands)
    app.add_directive("rules", Rules)
    app.add_directive("notebook", Notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
