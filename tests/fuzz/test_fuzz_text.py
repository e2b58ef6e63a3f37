"""Hostile names wherever names are written: the page keeps its shape, the table its cells, the terminal its lines."""

from __future__ import annotations

import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from resnet_bench.analysis.findings import claim_row
from resnet_bench.report import canvas, markdown
from resnet_bench.report.cards import groups
from resnet_bench.report.claims_table import claims_table
from resnet_bench.report.document import Document, Picture, Section
from resnet_bench.report.html import to_html
from resnet_bench.report.limitations import Limit
from resnet_bench.report.page import to_page
from resnet_bench.report.tables import TextTable, to_latex, to_markdown
from resnet_bench.terminal import columns
from resnet_bench.text import command, one_line, to_json_text, visible
from tests.fuzz.mutations import FUZZ

MARKUP = [
    "[wild]", ":dog:", "|", "\n", "\r\n", "# ", "## x", "- ", "1. ", "1) ", "> ", "```", "`", "``", "~~~", "~~", "**",
    "__", "<b>", "</table>", "<!--", "&lt;", "&#124;", "![x](y)", "[x](javascript:y)", "http://x.y", "www.x.y", "\\",
    "\\|", "---", "===", "    x", "\t", "\x00", "\x1b[31m", "\x9b", "\u202e", "\u2028", "\ud800", "\udcff", "$x$",
    "%", "{", "}", "\\end{table}", "[", "*", "&", "猫", "é", "'", '"', "=1+1", "{{ 7 * 7 }}", "]]>",
]  # fmt: skip
NAMES = st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), max_size=6).map("".join)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
# What ends or reshapes a block; a name may bring none of them.
BLOCKS = {"heading_open", "bullet_list_open", "ordered_list_open", "list_item_open", "tr_open", "td_open", "th_open",
          "table_open", "paragraph_open", "fence", "code_block", "hr", "blockquote_open", "html_block"}  # fmt: skip
INLINES = {
    "link_open",
    "image",
    "html_inline",
    "em_open",
    "strong_open",
    "s_open",
    "code_inline",
    "softbreak",
    "hardbreak",
}


def parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shape(text: str) -> list[str]:
    """The blocks of a page in their order, and the markup within them."""
    found = []
    for token in parsed(text):
        found += [token.type] if token.type in BLOCKS else []
        found += [child.type for child in token.children or [] if child.type in INLINES]
    return found


def shown(token: Token) -> str:
    """What a reader sees of a line."""
    return "".join(child.content for child in token.children or [])


def a_table(name: str) -> TextTable:
    return TextTable(name, ["class", name], [["cat", "1.0"], [name, "-"]], [name, "a note"])


def a_document(name: str) -> Document:
    errors = Section("Errors", [name], [Picture("curves", name, name)], {"errors": a_table(name)})
    sections = [errors, Section("Missing", ["-"])]
    row = claim_row("twins", name, name, name, name, n=2)
    row = replace(row, verdict="supported", effect=1.0, unit="points")
    return Document(
        name=name,
        verdict=name,
        facts=[name, name],
        sections=sections,
        sources=["runs.csv"],
        limitations=[Limit(name, name)],
        cards=groups([row]),
        not_measured=f"Not measured: {name}.",
        claims_table=claims_table([row], name),
        rules=[name],
    )


@FUZZ
@given(NAMES)
def test_a_name_changes_no_shape_of_a_page_or_of_its_tables(name: str) -> None:
    assume(name.strip())
    assert shape(to_page(a_document(name))) == shape(to_page(a_document("cat")))
    assert shape(to_markdown(a_table(name))) == shape(to_markdown(a_table("cat")))


@FUZZ
@given(NAMES)
def test_a_reader_of_the_page_sees_the_name(name: str) -> None:
    name = one_line(name).strip()
    assume(name and not set(name) & set("\u00a0\u3000") and "  " not in name)
    for text in (markdown.heading(2, name), markdown.item(name), "\n".join(markdown.table(["a"], ["---"], [[name]]))):
        lines = [shown(token) for token in parsed(text) if token.type == "inline"]
        assert lines[-1] == name, text


@pytest.mark.parametrize("name", [*MARKUP, "a\nb | c", "# x", "x #", "cat ##"])
def test_every_kind_of_markup_is_a_text(name: str) -> None:
    for text in (name, f"a{name}b", f"a {name}"):
        if text.strip():
            assert shape(to_page(a_document(text))) == shape(to_page(a_document("cat"))), text


class Page(html.parser.HTMLParser):
    """The tags of a page in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(" ".join([tag, *(name for name, _ in attrs if name != "class")]))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")


@FUZZ
@given(NAMES)
def test_a_name_adds_no_tag_to_the_page_in_html(name: str) -> None:
    text = to_html(a_document(name), lambda _: PNG)
    assert Page(text).tags == Page(to_html(a_document("cat"), lambda _: PNG)).tags
    assert text.encode()  # no lone surrogate
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@FUZZ
@given(NAMES)
def test_a_name_ends_no_row_and_no_group_in_latex(name: str) -> None:
    text = to_latex(a_table(name))
    bare = re.sub(r"\\[{}\\&%$#_]", "", text.replace("\\\\\n", "\n"))
    assert bare.count("{") == bare.count("}")
    assert text.count("\n") == to_latex(a_table("cat")).count("\n")
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    assert not any(re.match(r" *[\[*]", row) for row in rows)
    assert text.count("\\end{") == to_latex(a_table("cat")).count("\\end{")


@FUZZ
@given(NAMES, NAMES)
def test_a_name_stays_in_its_line_on_a_terminal(name: str, other: str) -> None:
    text = columns(("class", name), [(name, "1"), (other, "2")], texts=1)
    assert text.count("\n") == 4 and visible(text) == text
    assert json.loads(to_json_text([name])) == [name] and visible(to_json_text([name])) == to_json_text([name])
    assert "\n" not in command("resnet-bench", "report", name)


@pytest.mark.parametrize("name", ["a\x1b\x00b", "猫 \U0001f408", "$x$ <b>&", "a\nb", "\ud800", "\u202e]]>"])
def test_a_figure_with_a_name_is_well_formed(name: str, tmp_path: Path) -> None:
    @canvas.styled
    def draw() -> canvas.Figure:
        figure, axes = canvas.panels([name], name, name, longest_tick=name)
        axes[0].set_ylabel(name)
        return figure

    _, svg = canvas.save(draw(), tmp_path / "x")  # a warning of a missing glyph would be an error
    ElementTree.fromstring(svg.read_bytes())
