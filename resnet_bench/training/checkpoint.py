"""Checkpoints: everything a run depends on, in one file with its own digest, in two generations.

All randomness is a function of (seed, epoch, position), so step and tensors are enough: there is no generator state
to store. Nothing is made of a file before its digest is right, and nothing is used of it before all of it is known to
be what such a run can have written: a digest says that a file is whole, not who wrote it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from resnet_bench.config import RunConfig
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import UsageError
from resnet_bench.files import Guard, fsync_folder, unguarded, write_atomically
from resnet_bench.models.torch_file import Refused, loads
from resnet_bench.results import CurveRow, SignalRow, parse_row
from resnet_bench.sealed import Damaged, digest_in, seal, unseal
from resnet_bench.text import one_line
from resnet_bench.training.engine import optimizer_tensors
from resnet_bench.training.generations import KIND, NEWEST, PREVIOUS, read_sealed
from resnet_bench.training.loop import Selected, TrainState

NUMBERS = (
    "step", "lr", "lr_warmup_steps", "window_wrong", "row_step", "row_wrong", "diverged_step", "init_digest",
    "batches_digest",
)  # fmt: skip
FIELDS = {"identity", "model", "momentum", "meter", "numbers", "seconds", "rows", "signals", "confusion"}
OPTIONAL = {"selected", "about"}  # what older ones lack
METER = {
    "loss_sum": torch.float64, "wrong": torch.int64, "finite_steps": torch.int64, "finite": torch.bool,
}  # fmt: skip
MOST_SECONDS = 1e10
Row = TypeVar("Row", CurveRow, SignalRow)
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


@dataclass(frozen=True)
class Expected:
    """The run that a checkpoint must be of.

    Attributes:
        identity: says which run on which data.
        config: of the run.
        model: a state dict of its network: names, shapes and types; values are not looked at.
        optimizer: the same of what the optimizer remembers; None: that is not going to be used.
        init_digest: of the initial weights, where that is known.
    """

    identity: Mapping[str, Any]
    config: RunConfig
    model: Mapping[str, Tensor]
    optimizer: Sequence[Tensor] | None = None
    init_digest: str | None = None

    @classmethod
    def of_state(cls, state: TrainState, config: RunConfig, identity: Mapping[str, Any]) -> Expected:
        """To go on with that state."""
        return cls(identity, config, state.model.state_dict(), optimizer_tensors(state.optimizer), state.init_digest)

    @classmethod
    def of_network(cls, model: nn.Module, config: RunConfig, identity: Mapping[str, Any]) -> Expected:
        """To use the network."""
        return cls(identity, config, model.state_dict())

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return len(next(value for name, value in self.model.items() if name in ("head.bias", "fc.bias")))


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


# ---------------------------------------------------------------------------------------------- what it may hold


def checked(stored: dict[str, Any], expected: Expected) -> Checkpoint:
    """The fields of a file, once each is known to be what the expected run can have written.

    Raises:
        OtherRun: they are of another run.
        Damaged: no run writes that; names the field and its value.
    """
    if not _is(stored["identity"], expected.identity):
        raise OtherRun
    config = expected.config
    numbers = _fields(stored["numbers"], "numbers", NUMBERS)
    step = _whole(numbers["step"], "numbers.step", 0, config.steps)
    model = _state_dict(stored["model"], "model", expected.model)
    meter = _meter(stored["meter"], step, step * config.batch_size)
    _check_numbers(numbers, expected, int(meter["wrong"]))
    seconds = _list(stored["seconds"], "seconds", 2)
    for place, value in enumerate(seconds):
        _number(value, f"seconds[{place}]", 0, MOST_SECONDS)
    if step and not seconds[0]:
        raise Damaged(f"seconds[0] is 0, after {step} steps")
    return Checkpoint(
        model=model,
        optimizer=_optimizer(stored["momentum"], expected.optimizer, step),
        meter=meter,
        numbers=numbers,
        seconds=(seconds[0], seconds[1]),
        rows=_curve(stored["rows"], config, numbers["row_step"]),
        signals=_rows(SignalRow, stored["signals"], "signals", config.run_id, step),
        confusion=_confusion(stored["confusion"], expected.num_classes, step == config.steps),
        selected=_selected(stored.get("selected"), expected.model, step),
        about=_about(stored.get("about"), expected.num_classes),
    )


def _is(value: Any, expected: Any) -> bool:
    """Equal, in types too; no further looked at than what is expected goes."""
    if isinstance(expected, Mapping):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(_is(value[name], expected[name]) for name in expected)
        )
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_is, value, expected))
    return type(value) is type(expected) and bool(value == expected)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return one_line(repr(value)[:60]) if not isinstance(value, int) or abs(value) < 1 << 128 else "a long number"
    return f"a {type(value).__name__}"


def _whole(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Damaged(f"{where} is {_shown(value)}, not a whole number from {low} to {high}")
    return value


def _number(value: Any, where: str, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:
        raise Damaged(f"{where} is {_shown(value)}, not a number from {low:g} to {high:g}")
    return float(value)


def _digest(value: Any, where: str) -> None:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise Damaged(f"{where} is {_shown(value)}, not 64 hex digits")


def _list(value: Any, where: str, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise Damaged(f"{where} is {_shown(value)}, not a list of {length}")
    return value


def _fields(value: Any, where: str, names: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise Damaged(f"{where} is {_shown(value)}, which is not what it should be: {', '.join(names)}")
    return value


def _tensor(value: Any, where: str, like: Tensor) -> Tensor:
    """A tensor of the same shape and type: never one that would be spread over it."""
    if not isinstance(value, Tensor):
        raise Damaged(f"{where} is {_shown(value)}, not a tensor")
    if value.shape != like.shape or value.dtype != like.dtype:
        raise Damaged(f"{where} is {value.dtype} {list(value.shape)}, not {like.dtype} {list(like.shape)}")
    return value


def _state_dict(value: Any, where: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of exactly that network, and finite: of other states no checkpoint is written."""
    if not isinstance(value, dict) or value.keys() != like.keys():
        raise Damaged(f"{where} is {_shown(value)}, which is not the state of the run's network")
    for name, tensor in value.items():
        if not _tensor(tensor, f"{where}.{name}", like[name]).isfinite().all():
            raise Damaged(f"{where}.{name} holds values that are not finite")
    return value


def _optimizer(value: Any, like: Sequence[Tensor] | None, step: int) -> list[Tensor]:
    if like is None:
        return []
    tensors = _list(value, "momentum", len(like))
    for place, (tensor, own) in enumerate(zip(tensors, like, strict=True)):
        where = f"momentum[{place}]"
        if not _tensor(tensor, where, own).ndim and tensor.item() != step:  # how often the parameter was changed
            raise Damaged(f"{where} is {tensor.item():g}, at step {step}")
    return tensors


def _meter(value: Any, step: int, images: int) -> dict[str, Tensor]:
    meter = _fields(value, "meter", list(METER))
    for name, dtype in METER.items():
        _tensor(meter[name], f"meter.{name}", torch.zeros((), dtype=dtype))
    _whole(int(meter["wrong"]), "meter.wrong", 0, images)
    _whole(int(meter["finite_steps"]), "meter.finite_steps", step, step)
    if not meter["finite"] or not meter["loss_sum"].isfinite():
        raise Damaged("meter: a loss that was not finite")
    return meter


def _check_numbers(numbers: Mapping[str, Any], expected: Expected, wrong: int) -> None:
    config, step = expected.config, numbers["step"]
    _number(numbers["lr"], "numbers.lr", 0, math.inf)
    if numbers["lr_warmup_steps"] is not None:
        _whole(numbers["lr_warmup_steps"], "numbers.lr_warmup_steps", 0, step)
        if config.lr_warmup is None:
            raise Damaged(f"numbers.lr_warmup_steps is {numbers['lr_warmup_steps']}: the run has no such phase")
    _whole(numbers["window_wrong"], "numbers.window_wrong", 0, wrong)
    _whole(numbers["row_step"], "numbers.row_step", 0, step)
    _whole(numbers["row_wrong"], "numbers.row_wrong", 0, wrong)
    if numbers["diverged_step"] is not None:
        raise Damaged(f"numbers.diverged_step is {_shown(numbers['diverged_step'])}: no such state is stored")
    for name in ("init_digest", "batches_digest"):
        _digest(numbers[name], f"numbers.{name}")
    if expected.init_digest not in (None, numbers["init_digest"]):
        raise Damaged(f"numbers.init_digest is {numbers['init_digest'][:12]}..., not that of the initial weights")


def _curve(value: Any, config: RunConfig, row_step: int) -> list[CurveRow]:
    rows = _rows(CurveRow, value, "rows", config.run_id, row_step)
    due = list(range(config.row_every, row_step + 1, config.row_every))
    due += [row_step] if row_step == config.steps and row_step % config.row_every else []
    if [row.step for row in rows] != due:
        raise Damaged(f"rows are of {len(rows)} steps, not of the {len(due)} up to step {row_step}")
    return rows


def _rows(kind: type[Row], value: Any, where: str, run_id: str, last: int) -> list[Row]:
    if not isinstance(value, list):
        raise Damaged(f"{where} is {_shown(value)}, not a list")
    rows = []
    for place, row in enumerate(value):
        there = f"{where}[{place}]"
        if not isinstance(row, dict) or not all(
            isinstance(name, str) and (cell is None or type(cell) in (bool, int, float, str))
            for name, cell in row.items()
        ):
            raise Damaged(f"{there} is {_shown(row)}, not a row")
        try:
            parsed = parse_row(kind, row, there)
        except UsageError as error:
            raise Damaged(one_line(str(error)[:200])) from None
        if parsed.run_id != run_id or not 0 <= parsed.step <= last:
            raise Damaged(f"{there} is of run {parsed.run_id}, step {parsed.step}, not of {run_id} up to step {last}")
        rows.append(kind(**row))
    return rows


def _confusion(value: Any, num_classes: int, finished: bool) -> list[list[int]] | None:
    if value is None:
        return None
    if not finished:
        raise Damaged("confusion is there before the last step")
    for true, row in enumerate(_list(value, "confusion", num_classes)):
        for predicted, images in enumerate(_list(row, f"confusion[{true}]", num_classes)):
            _whole(images, f"confusion[{true}][{predicted}]", 0, 1 << 40)
    table: list[list[int]] = value
    return table


def _selected(value: Any, like: Mapping[str, Tensor], step: int) -> Selected | None:
    if value is None:
        return None
    found = _fields(value, "selected", [field.name for field in fields(Selected)])
    loss, error = found["validation_loss"], found["test_top1_err"]
    if type(loss) is not float or loss < 0:
        raise Damaged(f"selected.validation_loss is {_shown(loss)}, not a loss")
    return Selected(
        step=_whole(found["step"], "selected.step", 1, step),
        validation_top1_err=_number(found["validation_top1_err"], "selected.validation_top1_err", 0, 100),
        validation_loss=loss,
        model=_state_dict(found["model"], "selected.model", like),
        test_top1_err=None if error is None else _number(error, "selected.test_top1_err", 0, 100),
    )


def _about(value: Any, num_classes: int) -> About | None:
    if value is None:
        return None
    found = _fields(value, "about", ("classes", "inputs"))
    for place, name in enumerate(_list(found["classes"], "about.classes", num_classes)):
        if not isinstance(name, str):
            raise Damaged(f"about.classes[{place}] is {_shown(name)}, not a text")
    if not isinstance(found["inputs"], str):
        raise Damaged(f"about.inputs is {_shown(found['inputs'])}, not a text")
    try:
        return About(tuple(found["classes"]), Inputs.from_json(found["inputs"], "about.inputs"))
    except UsageError as error:
        raise Damaged(one_line(str(error)[:200])) from None
