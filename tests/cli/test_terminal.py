"""What reaches a terminal: names as they are, nothing that commands it; life signs; no warnings of libraries."""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.progress import Progress as Bars

from resnet_bench import busy as busy_module
from resnet_bench import terminal
from resnet_bench.busy import Signs, busy, life_signs
from resnet_bench.cli import main, make_parser
from resnet_bench.cli.networks import prediction_table
from resnet_bench.cli.shared import check_folder
from resnet_bench.config.run import RunConfig
from resnet_bench.data.known import KNOWN
from resnet_bench.hush import libraries_hushed
from resnet_bench.study.events import Note, RunFinished, RunStarted, Working
from resnet_bench.study.progress import Clock, Progress
from resnet_bench.terminal import LifeLine, columns, complain, progress_line, say, sayer
from resnet_bench.text import command, listing
from resnet_bench.trained.predict import Example, Prediction, to_json
from resnet_bench.training.step import TrainStep
from tests import studies

HOSTILE = "[wild] :dog:\x1b[2J\x9b\u202e\nnext|\ud8ff"
SHOWN = "[wild] :dog:\\x1b[2J\\x9b\\u202e\\nnext|\\ud8ff"


class Screen(io.StringIO):
    """A terminal of 80 columns: what is written is what would be seen, `\\r` included."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Both streams are one terminal."""
    shown = Screen()
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=shown, stderr=shown))
    monkeypatch.setattr(terminal, "_screen", terminal._Screen())
    return shown


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said for a minute."""
    quiet = terminal._Screen()
    quiet.spoke = time.monotonic() - 60
    monkeypatch.setattr(terminal, "_screen", quiet)


# ---------------------------------------------------------------------------------------------- names


def test_lines_stay_and_everything_unseen_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    complain("a\rb\tc")
    sayer(quiet=False)(HOSTILE)
    sayer(quiet=True)("not this")
    out, err = capsys.readouterr()
    assert out == SHOWN.replace("\\n", "\n") + f"\n{SHOWN}\n"
    assert err == "a\\rb\\tc\n"


def test_a_name_is_one_cell_and_no_markup() -> None:
    text = columns(("class", "images"), [(HOSTILE, "7"), ("cat", "1,000")], texts=1)
    assert text.splitlines()[2] == f"{SHOWN}       7" and len(text.splitlines()) == 4


def test_letters_that_take_two_places_do_not_shift_numbers() -> None:
    lines = columns(("class", "images"), [("猫", "7"), ("dog", "8")], texts=1).splitlines()
    assert lines[2:] == ["猫          7", "dog         8"]


def predictions() -> list[Prediction]:
    example = Example(HOSTILE, np.zeros((3, 8, 8), np.uint8), actual="[b]")
    return [Prediction(example, HOSTILE, 0.5, correct=False)]


def test_json_is_valid_and_says_the_same_after_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say(to_json(predictions()), end="")
    out = capsys.readouterr().out
    assert out.isprintable() or set(filter(lambda c: not c.isprintable(), out)) == {"\n"}
    row = json.loads(out)[0]
    assert (row["image"], row["predicted"], row["actual"]) == (HOSTILE, HOSTILE, "[b]")
    assert SHOWN in prediction_table(predictions())


@pytest.mark.parametrize("words", [["sweep\x1b[2J\nx"], ["status", "a", "\x1b]0;x\x07\nresnet-bench: done"]])
def test_a_wrong_word_is_repeated_on_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and "\x1b" not in error and "\\x1b" in error


def test_the_name_of_a_folder_commands_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path / "a\x1b[2Jb")]) == 2
    assert "a\\x1b[2Jb: no such folder" in capsys.readouterr().err


def test_a_study_of_a_hostile_name_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = studies.demo()
    study.name = "[wild] :dog: | *x*"
    folder = study.write(tmp_path)
    assert main(["status", str(folder)]) == 0
    assert "[wild] :dog: | *x*: " in capsys.readouterr().out
    folder = folder.rename(tmp_path / "[wild] :dog:\x1b[2J\nx")  # no name for tables
    assert main(["status", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "[wild] :dog:\\x1b[2J\\nx" in said and "\x1b" not in said and said.count("\n") == 1


def test_what_belongs_to_a_failure_has_a_line_each() -> None:
    assert listing("2 runs failed:", ["a\nb", "c"]) == "2 runs failed:\na\\nb\nc"


@pytest.mark.parametrize("name", ["a b", "it's", "$(rm -rf x)", "a;b", "*", "demo", "a\nb\x1b", "b\x1b'\\c", "\udcff"])
def test_a_printed_command_can_be_called_as_it_stands(name: str) -> None:
    printed = command("printf", "%s", name)
    assert printed.isprintable()
    done = subprocess.run(["bash", "-c", printed], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)
    if name.isprintable():
        assert shlex.split(printed)[2] == name
    assert command("resnet-bench", "report", Path("results/demo")) == "resnet-bench report results/demo"


def test_messages_that_print_a_command_quote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_bench.cli import shared

    folder = studies.demo().write(tmp_path / "two words")
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdout", told)
    shared.render_study(folder, quiet=False)
    assert told.getvalue().rstrip().endswith(f"open '{folder}/report.html'")
    assert KNOWN and check_folder(folder) is None


# ---------------------------------------------------------------------------------------------- life signs


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> Signs:
    """What is busy, told to a list, by a clock that stands at 100."""
    made = Signs(lambda what, seconds: told.append((what, seconds)), clock=lambda: now[0])
    told: list[tuple[str, float]] = []
    now = [100.0]
    vars(made).update(told=told, now=now)
    monkeypatch.setattr(busy_module, "_signs", [made])
    return made


def test_the_innermost_work_is_told_and_for_how_long(signs: Signs) -> None:
    told, now = vars(signs)["told"], vars(signs)["now"]
    signs.beat()
    with busy("drawing"):
        now[0] = 103
        with busy("reading"):
            now[0] = 110
            signs.beat()
        signs.beat()
    signs.beat()
    assert told == [("reading", 7), ("drawing", 10)]


def test_work_that_ends_badly_is_over(signs: Signs) -> None:
    with pytest.raises(ValueError), busy("drawing"):
        raise ValueError
    assert signs.works == []


@pytest.mark.parametrize(
    ("mode", "told"), [("compile", "compiling plain-20"), ("graph", "capturing a CUDA graph of plain-20")]
)
def test_a_network_that_is_built_is_told_of(
    mode: str, told: str, signs: Signs, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = object.__new__(TrainStep)
    step.mode = mode
    monkeypatch.setattr(TrainStep, "_build", lambda _: float(len(signs.works)))
    assert step.build("plain-20") == 1.0
    with monkeypatch.context() as patched:
        patched.setattr(TrainStep, "_build", lambda _: signs.beat())
        step.build("plain-20")
    assert vars(signs)["told"] == [(told, 0.0)]


def test_who_uses_the_library_alone_is_told_nothing() -> None:
    assert busy_module._signs == []
    with busy("compiling"):
        assert busy_module._signs == []


def test_a_thread_tells_and_inner_signs_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_module, "BEAT_SECONDS", 0.001)
    outer, inner = [], []
    with life_signs(lambda what, _: outer.append(what)), busy("all"):
        while not outer:
            time.sleep(0.001)
        with life_signs(lambda what, _: inner.append(what)), busy("part"):
            before = len(outer)
            while len(inner) < 3:
                time.sleep(0.001)
            assert len(outer) <= before + 1
    assert set(outer) == {"all"} and set(inner) == {"part"}
    assert busy_module._signs == []


def test_on_a_terminal_the_line_is_written_over(screen: Screen) -> None:
    terminal._screen.spoke -= 60
    show = LifeLine()
    show("compiling plain-20", 1.0)
    assert screen.getvalue() == ""  # it may be over at once
    show("compiling plain-20", 7.0)
    first = "compiling plain-20 ... 7 s"
    assert screen.getvalue() == first
    show("compiling plain-20", 8.0)
    wiped = f"\r{' ' * len(first)}\r"
    assert screen.getvalue() == f"{first}{wiped}{first.replace('7', '8')}"
    say("compiled")
    assert screen.getvalue().endswith(f"8 s{wiped}compiled\n")
    show("compiling ResNet-20", 9.0)
    assert screen.getvalue().endswith("compiled\n")  # something was said a moment ago


def test_the_line_fits_into_a_narrow_terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_width", lambda stream: 20)
    terminal._screen.spoke -= 60
    LifeLine()("a very long name of what goes on\x1b[2J", 7.0)
    assert screen.getvalue() == "a very long name of"


@pytest.mark.usefixtures("silent")
def test_a_log_says_once_what_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    show = LifeLine()
    for seconds in (1.0, 4.0, 5.0, 6.0, 60.0):
        show("compiling plain-20", seconds)
    show("", 100.0)
    assert capsys.readouterr() == ("", "compiling plain-20 ...\n")


@pytest.mark.parametrize(("words", "stream"), [(["report"], 0), (["status"], 1)])
@pytest.mark.usefixtures("silent")
def test_the_answer_of_a_command_holds_no_life_sign(
    words: list[str], stream: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(*_: object) -> int:
        signs = busy_module._signs[-1]
        with busy("drawing", signs.clock() - 60):
            signs.beat()
        return 0

    parser = make_parser()
    arguments = parser.parse_args([*words, str(tmp_path)])
    arguments.command = slow
    monkeypatch.setattr("resnet_bench.cli._parse", lambda _: arguments)
    assert main() == 0
    assert capsys.readouterr()[stream] == "drawing ...\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_is_counted_on_a_terminal_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    show = progress_line("listing", False)
    assert show is not None
    for second, done, total in ((0.1, 5, 0), (1.0, 1000, 0), (1.1, 1100, 0), (2.0, 3, 4), (2.1, 4, 4), (2.2, 4, 4)):
        now[0] = second
        show(done, total)
    lines = [line.rstrip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert lines == ["listing 1,000", "listing 3 of 4 (75 %)", "listing 4 of 4 (100 %)"]
    monkeypatch.setattr("sys.stdout", file := io.StringIO())
    show = progress_line("reading", False)
    assert show is not None
    for done in range(1, 101):
        now[0] += 0.1
        show(done, 100)
    assert file.getvalue().count("\n") == 4 and file.getvalue().startswith("reading 25 of 100 (25 %)\n")
    assert progress_line("reading", True) is None


def a_run() -> RunConfig:
    return RunConfig(
        protocol="[red]x\n/1", dataset="synthetic-3x8x8", arch="plain", depth=8, shortcut="none", seed=0,
        steps=12, batch_size=16, lr=0.05, lr_drops=(6, 9), row_every=4, row_train_images=20,
    )  # fmt: skip


def test_a_log_of_a_sweep_says_once_what_its_run_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, Clock(1.0, 1.0)) as progress:
        line = progress.lines[0]
        line.tell(RunStarted(a_run(), 1.0))
        for seconds in (1.0, 5.0, 6.0):
            line.tell(Working("compiling the network", seconds))
        line.tell(RunFinished(a_run(), "done [b]:dog:\x1b"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"[1/1] plain-8 seed 0: {text}" for text in ("compiling the network ...", "done [b]:dog:\\x1b")]


def test_a_bar_shows_what_its_run_is_at(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    with Progress(1, Clock(1.0, 1.0)) as progress:
        assert isinstance(progress.bars, Bars)
        line = progress.lines[0]
        line.tell(RunStarted(a_run(), 1.0))
        line.tell(Working("compiling [red]\x1b[2J", 7.0))
        progress.tell(Note("[b]kept[/b] :dog:\x1b[2J\nx"))
    assert "compiling [red]\\x1b[2J 7 s" in screen.getvalue()
    assert "[b]kept[/b] :dog:\\x1b[2J\\nx" in screen.getvalue()


# ---------------------------------------------------------------------------------------------- libraries


def warn_of_all() -> None:
    warnings.warn("of a library", RuntimeWarning, stacklevel=1)
    logging.getLogger("library").warning("logged")


def test_no_warning_of_a_library_is_shown() -> None:
    code = "from tests.cli.test_terminal import warn_of_all; from resnet_bench.hush import libraries_hushed\n"
    code += "import logging, warnings, subprocess, sys\n"
    code += "child = [sys.executable, '-c', 'import warnings; warnings.warn(\"of a child\", RuntimeWarning)']\n"
    code += "with libraries_hushed(): warn_of_all(); subprocess.run(child, check=True)\n"
    code += "warn_of_all()"
    for wanted, count in (("", 1), ("always", 2)):
        environ = {**os.environ, "PYTHONWARNINGS": wanted}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert done.stderr.count("RuntimeWarning: of a library") == count == done.stderr.count("logged")
        assert done.stderr.count("of a child\n") == count - 1


def test_a_command_shows_no_warning_of_a_library(tmp_path: Path) -> None:
    code = "import resnet_bench.cli.status as status, sys; from resnet_bench.cli import main\n"
    code += "import warnings, logging\ndef table(study):\n"
    code += "    warnings.warn('smallest subnormal', UserWarning); logging.warning('font'); return 'done\\n'\n"
    code += "status.status_table = table; sys.exit(main(['status', sys.argv[1]]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_warnings_that_are_errors_stay_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    with libraries_hushed():
        assert os.environ["PYTHONWARNINGS"] == "ignore"
        with pytest.raises(RuntimeWarning):
            warn_of_all()
    assert "PYTHONWARNINGS" not in os.environ and logging.root.manager.disable == 0


# ---------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("width", [40, 200])
def test_help_fits_its_window(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (["--help"], ["sweep", "--help"], ["gate", "--help"]):
        with pytest.raises(SystemExit):
            make_parser().parse_args(words)
        text = capsys.readouterr().out
        body = text[text.index("\n\n") :]
        choices = [line for line in body.splitlines() if "{" not in line]
        assert max(map(len, choices)) <= min(width, 100)
        assert "\x1b" not in text
    assert "fashion-\n" not in body and "-mnist" not in body.split()
