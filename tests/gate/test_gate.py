"""The gate between two real checkouts, with benchmarks whose clock is made up: nothing depends on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_bench.cli import main
from resnet_bench.gate import pairs
from resnet_bench.gate.checkouts import dependency_changes, find_base, find_root, strays, two_trees
from resnet_bench.gate.gate import compare
from resnet_bench.gate.judgement import Outcome
from resnet_bench.gate.pairs import Lanes, Tree, measure_pair, processes
from resnet_bench.machine import ForeignLoad
from tests.conftest import ROOT, git

# A process's clock moves only when a step is done, by what that step is said to take, and a little luck.
GATED = """
import random, time
from types import SimpleNamespace
from side import SECONDS, IMAGES

NOISE, now = {noise}, 0.0
luck = random.Random(time.time_ns())

def clock():
    return now

def maker(seconds):
    def step():
        global now
        now += seconds * luck.uniform(1 - NOISE, 1 + NOISE)
    return lambda device: SimpleNamespace(step=step, images=IMAGES, network=None, example=None)

time.perf_counter = clock
BENCHMARKS = {{name: maker(seconds) for name, seconds in SECONDS.items()}}
"""
SIDE = "IMAGES = {images}\nSECONDS = {seconds}\n"
Commit = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "benchmarks").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def write(folder: Path, seconds: dict[str, float], *, images: int = 8, noise: float = 0.01) -> None:
    (folder / "benchmarks" / "gated.py").write_text(GATED.format(noise=noise))
    (folder / "side.py").write_text(SIDE.format(images=images, seconds=seconds))


@pytest.fixture
def commit(repository: Path) -> Commit:
    def make(seconds: dict[str, float], **facts: float) -> str:
        write(repository, seconds, **facts)  # type: ignore[arg-type]
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--allow-empty", "--message", "a step")
        return git(repository, "rev-parse", "HEAD")

    return make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pairs, wherever other tests run beside."""
    monkeypatch.setattr(pairs, "PAIR_SECONDS", 0.02)
    monkeypatch.setattr(pairs, "FOREIGN_SHARE", 2.0)
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(root: Path, base: str, *, budget: float = 60, lines: list[str] | None = None) -> tuple[Outcome, str]:
    said: list[str] = [] if lines is None else lines
    verdict = compare(
        root, base, "benchmarks/gated.py", device="cpu", gpu="", budget_seconds=budget, delta=0.05, say=said.append
    )
    assert str(verdict) == f"{verdict.outcome.value} {verdict.reason}"
    return verdict.outcome, verdict.reason


# ---------------------------------------------------------------------------------------------- outcomes


def test_identical_commits_pass(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.03, "pipeline": 0.001})
    lines: list[str] = []
    outcome, reason = run(repository, base, lines=lines)
    assert outcome is Outcome.PASS, reason
    assert "step at most" in reason and "pipeline at most" in reason and "7 pairs" in reason
    assert any("base against itself" in line and "3 pairs" in line for line in lines)


def test_a_slowdown_of_the_working_tree_fails_and_is_named(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.03, "pipeline": 0.001})
    write(repository, {"step": 0.033, "pipeline": 0.001})  # not committed
    outcome, reason = run(repository, base)
    assert outcome is Outcome.FAIL, reason
    slower = re.match(r"step takes (\d+\.\d) % longer \(99 %: .*, 14 pairs\), confirmed by fresh pairs", reason)
    assert slower and 9 < float(slower[1]) < 11
    assert "pipeline" not in reason and "7 pairs" in reason


def test_swapped_sides_pass(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.033})
    commit({"step": 0.03})
    outcome, reason = run(repository, base)
    assert outcome is Outcome.PASS and re.search("step at most -[89]", reason)


def test_no_time_is_undecided(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.03})
    outcome, reason = run(repository, base, budget=0)
    assert outcome is Outcome.UNDECIDED and "the time is over after 0 pairs; 7 are the fewest" in reason


@pytest.mark.parametrize(
    ("base", "head", "reason"),
    [
        ({"a": 0.03, "b": 0.01}, {"a": 0.03}, "the head has no benchmark 'b' (the others: PASS"),
        ({"a": 0.03}, {"a": 0.03, "c": 0.01}, "the base has no benchmark 'c' (the others: PASS"),
        ({"a": 0.03}, {"b": 0.03}, "the head has no benchmark 'a'; the base has no benchmark 'b'"),
    ],
)
def test_a_missing_benchmark_is_named(
    repository: Path, commit: Commit, base: dict[str, float], head: dict[str, float], reason: str
) -> None:
    first = commit(base)
    commit(head)
    outcome, said = run(repository, first)
    assert outcome is Outcome.NOT_MEASURED and said.startswith(reason)


def test_a_missing_benchmark_hides_no_slowdown(repository: Path, commit: Commit) -> None:
    base = commit({"a": 0.03, "b": 0.01})
    commit({"a": 0.04})
    assert run(repository, base)[0] is Outcome.FAIL


def test_other_work_is_no_comparison(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.03}, images=8)
    commit({"step": 0.03}, images=16)
    outcome, reason = run(repository, base)
    assert outcome is Outcome.NOT_MEASURED and "step works on" in reason


def test_other_dependencies_are_no_comparison(repository: Path, commit: Commit) -> None:
    (repository / "constraints.txt").write_text("# pinned\ntorch==2.10\n")
    base = commit({"step": 0.03})
    (repository / "constraints.txt").write_text("torch==2.14\n")
    outcome, reason = run(repository, base)
    assert outcome is Outcome.NOT_MEASURED
    assert reason.endswith("different dependencies: -constraints.txt: torch==2.10, +constraints.txt: torch==2.14")


def test_a_base_without_benchmarks_is_no_comparison(repository: Path, commit: Commit) -> None:
    (repository / "README").write_text("nothing yet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "start")
    base = git(repository, "rev-parse", "HEAD")
    commit({"step": 0.03})
    assert run(repository, base) == (Outcome.NOT_MEASURED, "the base has no benchmarks/gated.py")


def test_a_base_that_does_not_run_is_no_comparison_but_a_head_is_an_error(
    repository: Path, commit: Commit, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = commit({"step": 0.03})
    (repository / "side.py").write_text("raise RuntimeError('boom')")
    git(repository, "commit", "--quiet", "--all", "--message", "broken")
    broken = git(repository, "rev-parse", "HEAD")
    with pytest.raises(pairs.SampleFailure, match="the benchmarks of the head do not run: RuntimeError: boom"):
        run(repository, good)
    commit({"step": 0.03})
    outcome, reason = run(repository, broken)
    assert outcome is Outcome.NOT_MEASURED and reason == "the benchmarks of the base do not run: RuntimeError: boom"


def test_a_busy_machine_is_not_measured(repository: Path, commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    base = commit({"step": 0.03})
    monkeypatch.setattr(pairs, "FOREIGN_SHARE", -1.0)
    outcome, reason = run(repository, base, budget=3)
    assert outcome is Outcome.NOT_MEASURED
    assert re.search(r"other programs kept the processors busy: (\d+) of \1 pairs", reason)


# ---------------------------------------------------------------------------------------------- pairs


def tree(folder: Path, name: str = "head") -> Tree:
    return Tree(name, folder, "benchmarks/gated.py")


@pytest.mark.parametrize("head_first", [False, True])
def test_a_pair_takes_turns_in_fresh_processes(repository: Path, commit: Commit, head_first: bool) -> None:
    commit({"step": 0.005, "long": 0.1})
    write(repository, {"step": 0.01, "long": 0.1})
    with two_trees(repository, "HEAD") as (base, head):
        assert len(str(base)) == len(str(head)) and base.parent == head.parent
        pair = measure_pair(tree(base, "base"), tree(head), ["step", "long"], "cpu", None, head_first=head_first)
    assert not pair.same and pair.head_first == head_first
    assert len(pair.base_seconds["step"]) == len(pair.head_seconds["step"]) >= 2
    assert pair.base_seconds["step"] == pytest.approx([0.005] * len(pair.base_seconds["step"]), rel=0.02)
    assert pair.head_seconds["step"] == pytest.approx([0.01] * len(pair.head_seconds["step"]), rel=0.02)


def test_lanes_alternate_who_starts(repository: Path, commit: Commit) -> None:
    commit({"step": 0.03})
    with two_trees(repository, "HEAD") as (base, head):
        lanes = Lanes(tree(base, "base"), tree(head), ["step"], "cpu")
        lanes.cores = [None, None]
        first, _ = lanes.measure([False, True])
        second, _ = lanes.measure([False, True])
    assert [pair.same for pair in first] == [False, True]
    assert [(pair.head_first, pair.same) for pair in second] == [(True, False), (True, True)]


def test_a_lane_is_bound_to_its_core(repository: Path, commit: Commit) -> None:
    commit({"step": 0.03})
    core = min(os.sched_getaffinity(0))
    with processes([tree(repository)], "cpu", core) as (process,):
        process.ask(do="describe")
        assert os.sched_getaffinity(process.process.pid) == {core}
    assert process.process.returncode is not None


def test_what_benchmarks_print_is_no_answer(repository: Path, commit: Commit) -> None:
    commit({"step": 0.03})
    (repository / "side.py").write_text("print('hello')\nIMAGES, SECONDS = 8, {'step': 0.03}\n")
    with processes([tree(repository)], "cpu") as (process,):
        assert process.ask(do="describe")["benchmarks"] == ["step"]


def test_foreign_load_of_chosen_cores_counts_children_as_own() -> None:
    load = ForeignLoad(sorted(os.sched_getaffinity(0)))
    burn = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    share = load.share()
    assert share is None or 0 <= share <= 1
    times = os.times()
    assert times.children_user + times.children_system >= 0.5


# ---------------------------------------------------------------------------------------------- checkouts


def test_the_head_is_the_working_tree(repository: Path, commit: Commit) -> None:
    commit({"step": 0.03})
    (repository / ".gitignore").write_text("ignored\n")
    (repository / "ignored").write_text("x")
    (repository / "new.py").write_text("x = 1")
    (repository / "side.py").unlink()
    with two_trees(repository, "HEAD") as (base, head):
        assert sorted(path.name for path in head.iterdir()) == [".gitignore", "benchmarks", "new.py"]
        assert (base / "side.py").exists() and not (base / "new.py").exists()
        folder = base.parent
    assert not folder.exists() and git(repository, "status", "--porcelain").count("\n") == 2


def test_the_base_is_where_head_left_the_main_branch(repository: Path, commit: Commit) -> None:
    base = commit({"step": 0.03})
    git(repository, "checkout", "--quiet", "-b", "topic")
    commit({"step": 0.04})
    git(repository, "checkout", "--quiet", "main")
    commit({"step": 0.05})
    git(repository, "checkout", "--quiet", "topic")
    assert find_base(repository, None) == base
    assert find_base(repository, "main") != base
    assert find_root(repository / "benchmarks") == repository


def test_dependencies_are_compared_line_by_line(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, torch in ((one, "2.10"), (two, "2.14")):
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            f'[project]\ndependencies = ["torch>={torch}"]\n[project.optional-dependencies]\ndev = ["ruff"]\n'
        )
    assert dependency_changes(one, two) == ["-pyproject.toml: torch>=2.10", "+pyproject.toml: torch>=2.14"]
    assert dependency_changes(one, one) == []


def test_modules_from_elsewhere_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "side.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    good = {"side": str(tmp_path / "side.py"), "json": json.__file__}
    assert strays(tmp_path, good) == []
    assert strays(tmp_path, good | {"package": "/elsewhere/package/__init__.py"}) == [
        "package from /elsewhere/package/__init__.py"
    ]


# ---------------------------------------------------------------------------------------------- the command


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_the_command_counts_first_and_ends_with_the_verdict(
    repository: Path, commit: Commit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setattr(time, "perf_counter", time.perf_counter)  # the benchmarks replace it
    commit({"step": 0.03})
    code, _, error = call(capsys, "gate", "--device", "cpu")
    assert code == 2 and "no counters at" in error
    monkeypatch.delitem(sys.modules, "side", raising=False)
    assert call(capsys, "counters", "--accept")[:2] == (
        0, ["step: is new", "benchmarks/counters.json: 1 changes accepted"],
    )  # fmt: skip
    commit({"step": 0.03})
    record = repository / "record.json"
    code, out, _ = call(capsys, "gate", "--device", "cpu", "--record", str(record), "--budget", "1")
    assert code == 0 and out[-1].startswith("PASS nothing is 5 % slower"), out
    assert out[1] == "counters: as accepted (step)"
    stored = json.loads(record.read_text())
    assert stored["outcome"] == "PASS" and len(stored["pairs"]) == 10
    changed = json.loads((repository / "benchmarks" / "counters.json").read_text())
    changed["benchmarks"]["step"]["operations"]["aten::add"] = 1
    (repository / "benchmarks" / "counters.json").write_text(json.dumps(changed))
    code, out, _ = call(capsys, "gate", "--device", "cpu")
    assert code == 1 and out[-1].startswith("FAIL counters: step: operations 1 -> 0 (aten::add 1 -> 0)")
    changed["torch"] = "1.0"
    (repository / "benchmarks" / "counters.json").write_text(json.dumps(changed))
    code, out, _ = call(capsys, "gate", "--device", "cpu")
    assert code == 4 and out[-1].startswith("NOT MEASURED counters differ, but they were stored with torch 1.0")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["gate", "--budget", "0"], "'0' is not a positive number of minutes"),
        (["gate", "--delta", "x"], "'x' is not a positive number of percent"),
        (["gate", "--base", "nowhere"], "git knows no commit 'nowhere' here"),
        (["gate", "--benchmarks", "other.py", "--base", "HEAD"], "no counters at"),
        (["counters", "--benchmarks", "other.py"], "no benchmarks at other.py"),
    ],
)
def test_bad_input_is_one_line(
    repository: Path, commit: Commit, words: list[str], error: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    commit({"step": 0.03})
    monkeypatch.chdir(repository)
    try:
        code = main(words)
    except SystemExit as exit:
        code = int(exit.code or 0)
    err = capsys.readouterr().err
    assert code == 2 and error in err and err.count("\n") == 1


def test_outside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert call(capsys, "gate")[0] == 2


def test_an_interrupted_gate_leaves_nothing_behind(repository: Path, commit: Commit, tmp_path: Path) -> None:
    base = commit({"step": 0.03})
    code = (
        "import signal, sys; from pathlib import Path; from resnet_bench.gate.gate import compare\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "compare(Path(sys.argv[1]), sys.argv[2], 'benchmarks/gated.py', device='cpu', gpu='', budget_seconds=600,\n"
        "        delta=0.05, say=print)"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    gate = subprocess.Popen(
        [sys.executable, "-c", code, str(repository), base],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert gate.stdout is not None
    gate.stdout.readline()  # the first pairs are done, others under way
    gate.send_signal(signal.SIGINT)
    gate.communicate(timeout=60)
    assert gate.returncode != 0
    assert list(temporary.iterdir()) == []
