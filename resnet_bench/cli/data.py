"""The commands about datasets: fetch, verify, stats, list, show."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from resnet_bench.cli.arguments import (
    Commands,
    Parser,
    add_command,
)
from resnet_bench.cli.shared import progress_line
from resnet_bench.errors import Failure, UsageError


def add_commands(commands: Commands) -> None:
    """Add them."""
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
    from resnet_bench.data.sources import find_source

    source = find_source("cifar10", arguments.data)
    if source.name not in KNOWN:
        raise UsageError(f"--data {arguments.data} is {source.name}; what is fetched is one of {', '.join(KNOWN)}")
    dataset = source.load(progress_line("fetching", arguments.quiet))
    if not arguments.quiet:
        print(f"{source.name} is at {find_source('cifar10', arguments.data).where}, digest {dataset.digest}")
    return 0


def data_verify(arguments: argparse.Namespace) -> int:
    """Read a dataset and print what it is."""
    from resnet_bench.data.sources import find_source

    source = find_source("cifar10", arguments.data)
    if not source.found:
        raise Failure(f"{source.name}: {source.where}; fetch it with: resnet-bench data fetch --data {source.name}")
    dataset = source.load(progress_line("reading", False))
    channels, height, width = dataset.image_shape
    print(
        f"{dataset.name}: {len(dataset.train_labels)} train and {len(dataset.test_labels)} test images, "
        f"{height}x{width}x{channels}, {len(dataset.classes)} classes ({', '.join(dataset.classes[:10])})"
    )
    print(f"from {source.where} ({source.reason})\ndigest {dataset.digest}")
    return 0


def data_list(arguments: argparse.Namespace) -> int:
    """Print the datasets that a study can be trained on here."""
    from rich.table import Table

    from resnet_bench.data.sources import BUILTIN, find_source
    from resnet_bench.study.terminal import to_text

    sources = [find_source(name) for name in BUILTIN]
    if arguments.data:
        sources.append(find_source("cifar10", arguments.data))
    table = Table("dataset", "found", "image", "classes", "digest", "where", box=None)
    for source in sources:
        size = "x".join(map(str, (*source.image_shape[1:], source.image_shape[0])))
        dataset = source.load(None) if source.found else None
        classes, digest = (str(len(dataset.classes)), dataset.digest[:12]) if dataset else ("-", "-")
        table.add_row(source.name, "yes" if source.found else "no", size, classes, digest, source.where)
    print(to_text(table), end="")
    return 0


def data_stats(arguments: argparse.Namespace) -> int:
    """Print how many images a dataset has of each class, and the mean and std of its training pixels by channel."""
    from rich.table import Table

    from resnet_bench.data.sources import find_source
    from resnet_bench.data.statistics import channel_statistics, class_counts
    from resnet_bench.study.terminal import to_text

    source = find_source("cifar10", arguments.data)
    if not source.found:
        raise Failure(f"{source.name}: {source.where}; fetch it with: resnet-bench data fetch --data {source.name}")
    dataset = source.load(progress_line("reading", False))
    table = Table("class", "train images", "test images", box=None)
    for name, train, test in class_counts(dataset):
        table.add_row(name, f"{train:,}", f"{test:,}")
    resized = dataset.resized
    mean, std = channel_statistics(dataset.train_images) if resized is None else resized.statistics
    how = "the mean of each pixel is subtracted" if resized is None else "this mean is subtracted, this std divided by"
    lines = [
        f"{dataset.name}, digest {dataset.digest}",
        f"training pixels scaled to 0..1, by channel: mean {_decimals(mean)}, std {_decimals(std)}",
        f"in training, {how}",
    ]
    print(to_text(table, *lines), end="")
    return 0


def _decimals(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def data_show(arguments: argparse.Namespace) -> int:
    """Write a picture of raw and augmented images."""
    from resnet_bench.data.show import write_grid
    from resnet_bench.data.sources import find_source

    source = find_source("cifar10", arguments.data)
    write_grid(source.load(progress_line("reading", False)), arguments.seed, arguments.out)
    print(f"{arguments.out}: upper row as stored, below as the network sees it, from {source.name}")
    return 0
