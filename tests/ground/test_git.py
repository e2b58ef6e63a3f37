"""git is asked about the folder's own repository, which is only read, whatever a hook's environment says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_bench import git as helper
from resnet_bench.errors import UsageError
from resnet_bench.gate.checkouts import find_root, two_trees
from resnet_bench.git import GitError, environment, git_state, is_foreign, run, write_tree
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.verify import verify
from tests.conftest import ROOT, git

HOOK = """#!/bin/sh
exec "{python}" -c '
from pathlib import Path
from resnet_bench.git import run
from resnet_bench.gate.checkouts import find_base, find_root, two_trees
root = find_root(Path("."))
with two_trees(root, find_base(root, "HEAD~1")) as (base, head):
    print((base / "file").read_text(), (head / "file").read_text(), file=open("{told}", "w"))
'
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; by attributes one file has CRLF, one a filter's work, one is not for archives."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "filter.loud.smudge", "tr a-z A-Z")
    attributes = "crlf.txt text eol=crlf\nloud.txt filter=loud\nbench.py export-ignore\nid.txt export-subst\n"
    (folder / ".gitattributes").write_text(attributes)
    for name, text in {"crlf.txt": "a\nb\n", "loud.txt": "a\n", "bench.py": "1\n", "id.txt": "$Format:%H$\n"}.items():
        (folder / name).write_text(text)
    (folder / " blank").write_text("")
    (folder / "link").symlink_to("bench.py")
    for text in ("one", "two"):
        (folder / "file").write_text(text)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", text)
    return folder


def files_of(folder: Path) -> dict[str, tuple[bytes | str, bool]]:
    paths = [path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts]
    return {
        str(path.relative_to(folder)): (str(path.readlink()), False) if path.is_symlink()
        else (path.read_bytes(), os.access(path, os.X_OK))
        for path in paths if not path.is_dir()
    }  # fmt: skip


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a repository, `.git` included, with the time at which it was changed."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


# ---------------------------------------------------------------------------------------------- only read


def test_a_commit_in_whose_hook_two_trees_are_made_holds_what_was_meant(repository: Path, tmp_path: Path) -> None:
    hook, told = repository / ".git" / "hooks" / "pre-commit", tmp_path / "told"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable, told=told))
    hook.chmod(0o755)
    before = git(repository, "ls-tree", "HEAD")
    (repository / "file").write_text("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        git(repository, "-c", f"core.hooksPath={hook.parent}", "commit", "--quiet", "--all", "--message", "three")
    assert told.read_text() == "one three\n"
    assert git(repository, "show", "HEAD:file") == "three"
    changed = set(before.splitlines()) ^ set(git(repository, "ls-tree", "HEAD").splitlines())
    assert len(changed) == 2 and all(line.endswith("\tfile") for line in changed)
    assert git(repository, "status", "--porcelain") == ""


def test_two_trees_are_what_git_checks_out_and_change_no_file_of_the_repository(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "config", "core.splitIndex", "true")  # whose parts lie in the repository
    (repository / "file").write_text("changed")
    before = everything(repository)
    with two_trees(repository, "HEAD~1") as (base, head):
        assert everything(repository) == before
        base_files, head_files = files_of(base), files_of(head)
        assert sorted(path.name for path in base.parent.iterdir()) == ["base", "head"]
    assert everything(repository) == before and not base.parent.exists()
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"), "HEAD~1")
    assert base_files == files_of(tmp_path / "worktree")
    assert base_files["crlf.txt"][0] == b"a\r\nb\r\n" and base_files["loud.txt"][0] == b"A\n"
    assert base_files["file"][0] == b"one" and head_files["file"][0] == b"changed"
    assert base_files["bench.py"] == head_files["bench.py"] and base_files[" blank"] == head_files[" blank"]
    assert base_files["id.txt"][0] == b"$Format:%H$\n" and base_files["link"] == head_files["link"] == (
        "bench.py",
        False,
    )


def test_a_gate_that_was_killed_is_cleared_away_by_the_next(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from resnet_bench.gate.checkouts import two_trees\n"
        "with two_trees(Path(sys.argv[1]), 'HEAD') as (base, _):\n"
        "    print(base.parent, flush=True); time.sleep(600)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(repository)], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    folder = Path(other.stdout.readline().strip())
    assert folder.parent == place
    (place / f"{folder.name}-link").symlink_to(repository)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    try:
        with two_trees(repository, "HEAD"):
            assert (folder / "base" / "file").exists()  # it lives
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert folder.exists()
    with two_trees(repository, "HEAD"):
        assert not folder.exists()
    assert [path.name for path in place.iterdir()] == [f"{folder.name}-link"] and repository.exists()
    assert git(repository, "worktree", "list").count("\n") == 0


def test_the_package_asks_git_only_for_what_reads() -> None:
    reading = {"rev-parse", "merge-base", "ls-files", "status"}
    asked = set()
    for path in (ROOT / "resnet_bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("git.run", "run") and len(node.args) > 1:
                asked |= {word.value for word in node.args[1:2] if isinstance(word, ast.Constant)}
    assert asked == reading


# ---------------------------------------------------------------------------------------------- which repository


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another repository, which the environment speaks of, as that of a hook does."""
    folder = tmp_path / "another"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    told = {"DIR": folder / ".git", "WORK_TREE": folder, "INDEX_FILE": folder / ".git" / "index"}
    for name, value in told.items():
        monkeypatch.setenv(f"GIT_{name}", str(value))
    return folder


def test_the_commit_of_a_run_is_that_of_this_package(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = git_state()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert there == git_state() and there[0] != git(hostile, "rev-parse", "HEAD")


def test_every_variable_that_may_lead_elsewhere_is_dropped(hostile: Path, repository: Path) -> None:
    named = run(repository, "rev-parse", "--local-env-vars").split()
    assert len(named) > 10 and all(map(is_foreign, named))
    assert is_foreign("GIT_CONFIG_KEY_0") and is_foreign("GIT_OF_A_LATER_VERSION") and not is_foreign("PATH")
    assert not set(named) & environment().keys()
    assert find_root(repository) == repository


def test_tests_inside_a_hook_touch_temporary_repositories_only(hostile: Path, tmp_path: Path) -> None:
    before = everything(hostile)
    words = [
        "-n",
        "0",
        "--basetemp",
        str(tmp_path / "inner"),
        "tests/gate/test_gate.py",
        "-k",
        "head_is_the_working_tree",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    assert everything(hostile) == before


def test_git_finds_no_repository_above_a_temporary_folder(repository: Path) -> None:
    (repository / "below").mkdir()
    with pytest.raises(GitError):
        git(repository / "below", "config", "user.name", "tester")


def test_nothing_else_starts_git() -> None:
    for path in (path for place in ("resnet_bench", "benchmarks", "tests") for path in (ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            first = node.elts[0] if isinstance(node, (ast.List, ast.Tuple)) and node.elts else None
            if isinstance(first, ast.Constant) and first.value == "git":
                assert path == Path(helper.__file__), f"{path}, line {node.lineno}"


# ---------------------------------------------------------------------------------------------- line ends


def test_line_ends_that_git_changed_are_told_in_one_line_and_mended_by_it(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(ROOT / "results" / "digits-shortcuts", origin / "study")
    git(origin, "init", "--quiet")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "results")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", "-c", "core.autocrlf=true", str(origin), str(clone))
    (fault,) = verify(StudyFolder(clone / "study"))
    assert re.search(r"study: \d\d+ files with line ends CRLF .* git config core.autocrlf false", fault)
    with pytest.raises(UsageError, match="has line ends CRLF") as error:
        StudyFolder(clone / "study").results()
    assert "remove" not in fault + str(error.value)
    git(clone, "config", "core.autocrlf", "false")
    git(clone, "rm", "-rq", "--cached", "study")
    git(clone, "checkout", "HEAD", "--", "study")
    assert verify(StudyFolder(clone / "study")) == [] and git(clone, "status", "--porcelain") == ""


def test_this_repository_keeps_results_byte_for_byte_and_code_with_lf(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    (folder / "results" / "a").mkdir(parents=True)
    shutil.copy2(ROOT / ".gitattributes", folder)
    git(folder, "init", "--quiet")
    git(folder, "config", "core.autocrlf", "true")
    mixed, binary = b"a,b\n1,2\r\n", b"\x89PNG\r\n\x1a\n"
    contents = {"results/a/runs.csv": mixed, "results/a/x.png": binary, "code.py": b"1\n2\n", "x.png": binary}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    for name in contents:
        (folder / name).unlink()
    git(folder, "checkout", "--quiet", "HEAD", "--", ".")
    assert {name: (folder / name).read_bytes() for name in contents} == contents


# ---------------------------------------------------------------------------------------------- what git says


def test_git_s_reason_and_its_way_out_are_shown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(repository, 12345, 12345)
    os.chown(repository / ".git", 12345, 12345)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    with pytest.raises(UsageError, match=r"dubious ownership .* git config --global --add safe.directory") as error:
        find_root(repository)
    assert "\n" not in str(error.value)
    with pytest.raises(GitError, match="dubious ownership"):
        write_tree(repository, "HEAD", repository.parent / "base")


def test_a_folder_outside_and_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="git gives none here: not a git repository"):
        find_root(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git is not installed"):
        find_root(tmp_path)
    assert git_state() == ("", None)
