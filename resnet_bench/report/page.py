"""The README.md of a study's folder: Document -> Markdown, for reading where results/ is shown on a web forge."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_bench.report import markdown
from resnet_bench.report.document import Document, Section
from resnet_bench.report.tables import to_markdown


def to_page(document: Document) -> str:
    """The page as Markdown."""
    parts = [
        markdown.heading(1, f"Study {document.name}"),
        f"{markdown.bold(document.verdict)}\n",
        *map(markdown.item, document.facts),
        "",
        *_claims(document),
        *_rules(document),
        *(line for section in document.sections for line in _section(section)),
        f"Made from {_listed(document.sources)} by {markdown.code(*document.redrawn_by)}; do not edit by "
        "hand. The figures are also there as SVG, the tables as LaTeX, and all of it as one file, report.html.",
    ]
    return "\n".join(parts) + "\n"


def _claims(document: Document) -> list[str]:
    """The table of claims; of several settings first what is short, and the rest to be opened."""
    if not document.claims_table:
        return []
    whole = to_markdown(document.claims_table)
    if not document.claims_by_setting:
        return [whole]
    opened = ["<details><summary>The numbers behind the verdicts</summary>\n", whole, "</details>\n"]
    return [to_markdown(document.claims_by_setting), *opened]


def _rules(document: Document) -> list[str]:
    if not document.rules:
        return []
    rules = map(markdown.item, document.rules)
    return ["<details><summary>How it is judged</summary>\n", *rules, "\n</details>\n"]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _section(section: Section) -> list[str]:
    if not (section.sentences or section.pictures or section.tables):
        return []
    lines = [markdown.heading(2, section.title)]
    if section.sentences:
        lines += [*map(markdown.item, section.sentences), ""]
    lines += [f"![{markdown.inline(picture.title)}](figures/{picture.name}.png)\n" for picture in section.pictures]
    return lines + [to_markdown(table) for table in section.tables.values()]
