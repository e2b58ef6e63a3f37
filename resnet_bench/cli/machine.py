"""The commands that count and time: complexity, throughput, counters, gate; and doctor."""

from __future__ import annotations

import argparse
from pathlib import Path

from resnet_bench.cli.arguments import (
    ARCH_HELP,
    Commands,
    add_command,
    add_stem,
    arch_names,
    count,
    minutes,
    percent,
    whole_numbers,
)
from resnet_bench.cli.folders import add_folder
from resnet_bench.cli.shared import check_folder, family_of
from resnet_bench.errors import Failure, UsageError
from resnet_bench.execution import MODES, PRECISIONS, Execution, default_precision
from resnet_bench.networks import SHORTCUTS
from resnet_bench.terminal import say, sayer
from resnet_bench.text import command, one_line

GATED = "benchmarks/gated.py"


def add_commands(commands: Commands) -> None:
    """Add the commands of this module, each with its own arguments."""
    for add in (_add_complexity, _add_throughput, _add_counters, _add_gate):
        add(commands)
    add_command(commands, "doctor", doctor, "versions, device, threads, where data was found and why", "doctor")


def _add_complexity(commands: Commands) -> None:
    meaning = "parameters, multiply-adds and activations of networks, by closed form and by two public counters"
    parser = add_command(commands, "complexity", show_complexity, meaning, "complexity --depths 20,56 --per-layer")
    where = "a study's folder: count its networks, and write complexity.csv and layers.csv there"
    add_folder(parser, where, optional=True)
    parser.add_argument("--depths", type=whole_numbers("depths"), help="only these (20,32,44,56,110; all of the study)")
    parser.add_argument("--arch", type=arch_names, help=f"only these, comma between them: {ARCH_HELP} (plain,residual)")
    meaning = "only residual networks with this (all; of networks called by name b)"
    parser.add_argument("--shortcut", choices=SHORTCUTS, help=meaning)
    add_stem(parser)
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
    parser = add_command(commands, "throughput", throughput, meaning, "throughput results/demo --mode compile")
    add_folder(parser)
    parser.add_argument("--batch-size", type=count, default=128, help="images per step (128)")
    parser.add_argument("--rounds", type=count, default=7, help="timed rounds of at least 0.3 s (7)")
    parser.add_argument("--input-size", type=int, help="pixels a side (those of the study's images)")
    parser.add_argument("--num-classes", type=int, help="(those of the study's data)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--mode", choices=("auto", *MODES), default="auto", help="auto: the study's own (auto)")
    parser.add_argument(
        "--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: the study's own (auto)"
    )
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads (the study's; else as in training)")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_counters(commands: Commands) -> None:
    meaning = "count what a step does, exactly, and compare with the counts that were accepted"
    parser = add_command(commands, "counters", counters, meaning, "counters --accept")
    parser.add_argument("--benchmarks", type=Path, default=Path(GATED), help=f"file of benchmarks ({GATED})")
    parser.add_argument("--accept", action="store_true", help="store the present counts, in counters.json beside it")


def _add_gate(commands: Commands) -> None:
    meaning = "is this checkout slower than its base; PASS: 0, FAIL: 1, UNDECIDED: 3, NOT MEASURED: 4"
    parser = add_command(commands, "gate", gate, meaning, "gate --base origin/main")
    parser.add_argument("--base", help="a commit (where HEAD left the main branch)")
    parser.add_argument("--benchmarks", default=GATED, help=f"file of benchmarks, inside the checkout ({GATED})")
    parser.add_argument(
        "--budget", type=minutes, default=5.0, help="minutes; to confirm a slowdown it may take longer (5)"
    )
    parser.add_argument("--delta", type=percent, default=5.0, help="the slowdown that matters, in percent (5)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write every measurement to FILE, as JSON")


def show_complexity(arguments: argparse.Namespace) -> int:
    """Print what networks cost, and write it into a study's folder and to a file, as asked."""
    from resnet_bench.cli.cost_tables import complexity_table, layer_tables
    from resnet_bench.cost.counting import read_counts, write_complexity
    from resnet_bench.cost.layers import write_layers
    from resnet_bench.cost.networks import find_images, find_networks
    from resnet_bench.study.folder import StudyFolder

    for name, low, high in (("input_size", 8, 512), ("num_classes", 1, 100_000)):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} {value} is not between {low} and {high:,}")
    if arguments.folder:
        check_folder(arguments.folder)
    study = StudyFolder(arguments.folder) if arguments.folder else None
    images = find_images(study, arguments.input_size, arguments.num_classes)
    family = family_of(arguments.stem, images[0])
    networks = find_networks(study, images, arguments.depths, arguments.arch, arguments.shortcut, family)
    if arguments.out:
        write_layers(arguments.out, networks)
    if study:
        write_complexity(study, *images)
    if not arguments.quiet:
        known = read_counts(study) if study else {}
        text = layer_tables(networks) if arguments.per_layer else complexity_table(networks, known)
        say(text, end="")
    return 0


def throughput(arguments: argparse.Namespace) -> int:
    """Measure the networks of a study on this machine."""
    from resnet_bench.cores import cores_here
    from resnet_bench.cost.networks import find_images
    from resnet_bench.cost.throughput import Bench, Rules, measure_throughput
    from resnet_bench.environment import configure, find_device
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.threads import choose_threads

    check_folder(arguments.folder)
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
    its_own = settled.threads if settled and device.type == "cpu" and not arguments.threads else None
    threads = choose_threads(study.path, its_own, arguments.threads, cores_here())
    configure(device, threads.number, execution.precision)
    tell = sayer(arguments.quiet)
    if threads.warning:
        tell(threads.warning)
    bench = Bench.of(*images, device, execution, arguments.batch_size, Rules.of(study))
    measure_throughput(study, bench, arguments.rounds, tell)
    tell(f"draw it with: {command('resnet-bench', 'report', arguments.folder)}")
    return 0


def counters(arguments: argparse.Namespace) -> int:
    """Count, and compare or accept."""
    from resnet_bench.gate import counters as counting

    present = counting.count_all(arguments.benchmarks)
    stored = counting.stored_at(arguments.benchmarks)
    before = counting.read_counts(stored) if stored.exists() or not arguments.accept else None
    changes = counting.differences(before, present) if before else [f"{name}: is new" for name in present["benchmarks"]]
    for line in changes:
        say(one_line(line))
    if arguments.accept:
        counting.write_counts(stored, present)
        say(f"{stored}: {len(changes)} changes accepted" if changes else f"{stored}: as before")
    elif not changes:
        say(f"the counts of {len(present['benchmarks'])} benchmarks are as in {stored}")
    return Failure.exit_code if changes and not arguments.accept else 0


def gate(arguments: argparse.Namespace) -> int:
    """Count and time this checkout against its base."""
    from resnet_bench.environment import find_device, gpu_uuid
    from resnet_bench.files import write_json
    from resnet_bench.gate.checkouts import find_base, find_root, short
    from resnet_bench.gate.gate import EXIT_CODES, check_counters, compare

    root = find_root(Path.cwd())
    commit, device = find_base(root, arguments.base), find_device(arguments.device)
    tell = sayer(quiet=False)
    tell(f"base: {short(root, commit)}; head: the working tree, {short(root, 'HEAD')} and what was changed since")
    verdict = check_counters(root, arguments.benchmarks, tell) or compare(
        root,
        commit,
        arguments.benchmarks,
        device=str(device),
        gpu=gpu_uuid(device),
        budget_seconds=60 * arguments.budget,
        delta=arguments.delta / 100,
        say=tell,
    )
    if arguments.record:
        sides = {"base": commit, "head": short(root, "HEAD"), "device": str(device)}
        write_json(arguments.record, sides | verdict.to_json())
    say(one_line(str(verdict)))
    return EXIT_CODES[verdict.outcome]


def doctor(arguments: argparse.Namespace) -> int:
    """Print what a bug report needs."""
    from resnet_bench.doctor import diagnosis

    say(diagnosis(), end="")
    return 0
