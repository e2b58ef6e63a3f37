"""The commands about study files: study list, show, check."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Sequence

from resnet_bench import studies
from resnet_bench.cli.arguments import WIDTH, Commands, Parser, add_command
from resnet_bench.config.study import Study
from resnet_bench.config.vary import words
from resnet_bench.data.find import find_data
from resnet_bench.terminal import say
from resnet_bench.text import command, counted, one_line

STUDY_HELP = f"auto; {', '.join(studies.names())}; or a file of your own, as in my.toml (see resnet-bench study)"
MOST_TOLD = 12  # networks, or settings


def add_commands(commands: Commands) -> None:
    """Add the command `study` and its actions."""
    about = "list or show the built-in studies, or check a file of your own"
    parser = commands.add_parser(
        "study",
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog="example: resnet-bench study show demo > my.toml",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", parser_class=Parser)
    add_command(actions, "list", study_list, "the built-in studies and what they are for", "study list")
    meaning = "print the file of a built-in study, to copy and change"
    show = add_command(actions, "show", study_show, meaning, "study show demo > my.toml")
    show.add_argument("study", metavar="NAME", help=f"one of {', '.join(studies.names())}")
    meaning = "read a study file and say what it would do"
    check = add_command(actions, "check", study_check, meaning, "study check my.toml")
    check.add_argument("study", metavar="FILE", help="the file, or the name of a built-in study")


def study_list(arguments: argparse.Namespace) -> int:
    """Print the built-in studies."""
    found = [studies.find(name) for name in studies.names()]
    say(_two_columns([(study.name, f"{study.meaning} ({counted(len(study.runs()), 'run')})") for study in found]))
    return 0


def study_show(arguments: argparse.Namespace) -> int:
    """Print the file of a study."""
    say(studies.named(arguments.study).text, end="")
    return 0


def study_check(arguments: argparse.Namespace) -> int:
    """Say what a study file would do; its data are looked for, not read."""
    from resnet_bench.data.prepare import averaged_shape

    study = studies.named(arguments.study)
    source = find_data(study.dataset, None)
    runs = study.runs(source.name, augmentation=source.augmentation, image_side=min(source.image_shape[1:]))
    for run in runs:
        averaged_shape(source.image_shape, run.image_side)
    networks = list(dict.fromkeys(run.network.title for run in runs))
    parts = [counted(len(networks), "network"), counted(len(study.seeds), "seed")]
    rows = [
        ("data", f"{source.name}: {source.where}"),
        ("networks", _few(networks, ", ")),
        ("seeds", _few(list(map(str, study.seeds)), ", ")),
        ("training", _protocol(study)),
    ]
    if study.vary:
        rows.append(("settings", _few(list(map(words, study.settings)), "; ")))
        parts.append(counted(len(study.settings), "setting"))
    rows.append(("runs", f"{len(runs):,}: {' x '.join(parts)}"))
    say(_two_columns([("study", f"{study.name}: {study.meaning}" if study.meaning else study.name), *rows]))
    say(command("resnet-bench", "sweep", "--study", arguments.study))
    return 0


def _protocol(study: Study) -> str:
    """How networks are trained, in words."""
    protocol, fields = study.protocol, study.protocol.run_fields(10**6)
    told = [f"{protocol.steps:,} steps of {counted(protocol.batch_size, 'image')}", f"{protocol.optimizer}"]
    told += [f"lr {protocol.lr:g}" + (" on a cosine" if protocol.schedule == "cosine" else "")]
    drops = " and ".join(f"{step:,}" for step in fields["lr_drops"])
    told += [f"divided by 10 at {drops}"] if drops else []
    told += [f"a row every {counted(fields['row_every'], 'step')}"]
    varied = [name for name in study.vary if name in ("steps", "batch_size", "lr", "optimizer", "schedule")]
    return ", ".join(told) + (" (where not varied)" if varied else "")


def _few(texts: Sequence[str], between: str) -> str:
    more = f" and {len(texts) - MOST_TOLD:,} more" if len(texts) > MOST_TOLD else ""
    return between.join(texts[:MOST_TOLD]) + more


def _two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """What each is, beside it, in as many lines as the window's width asks for."""
    indent = max(len(name) for name, _ in rows) + 2
    width = max(indent + 20, min(shutil.get_terminal_size().columns - 1, WIDTH))
    blank = " " * indent
    return "\n".join(
        textwrap.fill(
            one_line(text), width, initial_indent=name.ljust(indent), subsequent_indent=blank, break_on_hyphens=False
        )
        for name, text in rows
    )
