"""Surgery on a study's trained nets: the solution by construction, trained on from there, and lesions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_bench import cores
from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.data.find import find_data
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.prepare import prepare
from resnet_bench.environment import configure, find_device, generator
from resnet_bench.errors import UsageError
from resnet_bench.models import CifarNet, build_model
from resnet_bench.models.surgery import calibrate, deepen, without_block
from resnet_bench.models.weights import Weights, adopt
from resnet_bench.networks import CIFAR, display_name
from resnet_bench.results.rows import ConstructionRow, ContinuationRow, LesionRow, RunRow
from resnet_bench.results.tables import CONSTRUCTION, CONTINUATION, LESIONS, Table, read_csv, write_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import format_seconds
from resnet_bench.study.sums import write_sums
from resnet_bench.study.threads import choose_threads
from resnet_bench.terminal import progress_line, sayer
from resnet_bench.trained.runs import checkpoint_of_run, config_of_run
from resnet_bench.training.evaluation import EvalSet, eval_batch, evaluate
from resnet_bench.training.loop import fit
from resnet_bench.training.state import Job, TrainState

LESION_IMAGES = 2_000  # of the test set, at most
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainedNet:
    """A trained net of the study."""

    row: RunRow
    config: RunConfig
    model: CifarNet

    @property
    def name(self) -> str:
        """`plain-20 seed 0`."""
        return f"{display_name(self.row.arch, self.row.depth, self.row.shortcut)} seed {self.row.seed}"


@dataclass(frozen=True)
class TrainedNets:
    """The study whose nets are operated on, and the images they were trained on."""

    study: StudyFolder
    data: DeviceData
    dataset_digest: str

    def load(self, row: RunRow) -> TrainedNet:
        """Load a finished run's net from its last checkpoint.

        Raises:
            UsageError: the checkpoint is not here, not the result's, or of other data.
        """
        if row.dataset_digest != self.dataset_digest:
            raise UsageError(
                f"{self.study.path}: trained on other data (digest {row.dataset_digest[:12]}, here "
                f"{self.dataset_digest[:12]}); give --data"
            )
        folder = self.study.run(row.run_id)
        if row.family != CIFAR:
            raise UsageError(f"{folder.path}: surgery is for 6n+2 networks of ours, not for others")
        stored, config = checkpoint_of_run(folder, row), config_of_run(folder, row)
        model = self.build(config)
        adopt(model, Weights(stored.model, str(folder.path)), head=True)
        return TrainedNet(row, config, model.to(self.data.device).eval())

    def build(self, config: RunConfig) -> CifarNet:
        """A net of that kind, on the CPU."""
        return build_model(
            config.arch, config.depth, config.shortcut, in_channels=self.data.train_images.shape[1],
            num_classes=self.data.num_classes, generator=generator(config.seed_of_init, "init"),
        )  # fmt: skip


def open_nets(study: StudyFolder, data: str | None, device: str, threads: int | None, quiet: bool) -> TrainedNets:
    """The nets of a study with its images, on a device that is set up as the study was trained.

    Args:
        study: with finished runs.
        data: where its images are; None: where they are looked for.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: on a CPU; None: the study's.
        quiet: say nothing.

    Raises:
        UsageError: no run has finished, no such data or device, or other threads than the study's.
    """
    trained = next(iter(study.results(check_files=False).values()), None)
    if trained is None:
        raise UsageError(f"{study.path}: no run has finished; there is nothing to operate on")
    place, execution = find_device(device), study.read_execution()
    settled = execution.threads if execution and place.type == "cpu" else None
    chosen = choose_threads(study.path, settled, threads, cores.cores_here())
    configure(place, chosen.number, trained.precision)
    if chosen.warning:
        sayer(quiet)(chosen.warning)
    if any(row.setting for row in study.read_plan()):
        raise UsageError(f"{study.path}: surgery is for studies that vary nothing beside networks and seeds")
    config = config_of_run(study.run(trained.run_id), trained)
    source = find_data(trained.dataset, data, quiet).load(progress_line("reading", quiet))
    dataset = prepare(source, config.image_side, config.images_per_class)
    return TrainedNets(study, DeviceData.of(dataset, place), dataset.digest)


def operate(nets: TrainedNets, shallow: int, deep: int, seeds: Sequence[int] | None, say: Say) -> None:
    """Write construction.csv, continuation.csv and lesions.csv of a study; what they hold already is not done again.

    Args:
        nets: the study.
        shallow: the depth of the plain nets that are deepened.
        deep: the depth that they become, and that lesions are made at.
        seeds: only these; all if None.
        say: takes lines about the progress.

    Raises:
        UsageError: no net of that depth has finished, or its weights are not here.
    """
    rows = [row for row in nets.study.results().values() if row.status == "ok"]
    chosen = [row for row in rows if seeds is None or row.seed in seeds]
    plain = {(row.depth, row.seed): row for row in chosen if row.arch == "plain"}
    pairs = [
        (plain[shallow, seed], plain[deep, seed])
        for (d, seed) in sorted(plain)
        if d == shallow and (deep, seed) in plain
    ]
    if not pairs:
        raise UsageError(f"{nets.study.path}: no seed has finished plain-{shallow} and plain-{deep}; train them first")
    records = Records(nets.study)
    todo = [(row, scratch) for row, scratch in pairs if not records.has_deepened(row, deep)]
    for number, (row, scratch) in enumerate(todo, start=1):
        say(f"[{number}/{len(todo)}] deepening {display_name('plain', shallow)} seed {row.seed} to {deep} layers")
        records.add(*deepened(nets, nets.load(row), nets.load(scratch), say))
    whole = [row for row in chosen if row.depth == deep]
    for row in sorted(whole, key=lambda row: (row.arch, row.shortcut, row.seed)):
        if not records.has_lesioned(row):
            net = nets.load(row)
            say(f"taking blocks out of {net.name}")
            records.add(lesions=lesioned(nets, net))


class Records:
    """construction.csv, continuation.csv and lesions.csv of a study; what is there already is kept."""

    def __init__(self, study: StudyFolder) -> None:
        self.study = study
        self.constructions: list[ConstructionRow] = self._read(CONSTRUCTION)
        self.continuations: list[ContinuationRow] = self._read(CONTINUATION)
        self.lesions: list[LesionRow] = self._read(LESIONS)

    def _read(self, table: Table) -> list[Any]:
        path = self.study.path / table.file
        return read_csv(path, table) if path.exists() else []

    def has_deepened(self, row: RunRow, deep: int) -> bool:
        """Was that shallow net deepened to that depth."""
        made = {(c.seed, c.shallow_depth, c.deep_depth) for c in self.constructions}
        return (row.seed, row.depth, deep) in made

    def has_lesioned(self, row: RunRow) -> bool:
        """Were blocks taken out of that net."""
        return any(lesion.run_id == row.run_id for lesion in self.lesions)

    def add(
        self,
        construction: ConstructionRow | None = None,
        way: Sequence[ContinuationRow] = (),
        lesions: Sequence[LesionRow] = (),
    ) -> None:
        """Write what was found, at once."""
        self.constructions += [construction] if construction else []
        self.continuations += way
        self.lesions += lesions
        with self.study.lock():
            write_csv(self.study.path / CONSTRUCTION.file, CONSTRUCTION, self.constructions)
            write_csv(self.study.path / CONTINUATION.file, CONTINUATION, self.continuations)
            write_csv(self.study.path / LESIONS.file, LESIONS, self.lesions)
            write_sums(self.study)


def deepened(
    nets: TrainedNets, shallow: TrainedNet, scratch: TrainedNet, say: Say
) -> tuple[ConstructionRow, list[ContinuationRow]]:
    """The construction from a trained shallow plain net, logit by logit, and its further training.

    Args:
        nets: the study.
        shallow: the trained net.
        scratch: the net of the depth that is wanted, trained from scratch on the same batches.
        say: takes a line at every row of the training.
    """
    data = nets.data
    job = Job.of(scratch.config, data)
    state = job.initial_state(nets.dataset_digest)
    assert isinstance(state.model, CifarNet)
    inserted = deepen(shallow.model, state.model)
    test = EvalSet.test(data, None)
    ours, theirs = (_logits(model, data, test) for model in (state.model.eval(), shallow.model))
    seed: dict[str, int] = {
        "seed": shallow.row.seed,
        "shallow_depth": shallow.row.depth,
        "deep_depth": scratch.row.depth,
    }
    construction = ConstructionRow(
        **seed,
        test_images=len(test.labels),
        max_logit=float(theirs.abs().max()),
        max_logit_difference=float((ours - theirs).abs().max()),
        different_predictions=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        shallow_test_top1_err=evaluate(shallow.model, data, test)[1],
        constructed_test_top1_err=evaluate(state.model, data, test)[1],
        constructed_train_clean_top1_err=evaluate(state.model, data, job.eval_sets.final_train)[1],
        scratch_train_clean_top1_err=scratch.row.final_train_clean_top1_err,
    )
    images = job.eval_sets.row_train.images
    calibrate(state.model, inserted, (data.normalise(batch) for batch in images.split(eval_batch(data))))
    start = ContinuationRow(
        **seed,
        step=0,
        train_clean_top1_err=evaluate(state.model, data, job.eval_sets.row_train)[1],
        test_top1_err=evaluate(state.model, data, job.eval_sets.row_test)[1],
    )
    fit(state, job, _Told(say, scratch.config.steps))
    later = [
        ContinuationRow(
            **seed, step=row.step, train_clean_top1_err=row.train_clean_top1_err, test_top1_err=row.test_top1_err
        )
        for row in state.rows
    ]
    return construction, [start, *later]


@torch.inference_mode()
@busy("comparing outputs")
def _logits(model: CifarNet, data: DeviceData, chosen: EvalSet) -> Tensor:
    return torch.cat([model(data.normalise(images)) for images in chosen.images.split(eval_batch(data))])


@busy("taking out block after block")
def lesioned(nets: TrainedNets, net: TrainedNet) -> list[LesionRow]:
    """The error without each block that can be taken out."""
    data = nets.data
    chosen = EvalSet.test(data, min(LESION_IMAGES, len(data.test_labels)))
    intact = evaluate(net.model, data, chosen)[1]
    rows = []
    for index, (stage, number, _) in enumerate(net.model.blocks(), start=1):
        model = without_block(net.model, stage, number)
        if model is not None:
            rows.append(
                LesionRow(
                    run_id=net.row.run_id,
                    block=index,
                    stage=stage + 1,
                    changes_shape=number == 0 and stage > 0,
                    test_images=len(chosen.labels),
                    intact_top1_err=intact,
                    lesioned_top1_err=evaluate(model, data, chosen)[1],
                )
            )
    return rows


class _Told:
    """A sink that tells every row; broken off, the training begins anew, as it is as long as one run."""

    def __init__(self, say: Say, steps: int) -> None:
        self.say = say
        self.steps = steps
        self.started = time.monotonic()

    def built(self, seconds: float) -> None:
        """Nothing to tell."""

    def step(self, state: TrainState) -> None:
        """Nothing to tell."""

    def row(self, state: TrainState) -> None:
        """Tell the row's errors, and the time left."""
        left = (time.monotonic() - self.started) * (self.steps - state.step) / state.step
        row = state.rows[-1]
        self.say(
            f"  step {row.step}/{self.steps}, error % train {row.train_clean_top1_err:.1f} "
            f"test {row.test_top1_err:.1f}, {format_seconds(left)} left"
        )

    def wants_pause(self) -> bool:
        """Never."""
        return False

    def pause(self, state: TrainState) -> None:
        """Never called."""

    def poll(self) -> None:
        """Never broken off."""
