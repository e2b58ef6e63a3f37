"""Two checkouts side by side: the base from git, the head as it lies in the working tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from resnet_bench import git
from resnet_bench.errors import UsageError

MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
PREFIX = "resnet-bench-locked-"  # of temporary folders
PINS = ("constraints.txt", "requirements.txt")


def find_root(path: Path) -> Path:
    """The top folder of the git checkout that `path` lies in. UsageError, with git's reason, outside one."""
    try:
        return Path(git.run(path, "rev-parse", "--show-toplevel"))
    except git.GitError as error:
        why = f"the gate compares two checkouts, and git gives none here: {error.reason}"
        raise UsageError(f"{path.resolve()}: {why}") from None


def find_base(root: Path, ref: str | None) -> str:
    """The commit to compare with: that of `ref`, or where HEAD left the main branch. UsageError if there is none."""
    if ref:
        try:
            return git.run(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        except git.GitError:
            raise UsageError(f"git knows no commit {ref!r} here; fetch it, or give another --base") from None
    for branch in MAIN_BRANCHES:
        with contextlib.suppress(git.GitError):
            return git.run(root, "merge-base", "HEAD", branch)
    raise UsageError(f"no main branch here (tried {', '.join(MAIN_BRANCHES)}); give --base (a shallow clone has none)")


def short(root: Path, commit: str) -> str:
    """The commit's abbreviated name."""
    return git.run(root, "rev-parse", "--short", commit)


@contextlib.contextmanager
def two_trees(root: Path, commit: str) -> Iterator[tuple[Path, Path]]:
    """(base, head) as folders with names of equal length, next to one another; removed afterwards.

    The base is what git checks out of the commit. The head is a copy of all files that git has or would add, changes
    included. The repository is only read.
    """
    with _folder_of_ours() as folder:
        base, head = folder / "base", folder / "head"
        git.write_tree(root, commit, base)
        head.mkdir()
        for name in git.run(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            source, target = root / name, head / name
            if name and (source.is_symlink() or source.is_file()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        yield base, head


@contextlib.contextmanager
def _folder_of_ours() -> Iterator[Path]:
    """A temporary folder, locked by this process for as long as it lives; those of dead ones are removed first.

    A folder gets its name when it is locked, so one of that name without a lock is left over, whenever it is looked at.
    """
    _remove_left_over(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # no locks there: it keeps the other name
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = folder.rename(folder.with_name(folder.name.removeprefix("new-")))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_left_over(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, or locked, or just removed by another gate
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


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
