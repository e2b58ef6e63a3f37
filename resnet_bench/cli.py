"""The command `resnet-bench`: parses, calls, prints. What a sub-command needs is imported when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from resnet_bench import __version__
from resnet_bench.architectures import (
    ARCHS,
    CIFAR,
    IMAGENET,
    IMAGENET_SMALL,
    NAMED,
    SHORTCUTS,
    NetworkName,
    check_depth,
    check_network,
)
from resnet_bench.config import (
    LARGE_SIDE,
    OPTIMIZERS,
    SCHEDULES,
    STUDIES,
    RunConfig,
    Study,
    Variation,
    family_for,
    find_study,
)
from resnet_bench.errors import Failure, UsageError, is_out_of_memory
from resnet_bench.execution import MODES, PRECISIONS, Execution, default_precision

GATED = "benchmarks/gated.py"
DATA_HELP = "a dataset's name (see data list), where it lies, or a folder of images (FOLDER@64: resized to 64 pixels)"
STEMS = {"7x7": IMAGENET, "3x3": IMAGENET_SMALL}
ARCH_HELP = f"{' or '.join(ARCHS)} (6n+2 layers), or a network of ImageNet style by name: {', '.join(NAMED)}"

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.run import Session


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0 done, 1 failed, 2 bad input, 75 and 130 stopped by a signal."""
    from resnet_bench.study.stopping import Stopped, StopRequest

    with StopRequest().listening() as stop:
        try:
            arguments = _parser().parse_args(argv)
            arguments.stop = stop
            code: int = arguments.command(arguments)
            sys.stdout.flush()
            return code
        except Stopped as stopped:
            print(f"resnet-bench: {stopped}; the same command goes on", file=sys.stderr)
            return stopped.exit_code
        except BrokenPipeError:  # the reader (head, say) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (UsageError, Failure) as error:
            print(f"resnet-bench: {error}", file=sys.stderr)
            return error.exit_code
        except OSError as error:  # what was not foreseen: a disk or a device that went away
            print(f"resnet-bench: {error}", file=sys.stderr)
            return Failure.exit_code


# ---------------------------------------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _numbers(what: str) -> Callable[[str], list[int]]:
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


def _archs(text: str) -> list[str]:
    names = text.replace(",", " ").split()
    known = (*ARCHS, *NAMED)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r} is unknown; one of {', '.join(known)}")
    return names


def _rate(text: str) -> float:
    return _positive(text, "learning rate")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _minutes(text: str) -> float:
    return _positive(text, "minutes")


def _delta(text: str) -> float:
    return _positive(text, "percent")


def _positive(text: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        of = f" of {unit}" if unit in ("minutes", "percent") else f" ({unit})"
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number{of}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="resnet-bench",
        description="Train matched plain and residual networks; see, measure and trust the degradation phenomenon.",
        epilog="example: resnet-bench sweep --study demo",
    )
    parser.add_argument("--version", action="version", version=f"resnet-bench {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_sweep(commands)
    _add_run(commands)
    _add_status(commands)
    _add_verify(commands)
    _add_report(commands)
    _add_data(commands)
    _add_complexity(commands)
    _add_throughput(commands)
    _add_surgery(commands)
    _add_counters(commands)
    _add_gate(commands)
    _command(commands, "doctor", doctor, "versions, device, threads, where data was found and why", "doctor")
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _command(
    commands: Commands, name: str, function: Callable[[argparse.Namespace], int], meaning: str, example: str
) -> _Parser:
    text = f"{meaning[0].upper()}{meaning[1:]}."
    parser = commands.add_parser(name, help=meaning, description=text, epilog=f"example: resnet-bench {example}")
    parser.set_defaults(command=function)
    return parser


def _add_where(parser: _Parser) -> None:
    parser.add_argument("--data", help=DATA_HELP)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all studies (results)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    _add_execution(parser)
    parser.add_argument(
        "--checkpoint-seconds",
        type=_seconds,
        default=os.environ.get("CHECKPOINT_SECONDS", "60"),
        help="time between two checkpoints (CHECKPOINT_SECONDS, else 60)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_execution(parser: _Parser) -> None:
    meaning = "how steps are executed; auto: a graph on CUDA, compile on CPU where it pays, else eager (auto)"
    parser.add_argument("--mode", choices=("auto", *MODES), default="auto", help=meaning)
    meaning = "auto: tf32 on CUDA, else fp32 (auto)"
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help=meaning)


def _add_sweep(commands: Commands) -> None:
    names = "; ".join(f"{study.name}: {study.meaning}" for study in STUDIES.values())
    example = "sweep --study demo --depths 8,20 --seeds 0"
    parser = _command(commands, "sweep", sweep, "run what is not finished of a study, and render it", example)
    parser.add_argument("--study", required=True, help=f"auto, or one of {names}")
    parser.add_argument("--depths", type=_numbers("depths"), help="only these, as in 20,56")
    parser.add_argument("--seeds", type=_numbers("seeds"), help="only these, as in 0,1,2")
    meaning = "runs side by side, the cores shared out; they are no measure of throughput (1)"
    parser.add_argument("--jobs", type=_count, default=1, help=meaning)
    _add_variation(parser)
    meaning = "afterwards count and time the study's networks (complexity.csv, throughput.csv)"
    parser.add_argument("--cost", action="store_true", help=meaning)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    _add_where(parser)


def _add_variation(parser: _Parser) -> None:
    group = parser.add_argument_group("otherwise than the study's protocol (changes the protocol's and folder's name)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="(sgd, with momentum)")
    group.add_argument("--schedule", choices=SCHEDULES, default="step", help="cosine: from the rate to 0 (step)")
    group.add_argument("--lr", type=_rate, help="first learning rate (the study's; adam and adamw: 0.001)")
    meaning = "begin with every residual function at 0"
    group.add_argument("--zero-init-residual", action="store_true", help=meaning)


def _add_run(commands: Commands) -> None:
    example = "run --study demo --arch plain --depth 56 --seed 0"
    parser = _command(commands, "run", run, "train one network by the rules of a study, into its folder", example)
    parser.add_argument("--study", required=True, help=f"one of {', '.join(STUDIES)}")
    parser.add_argument("--arch", required=True, choices=(*ARCHS, *NAMED), metavar="ARCH", help=ARCH_HELP)
    parser.add_argument("--depth", type=int, help="of plain or residual: 6n+2")
    parser.add_argument("--shortcut", choices=SHORTCUTS, help="of a residual network (a; of those called by name b)")
    _add_stem(parser)
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    _add_variation(parser)
    parser.set_defaults(jobs=1, cost=False)
    _add_where(parser)


def _add_stem(parser: _Parser) -> None:
    meaning = f"of networks called by name; auto: 7x7 from {LARGE_SIDE} pixels a side, else 3x3 without pooling (auto)"
    parser.add_argument("--stem", choices=("auto", *STEMS), default="auto", help=meaning)


def _add_status(commands: Commands) -> None:
    parser = _command(commands, "status", status, "a table of a study's runs", "status results/demo")
    parser.add_argument("folder", type=Path, help="the study's folder")


def _add_verify(commands: Commands) -> None:
    meaning = "check every file of a study against its digests and the schema"
    parser = _command(commands, "verify", verify, meaning, "verify results/demo")
    parser.add_argument("folder", type=Path, help="the study's folder")


def _add_report(commands: Commands) -> None:
    meaning = "draw a study's figures and tables again from its CSV files"
    parser = _command(commands, "report", report, meaning, "report results/demo")
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_data(commands: Commands) -> None:
    parser = commands.add_parser(
        "data",
        help="fetch, verify, list or show datasets",
        description="Fetch, verify, list or show datasets.",
        epilog="example: resnet-bench data list",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", parser_class=_Parser)
    fetch = _command(actions, "fetch", data_fetch, "get a dataset if it is not there", "data fetch --data cifar100")
    fetch.add_argument(
        "--data", help="its name, or where to look for CIFAR-10, and to put it (the user's cache folder)"
    )
    fetch.add_argument("--quiet", action="store_true", help="print errors only")
    verify = _command(actions, "verify", data_verify, "read and check a dataset", "data verify --data digits")
    verify.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    stats = _command(
        actions, "stats", data_stats, "images by class, mean and std by channel", "data stats --data mnist"
    )
    stats.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    listing = _command(actions, "list", data_list, "the known datasets and where they are", "data list")
    listing.add_argument("--data", help="a further place to look at")
    show = _command(actions, "show", data_show, "a picture of raw and augmented images", "data show --data digits")
    show.add_argument("--data", default="cifar10", help="a name, or a path (cifar10)")
    show.add_argument("--seed", type=int, default=0, help="seed of the batches (0)")
    show.add_argument("--out", type=Path, default=Path("data.png"), help="where to write the picture (data.png)")


def _add_complexity(commands: Commands) -> None:
    meaning = "parameters, multiply-adds and activations of networks, by closed form and by two public counters"
    parser = _command(commands, "complexity", show_complexity, meaning, "complexity --depths 20,56 --per-layer")
    where = "a study's folder: count its networks, and write complexity.csv and layers.csv there"
    parser.add_argument("folder", type=Path, nargs="?", help=where)
    parser.add_argument("--depths", type=_numbers("depths"), help="only these (20,32,44,56,110; all of the study)")
    parser.add_argument("--arch", type=_archs, help=f"only these, comma between them: {ARCH_HELP} (plain,residual)")
    meaning = "only residual networks with this (all; of networks called by name b)"
    parser.add_argument("--shortcut", choices=SHORTCUTS, help=meaning)
    _add_stem(parser)
    parser.add_argument("--input-size", type=int, help="pixels a side, of RGB images (32; the study's)")
    parser.add_argument("--num-classes", type=int, help="length of the logits (10; the study's)")
    parser.add_argument("--per-layer", action="store_true", help="print the layers of each network instead")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the layers too: FILE.csv each by itself, FILE.md folded by block",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_throughput(commands: Commands) -> None:
    meaning = "measure how fast a study's networks train and infer here, into its throughput.csv"
    parser = _command(commands, "throughput", throughput, meaning, "throughput results/demo --mode compile")
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--batch-size", type=_count, default=128, help="images per step (128)")
    parser.add_argument("--rounds", type=_count, default=7, help="timed rounds of at least 0.3 s (7)")
    parser.add_argument("--input-size", type=int, help="pixels a side (those of the study's images)")
    parser.add_argument("--num-classes", type=int, help="(those of the study's data)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--mode", choices=("auto", *MODES), default="auto", help="auto: the study's own (auto)")
    parser.add_argument(
        "--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: the study's own (auto)"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_counters(commands: Commands) -> None:
    meaning = "count what a step does, exactly, and compare with the counts that were accepted"
    parser = _command(commands, "counters", counters, meaning, "counters --accept")
    parser.add_argument("--benchmarks", type=Path, default=Path(GATED), help=f"file of benchmarks ({GATED})")
    parser.add_argument("--accept", action="store_true", help="store the present counts, in counters.json beside it")


def _add_gate(commands: Commands) -> None:
    meaning = "is this checkout slower than its base; PASS: 0, FAIL: 1, UNDECIDED: 3, NOT MEASURED: 4"
    parser = _command(commands, "gate", gate, meaning, "gate --base origin/main")
    parser.add_argument("--base", help="a commit (where HEAD left the main branch)")
    parser.add_argument("--benchmarks", default=GATED, help=f"file of benchmarks, inside the checkout ({GATED})")
    parser.add_argument(
        "--budget", type=_minutes, default=5.0, help="minutes; to confirm a slowdown it may take longer (5)"
    )
    parser.add_argument("--delta", type=_delta, default=5.0, help="the slowdown that matters, in percent (5)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write every measurement to FILE, as JSON")


def _add_surgery(commands: Commands) -> None:
    meaning = "deepen trained plain nets by identity layers, and take blocks out of deep ones"
    parser = _command(commands, "surgery", surgery, meaning, "surgery results/demo --shallow 20 --deep 56")
    parser.add_argument("folder", type=Path, help="the study's folder, with its trained nets")
    parser.add_argument("--shallow", type=int, default=20, help="depth of the plain nets to be deepened (20)")
    parser.add_argument("--deep", type=int, default=56, help="depth that they become, and of the lesions (56)")
    parser.add_argument("--seeds", type=_numbers("seeds"), help="only these, as in 0,1,2")
    parser.add_argument("--data", help="where the study's data are, if not where they are looked for")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


# ---------------------------------------------------------------------------------------------- studies


def sweep(arguments: argparse.Namespace) -> int:
    """Plan, train, collect, render."""
    study = _find_study(arguments.study, arguments.device)
    source, folder = _choose(study, arguments)
    planned = _runs(study, source, arguments.depths, arguments.seeds)
    runs = [_variation(arguments).apply(run) for run in planned]
    if arguments.dry_run:
        return _print_plan(study, source, folder, runs, arguments)
    return _train(study, source, folder, runs, arguments)


def run(arguments: argparse.Namespace) -> int:
    """Train one network of a study."""
    import dataclasses

    if arguments.arch in NAMED and arguments.depth not in (None, NAMED[arguments.arch].depth):
        raise UsageError(f"--depth {arguments.depth}: {arguments.arch} has a depth of its own; leave --depth out")
    if arguments.arch not in NAMED and (arguments.depth is None or arguments.stem != "auto"):
        raise UsageError(f"--arch {arguments.arch} needs --depth, as in --depth 20, and no --stem")
    study = find_study(arguments.study)
    source, folder = _choose(study, arguments)
    # Rules may depend on the depth of the paper's own networks.
    depths = None if arguments.arch in NAMED else [arguments.depth]
    like = _runs(study, source, depths, [arguments.seed])[0]
    chosen = dataclasses.replace(like, **_network(arguments, source.image_shape)._asdict())
    return _train(study, source, folder, [_variation(arguments).apply(chosen)], arguments)


def _network(arguments: argparse.Namespace, image_shape: tuple[int, int, int]) -> NetworkName:
    """The network that `run` is to train."""
    if arguments.arch in NAMED:
        name = NAMED[arguments.arch]._replace(family=_family(arguments.stem, image_shape))
    else:
        name = NetworkName(CIFAR, arguments.arch, arguments.depth, "none" if arguments.arch == "plain" else "a")
    name = name._replace(shortcut=arguments.shortcut or name.shortcut)
    check_network(name)
    return name


def _family(stem: str, image_shape: tuple[int, int, int]) -> str:
    return STEMS[stem] if stem in STEMS else family_for(min(image_shape[1:]))


def _find_study(name: str, device: str) -> Study:
    if name != "auto":
        return find_study(name)
    from resnet_bench.environment import find_device

    return find_study("cifar10-paper" if find_device(device).type == "cuda" else "cifar10-short")


def _variation(arguments: argparse.Namespace) -> Variation:
    return Variation(arguments.optimizer, arguments.schedule, arguments.lr, arguments.zero_init_residual)


def _runs(study: Study, source: Source, depths: list[int] | None, seeds: list[int] | None) -> list[RunConfig]:
    side = min(source.image_shape[1:])
    return study.runs(source.name, depths, seeds, augmentation=source.augmentation, image_side=side)


def _choose(study: Study, arguments: argparse.Namespace) -> tuple[Source, Path]:
    from resnet_bench.data.sources import find_source

    source = find_source(study.dataset, arguments.data)
    if source.name.startswith("synthetic") and study.name == "demo":
        raise UsageError("the demo shows real images; synthetic data are for tests and timing (resnet-bench run)")
    name = study.folder_name(source.name) + _variation(arguments).label
    return source, arguments.results.expanduser() / name


def _print_plan(
    study: Study, source: Source, folder: Path, runs: list[RunConfig], arguments: argparse.Namespace
) -> int:
    from resnet_bench.architectures import display_name
    from resnet_bench.machine import available_cores, cpu_model, has_gpu_driver
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.plan import DataShape, Plan, format_seconds, typical_rate

    plan = Plan(runs, StudyFolder(folder).results(check_files=False), DataShape.of(source.image_shape))
    lines = [
        f"{'done' if config.run_id in plan.done else 'to do':6} "
        f"{display_name(config.arch, config.depth, config.shortcut)} seed {config.seed}  {config.run_id}"
        for config in plan.runs
    ]
    print("\n".join(lines))
    kind = "cpu" if arguments.device == "cpu" or not has_gpu_driver() else "cuda"
    rate = plan.measured_rate(cpu_model()) if kind == "cpu" else None
    basis = "from the finished runs" if rate else "a rough guess; measured when the sweep starts"
    seconds = plan.seconds(rate or typical_rate(kind, available_cores()))
    print(f"{study.name} on {source.name} ({source.where}) -> {folder}")
    print(f"{len(plan.todo)} of {len(plan.runs)} runs to do, about {format_seconds(seconds)} ({basis})")
    return 0


def _train(study: Study, source: Source, folder: Path, runs: list[RunConfig], arguments: argparse.Namespace) -> int:
    from resnet_bench.environment import configure, find_device
    from resnet_bench.machine import available_cores
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.plan import DataShape, Plan
    from resnet_bench.study.run import Session
    from resnet_bench.study.sweep import check_writable, prepare
    from resnet_bench.study.sweep import sweep as run_all

    device = find_device(arguments.device)
    if arguments.jobs > available_cores():
        raise UsageError(f"--jobs {arguments.jobs}: this machine has {available_cores()} cores, one a job at most")
    place = StudyFolder(folder)
    execution = _execution(place, arguments, device.type)
    configure(device, available_cores() // arguments.jobs, execution.precision)
    check_writable(place)
    say = _say(arguments.quiet)
    say(f"study {study.name} ({study.meaning})")
    say(f"data {source.name}: {source.where} ({source.reason})")
    dataset = source.load(_progress("reading", arguments.quiet))
    try:
        session = Session.open(
            place,
            dataset,
            device,
            execution=execution,
            checkpoint_seconds=arguments.checkpoint_seconds,
            stop=arguments.stop,
            jobs=arguments.jobs,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise Failure(
                f"{source.name} does not fit into the memory of {device}; free some, or use DEVICE=cpu"
            ) from None
        raise
    say(f"device {session.fingerprint.device}, {session.fingerprint.threads} threads, {execution.precision}")
    shape = DataShape(dataset.image_shape, len(dataset.train_labels), len(dataset.test_labels))
    plan = Plan(runs, place.results(), shape)
    say(f"{len(plan.runs)} runs, {len(plan.runs) - len(plan.todo)} finished before, results in {folder}")
    session = prepare(session, plan, arguments.mode, say)
    outcome = run_all(session, plan, quiet=arguments.quiet)
    problem: Failure | None = None
    try:
        if arguments.cost:
            _measure_cost(session, arguments)
    except Failure as failure:  # what was trained is rendered all the same
        problem = failure
    _render(folder, arguments.quiet)
    if problem:
        raise problem
    if outcome.failed:
        raise Failure("\n".join([f"{len(outcome.failed)} runs failed; the others are kept:", *outcome.failed]))
    return 0


def _say(quiet: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    return say


def _execution(study: StudyFolder, arguments: argparse.Namespace, device_type: str) -> Execution:
    """What was settled for the study, or asked for; the mode is chosen later. UsageError if these differ."""
    settled = study.read_execution()
    precision = arguments.precision
    if precision == "auto":
        precision = settled.precision if settled else default_precision(device_type)
    asked = Execution(settled.mode if settled else "eager", precision)
    if arguments.mode != "auto":
        Execution(arguments.mode, precision).check(device_type)
    asked.check(device_type)
    if settled and (precision != settled.precision or arguments.mode not in ("auto", settled.mode)):
        raise UsageError(
            f"{study.path}: this study is made in mode {settled.mode} and {settled.precision}; a study never mixes "
            "them: leave out --mode and --precision, or use another RESULTS="
        )
    return settled or asked


def _measure_cost(session: Session, arguments: argparse.Namespace) -> None:
    from resnet_bench.study.cost import ROUNDS, Bench, Rules, measure_throughput
    from resnet_bench.study.counts import write_complexity

    dataset, say = session.dataset, _say(arguments.quiet)
    counted = write_complexity(session.study, dataset.image_shape, len(dataset.classes))
    say(f"{counted} networks counted into {session.study.path / 'complexity.csv'}")
    if session.jobs > 1:
        say("throughput is not measured with --jobs: the threads are shared out; call resnet-bench throughput later")
        return
    images = dataset.image_shape, len(dataset.classes)
    bench = Bench.of(*images, session.data.device, session.execution, rules=Rules.of(session.study))
    measure_throughput(session.study, bench, ROUNDS, say)


def _progress(what: str, quiet: bool) -> Callable[[int, int], None] | None:
    """A line that counts on a terminal, a line per quarter elsewhere."""
    if quiet:
        return None
    shown = 0

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        step = percent if sys.stdout.isatty() else percent // 25
        if step != shown:
            shown = step
            end = "\n" if done >= total or not sys.stdout.isatty() else "\r"
            print(f"{what} {percent} % of {total:,}", end=end, flush=True)

    return show


def status(arguments: argparse.Namespace) -> int:
    """Print the runs of a study."""
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.status import status_table

    _check_folder(arguments.folder)
    print(status_table(StudyFolder(arguments.folder)), end="")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check every file of a study; exit 1 if there is a fault."""
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.verify import verify as find_faults

    _check_folder(arguments.folder)
    study = StudyFolder(arguments.folder)
    faults = find_faults(study)
    for fault in faults:
        print(fault)
    if faults:
        raise Failure(f"{arguments.folder}: {len(faults)} faults; nothing was changed")
    planned, finished = len(study.read_plan()), len(study.results())
    print(f"{arguments.folder}: every file is what was written; {finished} of {planned} planned runs are finished")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Render a study."""
    _check_folder(arguments.folder)
    _render(arguments.folder, arguments.quiet)
    return 0


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
        known = f"studies there: {', '.join(there)}" if there else "run a study first (make demo)"
        raise UsageError(f"{folder}: no such folder; {known}")


def _render(folder: Path, quiet: bool) -> None:
    from resnet_bench.report import render, summarize
    from resnet_bench.study.folder import StudyFolder, write_sums

    study = StudyFolder(folder)
    with study.lock():
        paths = render(folder)
        write_sums(study)
    if not quiet:
        print(f"\n{summarize(folder)}\n")
        print(f"{len(paths)} files written; open {folder / 'report.html'}")


# ---------------------------------------------------------------------------------------------- data


def data_fetch(arguments: argparse.Namespace) -> int:
    """Get a dataset that is published as files."""
    from resnet_bench.data.known import KNOWN
    from resnet_bench.data.sources import find_source

    source = find_source("cifar10", arguments.data)
    if source.name not in KNOWN:
        raise UsageError(f"--data {arguments.data} is {source.name}; what is fetched is one of {', '.join(KNOWN)}")
    dataset = source.load(_progress("fetching", arguments.quiet))
    if not arguments.quiet:
        print(f"{source.name} is at {find_source('cifar10', arguments.data).where}, digest {dataset.digest}")
    return 0


def data_verify(arguments: argparse.Namespace) -> int:
    """Read a dataset and print what it is."""
    from resnet_bench.data.sources import find_source

    source = find_source("cifar10", arguments.data)
    if not source.found:
        raise Failure(f"{source.name}: {source.where}; fetch it with: resnet-bench data fetch --data {source.name}")
    dataset = source.load(_progress("reading", False))
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
    dataset = source.load(_progress("reading", False))
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
    write_grid(source.load(_progress("reading", False)), arguments.seed, arguments.out)
    print(f"{arguments.out}: upper row as stored, below as the network sees it, from {source.name}")
    return 0


# ---------------------------------------------------------------------------------------------- machine


def show_complexity(arguments: argparse.Namespace) -> int:
    """Print what networks cost, and write it into a study's folder and to a file, as asked."""
    from resnet_bench.study import counts
    from resnet_bench.study.folder import StudyFolder

    for name, low, high in (("input_size", 8, 512), ("num_classes", 1, 100_000)):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} {value} is not between {low} and {high:,}")
    if arguments.folder:
        _check_folder(arguments.folder)
    study = StudyFolder(arguments.folder) if arguments.folder else None
    images = counts.find_images(study, arguments.input_size, arguments.num_classes)
    family = _family(arguments.stem, images[0])
    networks = counts.find_networks(study, images, arguments.depths, arguments.arch, arguments.shortcut, family)
    if arguments.out:
        counts.write_layers(arguments.out, networks)
    if study:
        counts.write_complexity(study, *images)
    if not arguments.quiet:
        known = counts.read_counts(study) if study else {}
        text = counts.layer_tables(networks) if arguments.per_layer else counts.complexity_table(networks, known)
        print(text, end="")
    return 0


def throughput(arguments: argparse.Namespace) -> int:
    """Measure the networks of a study on this machine."""
    from resnet_bench.environment import configure, find_device
    from resnet_bench.study.cost import Bench, Rules, measure_throughput
    from resnet_bench.study.counts import find_images
    from resnet_bench.study.folder import StudyFolder

    _check_folder(arguments.folder)
    study, device = StudyFolder(arguments.folder), find_device(arguments.device)
    settled = study.read_execution()
    execution = Execution(
        (settled.mode if settled else "eager") if arguments.mode == "auto" else arguments.mode,
        (settled.precision if settled else default_precision(device.type))
        if arguments.precision == "auto"
        else arguments.precision,
        settled.memory_format if settled else "nchw",
    )
    execution.check(device.type)
    images = find_images(study, arguments.input_size, arguments.num_classes)
    configure(device, precision=execution.precision)
    say = _say(arguments.quiet)
    bench = Bench.of(*images, device, execution, arguments.batch_size, Rules.of(study))
    measure_throughput(study, bench, arguments.rounds, say)
    say(f"draw it with: resnet-bench report {arguments.folder}")
    return 0


def counters(arguments: argparse.Namespace) -> int:
    """Count, and compare or accept."""
    from resnet_bench.regression import counters as counting

    present = counting.count_all(arguments.benchmarks)
    stored = counting.stored_at(arguments.benchmarks)
    before = counting.read_counts(stored) if stored.exists() or not arguments.accept else None
    changes = counting.differences(before, present) if before else [f"{name}: is new" for name in present["benchmarks"]]
    for line in changes:
        print(line)
    if arguments.accept:
        counting.write_counts(stored, present)
        print(f"{stored}: {len(changes)} changes accepted" if changes else f"{stored}: as before")
    elif not changes:
        print(f"the counts of {len(present['benchmarks'])} benchmarks are as in {stored}")
    return Failure.exit_code if changes and not arguments.accept else 0


def gate(arguments: argparse.Namespace) -> int:
    """Count and time this checkout against its base."""
    from resnet_bench.environment import find_device, gpu_uuid
    from resnet_bench.files import write_json
    from resnet_bench.regression.checkouts import find_base, find_root, short
    from resnet_bench.regression.gate import EXIT_CODES, check_counters, compare

    root = find_root(Path.cwd())
    commit, device = find_base(root, arguments.base), find_device(arguments.device)
    say = _say(quiet=False)
    say(f"base: {short(root, commit)}; head: the working tree, {short(root, 'HEAD')} and what was changed since")
    verdict = check_counters(root, arguments.benchmarks, say) or compare(
        root,
        commit,
        arguments.benchmarks,
        device=str(device),
        gpu=gpu_uuid(device),
        budget_seconds=60 * arguments.budget,
        delta=arguments.delta / 100,
        say=say,
    )
    if arguments.record:
        sides = {"base": commit, "head": short(root, "HEAD"), "device": str(device)}
        write_json(arguments.record, sides | verdict.to_json())
    print(verdict)
    return EXIT_CODES[verdict.outcome]


def surgery(arguments: argparse.Namespace) -> int:
    """Operate on the trained nets of a study, and render it."""
    from resnet_bench.data.sources import find_source
    from resnet_bench.environment import configure, find_device
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.surgery import Theatre, operate
    from resnet_bench.training.engine import DeviceData

    _check_folder(arguments.folder)
    for depth in (arguments.shallow, arguments.deep):
        check_depth(depth)
    if arguments.shallow >= arguments.deep:
        raise UsageError(f"--shallow {arguments.shallow} is not below --deep {arguments.deep}")
    study, device = StudyFolder(arguments.folder), find_device(arguments.device)
    trained = next(iter(study.results(check_files=False).values()), None)
    if trained is None:
        raise UsageError(f"{arguments.folder}: no run has finished; there is nothing to operate on")
    configure(device, precision=trained.precision)
    source = find_source(trained.dataset, arguments.data)
    dataset = source.load(_progress("reading", arguments.quiet))
    theatre = Theatre(study, DeviceData.of(dataset, device), dataset.digest)
    operate(theatre, arguments.shallow, arguments.deep, arguments.seeds, _say(arguments.quiet))
    _render(arguments.folder, arguments.quiet)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Print what a bug report needs."""
    from resnet_bench.study.doctor import diagnosis

    print(diagnosis(), end="")
    return 0
