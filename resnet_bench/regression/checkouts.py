"""Two checkouts side by side: the base from git, the head as it lies in the working tree."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from resnet_bench.errors import Failure, UsageError

MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
PINS = ("constraints.txt", "requirements.txt")


def find_root(path: Path) -> Path:
    """The top folder of the git checkout that `path` lies in. UsageError outside one."""
    try:
        return Path(_git(path, "rev-parse", "--show-toplevel"))
    except Failure:
        raise UsageError(f"{path.resolve()} is in no git checkout; the gate compares two of them") from None


def find_base(root: Path, ref: str | None) -> str:
    """The commit to compare with: that of `ref`, or where HEAD left the main branch. UsageError if there is none."""
    if ref:
        try:
            return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        except Failure:
            raise UsageError(f"git knows no commit {ref!r} here; fetch it, or give another --base") from None
    for branch in MAIN_BRANCHES:
        with contextlib.suppress(Failure):
            return _git(root, "merge-base", "HEAD", branch)
    raise UsageError(f"no main branch here (tried {', '.join(MAIN_BRANCHES)}); give --base (a shallow clone has none)")


def short(root: Path, commit: str) -> str:
    """The commit's abbreviated name."""
    return _git(root, "rev-parse", "--short", commit)


@contextlib.contextmanager
def two_trees(root: Path, commit: str) -> Iterator[tuple[Path, Path]]:
    """(base, head) as folders with names of equal length, next to one another; removed afterwards.

    The base is a git worktree. The head is a copy of all files that git has or would add, changes included.
    """
    with tempfile.TemporaryDirectory(prefix="resnet-bench-gate-") as folder:
        base, head = Path(folder, "base"), Path(folder, "head")
        try:
            _git(root, "-c", "core.hooksPath=", "worktree", "add", "--quiet", "--detach", str(base), commit)
            for name in _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
                source, target = root / name, head / name
                if name and source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, target)
            yield base, head
        finally:
            with contextlib.suppress(Failure):
                _git(root, "worktree", "remove", "--force", str(base))


def dependency_changes(base: Path, head: Path) -> list[str]:
    """What only one of the two trees asks to be installed: "-file: requirement" of the base, "+..." of the head."""
    before, after = _requirements(base), _requirements(head)
    return [f"-{line}" for line in sorted(before - after)] + [f"+{line}" for line in sorted(after - before)]


def _requirements(tree: Path) -> set[str]:
    found = set()
    for name in PINS:
        if (tree / name).is_file():
            lines = (tree / name).read_text().splitlines()
            found |= {f"{name}: {line.strip()}" for line in lines if line.strip() and not line.startswith("#")}
    if (tree / "pyproject.toml").is_file():
        project = tomllib.loads((tree / "pyproject.toml").read_text()).get("project", {})
        lines = list(project.get("dependencies", []))
        for extra, words in project.get("optional-dependencies", {}).items():
            lines += [f"{word} [{extra}]" for word in words]
        found |= {f"pyproject.toml: {line}" for line in lines}
    return found


def strays(root: Path, modules: Mapping[str, str]) -> list[str]:
    """Top-level modules that this tree has, but that were imported from elsewhere: "name from file"."""
    return [
        f"{name} from {file}"
        for name, file in modules.items()
        if ((root / name / "__init__.py").is_file() or (root / f"{name}.py").is_file())
        and not Path(file).resolve().is_relative_to(root.resolve())
    ]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"git {' '.join(words)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
