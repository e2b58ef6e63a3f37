"""Commands about a study that is there already take its folder, or the study file that it was made from."""

from __future__ import annotations

import argparse
from pathlib import Path

from resnet_bench.cli.arguments import Parser
from resnet_bench.errors import UsageError
from resnet_bench.places import user_path


def add_folder(parser: Parser, meaning: str = "the study's folder", optional: bool = False) -> None:
    """The folder, and where that of a study file lies."""
    where = f"{meaning}; or a study file (FILE.toml): the folder of the name inside it"
    parser.add_argument("folder", type=Path, nargs="?" if optional else None, help=where)
    meaning = "the folder of all studies, in which that of a study file lies (results)"
    parser.add_argument("--results", type=Path, dest="results_of_file", metavar="RESULTS", help=meaning)


def settle_folder(arguments: argparse.Namespace) -> None:
    """Where a study file was named, take its study's folder. UsageError if the file cannot be read."""
    if not hasattr(arguments, "results_of_file"):
        return
    folder: Path | None = arguments.folder
    if folder is not None and folder.suffix == ".toml" and not folder.is_dir():
        from resnet_bench.config.study import Study

        arguments.folder = user_path(arguments.results_of_file or "results") / Study.load(folder).name
    elif arguments.results_of_file:
        raise UsageError("--results is for a study file; write a study's folder as it lies, as in results/demo")
