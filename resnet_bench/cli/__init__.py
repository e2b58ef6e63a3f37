"""The command `resnet-bench`: parses, calls, prints. What a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from resnet_bench import __version__
from resnet_bench.busy import busy, life_signs
from resnet_bench.cli import data, machine, networks, studies, study_files
from resnet_bench.cli.arguments import Parser
from resnet_bench.cli.folders import settle_folder
from resnet_bench.cli.streams import output
from resnet_bench.errors import Failure, UsageError
from resnet_bench.hush import libraries_hushed
from resnet_bench.terminal import LifeLine, complain, say, wipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns the exit code: 0 done, 1 failed, 2 bad input; stopped by a signal, with everything saved: 75 by SIGTERM, 129
    by SIGHUP (a terminal that closed), 130 by Ctrl-C. The gate has codes of its own.
    """
    with output() as streams:
        try:
            code = _run(argv)
        except SystemExit as end:  # argparse's: help was printed, or an argument was wrong
            code = end.code if isinstance(end.code, int) else 0
        return streams.end(code)


def _run(argv: Sequence[str] | None) -> int:
    from resnet_bench.study.stopping import Stopped, StopRequest

    with StopRequest().listening() as stop:
        try:
            arguments = _parse(argv)
            settle_folder(arguments)
            arguments.stop = stop
            return _call(arguments)
        except Stopped as stopped:
            complain(f"resnet-bench: {stopped}; the same command goes on")
            return stopped.exit_code
        except (UsageError, Failure) as error:
            complain(f"resnet-bench: {error}")
            return error.exit_code
        except OSError as error:  # what was not foreseen: a disk or a device that went away
            complain(f"resnet-bench: {error}")
            return Failure.exit_code


def _call(arguments: argparse.Namespace) -> int:
    """The command; what goes on is shown while it is silent, unless it is to be quiet."""
    with contextlib.ExitStack() as around:
        around.enter_context(libraries_hushed())
        if not getattr(arguments, "quiet", False):
            around.callback(wipe)
            talks = hasattr(arguments, "quiet")  # what can be quiet tells on standard output what it does
            around.enter_context(life_signs(LifeLine(say if talks else complain)))
            around.enter_context(busy(""))
        code: int = arguments.command(arguments)
        return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; pictures may also follow options, which argparse alone does not understand."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "images") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.images += map(Path, rest)
    return arguments


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the function of the one that is called is its `command`."""
    parser = Parser(
        prog="resnet-bench",
        description="Train matched plain and residual networks; see, measure and trust the degradation phenomenon.",
        epilog="example: resnet-bench sweep --study demo",
    )
    parser.add_argument("--version", action="version", version=f"resnet-bench {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for module in (studies, study_files, networks, data, machine):
        module.add_commands(commands)
    return parser
