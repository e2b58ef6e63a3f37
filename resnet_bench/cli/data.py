"""The commands about datasets: fetch, verify, stats, list, show."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.cli.arguments import Commands, Parser, add_command
from resnet_bench.data.find import find_data
from resnet_bench.errors import Failure, UsageError
from resnet_bench.terminal import columns, progress_line, say
from resnet_bench.text import command, one_line

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source


def add_commands(commands: Commands) -> None:
    """Add the commands of this module, each with its own arguments."""
    parser = commands.add_parser(
        "data",
        help="fetch, verify, list or show datasets",
        description="Fetch, verify, list or show datasets.",
        epilog="example: resnet-bench data list",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", parser_class=Parser)
    fetch = add_command(actions, "fetch", data_fetch, "get a dataset if it is not there", "data fetch --data cifar100")
    fetch.add_argument(
        "--data", help="its name, or where to look for CIFAR-10, and to put it (the user's cache folder)"
    )
    fetch.add_argument("--quiet", action="store_true", help="print errors only")
    verify = add_command(actions, "verify", data_verify, "read and check a dataset", "data verify --data digits")
    verify.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    stats = add_command(
        actions, "stats", data_stats, "images by class, mean and std by channel", "data stats --data mnist"
    )
    stats.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    listing = add_command(actions, "list", data_list, "the known datasets and where they are", "data list")
    listing.add_argument("--data", help="a further place to look at")
    show = add_command(actions, "show", data_show, "a picture of raw and augmented images", "data show --data digits")
    show.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    show.add_argument("--seed", type=int, default=0, help="seed of the batches (0)")
    show.add_argument("--out", type=Path, default=Path("data.png"), help="where to write the picture (data.png)")


def data_fetch(arguments: argparse.Namespace) -> int:
    """Get a dataset that is published as files."""
    from resnet_bench.data.known import KNOWN

    source = find_data("cifar10", arguments.data)
    if source.name not in KNOWN:
        raise UsageError(f"--data {arguments.data} is {source.name}; what is fetched is one of {', '.join(KNOWN)}")
    dataset = source.load(progress_line("fetching", arguments.quiet))
    if not arguments.quiet:
        where = find_data("cifar10", arguments.data).where
        say(one_line(f"{source.name} is at {where}, digest {dataset.digest}"))
    return 0


def data_verify(arguments: argparse.Namespace) -> int:
    """Read a dataset and print what it is."""
    from resnet_bench.data.listing import few

    source = find_data("cifar10", arguments.data)
    if not source.found:
        raise _not_here(source)
    dataset = source.load(progress_line("reading", False))
    if source.left_out:
        say(one_line(source.left_out))
    channels, height, width = dataset.image_shape
    lines = [
        f"{dataset.name}: {len(dataset.train_labels)} train and {len(dataset.test_labels)} test images, "
        f"{height}x{width}x{channels}, {len(dataset.classes)} classes ({few(dataset.classes, 10)})",
        f"from {source.where} ({source.reason})",
        f"digest {dataset.digest}",
    ]
    say("\n".join(map(one_line, lines)))
    return 0


def data_list(arguments: argparse.Namespace) -> int:
    """Print the datasets that a study can be trained on here."""
    from resnet_bench.data.sources import BUILTIN, find_source
    from resnet_bench.places import find_cache

    sources = [find_source(name) for name in BUILTIN]
    if arguments.data:
        sources.append(find_data("cifar10", arguments.data))
    rows = []
    for source in sources:
        size = "x".join(map(str, (*source.image_shape[1:], source.image_shape[0])))
        dataset = source.load(None) if source.found else None
        classes, digest = (str(len(dataset.classes)), dataset.digest[:12]) if dataset else ("-", "-")
        rows.append((source.name, "yes" if source.found else "no", size, classes, digest, source.where))
    cache = find_cache()
    say(columns(("dataset", "found", "image", "classes", "digest", "where"), rows, texts=6), end="")
    say(one_line(f"cache: {cache.folder} ({cache.reason})"))
    return 0


def data_stats(arguments: argparse.Namespace) -> int:
    """Print how many images a dataset has of each class, and the mean and std of its training pixels by channel."""
    from resnet_bench.data.summary import channel_statistics, class_counts

    source = find_data("cifar10", arguments.data)
    if not source.found:
        raise _not_here(source)
    dataset = source.load(progress_line("reading", False))
    header = ["class", "train images", "test images"]
    if dataset.validation_images is not None:
        header.append("validation images")
    rows = [(name, *(f"{count:,}" for count in counts)) for name, *counts in class_counts(dataset)]
    resized = dataset.resized
    mean, std = channel_statistics(dataset.train_images) if resized is None else resized.statistics
    how = "the mean of each pixel is subtracted" if resized is None else "this mean is subtracted, this std divided by"
    lines = [
        f"{dataset.name}, digest {dataset.digest}",
        f"training pixels scaled to 0..1, by channel: mean {_decimals(mean)}, std {_decimals(std)}",
        f"in training, {how}",
        *(f"left out: {line}" for line in (source.account.lines() if source.account else [])),
    ]
    say(columns(header, rows, texts=1) + "\n".join(map(one_line, lines)))
    return 0


def _not_here(source: Source) -> Failure:
    fetch = command("resnet-bench", "data", "fetch", "--data", source.name)
    return Failure(f"{source.name}: {source.where}; fetch it with: {fetch}")


def _decimals(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def data_show(arguments: argparse.Namespace) -> int:
    """Write a picture of raw and augmented images."""
    from resnet_bench.data.show import write_grid

    source = find_data("cifar10", arguments.data)
    write_grid(source.load(progress_line("reading", False)), arguments.seed, arguments.out)
    say(one_line(f"{arguments.out}: upper row as stored, below as the network sees it, from {source.name}"))
    return 0
