"""The README.md of a study's folder: Document -> Markdown, for reading where results/ is shown on a web forge."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_bench.report import markdown
from resnet_bench.report.cards import Card
from resnet_bench.report.claim_words import powers
from resnet_bench.report.document import Document, Picture, Section
from resnet_bench.report.tables import to_markdown


def to_page(document: Document) -> str:
    """The page as Markdown."""
    parts = [
        markdown.heading(1, f"Study {document.name}"),
        f"{markdown.bold(document.verdict)}\n",
        *_limitations(document),
        *map(markdown.item, document.facts),
        "",
        *([_picture(document.first)] if document.first else []),
        *_claims(document),
        *(line for section in document.sections for line in _section(section)),
        *_rules(document),
        f"Made from {_listed(document.sources)} by {markdown.code(*document.redrawn_by)}; do not edit by "
        "hand. The figures are also there as SVG, the tables as LaTeX, and all of it as one file, report.html.",
    ]
    return "\n".join(parts) + "\n"


def _limitations(document: Document) -> list[str]:
    if not document.limitations:
        return []
    items = [f"- {markdown.bold(f'{limit.about}:')} {markdown.inline(limit.text)}" for limit in document.limitations]
    return [markdown.heading(2, "What this can and cannot show"), *items, ""]


def _claims(document: Document) -> list[str]:
    """The cards, and what was not measured; of several settings a table. The numbers behind them are to be opened."""
    if not document.claims_table:
        return []
    lines = [markdown.heading(2, "Claims")]
    if document.claims_by_setting:
        lines.append(to_markdown(document.claims_by_setting))
    for group in document.cards:
        lines += [markdown.heading(3, group.title), *map(_card, group.cards), ""]
    if document.not_measured:
        lines.append(f"{markdown.paragraph(document.not_measured)}\n")
    opened = ["<details><summary>The numbers behind the verdicts</summary>\n", to_markdown(document.claims_table)]
    return [*lines, *opened, "</details>\n"]


def _card(card: Card) -> str:
    """`- The claim (networks): **supported** at this budget, **not testable** of trained networks. The effect.`"""
    verdicts = ", ".join(f"{markdown.bold(line.verdict)} {line.about}".strip() for line in card.lines)
    subject = markdown.inline(card.row.subject)
    effect = f" {markdown.inline(f'{powers(card.effect)}: {card.row.test}')}." if card.effect else ""
    return f"{markdown.item(card.title)} ({subject}): {verdicts}.{effect}"


def _rules(document: Document) -> list[str]:
    if not document.rules:
        return []
    rules = map(markdown.item, document.rules)
    return [
        markdown.heading(2, "How it is judged"),
        "<details><summary>The rules</summary>\n",
        *rules,
        "\n</details>\n",
    ]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _section(section: Section) -> list[str]:
    if not (section.sentences or section.pictures or section.tables):
        return []
    lines = [markdown.heading(2, section.title)]
    if section.sentences:
        lines += [*map(markdown.item, section.sentences), ""]
    lines += map(_picture, section.pictures)
    return lines + [to_markdown(table) for table in section.tables.values()]


def _picture(picture: Picture) -> str:
    return f"![{markdown.inline(picture.title)}](figures/{picture.name}.png)\n"
