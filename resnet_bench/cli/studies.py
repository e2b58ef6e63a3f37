"""The commands about studies: sweep, run, status, verify, merge, report, surgery."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.cli.arguments import (
    ARCH_HELP,
    Commands,
    Parser,
    add_command,
    add_stem,
    add_threads,
    add_variation,
    add_where,
    cluster_address,
    count,
    cpu_share,
    gpu_share,
    hours,
    whole_numbers,
)
from resnet_bench.cli.folders import add_folder
from resnet_bench.cli.shared import (
    check_folder,
    family_of,
    render_study,
    render_transfer,
    train_options,
)
from resnet_bench.cli.study_files import STUDY_HELP
from resnet_bench.config.study import Study
from resnet_bench.errors import Failure, UsageError
from resnet_bench.networks import ARCHS, CIFAR, NAMED, SHORTCUTS, NetworkName, check_depth, check_network
from resnet_bench.studies import find, named
from resnet_bench.terminal import say, sayer
from resnet_bench.text import command, counted, one_line

if TYPE_CHECKING:
    from resnet_bench.executors import Sweep, TrainOptions
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.stopping import StopRequest


def add_commands(commands: Commands) -> None:
    """Add the commands, in the order in which help lists them."""
    adders = (_add_sweep, _add_demo, _add_cifar_sweep, _add_run, _add_status, _add_verify, _add_merge, _add_report)
    for add in (*adders, _add_surgery):
        add(commands)


def _add_sweep(commands: Commands) -> None:
    example = "sweep --study demo --depths 8,20 --seeds 0"
    parser = add_command(commands, "sweep", sweep, "run what is not finished of a study, and render it", example)
    parser.add_argument("--study", required=True, help=STUDY_HELP)
    add_sweep_options(parser)


def _add_demo(commands: Commands) -> None:
    meaning = "the phenomenon in a few minutes, on images that need no download"
    parser = add_command(commands, "demo", sweep, meaning, "demo --depths 8 --seeds 0")
    parser.set_defaults(study="demo")
    add_sweep_options(parser, cost=True)


def _add_cifar_sweep(commands: Commands) -> None:
    meaning = "the main job: CIFAR-10, by the paper's protocol on CUDA, by a short one on a CPU"
    parser = add_command(commands, "cifar-sweep", sweep, meaning, "cifar-sweep --depths 20,56 --seeds 0")
    parser.set_defaults(study="auto")
    add_sweep_options(parser, cost=True)


def add_sweep_options(parser: Parser, cost: bool = False) -> None:
    """Which part of a study is done, how, where and for how long; `cost`: is it counted and timed unless told not."""
    parser.add_argument("--depths", type=whole_numbers("depths"), help="only these, as in 20,56")
    parser.add_argument("--seeds", type=whole_numbers("seeds"), help="only these, as in 0,1,2")
    meaning = "runs side by side, the cores shared out; they are no measure of throughput (1)"
    parser.add_argument("--jobs", type=count, default=1, help=meaning)
    add_variation(parser)
    meaning = f"afterwards count and time the networks: complexity.csv, throughput.csv ({'yes' if cost else 'no'})"
    parser.add_argument("--cost", action=argparse.BooleanOptionalAction, default=cost, help=meaning)
    meaning = "stop after so many, with everything saved: one seed is done after the other; the same command goes on"
    parser.add_argument("--hours", type=hours, metavar="N", help=meaning)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    add_where(parser)
    _add_cluster(parser)


def _add_cluster(parser: Parser) -> None:
    group = parser.add_argument_group("on a cluster (docs/cluster.md)")
    group.add_argument("--executor", choices=("local", "ray"), default="local", help="ray: one Ray task a run (local)")
    meaning = "of a Ray cluster: HOST:PORT, or auto (one is started on this machine)"
    group.add_argument("--address", type=cluster_address, help=meaning)
    meaning = "GPUs for a run; a fraction shares one (1 if there is one here, else 0)"
    group.add_argument("--gpus-per-run", type=gpu_share, metavar="N", help=meaning)
    meaning = "processors for a run, and its threads unless --threads says otherwise (1)"
    group.add_argument("--cpus-per-run", type=cpu_share, metavar="N", help=meaning)
    meaning = "let nodes take part whose versions of torch, Python or resnet-bench differ from this process's"
    group.add_argument("--any-version", action="store_true", help=meaning)


def _add_run(commands: Commands) -> None:
    example = "run --study demo --arch plain --depth 56 --seed 0"
    parser = add_command(commands, "run", run, "train one network by the rules of a study, into its folder", example)
    parser.add_argument(
        "--study", required=True, help="a built-in study, or a file of your own (see resnet-bench study)"
    )
    parser.add_argument("--arch", required=True, choices=(*ARCHS, *NAMED), metavar="ARCH", help=ARCH_HELP)
    parser.add_argument("--depth", type=int, help="of plain or residual: 6n+2")
    parser.add_argument("--shortcut", choices=SHORTCUTS, help="of a residual network (a; of those called by name b)")
    add_stem(parser)
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    add_variation(parser)
    parser.set_defaults(jobs=1, cost=False)
    add_where(parser)


def _add_status(commands: Commands) -> None:
    parser = add_command(commands, "status", status, "a table of a study's runs", "status results/demo")
    add_folder(parser)


def _add_verify(commands: Commands) -> None:
    meaning = "check every file of a study against its digests and the schema"
    parser = add_command(commands, "verify", verify, meaning, "verify results/demo")
    add_folder(parser)


def _add_merge(commands: Commands) -> None:
    meaning = "join the finished runs of one study from several machines, verified"
    parser = add_command(commands, "merge", merge, meaning, "merge results/demo /mnt/other/results/demo")
    parser.add_argument("into", type=Path, metavar="INTO", help="the study's folder; made if it is not there")
    parser.add_argument("others", type=Path, metavar="FROM", nargs="+", help="folders of the same study; not changed")


def _add_report(commands: Commands) -> None:
    meaning = "draw a study's figures and tables again from its CSV files"
    parser = add_command(commands, "report", report, meaning, "report results/demo")
    add_folder(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_surgery(commands: Commands) -> None:
    meaning = "deepen trained plain nets by identity layers, and take blocks out of deep ones"
    parser = add_command(commands, "surgery", surgery, meaning, "surgery results/demo --shallow 20 --deep 56")
    add_folder(parser, "the study's folder, with its trained nets")
    parser.add_argument("--shallow", type=int, default=20, help="depth of the plain nets to be deepened (20)")
    parser.add_argument("--deep", type=int, default=56, help="depth that they become, and of the lesions (56)")
    parser.add_argument("--seeds", type=whole_numbers("seeds"), help="only these, as in 0,1,2")
    parser.add_argument("--data", help="where the study's data are, if not where they are looked for")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def sweep(arguments: argparse.Namespace) -> int:
    """Train what is not finished of a study, and render it."""
    return sweep_study(_find_study(arguments), arguments)


def sweep_study(study: Study, arguments: argparse.Namespace) -> int:
    """The same for a study that is known; the arguments are those of `add_sweep_options`."""
    from resnet_bench.executors import plan_sweep

    options = train_options(arguments)
    planned = plan_sweep(study, options)
    if arguments.dry_run:
        return _print_plan(study, planned, options)
    return train_and_render(planned, options, arguments.stop)


def train_and_render(planned: Sweep, options: TrainOptions, stop: StopRequest) -> int:
    """Train, and draw what is finished, also if some runs failed: that is raised afterwards."""
    from resnet_bench.executors import train
    from resnet_bench.study.checks import Incomplete
    from resnet_bench.study.folder import StudyFolder

    try:
        train(planned, options, stop)
    except Incomplete:
        render_study(planned.folder, options.quiet)
        raise
    if StudyFolder(planned.folder).results(check_files=False):  # the time may be over before any is finished
        render_study(planned.folder, options.quiet)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Train one network of a study."""
    from resnet_bench.executors import plan_run

    if arguments.arch in NAMED and arguments.depth not in (None, NAMED[arguments.arch].depth):
        raise UsageError(f"--depth {arguments.depth}: {arguments.arch} has a depth of its own; leave --depth out")
    if arguments.arch not in NAMED and (arguments.depth is None or arguments.stem != "auto"):
        raise UsageError(f"--arch {arguments.arch} needs --depth, as in --depth 20, and no --stem")
    options = dataclasses.replace(train_options(arguments), seeds=[arguments.seed])
    planned = plan_run(named(arguments.study), options, lambda image_shape: _network(arguments, image_shape))
    return train_and_render(planned, options, arguments.stop)


def _network(arguments: argparse.Namespace, image_shape: tuple[int, int, int]) -> NetworkName:
    """The network that `run` is to train."""
    if arguments.arch in NAMED:
        name = NAMED[arguments.arch]._replace(family=family_of(arguments.stem, image_shape))
    else:
        name = NetworkName(CIFAR, arguments.arch, arguments.depth, "none" if arguments.arch == "plain" else "a")
    name = name._replace(shortcut=arguments.shortcut or name.shortcut)
    check_network(name)
    return name


def _find_study(arguments: argparse.Namespace) -> Study:
    if arguments.study != "auto":
        return named(arguments.study)
    return find("cifar10-paper" if _is_on_cuda(train_options(arguments)) else "cifar10-short")


def _is_on_cuda(options: TrainOptions) -> bool:
    """Do runs get a GPU."""
    if options.cluster:
        from resnet_bench.executors.ray.place import gpus_per_run

        return gpus_per_run(options.cluster) > 0
    from resnet_bench.environment import find_device

    return bool(find_device(options.device).type == "cuda")


def _print_plan(study: Study, planned: Sweep, options: TrainOptions) -> int:
    from resnet_bench.cores import cores_here
    from resnet_bench.data.sources import Source
    from resnet_bench.machine import cpu_model, has_gpu_driver
    from resnet_bench.study.forecast import forecast
    from resnet_bench.study.plan import DataShape, format_seconds, typical_rate

    source = planned.images
    assert isinstance(source, Source)
    plan = planned.plan(DataShape.of(source.image_shape), check_files=False)
    lines = [f"{'done' if run.run_id in plan.done else 'to do':6} {plan.title(run)}  {run.run_id}" for run in plan.runs]
    say("\n".join(lines))
    kind = "cpu" if options.device == "cpu" or not has_gpu_driver() else "cuda"
    measured = plan.measured_rate(cpu_model()) if kind == "cpu" else None
    basis = "from the finished runs" if measured else "a rough guess; measured when the sweep starts"
    rate = options.jobs * (measured or typical_rate(kind, options.threads or cores_here().threads(options.jobs)))
    say(one_line(f"{study.name} on {source.name} ({source.where}) -> {planned.folder}"))
    if source.left_out:
        say(one_line(source.left_out))
    say(f"{len(plan.todo)} of {len(plan.runs)} runs to do, about {format_seconds(plan.seconds(rate))} ({basis})")
    if options.hours is not None:
        say(forecast(plan, options.hours, rate, options.jobs))
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Print the runs of a study."""
    from resnet_bench.cli.status import status_table

    check_folder(arguments.folder)
    say("\n".join(status_table(study) for study in _studies(arguments.folder)), end="")
    return 0


def _studies(folder: Path) -> list[StudyFolder]:
    """The study in a folder, or all of a transfer folder."""
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.trained.compared import is_transfer_folder, studies_of

    return studies_of(folder) if is_transfer_folder(folder) else [StudyFolder(folder)]


def verify(arguments: argparse.Namespace) -> int:
    """Check every file of a study; exit 1 if there is a fault."""
    from resnet_bench.study.verify import verify as find_faults
    from resnet_bench.trained.compared import faults_of, is_transfer_folder

    check_folder(arguments.folder)
    studies = _studies(arguments.folder)
    faults = [fault for study in studies for fault in find_faults(study)]
    if is_transfer_folder(arguments.folder):
        faults += faults_of(arguments.folder)
    for fault in faults:
        say(one_line(fault))
    if faults:
        raise Failure(f"{arguments.folder}: {counted(len(faults), 'fault')}; nothing was changed")
    for study in studies:
        planned, finished = len(study.read_plan()), len(study.results())
        notes = f"{finished} of {planned} planned runs are finished"
        if late := len(study.uncollected()):
            notes += f", {late} of them not in the tables yet (a sweep or a report adds them)"
        if work := len(study.in_work()):
            notes += f"; {work} in work, not checked"
        say(one_line(f"{study.path}: every file is what was written; {notes}"))
    return 0


def merge(arguments: argparse.Namespace) -> int:
    """Copy what other folders of a study have finished into one."""
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.merge import merge as join

    for folder in arguments.others:
        check_folder(folder)
    merged = join(StudyFolder(arguments.into), [StudyFolder(folder) for folder in arguments.others])
    for run_id in merged.copied:
        say(f"copied {run_id}")
    there = f"{merged.already} were there with the same results, {merged.unfinished} planned ones are not finished yet"
    say(one_line(f"{arguments.into}: {counted(len(merged.copied), 'run')} copied and verified; {there}"))
    say(f"draw it with: {command('resnet-bench', 'report', arguments.into)}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Render a study, or what the studies of a transfer folder say together."""
    from resnet_bench.trained.compared import is_transfer_folder

    check_folder(arguments.folder)
    render = render_transfer if is_transfer_folder(arguments.folder) else render_study
    render(arguments.folder, arguments.quiet)
    return 0


def surgery(arguments: argparse.Namespace) -> int:
    """Operate on the trained nets of a study, and render it."""
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.trained.surgery import open_nets, operate

    check_folder(arguments.folder)
    for depth in (arguments.shallow, arguments.deep):
        check_depth(depth)
    if arguments.shallow >= arguments.deep:
        raise UsageError(f"--shallow {arguments.shallow} is not below --deep {arguments.deep}")
    study = StudyFolder(arguments.folder)
    nets = open_nets(study, arguments.data, arguments.device, arguments.threads, arguments.quiet)
    operate(nets, arguments.shallow, arguments.deep, arguments.seeds, sayer(arguments.quiet))
    render_study(arguments.folder, arguments.quiet)
    return 0
