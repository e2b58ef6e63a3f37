"""The command line as a user meets it: the demo end to end, help, bad input."""

from __future__ import annotations

import pytest

from resnet_bench.results.tables import CURVES, RUNS, to_csv
from tests import studies
from tests.conftest import Cli


def test_a_smoke_run_of_the_demo(cli: Cli, tmp_path) -> None:  # type: ignore[no-untyped-def]
    words = ("sweep", "--study", "demo", "--depths", "8", "--seeds", "0", "--device", "cpu")
    planned = cli(*words, "--dry-run")
    assert planned.returncode == 0 and "2 of 2 runs to do" in planned.stdout
    assert not (tmp_path / "results").exists()
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert "2 runs to do, about" in done.stdout and "plain-8 seed 0: train" in done.stdout
    folder = tmp_path / "results" / "demo"
    names = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in {".png", ".svg", ".md", ".tex"}
    }
    assert {"figures/curves.png", "figures/depth.svg", "tables/errors.md", "tables/errors.tex", "README.md"} <= names
    again = cli(*words, "--dry-run")
    assert "0 of 2 runs to do" in again.stdout and "from the finished runs" in again.stdout
    assert cli("status", "results/demo").stdout.count("done") == 3
    quiet = cli(*words, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_one_network(cli: Cli, tmp_path) -> None:  # type: ignore[no-untyped-def]
    words = ("run", "--study", "demo", "--arch", "residual", "--shortcut", "b", "--depth", "8", "--seed", "3")
    done = cli(*words, NO_COLOR="1")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert [path.name[:17] for path in (tmp_path / "results/demo/runs").iterdir()] == ["residual-b-d8-s3-"]


COMMANDS = [
    ["sweep"], ["demo"], ["cifar-sweep"], ["run"], ["status"], ["verify"], ["report"], ["data"],
    ["data", "fetch"], ["data", "verify"], ["data", "list"],
    ["data", "show"], ["complexity"], ["doctor"], [],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "none")
def test_every_help_has_an_example(cli: Cli, words: list[str]) -> None:
    answer = cli(*words, "--help")
    assert answer.returncode == 0 and "example: resnet-bench" in answer.stdout


def test_version_doctor_and_complexity(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("resnet-bench 0.")
    doctor = cli("doctor").stdout
    assert "torch 2." in doctor and "device auto" in doctor and "data cifar10" in doctor
    counts = cli("complexity", "--depths", "20").stdout
    for number in ("269,722", "40,551,040", "40,931,968", "81,102,080", "242,421,504", "283,962"):
        assert number in counts


SWEEP = ("sweep", "--study", "demo")
BAD = {
    "depth 21": ((*SWEEP, "--depths", "21"), "depth 21 is not 6n+2", "20 and 26"),
    "unknown study": (("sweep", "--study", "imagenet"), "study 'imagenet' is unknown", "cifar10-short"),
    "no study": (("sweep", "--study", ""), "study '' is unknown", "demo"),
    "unknown dataset": ((*SWEEP, "--data", "cifar11"), "--data cifar11", "known: cifar10"),
    "unknown shortcut": (
        ("run", "--study", "demo", "--arch", "residual", "--depth", "8", "--shortcut", "d"), "'d'", "a"),
    "shortcut of plain": (
        ("run", "--study", "demo", "--arch", "plain", "--depth", "8", "--shortcut", "a"), "shortcut 'a'", "none"),
    "no such device": ((*SWEEP, "--device", "cuda:99"), "device 'cuda:99' is not here", "use cpu"),
    "unknown device": ((*SWEEP, "--device", "tpu"), "device 'tpu' is unknown", "cuda"),
    "seeds twice": ((*SWEEP, "--seeds", "0,1,0"), "'0,1,0': 0 is given twice", ""),
    "depths twice": ((*SWEEP, "--depths", "20,20"), "20 is given twice", ""),
    "seeds text": ((*SWEEP, "--seeds", "a"), "write seeds as whole numbers", ""),
    "unwritable": ((*SWEEP, "--results", "/proc/none"), "/proc/none/demo cannot be written", "--results"),
    "no such folder": (("report", "results/none"), "results/none: no such folder", "resnet-bench demo"),
    "no command": ((), "COMMAND", "--help"),
    "unknown command": (("swep",), "'swep'", "--help"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(cli: Cli, tmp_path, case: str) -> None:  # type: ignore[no-untyped-def]
    words, wrong, mend = BAD[case]
    answer = cli(*words)
    assert answer.returncode == 2, answer.stderr
    assert wrong in answer.stderr and mend in answer.stderr
    assert answer.stderr.count("\n") == 1 and "Traceback" not in answer.stderr
    assert not list(tmp_path.rglob("runs.csv"))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("runs.csv", "params", "parms", "runs.csv: row 1: column 'params' is missing"),
        ("curves.csv", ",20,", ",zwanzig,", "curves.csv: row 2, column 'step': 'zwanzig' is not a whole number"),
        ("curves.csv", ",40,", ",20,", "row 3: run_id="),
    ],
)
def test_bad_csv_files_are_named(cli: Cli, tmp_path, file: str, old: str, new: str, message: str) -> None:  # type: ignore[no-untyped-def]
    study = studies.demo()
    for table, rows in ((RUNS, study.runs), (CURVES, study.curves)):
        text = to_csv(table, rows)
        if table.file == file:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / table.file).write_text(text)
    answer = cli("report", tmp_path)
    assert answer.returncode == 2 and message in answer.stderr and answer.stderr.count("\n") == 1
    assert not (tmp_path / "figures").exists()


def test_cifar10_that_cannot_be_had_says_what_was_tried_and_what_to_do(cli: Cli) -> None:
    answer = cli("sweep", "--study", "cifar10-short", "--device", "cpu")
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    for part in ("RESNET_BENCH_OFFLINE", "cifar-10-python.tar.gz", "--data", "resnet-bench demo"):
        assert part in answer.stderr
