"""What the documents say is so: links lead somewhere, commands and Python are what there is, times were recorded."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import resnet_bench
from resnet_bench.cli import make_parser
from resnet_bench.results.rows import RunRow
from resnet_bench.results.tables import RUNS, read_csv
from tests.conftest import ROOT
from tests.project.test_architecture import ORDER

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
names = [page.relative_to(ROOT).as_posix() for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=names)
PARSER = make_parser()
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)")
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)


def prose(text: str) -> str:
    """Without blocks of code, and without code in lines."""
    return re.sub(r"`[^`\n]*`", "``", FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The names under which its headings can be linked to, as web forges and the site make them."""
    text = INCLUDE.sub(lambda found: (page.parent / found[1]).read_text(), page.read_text())
    titles = re.findall(r"^#{1,3} (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for place, anchor in LINK.findall(FENCE.sub("", page.read_text())):
        target = page.parent / place if place else page
        assert target.exists(), f"{place}: is not there"
        assert not anchor or anchor in anchors(target), f"{place}#{anchor}: no such heading"


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


# ---------------------------------------------------------------------------------------------- commands


def shell_lines(text: str) -> Iterator[str]:
    """The lines of indented blocks and of those without a language; a line that ends in \\ goes on."""
    fenced = "\n".join(block for language, block in FENCE.findall(text) if language in {"", "sh", "bash"})
    indented = "\n".join(line.strip() for line in FENCE.sub("", text).splitlines() if line.startswith("    "))
    yield from re.sub(r"\\\n\s*", " ", f"{fenced}\n{indented}").splitlines()


def commands(text: str) -> Iterator[list[str]]:
    """Every call of resnet-bench: in blocks, and in lines of text where they have arguments."""
    inline = [code for code in re.findall(r"`(resnet-bench [^`\n]+)`", FENCE.sub("", text)) if " " in code]
    for line in [*shell_lines(text), *inline]:
        if found := re.match(r"(?:\w+=\S+ |exec |\$ )*resnet-bench\b(.*)", line):
            yield shlex.split(found[1].partition(" > ")[0], comments=True)


def is_accepted(words: list[str]) -> bool:
    """Does the parser take the call; or is it the bare name of a command, as a text may have it."""
    try:
        _, rest = PARSER.parse_known_args(words)
    except SystemExit as end:
        return end.code == 0 or ("--help" not in words and len(words) <= 2 and is_accepted([*words, "--help"]))
    return not [word for word in rest if word.startswith("-")]


@every_page
def test_every_command_is_one(page: Path) -> None:
    calls = [words for words in commands(page.read_text()) if words[:1] != ["COMMAND"]]
    assert [f"resnet-bench {shlex.join(words)}" for words in calls if not is_accepted(words)] == []


@every_page
def test_every_target_of_make_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    inline = re.findall(r"`(make [^`\n]+)`", text)
    named = [found[1] for line in [*shell_lines(text), *inline] if (found := re.match(r"make ([a-z-]+)", line))]
    assert set(named) <= targets


@every_page
def test_every_module_that_is_called_is_one(page: Path) -> None:
    for name in re.findall(r"python -m ((?:resnet_bench|benchmarks|tests)[\w.]*)", page.read_text()):
        place = ROOT / name.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name


# ---------------------------------------------------------------------------------------------- Python, TOML


def modules_of(tree: ast.Module) -> dict[str, str]:
    """What is imported of this package, by the name that it has in the block."""
    imported = (node for node in ast.walk(tree) if isinstance(node, ast.Import))
    return {alias.asname or alias.name: alias.name for node in imported for alias in node.names}


@every_page
def test_python_names_what_is_exported(page: Path) -> None:
    for block in (block for language, block in FENCE.findall(page.read_text()) if language == "python"):
        tree = ast.parse(block)
        ours = {name for name, module in modules_of(tree).items() if module == "resnet_bench"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
                assert node.attr in resnet_bench.__all__, f"rb.{node.attr}"


@every_page
def test_toml_is_toml(page: Path) -> None:
    for block in (block for language, block in FENCE.findall(page.read_text()) if language == "toml"):
        tomllib.loads(block)


# ---------------------------------------------------------------------------------------------- times, rooms


def minutes(folder: Path) -> float:
    """What a committed study took: training and evaluation of all its runs."""
    rows: list[RunRow] = read_csv(folder / RUNS.file, RUNS)
    return sum(row.train_seconds + row.eval_seconds for row in rows) / 60


def test_times_of_committed_studies_are_the_recorded_ones() -> None:
    page = (ROOT / "docs" / "first_steps.md").read_text()
    said = re.findall(r"^\| \[`[\w-]+`\]\(\.\./results/([\w-]+)/README\.md\) .* \| (\d+) min", page, re.MULTILINE)
    assert len(said) == 4
    for study, number in said:
        assert round(minutes(ROOT / "results" / study)) == int(number), study


def test_the_rooms_stand_in_the_order_of_imports() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| room | what it is |")[2].partition("\n\n")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    rooms = [room for cell in cells for room in re.findall(r"`(\w+)`", cell)]
    assert set(rooms) <= set(ORDER) and set(ORDER) - set(rooms) <= {"regression"}
    highest = [min(ORDER.index(room) for room in re.findall(r"`(\w+)`", cell)) for cell in cells]
    assert len(rooms) == len(set(rooms)) and highest == sorted(highest)
