"""Checkpoints: everything a run depends on, in one file with its own digest, in two generations.

All randomness is a function of (seed, epoch, position), so step and tensors are enough: there is no generator state
to store. Nothing is made of a file before its digest is right, and nothing is used of it before all of it is known to
be what such a run can have written: a digest says that a file is whole, not who wrote it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from resnet_bench.data.inputs import Inputs
from resnet_bench.files import Damaged, Guard, digest_in, fsync_folder, seal, unguarded, unseal, write_atomically
from resnet_bench.models.torch_file import Refused, loads
from resnet_bench.results.rows import CurveRow, SignalRow
from resnet_bench.training.generations import KIND, NEWEST, PREVIOUS, read_sealed
from resnet_bench.training.optimizers import optimizer_tensors
from resnet_bench.training.state import Selected, TrainState

FIELDS = {"identity", "model", "momentum", "meter", "numbers", "seconds", "rows", "signals", "confusion"}

OPTIONAL = {"selected", "about"}  # what older ones lack

METER = {
    "loss_sum": torch.float64, "wrong": torch.int64, "finite_steps": torch.int64, "finite": torch.bool,
}  # fmt: skip


NUMBERS = (
    "step", "lr", "lr_warmup_steps", "window_wrong", "row_step", "row_wrong", "diverged_step", "init_digest",
    "batches_digest",
)  # fmt: skip
Checked = TypeVar("Checked")


class OtherRun(Exception):
    """The checkpoint is of another configuration, or of other data."""


@dataclass(frozen=True)
class About:
    """What one must know to use the network: nothing that the run depends on.

    Attributes:
        classes: what its logits stand for.
        inputs: the images that it was trained on.
    """

    classes: tuple[str, ...]
    inputs: Inputs


@dataclass(frozen=True)
class Checkpoint:
    """What a run had become, all of it checked. Tensors are on the CPU.

    Attributes:
        model: the network's state dict.
        optimizer: what it remembers, in the order of the parameters.
        meter: running sums, by name.
        numbers: those of the state, by name.
        seconds: of training and of evaluation.
        rows: of the curves.
        signals: of the layers.
        confusion: test images by true and predicted class, after the last step.
        selected: the state with the lowest validation error, where there is any.
        about: the classes and the images; None in older files.
    """

    model: dict[str, Tensor]
    optimizer: list[Tensor]
    meter: dict[str, Tensor]
    numbers: dict[str, Any]
    seconds: tuple[float, float]
    rows: list[CurveRow]
    signals: list[SignalRow]
    confusion: list[list[int]] | None
    selected: Selected | None
    about: About | None

    @property
    def step(self) -> int:
        """Optimizer updates so far."""
        return int(self.numbers["step"])


# ---------------------------------------------------------------------------------------------- to and from a state


def capture(state: TrainState, identity: dict[str, Any], about: dict[str, Any] | None = None) -> dict[str, Any]:
    """The state as tensors on the CPU and plain values.

    Args:
        state: of the run.
        identity: says which run on which data it belongs to.
        about: what one must know to use the network: nothing that the run depends on.
    """
    return {
        "identity": identity,
        "model": {name: value.cpu() for name, value in state.model.state_dict().items()},
        "momentum": [tensor.cpu() for tensor in optimizer_tensors(state.optimizer)],
        "meter": {name: getattr(state.meter, name).cpu() for name in METER},
        "numbers": {name: getattr(state, name) for name in NUMBERS},
        "seconds": [state.train_clock.seconds, state.eval_clock.seconds],
        "rows": [asdict(row) for row in state.rows],
        "signals": [asdict(row) for row in state.signals],
        "confusion": state.confusion,
        "selected": vars(state.selected) if state.selected else None,
        "about": about,
    }


@torch.no_grad()
def restore(state: TrainState, stored: Checkpoint) -> None:
    """Make an initial state what the stored one was, bit for bit; `stored` was checked against that state."""
    for name, value in state.model.state_dict().items():
        value.copy_(stored.model[name])
    for tensor, value in zip(optimizer_tensors(state.optimizer), stored.optimizer, strict=True):
        tensor.copy_(value)
    for name, value in stored.meter.items():
        getattr(state.meter, name).copy_(value)
    for name, value in stored.numbers.items():
        setattr(state, name, value)
    state.train_clock.seconds, state.eval_clock.seconds = stored.seconds
    state.rows, state.signals = list(stored.rows), list(stored.signals)
    state.confusion, state.selected = stored.confusion, stored.selected


# ---------------------------------------------------------------------------------------------- to and from a file


def encode(stored: dict[str, Any]) -> bytes:
    """The file's content."""
    payload = io.BytesIO()
    torch.save(stored, payload)
    return seal(KIND, payload.getbuffer())


def decode(content: bytes) -> dict[str, Any]:
    """The inverse of `encode`, not checked yet. Damaged if the seal is broken, or there are other fields."""
    return unpack(unseal(KIND, content))


def unpack(payload: memoryview) -> dict[str, Any]:
    """What is in the seal; no code in it is ever run. Damaged if that is no checkpoint."""
    try:
        stored = loads(payload)
    except Refused as error:
        raise Damaged(f"refused by the restricted loader: {error}") from None
    if not isinstance(stored, dict) or set(stored) - OPTIONAL != FIELDS:
        raise Damaged("not the content of a checkpoint")
    return stored


def save(folder: Path, stored: dict[str, Any], guard: Guard = unguarded) -> str:
    """Write a new generation; at any instant the newest or the one before it is there, whole. Gives its digest.

    Raises:
        Failure: the folder cannot be written; the generations there stay. Or what the guard raises.
    """
    content = encode(stored)
    write_atomically(folder / NEWEST, content, keep_as=folder / PREVIOUS, guard=guard)
    return digest_in(KIND, content)


def _unchecked(stored: dict[str, Any]) -> Any:
    return stored


def load(folder: Path, check: Callable[[dict[str, Any]], Checked] = _unchecked) -> tuple[Checked | None, list[str]]:
    """The newest good checkpoint, if any, and a sentence for each bad one, which is set aside as `*.damaged`.

    Args:
        folder: of the run.
        check: makes of a file's fields what is wanted; raises Damaged if they are not what the run can have written.

    Raises:
        UsageError: a file cannot be read.
        OtherRun: what `check` raises.
    """
    notes: list[str] = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        try:
            return check(unpack(read_sealed(path).payload)), notes
        except FileNotFoundError:
            continue
        except Damaged as error:
            path.replace(path.with_name(f"{path.name}.damaged"))
            notes.append(f"{path} is damaged ({error}); it is set aside as {path.name}.damaged")
    if notes:
        notes.append("no good checkpoint is left: the run starts anew")
    return None, notes


def drop_previous(folder: Path) -> None:
    """Remove all but the newest generation, once the run is finished."""
    (folder / PREVIOUS).unlink(missing_ok=True)
    fsync_folder(folder)
