"""What several commands do: train the runs of a study, render it, say where the work is."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench import terminal
from resnet_bench.busy import busy
from resnet_bench.cli.arguments import STEMS
from resnet_bench.config.run import RunConfig, Variation
from resnet_bench.config.study import family_for
from resnet_bench.errors import Failure, UsageError, is_out_of_memory
from resnet_bench.execution import Execution, default_precision
from resnet_bench.terminal import columns, is_terminal, progress_line, sayer
from resnet_bench.text import command, counted, listing

if TYPE_CHECKING:
    from resnet_bench.data.sources import Source
    from resnet_bench.executors.local import Outcome
    from resnet_bench.executors.ray.shared import Demand
    from resnet_bench.models.weights import Weights
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.session import Session
    from resnet_bench.study.threads import Threads


def train(
    title: str,
    source: Source,
    folder: Path,
    runs: list[RunConfig],
    arguments: argparse.Namespace,
    weights: Weights | None = None,
    rendered: bool = True,
) -> None:
    """Do what is not finished of these runs, in the study's folder.

    Args:
        title: what to call it while it is done.
        source: of the images.
        folder: of the study.
        runs: all that are wanted.
        arguments: those that `arguments.add_where` adds, jobs and cost.
        weights: that the runs which name them begin with.
        rendered: draw the study too, and print what it says of the paper's claims.

    Raises:
        UsageError, Failure: see study.sweep; some runs failed, or their cost could not be measured.
    """
    from resnet_bench.cores import cores_here
    from resnet_bench.environment import configure, find_device
    from resnet_bench.executors.local import prepare
    from resnet_bench.executors.local import sweep as run_all
    from resnet_bench.study.checks import check_writable
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.plan import DataShape, Plan
    from resnet_bench.study.session import Session
    from resnet_bench.study.threads import choose_threads

    device = find_device(arguments.device)
    place = StudyFolder(folder)
    execution = _execution(place, arguments, device.type)
    settled = execution.threads if device.type == "cpu" else None
    threads = choose_threads(place.path, settled, arguments.threads, cores_here(), arguments.jobs)
    configure(device, threads.number, execution.precision)
    check_writable(place)
    say = sayer(arguments.quiet)
    say(f"study {title}")
    say(str(source))
    dataset = source.load(progress_line("reading", arguments.quiet))
    try:
        session = Session.open(
            place,
            dataset,
            device,
            execution=execution,
            checkpoint_seconds=arguments.checkpoint_seconds,
            stop=arguments.stop,
            jobs=arguments.jobs,
            weights=weights,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise Failure(
                f"{source.name} does not fit into the memory of {device}; free some, or use --device cpu"
            ) from None
        raise
    say(f"device {session.fingerprint.device}, {threads}, {execution.precision}")
    if threads.warning:
        say(threads.warning)
    shape = DataShape(dataset.image_shape, len(dataset.train_labels), len(dataset.test_labels))
    plan = Plan(runs, place.results(), shape)
    say(f"{counted(len(plan.runs), 'run')}, {len(plan.runs) - len(plan.todo)} finished before, results in {folder}")
    session = prepare(session, plan, arguments.mode, say)
    outcome = run_all(session, plan, quiet=arguments.quiet)
    problem: Failure | None = None
    try:
        if arguments.cost:
            _measure_cost(session, arguments)
    except Failure as failure:  # what was trained is rendered all the same
        problem = failure
    if rendered:
        render_study(folder, arguments.quiet)
    if problem:
        raise problem
    _check_failed(outcome)


def _check_failed(outcome: Outcome) -> None:
    if outcome.failed:
        raise Failure(listing(f"{counted(len(outcome.failed), 'run')} failed; the others are kept:", outcome.failed))


def train_on_ray(
    title: str, source: Source, folder: Path, runs: list[RunConfig], arguments: argparse.Namespace, demand: Demand
) -> None:
    """The same as `train` on a Ray cluster, with what each run demands; throughput is not measured there.

    Raises:
        UsageError, Failure: see study.cluster.fleet; some runs failed.
    """
    from resnet_bench.cost.counting import write_complexity
    from resnet_bench.executors.ray.fleet import sweep_on_ray
    from resnet_bench.study.checks import check_writable
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.plan import DataShape, Plan
    from resnet_bench.study.threads import check_settled

    study, say = StudyFolder(folder), sayer(arguments.quiet)
    execution = _execution(study, arguments, demand.device)
    threads = execution.threads if demand.device == "cpu" else None
    check_settled(study.path, threads, arguments.threads)
    if threads:
        demand = replace(demand, num_threads=threads, cpus=arguments.cpus_per_run or float(threads))
    check_writable(study)
    say(f"study {title}")
    say(str(source))
    dataset = source.load(progress_line("reading", arguments.quiet))
    shape = DataShape(dataset.image_shape, len(dataset.train_labels), len(dataset.test_labels))
    plan = Plan(runs, study.results(), shape)
    say(f"{counted(len(plan.runs), 'run')}, {len(plan.runs) - len(plan.todo)} finished before, results in {folder}")
    if demand.threads > demand.cpus:
        say(f"{demand.threads} threads a run, as this study was begun, on {demand.cpus:g} CPU: see --cpus-per-run")
    outcome = sweep_on_ray(
        study,
        dataset,
        plan,
        demand,
        address=arguments.address,
        mode=arguments.mode,
        execution=execution,
        checkpoint_seconds=arguments.checkpoint_seconds,
        stop=arguments.stop,
        say=say,
        quiet=arguments.quiet,
    )
    if arguments.cost:
        write_complexity(study, dataset.image_shape, len(dataset.classes))
        call = command("resnet-bench", "throughput", folder)
        say(f"throughput is not measured on a cluster; on a machine of its own: {call}")
    render_study(folder, arguments.quiet)
    _check_failed(outcome)


def _execution(study: StudyFolder, arguments: argparse.Namespace, device_type: str) -> Execution:
    """What was settled for the study, or asked for; the mode is chosen later. UsageError if these differ."""
    settled = study.read_execution()
    precision = arguments.precision
    if precision == "auto":
        precision = settled.precision if settled else default_precision(device_type)
    asked = Execution(settled.mode if settled else "eager", precision, threads=settled.threads if settled else None)
    if arguments.mode != "auto":
        Execution(arguments.mode, precision).check(device_type)
    asked.check(device_type)
    if settled and (precision != settled.precision or arguments.mode not in ("auto", settled.mode)):
        raise UsageError(
            f"{study.path}: this study is made in mode {settled.mode} and {settled.precision}; a study never mixes "
            "them: leave out --mode and --precision, or use another results folder (--results)"
        )
    return settled or asked


def threads_of(study: StudyFolder, device_type: str, asked: int | None) -> Threads:
    """The threads to work on a study with that was trained before. UsageError if others are asked for."""
    from resnet_bench.cores import cores_here
    from resnet_bench.study.threads import choose_threads

    execution = study.read_execution()
    settled = execution.threads if execution and device_type == "cpu" else None
    return choose_threads(study.path, settled, asked, cores_here())


def _measure_cost(session: Session, arguments: argparse.Namespace) -> None:
    from resnet_bench.cost.counting import write_complexity
    from resnet_bench.cost.throughput import ROUNDS, Bench, Rules, measure_throughput

    dataset, say = session.dataset, sayer(arguments.quiet)
    counted = write_complexity(session.study, dataset.image_shape, len(dataset.classes))
    say(f"{counted} networks counted into {session.study.path / 'complexity.csv'}")
    if session.jobs > 1:
        say("throughput is not measured with --jobs: the threads are shared out; call resnet-bench throughput later")
        return
    images = dataset.image_shape, len(dataset.classes)
    bench = Bench.of(*images, session.data.device, session.execution, rules=Rules.of(session.study))
    measure_throughput(session.study, bench, ROUNDS, say)


def variation(arguments: argparse.Namespace) -> Variation:
    """What the user wants done otherwise."""
    return Variation(arguments.optimizer, arguments.schedule, arguments.lr, arguments.zero_init_residual)


def family_of(stem: str, image_shape: tuple[int, int, int]) -> str:
    """The family of ImageNet-style networks with that stem, or with the one that fits the images."""
    return STEMS[stem] if stem in STEMS else family_for(min(image_shape[1:]))


def find_data(default: str, data: str | None, quiet: bool = False) -> Source:
    """The source that `data` names, else the default; on a terminal the files of a folder are counted meanwhile.

    Raises:
        UsageError: see data.sources.find_source.
    """
    from resnet_bench.data.sources import find_source

    return find_source(default, data, progress=progress_line("listing", quiet or not is_terminal(sys.stdout)))


def check_folder(folder: Path) -> None:
    """Raise UsageError, which names the studies beside it, unless the folder is there."""
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
        known = f"studies there: {', '.join(there)}" if there else "run a study first (resnet-bench demo)"
        raise UsageError(f"{folder}: no such folder; {known}")


@busy("drawing the report")
def render_transfer(folder: Path, quiet: bool) -> None:
    """Compare the studies of a transfer folder, draw that, and print the verdict."""
    from resnet_bench.report.transfer import render_transfer as draw
    from resnet_bench.report.transfer import summarize_transfer
    from resnet_bench.study.collecting import collect_late
    from resnet_bench.trained.compared import compare, studies_of

    for study in studies_of(folder):
        if study.uncollected():
            with study.lock():
                collect_late(study)
    compare(folder)
    paths = draw(folder)
    if not quiet:
        said, table = summarize_transfer(folder)
        terminal.say(f"\n{said}\n\n{columns(table.header, table.rows, texts=3)}")
        terminal.say(f"{len(paths)} files written; {command('open', folder / 'report.html')}")


@busy("drawing the report")
def render_study(folder: Path, quiet: bool) -> None:
    """Draw what is finished of a study, and print its summary."""
    from resnet_bench.report import render, summarize
    from resnet_bench.study.collecting import collect_late
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.sums import write_sums

    study = StudyFolder(folder)
    with study.lock():
        collect_late(study)
        paths = render(folder)
        write_sums(study)
        said = "" if quiet else summarize(folder)
    if not quiet:
        terminal.say(f"\n{said}\n")
        if study.in_work():
            terminal.say(f"{study.progress()}; call again when they are finished")
        terminal.say(f"{len(paths)} files written; {command('open', folder / 'report.html')}")
