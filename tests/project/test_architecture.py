"""The rules of the package's shape: imports go one way, nothing happens at import, torch only where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "resnet_bench"
# A module may import only from its own room or from rooms that stand before it.
ORDER = [
    "errors", "text", "terminal", "busy", "hush", "git", "places", "networks", "cores", "machine", "crowding",
    "files", "schema", "config", "studies", "execution", "results", "complexity", "environment", "timing", "data",
    "models", "training", "frames", "analysis", "report", "plot", "study", "cost", "executors", "trained", "doctor",
    "gate", "regression", "api", "cli",
]  # fmt: skip
CONSUMERS = {"frames", "analysis", "report", "plot"}
TORCH_FREE = {*ORDER[: ORDER.index("complexity")], *CONSUMERS, "api", "cli"}
READ_BY_CONSUMERS = {*CONSUMERS, "text", "results", "files", "config", "errors", "networks", "complexity"}


def modules() -> dict[str, Path]:
    files = [path for path in PACKAGE.rglob("*.py") if path.stem != "__main__"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in files}


def imports(path: Path) -> set[str]:
    return _named(path, ast.walk(ast.parse(path.read_text())))


def loaded(path: Path) -> set[str]:
    """What is imported for more than the checking of types."""
    return _named(path, _run(ast.parse(path.read_text())))


def _run(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _run(child)


def _named(path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__"])
def test_imports_go_one_way(module: str) -> None:
    mine = ORDER.index(room(module))
    for name in imports(modules()[module]):
        if name.startswith("resnet_bench."):
            other = room(name.removeprefix("resnet_bench."))
            assert ORDER.index(other) <= mine, f"{module} imports {name}"
            if room(module) in CONSUMERS:
                assert other in READ_BY_CONSUMERS, f"{module} imports {name}"
    for name in loaded(modules()[module]):
        if room(module) in TORCH_FREE:
            assert name.split(".")[0] not in {"torch", "torchvision"}, f"{module} imports {name}"
        if room(module) not in CONSUMERS:
            assert name.split(".")[0] not in {"pandas", "matplotlib"}, f"{module} imports {name}"
        if module != "report.mpl":
            assert name.split(".")[0] != "matplotlib", f"{module} imports {name}"
        assert name != "matplotlib.pyplot", f"{module} has windows in mind"


def test_no_modules_import_each_other() -> None:
    """Wherever the import stands, also within a function; only what is for types alone may go back."""
    known = modules()
    graph = {}
    for module, path in known.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resnet_bench."):
                base = (node.module or "").removeprefix("resnet_bench.")
                found |= {name if (name := f"{base}.{alias.name}") in known else base for alias in node.names}
        graph[module] = found & known.keys()
    while free := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in free}
    assert graph == {}, "these need each other, or stand above such"


def prints(path: Path) -> list[str]:
    """What a module writes to a terminal with, line by line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in {"print", "Console", "rich.print"} or called.endswith(
            (".Console", "stdout.write", "stderr.write", "stdout.writelines", "stderr.writelines")
        ):
            found.append(f"{path}:{node.lineno}: {called}")
    return found


def test_there_is_one_way_to_the_terminal() -> None:
    assert len(prints(PACKAGE / "terminal.py")) == 2  # rich's consoles
    others = [line for name, path in modules().items() if name != "terminal" for line in prints(path)]
    assert others == [], "use resnet_bench.terminal: say, complain, sayer, console"


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import resnet_bench.cli; resnet_bench.cli.make_parser().format_help()", "torch pandas numpy matplotlib rich"),
        ("import resnet_bench.study.plan, resnet_bench.study.folder, resnet_bench.cli.status", "torch pandas"),
        ("import resnet_bench.study.threads, resnet_bench.study.merge, resnet_bench.executors", "torch pandas"),
        ("import resnet_bench.study.verify, resnet_bench.trained.compared, resnet_bench.report", "torch pandas"),
        ("import resnet_bench.data.sources", "torch pandas matplotlib"),
    ],
)
def test_light_commands_load_no_heavy_package(statement: str, forbidden: str) -> None:
    code = f"import sys; {statement}; sys.exit(' '.join(set('{forbidden}'.split()) & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_nothing_happens_at_import() -> None:
    code = (
        "import torch; before = torch.get_rng_state().sum(), torch.get_num_threads()\n"
        "import resnet_bench.executors.local, resnet_bench.doctor\n"
        "assert before == (torch.get_rng_state().sum(), torch.get_num_threads())\n"
        "assert not torch.are_deterministic_algorithms_enabled()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
