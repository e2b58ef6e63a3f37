"""Train a study: plan it, do what is not finished, measure its cost, collect. What reports show is drawn elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_bench import terminal
from resnet_bench.busy import life_signs
from resnet_bench.config.run import RunConfig
from resnet_bench.config.study import Study
from resnet_bench.data.find import find_data
from resnet_bench.errors import UsageError
from resnet_bench.executors.options import TrainOptions
from resnet_bench.hush import libraries_hushed
from resnet_bench.networks import NetworkName
from resnet_bench.places import user_path
from resnet_bench.study.checks import Incomplete, check, check_writable
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.kept import keep_study
from resnet_bench.study.plan import DataShape, Plan, in_order
from resnet_bench.study.stopping import StopRequest, TimeIsUp
from resnet_bench.terminal import LifeLine, progress_line, sayer, wipe
from resnet_bench.text import counted, listing

if TYPE_CHECKING:
    from resnet_bench.data.dataset import Dataset
    from resnet_bench.data.sources import Source
    from resnet_bench.executors.local import Here
    from resnet_bench.executors.ray.place import OnRay
    from resnet_bench.models.weights import Weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """Runs to be done in one folder.

    Attributes:
        title: what to call them while they are done.
        folder: of the study.
        runs: all that are wanted; those that are finished are not done again.
        images: what they are trained on, or where that comes from.
        settings: by run id, what varies within the study beside network and seed.
        weights: that the runs which name them begin with.
        study: that they are of; None: of none that has a name.
    """

    title: str
    folder: Path
    runs: Sequence[RunConfig]
    images: Source | Dataset
    settings: Mapping[str, str] = field(default_factory=dict)
    weights: Weights | None = None
    study: Study | None = None

    def plan(self, shape: DataShape, *, check_files: bool = True) -> Plan:
        """Its runs in the order in which they are done, beside those that are finished."""
        done = StudyFolder(self.folder).results(check_files=check_files)
        return Plan(in_order(self.runs, shape, self.settings), done, shape, self.settings)


def train_study(study: Study, options: TrainOptions, *, stop: StopRequest | None = None) -> Path:
    """Do what is not finished of a study; gives its folder, in which everything that is finished is collected.

    Called again it goes on where it stopped. Ctrl-C saves, and then raises Stopped, a KeyboardInterrupt.

    Args:
        study: which runs.
        options: how they are done, and where.
        stop: what asks to stop; None: the signals of this process, while this goes on, if it is its main thread.

    Raises:
        UsageError: bad options or data, or a folder that these runs cannot be added to.
        Incomplete: some runs failed; the others are finished and collected.
        Failure: the work could not be done.
        Stopped: asked to stop; everything is saved, and what is finished is collected.
    """
    with _attended(stop, options.quiet) as asked:
        return train(plan_sweep(study, options), options, asked)


def plan_sweep(study: Study, options: TrainOptions) -> Sweep:
    """Find a study's data, and its runs with their folder; nothing is made or read yet.

    Raises:
        UsageError: there are no such data, depths or seeds.
    """
    source, study = _on_its_data(study, options)
    return _sweep_of(study, options, source, _runs(study, options, source))


def plan_run(study: Study, options: TrainOptions, named: Callable[[tuple[int, int, int]], NetworkName]) -> Sweep:
    """The same for one network only, in every setting of the study; `named` gives it for [C, H, W] images."""
    source, study = _on_its_data(study, options)
    like = _runs(study, replace(options, depths=None, seeds=None), source)[0]
    seeds = options.seeds or study.seeds
    network = named(source.image_shape)
    return _sweep_of(study, options, source, [run for seed in seeds for run in study.alike(like, network, seed)])


def _on_its_data(study: Study, options: TrainOptions) -> tuple[Source, Study]:
    """The data, and the study as it is with them and with what is asked for otherwise than it says."""
    source = find_data(study.dataset, options.data, options.quiet)
    if source.name.startswith("synthetic") and study.name == "demo":
        raise UsageError("the demo shows real images; synthetic data are for tests and timing (resnet-bench run)")
    own = options.data in (None, "", study.dataset)
    return source, (study if own else study.on(source.name)).varied(options.variation)


def _runs(study: Study, options: TrainOptions, source: Source) -> list[RunConfig]:
    side = min(source.image_shape[1:])
    return study.runs(source.name, options.depths, options.seeds, augmentation=source.augmentation, image_side=side)


def _sweep_of(study: Study, options: TrainOptions, source: Source, runs: Sequence[RunConfig]) -> Sweep:
    return Sweep(
        title=f"{study.name} ({study.meaning})" if study.meaning else study.name,
        folder=user_path(options.results) / study.name,
        runs=runs,
        images=source,
        settings={run.run_id: study.setting_of(run) for run in runs},
        study=study,
    )


def train(sweep: Sweep, options: TrainOptions, stop: StopRequest) -> Path:
    """Do what is not finished of these runs; gives their folder. Arguments and errors as of `train_study`."""
    study, say = StudyFolder(sweep.folder), sayer(options.quiet)
    with stop.within(options.hours):
        place = _place(study, options)
        check_writable(study)
        say(f"study {sweep.title}")
        dataset = _load(sweep.images, options.quiet)
        from resnet_bench.study.session import shape_of

        plan = sweep.plan(shape_of(dataset, sweep.runs))
        finished = len(plan.runs) - len(plan.todo)
        say(f"{counted(len(plan.runs), 'run')}, {finished} finished before, results in {sweep.folder}")
        check(study, plan, dataset, place.execution)
        if sweep.study:
            keep_study(study, sweep.study)
        try:
            outcome = place.sweep(dataset, plan, sweep.weights, stop, say)
        except TimeIsUp:
            _say_how_far(study, plan, options.hours or 0.0, say)
            return sweep.folder
    if outcome.failed:
        told = f"{counted(len(outcome.failed), 'run')} failed; the others are kept:"
        raise Incomplete(listing(told, outcome.failed), sweep.folder)
    return sweep.folder


def _place(study: StudyFolder, options: TrainOptions) -> Here | OnRay:
    """Where the runs are done; torch, and Ray, are loaded only now."""
    if options.cluster:
        from resnet_bench.executors.ray.place import OnRay

        return OnRay.of(study, options, options.cluster)
    from resnet_bench.executors.local import Here

    return Here.of(study, options)


def _load(images: Source | Dataset, quiet: bool) -> Dataset:
    """The images, read if need be; says what they are."""
    from resnet_bench.data.dataset import Dataset

    if isinstance(images, Dataset):
        return images
    for line in str(images).splitlines():
        sayer(quiet)(line)
    return images.load(progress_line("reading", quiet))


def _say_how_far(study: StudyFolder, plan: Plan, hours: float, say: Say) -> None:
    """After the time was up: what is finished of the plan, now that it is collected."""
    with study.lock():
        if study.uncollected():
            collect(study)
    finished = study.results(check_files=False).keys() & {run.run_id for run in plan.runs}
    failed = sum(study.run(run.run_id).failure.exists() for run in plan.todo)
    told = f"{len(finished)} of {counted(len(plan.runs), 'run')} are finished{f', {failed} failed' if failed else ''}"
    say(f"{hours:g} h are over: {told}, everything is saved; the same command goes on")


@contextlib.contextmanager
def _attended(stop: StopRequest | None, quiet: bool) -> Iterator[StopRequest]:
    """Somebody listens to signals and shows what takes long: whoever has a `stop`, else this."""
    if stop is not None:
        yield stop
        return
    with contextlib.ExitStack() as around:
        asked = around.enter_context(StopRequest().listening())
        around.enter_context(libraries_hushed())
        if not quiet:
            around.callback(wipe)
            around.enter_context(life_signs(LifeLine(terminal.say)))
        yield asked
