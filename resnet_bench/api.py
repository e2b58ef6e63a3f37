"""The package as a library: train a study, load and judge one, build a network, evaluate a trained one.

Every function says what it needs by itself: what only reads results loads no torch, and importing this loads nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench.busy import busy
from resnet_bench.errors import UsageError
from resnet_bench.places import user_path
from resnet_bench.terminal import complain, say
from resnet_bench.text import command

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from resnet_bench.config.study import Study
    from resnet_bench.frames import StudyFrames
    from resnet_bench.models import Net
    from resnet_bench.trained.assess import Arrays, Evaluation, Pixels

Place = str | os.PathLike[str]


def train(
    study: Study | Place,
    *,
    data: Place | None = None,
    results: Place = "results",
    depths: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    mode: str = "auto",
    precision: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    hours: float | None = None,
    checkpoint_seconds: float = 60.0,
    cost: bool = False,
    report: bool = True,
    quiet: bool = False,
) -> StudyFrames:
    """Train what is not finished of a study, as `resnet-bench sweep` does, and load its results.

    What is finished is not trained again, and what was broken off goes on where it was, to the very bits. Ctrl-C, or
    a notebook's stop button, finishes the step, saves, and raises KeyboardInterrupt; the same call goes on. A thread
    that is not the main one may call it too; it does not hear of signals. Settings of torch are given back as they
    were found.

    Args:
        study: a `Study`, the name of a built-in one ("demo", "digits-full"), or the path of a study file (.toml).
        data: a dataset's name, its file or folder, or a folder of images; None: the study's own.
        results: the folder that the study's folder is made in.
        depths: only these; None: all.
        seeds: only these; None: all.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        mode: how steps are executed: "auto", "eager", "compile" or "graph".
        precision: "auto", "fp32", "tf32" or "bf16".
        jobs: runs side by side, in processes of their own. In a script the call then stands under
            `if __name__ == "__main__":`, as these processes import the script.
        threads: CPU threads of each run; None: chosen once for the study.
        hours: stop, with everything saved, after so many; None: when all is done.
        checkpoint_seconds: between two saved states of a run.
        cost: count and time the networks too.
        report: draw figures, tables and report.html too.
        quiet: tell nothing of the progress.

    Returns:
        The study as data frames, as `load_study` gives them.

    Raises:
        UsageError: what is asked for cannot be done, or must not be mixed with what the folder holds.
        Failure: some runs failed, or results cannot be written; what was finished is kept.
        KeyboardInterrupt: stopped by Ctrl-C; everything is saved.
        SystemExit: stopped by SIGTERM (75) or SIGHUP (129); everything is saved.

    >>> import resnet_bench as rb
    >>> study = rb.Study(
    ...     name="tiny", dataset="digits", seeds=(0,), networks=rb.twins([8]),
    ...     protocol=rb.Protocol(steps=4, batch_size=32, lr=0.02),
    ... )
    >>> frames = rb.train(study, report=False, quiet=True)
    >>> frames.runs[["arch", "depth", "steps", "status"]]
           arch  depth  steps status
    0     plain      8      4     ok
    1  residual      8      4     ok
    """
    from resnet_bench.environment import settings_kept
    from resnet_bench.executors import TrainOptions, train_study
    from resnet_bench.study.checks import Incomplete

    options = TrainOptions(
        data=None if data is None else os.fspath(data),
        results=user_path(os.fspath(results)),
        depths=depths,
        seeds=seeds,
        device=device,
        mode=mode,
        precision=precision,
        jobs=jobs,
        threads=threads,
        hours=hours,
        checkpoint_seconds=checkpoint_seconds,
        cost=cost,
        quiet=quiet,
    )
    problem: Incomplete | None = None
    with settings_kept(), _stopped_as_python_does():
        try:
            folder = train_study(_study(study), options)
        except Incomplete as incomplete:  # what is finished is drawn all the same
            folder, problem = incomplete.folder, incomplete
    if report:
        draw_report(folder, quiet)
    if problem:
        raise problem
    return load_study(folder)


@busy("drawing the report")
def draw_report(folder: Path, quiet: bool = False) -> list[Path]:
    """Draw what is finished of a study, and tell what it says of the paper's claims; gives the files.

    Raises:
        UsageError: the study's tables are missing, malformed or not comparable.
        Failure: the folder cannot be written.
    """
    from resnet_bench.report import make
    from resnet_bench.study.collecting import collect_late
    from resnet_bench.study.folder import StudyFolder
    from resnet_bench.study.sums import write_sums

    study = StudyFolder(folder)
    with study.lock():
        collect_late(study)
        report = make(folder)
        paths = report.write()
        write_sums(study)
        said = "" if quiet else report.summary()
    if not quiet:
        say(f"\n{said}\n")
        if study.in_work():
            say(f"{study.progress()}; call again when they are finished")
        say(f"{len(paths)} files written; {command('open', folder / 'report.html')}")
    return paths


def load_study(folder: Place) -> StudyFrames:
    """Read a study's tables. Needs no torch.

    Args:
        folder: of the study, with its runs.csv: "results/digits-full".

    Raises:
        UsageError: no such folder, a file that is needed is missing or malformed, or the runs are not comparable.

    >>> import resnet_bench as rb
    >>> frames = rb.load_study("results/digits-full")
    >>> len(frames.runs), frames.depths
    (50, [20, 32, 44, 56, 110])
    """
    from resnet_bench.frames import load

    return load(_existing(user_path(os.fspath(folder))))


def judge(frames: StudyFrames) -> pd.DataFrame:
    """What the runs say of the paper's claims: a row for each, with the columns of claims.csv. Needs no torch.

    `verdict` is the one on these runs, in the row's `scope`; `trained` is that on trained networks, or "not testable".
    Effects are in the row's `unit`; intervals are of 95 %. A study that varies fields of its runs is judged within each
    `setting`.

    >>> import resnet_bench as rb
    >>> claims = rb.judge(rb.load_study("results/digits-full"))
    >>> claims.set_index("claim").verdict["plain-degrades-train"]
    'supported'
    """
    from resnet_bench.frames import to_frame
    from resnet_bench.report.claims_table import claims
    from resnet_bench.results.tables import CLAIMS, columns_of

    judged = to_frame(CLAIMS, columns_of(CLAIMS, claims(frames)))
    return judged if judged["setting"].any() else judged.drop(columns="setting")


def build_model(
    arch: str,
    depth: int,
    shortcut: str | None = None,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    seed: int = 0,
    family: str = "cifar",
) -> Net:
    """A network with the very weights that a run of this seed begins with, on the CPU.

    It makes logits, float32 [N, num_classes], of normalised images, float32 [N, in_channels, H, W]. Twins, and all
    shortcut options, of one seed have the same values in every layer that they share.

    Args:
        arch: "plain", "residual" or, of the ImageNet families, another network by torchvision's name.
        depth: weighted layers: 6n+2 of the family "cifar", 18 or 34, say, of the others.
        shortcut: "a", "b" or "c" (the paper's options), "none" of plain networks; None: "none" of plain networks,
            "a" of residual ones, "b" of others.
        in_channels: of the images.
        num_classes: length of the logits.
        seed: of the run; its `init_seed`, where it has one.
        family: "cifar" (the paper's section 4.2), "imagenet" (table 1), or "imagenet-small" (for small images).

    Raises:
        UsageError: there is no such network.

    >>> import resnet_bench as rb
    >>> plain, residual = rb.build_model("plain", 20), rb.build_model("residual", 20)
    >>> sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in residual.parameters())
    True
    """
    from resnet_bench.environment import generator
    from resnet_bench.models import build_model as build

    if shortcut is None:
        shortcut = {"plain": "none", "residual": "a"}.get(arch, "b")
    init = generator(seed, "init")
    return build(arch, depth, shortcut, in_channels=in_channels, num_classes=num_classes, generator=init, family=family)


def evaluate(
    trained: nn.Module | Place,
    data: Place | Arrays | None = None,
    *,
    mean: Pixels | None = None,
    std: Pixels | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Evaluation:
    """The error of a trained network on test images, by the rule of the runs: each image once, as it is, in eval mode.

    Of a finished run, on its own data, the error is its `final_test_top1_err` exactly (where validation images chose
    a state: its `selected_test_top1_err`).

    Args:
        trained: the folder of a finished run, a file of weights (see `resnet-bench export`), or a module of torch
            that makes logits [N, K] of images float32 [N, C, H, W]; a module is evaluated where it is.
        data: a dataset's name, file or folder, whose test images are taken; or arrays: images uint8 [N, C, H, W] and
            labels [N] from 0. None: the data that the run was trained on.
        mean: of a module: what is subtracted from pixels scaled to 0..1: a number, [C] or [C, H, W]. None: the
            dataset's own, as a run normalises them (the mean of its training images by pixel; by channel, with the
            standard deviation, where images were resized). Runs and files of weights know theirs.
        std: of a module: what they are divided by then: a number or [C]; None: they are not divided.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"; a module stays where it is.
        precision: "fp32", "tf32" or "bf16"; None: the run's, else fp32.

    Raises:
        UsageError: nothing trained is there, or images, classes or normalisation do not fit.
    """
    images = os.fspath(data) if isinstance(data, str | os.PathLike) else data
    if isinstance(trained, str | os.PathLike):
        from resnet_bench.trained.assess import evaluate_weights
        from resnet_bench.trained.runs import find_weights

        if mean is not None or std is not None:
            raise UsageError("mean= and std= are for modules: a run and a file of weights know theirs")
        return evaluate_weights(find_weights(os.fspath(trained)), images, device, precision)
    from resnet_bench.trained.assess import evaluate_module

    if images is None:
        raise UsageError("a module does not say what images it is for: name them (data=)")
    return evaluate_module(trained, images, mean, std, precision)


@contextlib.contextmanager
def _stopped_as_python_does() -> Iterator[None]:
    """What was stopped by a signal ends a program as if it were its own: Python knows KeyboardInterrupt, and exits."""
    from resnet_bench.study.stopping import EXIT_CODES, Stopped

    try:
        yield
    except Stopped as stopped:
        told = f"{stopped}; the same call goes on"
        if stopped.exit_code == EXIT_CODES[signal.SIGINT]:
            raise KeyboardInterrupt(told) from None
        complain(told)
        raise SystemExit(stopped.exit_code) from None


def _study(study: Study | Place) -> Study:
    """What is named, by a built-in study's name or the path of a file."""
    from resnet_bench import studies
    from resnet_bench.config.study import Study

    return study if isinstance(study, Study) else studies.named(os.fspath(study))


def _existing(folder: Path) -> Path:
    """The folder; UsageError, which names the studies beside it, unless it is there."""
    if folder.is_dir():
        return folder
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    there = ", ".join(sorted(path.name for path in beside if path.is_dir()))
    raise UsageError(f"{folder}: no such folder" + (f"; studies there: {there}" if there else ""))
