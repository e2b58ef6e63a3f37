"""The commands about trained networks: finetune, export, predict."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.cli.arguments import (
    ARCH_HELP,
    DATA_HELP,
    Commands,
    Parser,
    add_command,
    add_stem,
    add_where,
    count,
    learning_rate,
    whole_numbers,
)
from resnet_bench.cli.shared import family_of, render_transfer, train_options
from resnet_bench.config.run import OPTIMIZERS, TRANSFER_MODES
from resnet_bench.data.find import find_data
from resnet_bench.errors import Failure, UsageError
from resnet_bench.networks import ARCHS, CIFAR, NAMED, SHORTCUTS, NetworkName, check_network
from resnet_bench.terminal import columns, complain, progress_line, say
from resnet_bench.text import listing, one_line

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source
    from resnet_bench.models.weights import Weights
    from resnet_bench.trained.predict import Prediction

WEIGHTS_HELP = "a finished run's folder, a file (safetensors, or as torch.save writes it), or default: torchvision's"


def add_commands(commands: Commands) -> None:
    """Add the commands of this module, each with its own arguments."""
    for add in (_add_finetune, _add_export, _add_predict):
        add(commands)


def _add_network(parser: Parser) -> None:
    parser.add_argument("--arch", choices=(*ARCHS, *NAMED), metavar="ARCH", help=f"{ARCH_HELP} (that of the weights)")
    parser.add_argument("--depth", type=int, help="of plain or residual: 6n+2")
    parser.add_argument("--shortcut", choices=SHORTCUTS, help="of a residual network (a; of those called by name b)")
    add_stem(parser)


def _add_finetune(commands: Commands) -> None:
    meaning = "train a network on new data from the weights of another, and compare with training from scratch"
    example = "finetune --data ~/photos --arch resnet34 --weights default --mode fine-tune,scratch --seeds 0,1,2"
    parser = add_command(commands, "finetune", finetune, meaning, example)
    _add_network(parser)
    parser.add_argument("--weights", help=WEIGHTS_HELP)
    meaning = f"one or more of {', '.join(TRANSFER_MODES)} (fine-tune)"
    parser.add_argument("--mode", dest="modes", type=_modes, default=["fine-tune"], help=meaning)
    meaning = "with fine-tune: keep the layers up to this stage as they are; 0: the stem (all are trained)"
    parser.add_argument("--freeze-until", type=_stage, metavar="STAGE", help=meaning)
    meaning = "only these classes of the data, comma between them; a name with a comma in double quotes (all)"
    parser.add_argument("--classes", type=_names, help=meaning)
    parser.add_argument("--images-per-class", type=count, help="so many, validation included (all)")
    parser.add_argument("--epochs", type=count, default=30, help="(30)")
    parser.add_argument("--batch-size", type=count, default=32, help="images per step (32)")
    parser.add_argument("--seeds", type=whole_numbers("seeds"), default=[0], help="as in 0,1,2 (0)")
    meaning = "first learning rate (0.02 from scratch, 0.1 for feature-extraction, 0.01 for fine-tune; adam: 0.001)"
    parser.add_argument("--lr", type=learning_rate, help=meaning)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="(sgd, with momentum)")
    parser.add_argument("--name", help="folder under results/ (transfer- and the name of the data)")
    parser.set_defaults(jobs=1, cost=False)
    add_where(parser, "--execution")


def _modes(text: str) -> list[str]:
    names = text.replace(",", " ").split()
    unknown = [name for name in names if name not in TRANSFER_MODES]
    if unknown or not names or len(set(names)) < len(names):
        known = ", ".join(TRANSFER_MODES)
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r}: one or more of {known}, each once")
    return sorted(names, key=TRANSFER_MODES.index)


def _stage(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a stage")
    return int(text)


def _names(text: str) -> list[str]:
    """As in cat,"dog, small": a name in double quotes may hold anything, a double quote of its own twice."""
    found = [match.groups() for match in re.finditer(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]+))', text)]
    names = [quoted.replace('""', '"') if plain is None else plain.strip() for quoted, plain in found]
    names = [name for name in names if name]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: name two or more, comma between them")
    return names


def _add_export(commands: Commands) -> None:
    meaning = "write a trained network's weights as safetensors, or the features of a dataset"
    parser = add_command(
        commands, "export", export, meaning, "export results/demo/runs/residual-a-d20-s0-1f0c --out net.safetensors"
    )
    parser.add_argument("run", metavar="RUN", help=WEIGHTS_HELP)
    _add_network(parser)
    parser.add_argument(
        "--features", action="store_true", help="what the classifier is given, for each image of --data"
    )
    parser.add_argument("--data", help=f"for features: {DATA_HELP} (what the network was trained on)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(the run's name, .safetensors or .npz)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")


def _add_predict(commands: Commands) -> None:
    meaning = "say what pictures show, by a trained network"
    parser = add_command(commands, "predict", predict, meaning, "predict net.safetensors cat.jpg dog.png --json")
    parser.add_argument("weights", metavar="RUN_OR_WEIGHTS", help=WEIGHTS_HELP)
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="*", help="files of pictures, of any size")
    _add_network(parser)
    parser.add_argument("--dataset", help=f"instead of files, test images of its classes of {DATA_HELP}")
    parser.add_argument("--first", type=count, help="how many of them, the classes in turn (16)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a picture too: images, predicted, actual; PNG")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")


# ---------------------------------------------------------------------------------------------- which network


def _network(arguments: argparse.Namespace, image_shape: tuple[int, int, int]) -> NetworkName | None:
    """The network that the user names; None: that of the weights."""
    if arguments.arch is None:
        for name in ("depth", "shortcut"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} needs --arch")
        return None
    if arguments.arch in NAMED:
        if arguments.depth not in (None, NAMED[arguments.arch].depth):
            raise UsageError(f"--depth {arguments.depth}: {arguments.arch} has a depth of its own; leave --depth out")
        network = NAMED[arguments.arch]._replace(family=family_of(arguments.stem, image_shape))
    elif arguments.depth is None:
        raise UsageError(f"--arch {arguments.arch} needs --depth, as in --depth 20")
    else:
        network = NetworkName(CIFAR, arguments.arch, arguments.depth, "none" if arguments.arch == "plain" else "a")
    network = network._replace(shortcut=arguments.shortcut or network.shortcut)
    check_network(network)
    return network


def _weights(place: str, arguments: argparse.Namespace) -> Weights:
    """The weights to be used as they are, of the network that they say or the user does."""
    from resnet_bench.trained.runs import find_weights

    return find_weights(place, _network(arguments, (3, 224, 224)))


# ---------------------------------------------------------------------------------------------- finetune


def finetune(arguments: argparse.Namespace) -> int:
    """Train in each mode, and compare."""
    from resnet_bench.study.checks import Incomplete
    from resnet_bench.trained.finetune import Transfer, fine_tune

    if not arguments.data:
        raise UsageError(
            "finetune needs --data: a folder of images (train/<class>/*, or <class>/*), or a dataset's name"
        )
    names = [field.name for field in dataclasses.fields(Transfer) if field.name != "named"]
    given = {name: getattr(arguments, name) for name in names}
    transfer = Transfer(**given, named=lambda image_shape: _network(arguments, image_shape))
    try:
        folder = fine_tune(transfer, train_options(arguments), arguments.stop)
    except Incomplete as incomplete:  # what is finished is compared all the same
        render_transfer(incomplete.folder, quiet=True)
        raise
    render_transfer(folder, arguments.quiet)
    return 0


# ---------------------------------------------------------------------------------------------- export, predict


def export(arguments: argparse.Namespace) -> int:
    """Write weights, or features."""
    from resnet_bench.environment import configure, find_device
    from resnet_bench.trained.export import write_features, write_weights

    weights = _weights(arguments.run, arguments)
    name = weights.file_name
    if not arguments.features:
        if arguments.data:
            raise UsageError("--data is for --features")
        out = arguments.out or Path(f"{name}.safetensors")
        write_weights(weights, out)
        say(one_line(f"{out}: weights of {weights.origin}"))
        return 0
    model = weights.build()
    assert weights.inputs is not None
    source = source_of(weights, arguments.data)
    out = arguments.out or Path(f"{name}.npz")
    dataset = source.load(progress_line("reading", False))
    if source.left_out:
        say(one_line(source.left_out))
    device = find_device(arguments.device)
    configure(device)
    images, features = write_features(model, weights.inputs, dataset, out, device)
    say(one_line(f"{out}: {features} features of each of {images:,} images of {source.name}"))
    return 0


def source_of(weights: Weights, data: str | None) -> Source:
    """The data that the user names, or those that the network was trained on, if they have a name."""
    from resnet_bench.data.sources import BUILTIN

    trained_on = weights.provenance.get("dataset")
    if data is None and trained_on not in BUILTIN:
        told = f"the network was trained on {trained_on}" if trained_on else "the weights do not say of what images"
        raise UsageError(f"--features needs --data, which says where images lie or what they are called; {told}")
    return find_data("cifar10", data or trained_on)


def _check_picture(out: Path, read: list[Path]) -> None:
    """Raise UsageError unless a picture may be written there."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: a picture is written as FILE.png")
    if any(path.exists() and out.exists() and path.samefile(out) for path in read):
        raise UsageError(f"--out {out}: is what is read; choose another place")


def predict(arguments: argparse.Namespace) -> int:
    """Print what pictures show; exit code 1 if one could not be read."""
    from resnet_bench.environment import configure, find_device
    from resnet_bench.trained import predict as predicting

    if bool(arguments.images) == bool(arguments.dataset):
        raise UsageError("predict needs pictures: files, or --dataset NAME (and not both)")
    if arguments.first and not arguments.dataset:
        raise UsageError("--first is for --dataset")
    if arguments.out:
        _check_picture(arguments.out, [Path(arguments.weights), *arguments.images])
    weights = _weights(arguments.weights, arguments)
    model = weights.build()
    assert weights.inputs is not None and weights.classes is not None
    problems: list[str] = []
    if arguments.dataset:
        dataset = find_data("cifar10", arguments.dataset, quiet=True).load(progress_line("reading", True))
        examples = predicting.of_dataset(dataset, arguments.first or 16, weights.inputs, weights.classes)
    else:
        examples, problems = predicting.of_files(arguments.images, weights.inputs)
    device = find_device(arguments.device)
    configure(device)
    predictions = predicting.predict(model, weights.inputs, weights.classes, examples, device)
    if predictions or arguments.json:
        say(predicting.to_json(predictions) if arguments.json else prediction_table(predictions), end="")
    if arguments.out and predictions:
        from resnet_bench.report.prediction_figure import Tile, write_predictions

        tiles = [Tile(p.example.pixels, p.predicted, p.probability, p.example.actual, p.correct) for p in predictions]
        drawn = write_predictions(tiles, arguments.out)
        complain(one_line(f"{arguments.out}: a picture of {drawn} predictions"))
    if problems:
        raise Failure(listing(f"{len(problems)} of {len(arguments.images)} could not be read:", problems))
    return 0


def prediction_table(predictions: Sequence[Prediction]) -> str:
    """For the terminal; the last line counts, where actual classes are known."""
    labelled = any(p.example.actual is not None for p in predictions)
    known = [p.correct for p in predictions if p.correct is not None]
    header = ["image", "predicted", *(["actual", "right"] if labelled else []), "probability"]
    rows = []
    for p in predictions:
        told = [p.example.actual or "-", {True: "yes", False: "NO", None: "-"}[p.correct]] if labelled else []
        rows.append([p.example.name, p.predicted, *told, f"{100 * p.probability:.1f} %"])
    counted = f"{sum(known)} of {len(known)} right\n" if known else ""
    return columns(header, rows, len(header) - 1) + counted
