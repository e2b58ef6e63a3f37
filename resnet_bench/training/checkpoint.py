"""Checkpoints: everything a run depends on, in one file with its own digest, in two generations.

All randomness is a function of (seed, epoch, position), so step and tensors are enough: there is no generator state
to store. Nothing is unpickled before the file's digest is right, and then by torch's restricted loader only.
"""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from resnet_bench.files import Guard, fsync_folder, unguarded, write_atomically
from resnet_bench.results import SCHEMA_VERSION, CurveRow, SignalRow
from resnet_bench.sealed import Damaged, seal, unseal
from resnet_bench.training.engine import optimizer_tensors
from resnet_bench.training.loop import Selected, TrainState

KIND = f"resnet-bench checkpoint 3, schema {SCHEMA_VERSION}"
NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
NUMBERS = (
    "step", "lr", "lr_warmup_steps", "window_wrong", "row_step", "row_wrong", "diverged_step", "init_digest",
    "batches_digest",
)  # fmt: skip
FIELDS = {"identity", "model", "momentum", "meter", "numbers", "seconds", "rows", "signals", "confusion"}
OPTIONAL = {"selected", "about"}  # what older ones lack
METER = ("loss_sum", "wrong", "finite_steps", "finite")


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
def restore(state: TrainState, stored: dict[str, Any]) -> None:
    """Make an initial state what the stored one was, bit for bit."""
    for name, value in state.model.state_dict().items():
        value.copy_(stored["model"][name])
    for tensor, value in zip(optimizer_tensors(state.optimizer), stored["momentum"], strict=True):
        tensor.copy_(value)
    for name, value in stored["meter"].items():
        getattr(state.meter, name).copy_(value)
    for name, value in stored["numbers"].items():
        setattr(state, name, value)
    state.train_clock.seconds, state.eval_clock.seconds = stored["seconds"]
    state.rows = [CurveRow(**row) for row in stored["rows"]]
    state.signals = [SignalRow(**row) for row in stored["signals"]]
    state.confusion = stored["confusion"]
    selected = stored.get("selected")
    state.selected = Selected(**selected) if selected else None


def encode(stored: dict[str, Any]) -> bytes:
    """The file's content."""
    payload = io.BytesIO()
    torch.save(stored, payload)
    return seal(KIND, payload.getbuffer())


def decode(content: bytes) -> dict[str, Any]:
    """The inverse of `encode`. Damaged for anything that `encode` did not write; no code in it is ever run."""
    payload = unseal(KIND, content)
    try:
        stored: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except Exception as error:  # a file made on purpose can raise anything
        raise Damaged(f"refused by the restricted loader: {(str(error) or repr(error)).splitlines()[0]}") from None
    if not isinstance(stored, dict) or set(stored) - OPTIONAL != FIELDS:
        raise Damaged("not the content of a checkpoint")
    return stored


def save(folder: Path, stored: dict[str, Any], guard: Guard = unguarded) -> None:
    """Write a new generation; at any instant the newest or the one before it is there, whole.

    Raises:
        Failure: the folder cannot be written; the generations there stay. Or what the guard raises.
    """
    newest = folder / NEWEST
    write_atomically(newest, encode(stored), keep_as=folder / PREVIOUS, guard=guard)


def load(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest good checkpoint, if any, and a sentence for each bad one, which is set aside as `*.damaged`."""
    notes: list[str] = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        try:
            return decode(path.read_bytes()), notes
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
