"""git, asked about a checkout that is only read, whichever repository the environment speaks of."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from resnet_bench.errors import Failure
from resnet_bench.text import one_line

# Of git's variables only those that say where its programs and the user's settings are, and how far up to look. All
# others are dropped, known or not: a hook's say which repository and index git itself works on at that moment.
KEPT = {
    "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH",
}  # fmt: skip
# No index is refreshed by the way, nobody is asked for a password, messages are in English.
READING = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# Nothing that the user has set up to run beside git is run, and what is written into an index stays in that one file.
QUIET = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.splitIndex=false")


class GitError(Failure):
    """git did not do it; `reason` is what it says, in one line."""

    def __init__(self, words: tuple[str, ...], reason: str) -> None:
        self.reason = reason
        super().__init__(f"git {' '.join(words)}: {reason}")


def is_foreign(name: str) -> bool:
    """May a variable of this name lead git to another repository, index or configuration than the folder's."""
    return name.startswith("GIT_") and name not in KEPT


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """In which git works on the repository of the folder that it is called in, and on no other."""
    return {name: value for name, value in environ.items() if not is_foreign(name)} | READING


def run(folder: Path, *words: str, timeout: float | None = None, more: Mapping[str, str] | None = None) -> str:
    """What git prints, without the last line's end. What the package asks for only reads.

    Args:
        folder: in the checkout that is meant.
        words: the command.
        timeout: seconds.
        more: variables of the environment, beside the usual ones.

    Raises:
        GitError: git failed, or is not here.
    """
    options = [word for setting in QUIET for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *options, *words],
            env=environment() | dict(more or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise GitError(words, "git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(words, str(error)) from None
    if done.returncode:
        raise GitError(words, _reason(os.fsdecode(done.stderr)))
    return os.fsdecode(done.stdout).removesuffix("\n")


def _reason(errors: str) -> str:
    """All that git says (the way out too, which stands in lines of its own), in one line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return one_line(" ".join(lines).removeprefix("fatal: ")) or "failed"


def write_tree(root: Path, commit: str, into: Path) -> None:
    """Write the files of a commit of the repository of `root`, as a checkout has them, into a new folder.

    Line ends, filters and links are as by `git worktree add`, submodules are empty folders. Nothing is written into the
    repository: the index that git needs lies beside the folder while this runs.

    Raises:
        GitError: git failed.
    """
    into.mkdir()
    index = into.with_name(f"{into.name}.index")
    repository = run(root, "rev-parse", "--absolute-git-dir")
    whole = ("--no-sparse-checkout", "--no-recurse-submodules")
    where = (f"--git-dir={repository}", f"--work-tree={into.resolve()}")
    run(into, *where, "read-tree", "--reset", "-u", *whole, commit, more={"GIT_INDEX_FILE": str(index.absolute())})
    index.unlink()


def read_state() -> tuple[str, bool]:
    """(commit, dirty) of the checkout this package lies in.

    Raises:
        GitError: it lies in none, or git does not tell.
    """
    root = Path(__file__).parent.parent
    top = ("rev-parse", "--show-toplevel")
    if Path(run(root, *top, timeout=10)).resolve() != root.resolve():
        raise GitError(top, "the package lies in no checkout of its own")
    commit = run(root, "rev-parse", "HEAD", timeout=10)
    return commit, bool(run(root, "status", "--porcelain", "--untracked-files=no", timeout=10))


def git_state() -> tuple[str, bool | None]:
    """The same for a record; ("", None) where `read_state` fails."""
    try:
        return read_state()
    except GitError:
        return "", None
