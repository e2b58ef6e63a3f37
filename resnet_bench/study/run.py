"""One run of a study: train, write the rows as they come, publish the result once."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from resnet_bench.complexity import complexity
from resnet_bench.config import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.environment import Fingerprint, fingerprint
from resnet_bench.errors import Failure, UsageError
from resnet_bench.machine import ForeignLoad, git_state
from resnet_bench.results import CURVES, SCHEMA_VERSION, CurveRow, RunRow, write_csv, write_json
from resnet_bench.study.folder import RunFolder, StudyFolder, read_json
from resnet_bench.study.progress import Progress
from resnet_bench.training.engine import DeviceData
from resnet_bench.training.loop import Job, TrainState, fit


@dataclass(frozen=True)
class Session:
    """What all runs of one sweep share: the study's folder, the data on the device, where the code runs."""

    study: StudyFolder
    dataset: Dataset
    data: DeviceData
    fingerprint: Fingerprint
    git: tuple[str, bool | None] = field(default_factory=git_state)

    @classmethod
    def open(cls, study: StudyFolder, dataset: Dataset, device: torch.device) -> Session:
        """Copy the dataset to the device and take the fingerprint."""
        return cls(study, dataset, DeviceData.of(dataset, device), fingerprint(device))


@dataclass(frozen=True)
class RunSink:
    """Writes a run's rows to its folder and tells the progress display."""

    folder: RunFolder
    progress: Progress

    def step(self, state: TrainState) -> None:
        """Show where the run is."""
        self.progress.step(state.step, state.running_error)

    def row(self, state: TrainState) -> None:
        """Write all rows so far: the file is whole at any instant."""
        write_csv(self.folder.curves, CURVES, state.rows)
        self.progress.row(state.rows[-1])


def execute(session: Session, config: RunConfig, progress: Progress) -> RunRow:
    """Train one run that is not finished yet, and publish its result.

    Raises:
        UsageError: the run's folder holds another configuration or other data.
        Failure: the folder cannot be written.
    """
    folder = session.study.run(config.run_id)
    history = _start(session, config, folder)
    job = Job.of(config, session.data)
    state = TrainState.initial(config, session.data, session.dataset.digest)
    load = ForeignLoad()
    fit(state, job, RunSink(folder, progress))
    row = _result(session, job, state, history, load.exclusive())
    _publish(folder, row)
    folder.failure.unlink(missing_ok=True)
    return row


def _start(session: Session, config: RunConfig, folder: RunFolder) -> dict[str, Any]:
    """Write config.json and environment.json; the latter counts the attempts."""
    identity = {
        "run_id": config.run_id,
        "dataset_digest": session.dataset.digest,
        "config": json.loads(config.canonical_json()),
    }
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot create {folder.path}: {error.strerror}") from None
    if folder.config.exists() and read_json(folder.config) != identity:
        raise UsageError(f"{folder.config}: was started with another configuration or other data; use another RESULTS=")
    write_json(folder.config, identity)
    before = read_json(folder.environment) if folder.environment.exists() else {}
    history = {
        "started_utc": before.get("started_utc", utc_now()),
        "attempts": int(before.get("attempts", 0)) + 1,
        "git_commit": session.git[0],
        "git_dirty": session.git[1],
        **asdict(session.fingerprint),
    }
    write_json(folder.environment, history)
    return history


def utc_now() -> str:
    """The time as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _result(session: Session, job: Job, state: TrainState, history: dict[str, Any], exclusive: bool | None) -> RunRow:
    config = job.config
    counts = complexity(
        config.depth,
        config.shortcut,
        in_channels=session.dataset.image_shape[0],
        num_classes=len(session.dataset.classes),
        image_size=session.dataset.image_shape[1:],
    )
    here = session.fingerprint
    return RunRow(
        run_id=config.run_id,
        study=session.study.name,
        dataset=config.dataset,
        dataset_digest=session.dataset.digest,
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
        lr_warmup_steps=state.lr_warmup_steps,
        params=counts.params,
        macs=counts.macs,
        **_errors(state, session),
        init_digest=state.init_digest,
        batches_digest=state.batches_digest,
        eval_digest=job.eval_sets.digest,
        train_seconds=state.train_clock.seconds,
        eval_seconds=state.eval_clock.seconds,
        img_per_sec=state.step * config.batch_size / state.train_clock.seconds,
        exclusive=exclusive,
        device=here.device,
        threads=here.threads,
        precision=here.precision,
        compile="eager",
        torch_version=here.torch_version,
        git_commit=session.git[0],
        git_dirty=session.git[1],
        started_utc=history["started_utc"],
        attempts=history["attempts"],
        schema_version=SCHEMA_VERSION,
    )


def _errors(state: TrainState, session: Session) -> dict[str, Any]:
    """The final and best errors; a diverged run has no final error."""
    last: CurveRow | None = state.rows[-1] if state.rows and state.diverged_step is None else None
    whole = [row for row in state.rows if row.test_images == len(session.data.test_labels)]
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


def _publish(folder: RunFolder, row: RunRow) -> None:
    """Make the run finished, in one act that fails if it is finished already."""
    draft = folder.path / f".result.{os.getpid()}.tmp"
    write_json(draft, asdict(row))
    try:
        os.link(draft, folder.result)
    except OSError as error:
        raise Failure(f"cannot publish {folder.result}: {error.strerror}; it is left as it was") from None
    finally:
        draft.unlink(missing_ok=True)
