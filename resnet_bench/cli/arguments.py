"""What commands take: kinds of values, and options that several have."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from resnet_bench.config.run import LARGE_SIDE, OPTIMIZERS, SCHEDULES
from resnet_bench.execution import MODES, PRECISIONS
from resnet_bench.networks import ARCHS, IMAGENET, IMAGENET_SMALL, NAMED
from resnet_bench.terminal import complain, say
from resnet_bench.text import one_line

WIDTH = 100  # characters of a line of help, at most
STEMS = {"7x7": IMAGENET, "3x3": IMAGENET_SMALL}
DATA_HELP = (
    "a dataset's name (see data list), where it lies, a folder of images (FOLDER@64: resized to 64 pixels), or "
    "package.module:function, which returns the arrays"
)
ARCH_HELP = f"{' or '.join(ARCHS)} (6n+2 layers), or a network of ImageNet style by name: {', '.join(NAMED)}"

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Help(argparse.HelpFormatter):
    """Help that can be read in a narrow window and in a wide one; a new line in a text is one, names stay whole."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, WIDTH)
        super().__init__(prog, **{"width": width, **options})

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = (" ".join(line.split()) for line in text.split("\n"))
        return [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)]

    def add_argument(self, action: argparse.Action) -> None:
        """Count the indentation of commands, too, so that the longest has its meaning beside it."""
        super().add_argument(action)
        if action.nargs == argparse.PARSER:
            self._action_max_length += self._indent_increment


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage text."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **{"formatter_class": Help, **options})
        self.color = False  # which Python 3.14 would give to help

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, one_line(f"{self.prog}: {message}; see {self.prog} --help") + "\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """All that argparse writes: help, the version, errors."""
        (complain if file is sys.stderr else say)(message or "", end="")


def whole_numbers(what: str) -> Callable[[str], list[int]]:
    """A list of different numbers from 0, as in 20,56; `what` they are."""

    def parse(text: str) -> list[int]:
        words = text.replace(",", " ").split()
        if not words or not all(word.isdecimal() for word in words):
            raise argparse.ArgumentTypeError(f"{text!r}: write {what} as whole numbers, as in 20,56")
        values = [int(word) for word in words]
        doubled = [value for value in values if values.count(value) > 1]
        if doubled:
            raise argparse.ArgumentTypeError(f"{text!r}: {doubled[0]} is given twice")
        return values

    return parse


def arch_names(text: str) -> list[str]:
    """A list of networks."""
    names = text.replace(",", " ").split()
    known = (*ARCHS, *NAMED)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r} is unknown; one of {', '.join(known)}")
    return names


def learning_rate(text: str) -> float:
    """A positive number."""
    return _positive(text, "learning rate")


def seconds(text: str) -> float:
    """Not negative."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def cpu_share(text: str) -> float:
    """Processors for a run: a positive number."""
    value = _number(text)
    if not 0.01 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processors from 0.01")
    return value


def gpu_share(text: str) -> float:
    """GPUs for a run: a whole number, or a fraction of one."""
    value = _number(text)
    if not (value == 0 or 0.01 <= value < 1 or (value >= 1 and value == value // 1)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number of GPUs nor a fraction from 0.01 to 1")
    return value


def cluster_address(text: str) -> str:
    """HOST:PORT, or auto."""
    host, _, port = text.rpartition(":")
    if text != "auto" and not (host and "/" not in host and port.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor HOST:PORT")
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def minutes(text: str) -> float:
    """A positive number."""
    return _positive(text, "minutes")


def hours(text: str) -> float:
    """A positive number."""
    return _positive(text, "hours")


def percent(text: str) -> float:
    """A positive number."""
    return _positive(text, "percent")


def _positive(text: str, unit: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        of = f" of {unit}" if unit in ("hours", "minutes", "percent") else f" ({unit})"
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number{of}")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def add_command(
    commands: Commands, name: str, function: Callable[[argparse.Namespace], int], meaning: str, example: str
) -> Parser:
    """Add a command: its function, what it does, and an example of its use."""
    text = f"{meaning[0].upper()}{meaning[1:]}."
    parser = commands.add_parser(name, help=meaning, description=text, epilog=f"example: resnet-bench {example}")
    parser.set_defaults(command=function)
    return parser


def add_where(parser: Parser, mode_flag: str = "--mode") -> None:
    """The options of everything that trains: data, results, device, execution, checkpoints, how much is said."""
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all studies (results)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    add_execution(parser, mode_flag)
    parser.add_argument(
        "--checkpoint-seconds",
        type=seconds,
        default=os.environ.get("CHECKPOINT_SECONDS", "60"),
        metavar="SECONDS",
        help="time between two checkpoints (CHECKPOINT_SECONDS, else 60)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def add_execution(parser: Parser, mode_flag: str = "--mode") -> None:
    """How steps are executed: --mode, --precision and --threads."""
    meaning = "how steps are executed; auto: a graph on CUDA, compile on CPU where it pays, else eager (auto)"
    parser.add_argument(mode_flag, dest="mode", choices=("auto", *MODES), default="auto", help=meaning)
    meaning = "auto: tf32 on CUDA, else fp32 (auto)"
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help=meaning)
    add_threads(parser)


def add_threads(parser: Parser) -> None:
    """How many threads; bits depend on it, so a study keeps those that it was begun with."""
    meaning = "CPU threads of one run (the study's; before it is begun OMP_NUM_THREADS, else the cores shared out)"
    parser.add_argument("--threads", type=count, metavar="N", help=meaning)


def add_variation(parser: Parser) -> None:
    """What may be done otherwise than a study says."""
    meaning = "otherwise than the study's protocol; this changes the names of protocol and folder"
    group = parser.add_argument_group("variations", meaning)
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="(sgd, with momentum)")
    group.add_argument("--schedule", choices=SCHEDULES, default="step", help="cosine: from the rate to 0 (step)")
    group.add_argument("--lr", type=learning_rate, help="first learning rate (the study's; adam and adamw: 0.001)")
    meaning = "begin with every residual function at 0"
    group.add_argument("--zero-init-residual", action="store_true", help=meaning)


def add_stem(parser: Parser) -> None:
    """Which stem ImageNet-style networks get."""
    meaning = f"of networks called by name; auto: 7x7 from {LARGE_SIDE} pixels a side, else 3x3 without pooling (auto)"
    parser.add_argument("--stem", choices=("auto", *STEMS), default="auto", help=meaning)
