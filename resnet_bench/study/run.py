"""One run of a study: train, save, write the rows as they come, publish the result once."""

from __future__ import annotations

import contextlib
import datetime
import math
import time
from collections.abc import Sequence
from typing import Any

from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.errors import UsageError
from resnet_bench.files import Guard, publish, remove_temporaries, write_json
from resnet_bench.machine import ForeignLoad
from resnet_bench.results.rows import SCHEMA_VERSION, ConfusionRow, CurveRow, RunRow, input_size_of
from resnet_bench.results.tables import CONFUSION, CURVES, SIGNALS, write_csv
from resnet_bench.study.events import Note, Resumed, RowWritten, Stepped, Tell
from resnet_bench.study.folder import RunFolder, result_json
from resnet_bench.study.records import read_json
from resnet_bench.study.session import Session
from resnet_bench.study.stopping import Stopped, StoppedAtOnce
from resnet_bench.training import checkpoint
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.loop import fit
from resnet_bench.training.state import Job, TrainState

TELL_SECONDS = 1.0


class RunSink:
    """Writes a run's rows and checkpoints to its folder, while it is this process's, and tells of them."""

    def __init__(self, session: Session, config: RunConfig, tell: Tell, guard: Guard) -> None:
        self.session = session
        self.guard = guard
        self.config = config
        self.folder = session.study.run(config.run_id)
        self.identity = session.identity(config)
        self.classes = session.dataset.classes
        self.tell = tell
        self.told = -math.inf
        self.saved = time.monotonic()
        self.load = ForeignLoad()

    def built(self, seconds: float) -> None:
        """What the compiler's own processes did is no load from others."""
        self.load = ForeignLoad()

    def step(self, state: TrainState) -> None:
        """Tell where the run is, once a second: the error is read from the device."""
        now = time.monotonic()
        if now - self.told >= TELL_SECONDS:
            self.told = now
            self.tell(Stepped(state.step, state.running_error()))

    def row(self, state: TrainState) -> None:
        """Write all rows so far: each file is whole at any instant."""
        write_tables(self.folder, state, self.classes, self.guard)
        self.tell(RowWritten(state.rows[-1]))

    def wants_pause(self) -> bool:
        """Is a checkpoint due, or was the process asked to stop."""
        return self.session.stop.asked or time.monotonic() - self.saved >= self.session.checkpoint_seconds

    def pause(self, state: TrainState) -> None:
        """Save, unless asked to stop: then whoever catches that saves."""
        self.poll()
        self.save(state)

    def poll(self) -> None:
        """Raise Stopped if a signal came."""
        self.session.stop.raise_if_asked()

    def save(self, state: TrainState) -> str:
        """Write a checkpoint, and give its digest; of a state with values that are not finite none is written ("")."""
        digest = ""
        if state.is_finite():
            stored = checkpoint.capture(state, self.identity, self.session.about(self.config))
            digest = checkpoint.save(self.folder.path, stored, self.guard)
        self.saved = time.monotonic()
        return digest


def write_tables(folder: RunFolder, state: TrainState, classes: Sequence[str], guard: Guard) -> None:
    """Write the run's own rows of every table, as far as it has any."""
    write_csv(folder.table(CURVES), CURVES, state.rows, guard)
    write_csv(folder.table(SIGNALS), SIGNALS, state.signals, guard)
    if state.confusion is not None:
        run_id = state.rows[-1].run_id
        counts = [
            ConfusionRow(run_id=run_id, true_class=true, predicted_class=predicted, images=images)
            for true, row in zip(classes, state.confusion, strict=True)
            for predicted, images in zip(classes, row, strict=True)
            if images or true == predicted
        ]
        write_csv(folder.table(CONFUSION), CONFUSION, counts, guard)


def execute(session: Session, config: RunConfig, tell: Tell, guard: Guard) -> RunRow:
    """Train one run that is not finished yet, from its last checkpoint if there is one, and publish its result.

    The caller holds the run's lock; `guard` is asked before each write whether that still makes the run its own.

    Raises:
        Stopped: the process was asked to stop; the state is saved.
        Lost: what the guard raises; nothing was written since.
        UsageError: the run's folder holds another configuration or other data.
        Failure: the folder cannot be written.
    """
    folder = session.study.run(config.run_id)
    identity = session.identity(config)
    remove_temporaries(folder.path)
    folder.failure.unlink(missing_ok=True)
    _claim(folder, identity, guard)
    job = session.job(config)
    state = job.initial_state(identity["dataset_digest"])
    _go_on(folder, state, Expected.of_state(state, config, identity, job.data.num_classes), tell)
    history = _record_attempt(session, folder, state.step, guard)
    sink = RunSink(session, config, tell, guard)
    try:
        with session.stop.politely():
            fit(state, job, sink)
    except StoppedAtOnce:
        raise  # perhaps in mid-step, so the state is not to be saved
    except Stopped:
        sink.save(state)
        raise
    digest = sink.save(state)
    # Whatever an earlier attempt left there, these are the rows.
    write_tables(folder, state, session.dataset.classes, guard)
    row = _result(session, job, state, history, session.jobs == 1 and sink.load.exclusive(), digest)
    publish(folder.result, result_json(folder, row), guard)
    with contextlib.suppress(OSError):  # the run is finished, with or without this room
        checkpoint.drop_previous(folder.path)
    return row


def _claim(folder: RunFolder, identity: dict[str, Any], guard: Guard) -> None:
    """Write config.json, or check that it says the same."""
    there = read_json(folder.config) if folder.config.exists() else identity
    if there != identity and {**there, "network_digest": identity.get("network_digest")} == identity:
        raise UsageError(
            f"{folder.config}: {identity['config']['builder']} gives a network with other names or shapes than when "
            "this run was started, although its source is the same: something that it imports has changed; restore "
            "that, or begin a study of another name"
        )
    if there != identity:
        raise UsageError(
            f"{folder.config}: this run was started with another configuration or other data under the same name; "
            "use another results folder (--results), or move the run's folder away"
        )
    write_json(folder.config, identity, guard)


def _go_on(folder: RunFolder, state: TrainState, expected: Expected, tell: Tell) -> None:
    """Bring the initial state to the last checkpoint, if there is a good one."""
    try:
        stored, notes = checkpoint.load(folder.path, lambda fields: check_stored(fields, expected))
    except checkpoint.OtherRun:
        raise UsageError(
            f"{folder.path}: the checkpoint is of another configuration or other data; use another --results"
        ) from None
    for note in notes:
        tell(Note(note))
    if stored is None:
        return
    checkpoint.restore(state, stored)
    tell(Resumed(state.step))


def _record_attempt(session: Session, folder: RunFolder, step: int, guard: Guard) -> dict[str, Any]:
    """Add this attempt to environment.json: when, from which step, and what differs from the attempt before."""
    now = session.software_and_hardware()
    before: dict[str, Any] = {"environment": now, "attempts": []}
    if folder.environment.exists():
        before = folder.read_history()
    changed = {name: [before["environment"].get(name), value] for name, value in now.items()
               if before["environment"].get(name) != value}  # fmt: skip
    attempts = before["attempts"] if step else []  # from step 0 nothing of earlier attempts is in the result
    attempt = {"utc": utc_now(), "from_step": step, "changed": changed if step else {}}
    history = {
        "environment": now,
        "started_utc": before.get("started_utc", attempt["utc"]),
        "num_attempts": before.get("num_attempts", 0) + 1,
        "bit_exact": not any(past["changed"] for past in [*attempts, attempt]),
        "attempts": [*attempts, attempt],
    }
    write_json(folder.environment, history, guard)
    return history


def utc_now() -> str:
    """The time as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _result(
    session: Session,
    job: Job,
    state: TrainState,
    history: dict[str, Any],
    exclusive: bool | None,
    checkpoint_digest: str,
) -> RunRow:
    config, dataset = job.config, session.prepared(job.config).dataset
    counts = session.size(config)
    here = session.fingerprint
    return RunRow(
        run_id=config.run_id,
        study=session.study.name,
        dataset=config.dataset,
        dataset_digest=dataset.digest,
        family=config.family,
        arch=config.arch,
        depth=config.depth,
        shortcut=config.shortcut,
        seed=config.seed,
        protocol=config.protocol,
        status="ok" if state.diverged_step is None else "diverged",
        steps=state.step,
        diverged_step=state.diverged_step,
        batch_size=config.batch_size,
        lr=config.lr,
        optimizer=config.optimizer,
        schedule=config.schedule,
        lr_warmup_steps=_lr_warmup_steps(config, state),
        weights=config.weights,
        weights_origin=session.weights.source if session.weights and config.weights else "",
        frozen_parts=config.frozen_parts,
        train_images=len(dataset.train_labels),
        validation_images=_validation_images(dataset),
        input_size=input_size_of(dataset.image_shape),
        num_classes=len(dataset.classes),
        params=counts.params,
        macs=counts.macs,
        **_errors(state, len(dataset.test_labels)),
        **_selected(state),
        init_digest=state.init_digest,
        batches_digest=state.batches_digest,
        eval_digest=job.eval_sets.digest,
        checkpoint_digest=checkpoint_digest,
        train_seconds=state.train_clock.seconds,
        eval_seconds=state.eval_clock.seconds,
        img_per_sec=state.step * config.batch_size / state.train_clock.seconds,
        exclusive=exclusive,
        device=here.device,
        threads=here.threads,
        precision=session.execution.precision,
        compile=session.execution.mode,
        torch_version=here.torch_version,
        git_commit=session.git[0],
        git_dirty=session.git[1],
        started_utc=history["started_utc"],
        attempts=history["num_attempts"],
        bit_exact=history["bit_exact"],
        schema_version=SCHEMA_VERSION,
    )


def _lr_warmup_steps(config: RunConfig, state: TrainState) -> int | None:
    """None: the protocol has no such phase. A phase that never ended took all steps."""
    if config.lr_warmup is None:
        return None
    return state.step if state.lr_warmup_steps is None else state.lr_warmup_steps


def _validation_images(dataset: Dataset) -> int:
    return 0 if dataset.validation_labels is None else len(dataset.validation_labels)


def _selected(state: TrainState) -> dict[str, Any]:
    """What the state is that was selected by the validation images, if there are any."""
    if state.selected is None or state.diverged_step is not None:
        return {}
    return {
        "selected_step": state.selected.step,
        "selected_validation_top1_err": state.selected.validation_top1_err,
        "selected_test_top1_err": state.selected.test_top1_err,
    }


def _errors(state: TrainState, test_images: int) -> dict[str, Any]:
    """The final and best errors; a diverged run has no final error."""
    last: CurveRow | None = state.rows[-1] if state.rows and state.diverged_step is None else None
    whole = [row for row in state.rows if row.test_images == test_images]
    best = min(whole, key=lambda row: row.test_top1_err, default=None)
    return {
        "final_train_clean_top1_err": last and last.train_clean_top1_err,
        "final_train_clean_images": last and last.train_clean_images,
        "final_test_top1_err": last and last.test_top1_err,
        "final_test_images": last and last.test_images,
        "best_test_top1_err": best and best.test_top1_err,
        "best_step": best and best.step,
        "step_below_80_err": next((row.step for row in state.rows if row.train_top1_err < 80), None),
    }
