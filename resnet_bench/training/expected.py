"""Is a checkpoint what such a run can have written: every value of it is known before any is used."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from resnet_bench.config.run import RunConfig
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import UsageError
from resnet_bench.files import Damaged
from resnet_bench.results.rows import CurveRow, SignalRow, parse_row
from resnet_bench.text import one_line
from resnet_bench.training.checkpoint import METER, NUMBERS, About, Checkpoint, OtherRun
from resnet_bench.training.optimizers import optimizer_tensors
from resnet_bench.training.state import Selected, TrainState

MOST_SECONDS = 1e10
Row = TypeVar("Row", CurveRow, SignalRow)


@dataclass(frozen=True)
class Expected:
    """The run that a checkpoint must be of.

    Attributes:
        identity: says which run on which data.
        config: of the run.
        model: a state dict of its network: names, shapes and types; values are not looked at.
        optimizer: the same of what the optimizer remembers; None: that is not going to be used.
        init_digest: of the initial weights, where that is known.
        num_classes: length of the logits.
    """

    identity: Mapping[str, Any]
    config: RunConfig
    model: Mapping[str, Tensor]
    optimizer: Sequence[Tensor] | None = None
    init_digest: str | None = None
    num_classes: int = 0

    @classmethod
    def of_state(cls, state: TrainState, config: RunConfig, identity: Mapping[str, Any], num_classes: int) -> Expected:
        """To go on with that state."""
        model, optimizer = state.model.state_dict(), optimizer_tensors(state.optimizer)
        return cls(identity, config, model, optimizer, state.init_digest, num_classes)

    @classmethod
    def of_network(cls, model: nn.Module, config: RunConfig, identity: Mapping[str, Any], num_classes: int) -> Expected:
        """To use the network."""
        return cls(identity, config, model.state_dict(), num_classes=num_classes)


# ---------------------------------------------------------------------------------------------- what it may hold


def check_stored(stored: dict[str, Any], expected: Expected) -> Checkpoint:
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
            parsed = parse_row(kind, {name: _measured(cell) for name, cell in row.items()}, there)
        except UsageError as error:
            raise Damaged(one_line(str(error)[:200])) from None
        if parsed.run_id != run_id or not 0 <= parsed.step <= last:
            raise Damaged(f"{there} is of run {parsed.run_id}, step {parsed.step}, not of {run_id} up to step {last}")
        rows.append(kind(**row))
    return rows


def _measured(cell: Any) -> Any:
    """What is too large to be a number counts as not measured, as in a CSV file."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


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
