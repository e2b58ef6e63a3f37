"""The commands about studies: sweep, run, status, verify, report, surgery."""

from __future__ import annotations

import argparse
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
    whole_numbers,
)
from resnet_bench.cli.folders import add_folder
from resnet_bench.cli.shared import (
    check_folder,
    family_of,
    find_data,
    render_study,
    render_transfer,
    threads_of,
    train,
    train_on_ray,
    variation,
)
from resnet_bench.config.run import RunConfig
from resnet_bench.config.study import Study
from resnet_bench.errors import Failure, UsageError
from resnet_bench.networks import ARCHS, CIFAR, NAMED, SHORTCUTS, NetworkName, check_depth, check_network
from resnet_bench.places import user_path
from resnet_bench.studies import STUDIES, find_study
from resnet_bench.terminal import progress_line, say, sayer
from resnet_bench.text import counted, one_line

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source
    from resnet_bench.study.folder import StudyFolder


def add_commands(commands: Commands) -> None:
    """Add them."""
    for add in (_add_sweep, _add_demo, _add_cifar_sweep, _add_run, _add_status, _add_verify, _add_report, _add_surgery):
        add(commands)


def _add_sweep(commands: Commands) -> None:
    names = "\n".join(f"{study.name}: {study.meaning}" for study in STUDIES.values())
    example = "sweep --study demo --depths 8,20 --seeds 0"
    parser = add_command(commands, "sweep", sweep, "run what is not finished of a study, and render it", example)
    parser.add_argument("--study", required=True, help=f"auto, or one of\n{names}")
    _add_sweeping(parser)


def _add_demo(commands: Commands) -> None:
    meaning = "the phenomenon in a few minutes, on images that need no download"
    parser = add_command(commands, "demo", sweep, meaning, "demo --depths 8 --seeds 0")
    parser.set_defaults(study="demo")
    _add_sweeping(parser, cost=True)


def _add_cifar_sweep(commands: Commands) -> None:
    meaning = "the main job: CIFAR-10, by the paper's protocol on CUDA, by a short one on a CPU"
    parser = add_command(commands, "cifar-sweep", sweep, meaning, "cifar-sweep --depths 20,56 --seeds 0")
    parser.set_defaults(study="auto")
    _add_sweeping(parser, cost=True)


def _add_sweeping(parser: Parser, cost: bool = False) -> None:
    """What can be said of the sweep of any study; `cost`: is it counted and timed unless somebody says otherwise."""
    parser.add_argument("--depths", type=whole_numbers("depths"), help="only these, as in 20,56")
    parser.add_argument("--seeds", type=whole_numbers("seeds"), help="only these, as in 0,1,2")
    meaning = "runs side by side, the cores shared out; they are no measure of throughput (1)"
    parser.add_argument("--jobs", type=count, default=1, help=meaning)
    add_variation(parser)
    meaning = f"afterwards count and time the networks: complexity.csv, throughput.csv ({'yes' if cost else 'no'})"
    parser.add_argument("--cost", action=argparse.BooleanOptionalAction, default=cost, help=meaning)
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
    parser.add_argument("--study", required=True, help=f"one of {', '.join(STUDIES)}")
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
    """Plan, train, collect, render."""
    _check_executor(arguments)
    study = _find_study(arguments)
    source, folder = _choose(study, arguments)
    planned = _runs(study, source, arguments.depths, arguments.seeds)
    runs = [variation(arguments).apply(run) for run in planned]
    if arguments.dry_run:
        return _print_plan(study, source, folder, runs, arguments)
    title = f"{study.name} ({study.meaning})"
    if arguments.executor == "ray":
        from resnet_bench.executors.ray.shared import Demand

        demand = Demand(
            arguments.cpus_per_run or float(arguments.threads or 1),
            _gpus_per_run(arguments),
            arguments.any_version,
            arguments.threads,
        )
        train_on_ray(title, source, folder, runs, arguments, demand)
    else:
        train(title, source, folder, runs, arguments)
    return 0


def _check_executor(arguments: argparse.Namespace) -> None:
    if arguments.executor == "ray":
        if arguments.jobs > 1 or arguments.device != "auto":
            raise UsageError(
                "--executor ray: what a run gets is said by --cpus-per-run and --gpus-per-run, not by --jobs, --device"
            )
        if arguments.threads and arguments.cpus_per_run and arguments.threads > arguments.cpus_per_run:
            raise UsageError(f"--threads {arguments.threads} is more than --cpus-per-run {arguments.cpus_per_run:g}")
        return
    for name in ("address", "gpus_per_run", "cpus_per_run", "any_version"):
        value = getattr(arguments, name)
        if value is not None and value is not False:
            raise UsageError(f"--{name.replace('_', '-')} is for clusters: add --executor ray")


def _gpus_per_run(arguments: argparse.Namespace) -> float:
    """As asked for; else a whole one, if this machine has any."""
    from resnet_bench.environment import find_device

    given: float | None = arguments.gpus_per_run
    return float(find_device("auto").type == "cuda") if given is None else given


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
    runs = [variation(arguments).apply(chosen)]
    train(f"{study.name} ({study.meaning})", source, folder, runs, arguments)
    return 0


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
        return find_study(arguments.study)
    from resnet_bench.environment import find_device

    on_ray = arguments.executor == "ray"
    on_cuda = _gpus_per_run(arguments) > 0 if on_ray else find_device(arguments.device).type == "cuda"
    return find_study("cifar10-paper" if on_cuda else "cifar10-short")


def _runs(study: Study, source: Source, depths: list[int] | None, seeds: list[int] | None) -> list[RunConfig]:
    side = min(source.image_shape[1:])
    return study.runs(source.name, depths, seeds, augmentation=source.augmentation, image_side=side)


def _choose(study: Study, arguments: argparse.Namespace) -> tuple[Source, Path]:
    source = find_data(study.dataset, arguments.data, getattr(arguments, "quiet", False))
    if source.name.startswith("synthetic") and study.name == "demo":
        raise UsageError("the demo shows real images; synthetic data are for tests and timing (resnet-bench run)")
    name = study.folder_name(source.name) + variation(arguments).label
    return source, user_path(arguments.results) / name


def _print_plan(
    study: Study, source: Source, folder: Path, runs: list[RunConfig], arguments: argparse.Namespace
) -> int:
    from resnet_bench.cores import cores_here
    from resnet_bench.machine import cpu_model, has_gpu_driver
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.plan import DataShape, Plan, format_seconds, typical_rate

    plan = Plan(runs, StudyFolder(folder).results(check_files=False), DataShape.of(source.image_shape))
    lines = [
        f"{'done' if config.run_id in plan.done else 'to do':6} {config.title}  {config.run_id}" for config in plan.runs
    ]
    say("\n".join(lines))
    kind = "cpu" if arguments.device == "cpu" or not has_gpu_driver() else "cuda"
    rate = plan.measured_rate(cpu_model()) if kind == "cpu" else None
    basis = "from the finished runs" if rate else "a rough guess; measured when the sweep starts"
    seconds = plan.seconds(rate or typical_rate(kind, arguments.threads or cores_here().threads()))
    say(one_line(f"{study.name} on {source.name} ({source.where}) -> {folder}"))
    if source.left_out:
        say(one_line(source.left_out))
    say(f"{len(plan.todo)} of {len(plan.runs)} runs to do, about {format_seconds(seconds)} ({basis})")
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


def report(arguments: argparse.Namespace) -> int:
    """Render a study, or what the studies of a transfer folder say together."""
    from resnet_bench.trained.compared import is_transfer_folder

    check_folder(arguments.folder)
    render = render_transfer if is_transfer_folder(arguments.folder) else render_study
    render(arguments.folder, arguments.quiet)
    return 0


def surgery(arguments: argparse.Namespace) -> int:
    """Operate on the trained nets of a study, and render it."""
    from resnet_bench.data.on_device import DeviceData
    from resnet_bench.environment import configure, find_device
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.trained.surgery import Theatre, operate

    check_folder(arguments.folder)
    for depth in (arguments.shallow, arguments.deep):
        check_depth(depth)
    if arguments.shallow >= arguments.deep:
        raise UsageError(f"--shallow {arguments.shallow} is not below --deep {arguments.deep}")
    study, device = StudyFolder(arguments.folder), find_device(arguments.device)
    trained = next(iter(study.results(check_files=False).values()), None)
    if trained is None:
        raise UsageError(f"{arguments.folder}: no run has finished; there is nothing to operate on")
    threads = threads_of(study, device.type, arguments.threads)
    configure(device, threads.number, trained.precision)
    if threads.warning:
        sayer(arguments.quiet)(threads.warning)
    source = find_data(trained.dataset, arguments.data, arguments.quiet)
    dataset = source.load(progress_line("reading", arguments.quiet))
    theatre = Theatre(study, DeviceData.of(dataset, device), dataset.digest)
    operate(theatre, arguments.shallow, arguments.deep, arguments.seeds, say)
    render_study(arguments.folder, arguments.quiet)
    return 0
