"""One run from its first step to its last: schedule, steps, rows. Opens no files and prints nothing."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from resnet_bench.busy import busy
from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import chain_digest
from resnet_bench.models import Net
from resnet_bench.results.rows import CurveRow, SignalRow
from resnet_bench.training.evaluation import all_finite, evaluate
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.schedule import learning_rate
from resnet_bench.training.signals import BATCH, FIRST_STEPS, measure_signals, signal_steps
from resnet_bench.training.state import Job, Selected, TrainState
from resnet_bench.training.step import TrainStep

CHECK_STEPS = 50  # how often, in steps, a run is checked for divergence


class Sink(Protocol):
    """What a run tells while it goes on, and asks."""

    def built(self, seconds: float) -> None:
        """The step was compiled or captured (0 seconds in eager mode); what follows is timed."""

    def step(self, state: TrainState) -> None:
        """A step was queued on the device."""

    def row(self, state: TrainState) -> None:
        """A row was added to `state.rows`."""

    def wants_pause(self) -> bool:
        """Asked after every step: is it time to save the state, or to stop."""

    def pause(self, state: TrainState) -> None:
        """Outside all clocks, between two steps: save the state; raise to stop."""

    def poll(self) -> None:
        """Called while a row is evaluated; raises to stop. The state is as before the row."""


def fit(state: TrainState, job: Job, sink: Sink) -> None:
    """Train from `state.step` to the last step, or until something is not finite (`state.diverged_step`).

    The state is consistent whenever the sink is called, so a run may be broken off there and go on later, and ends
    bit-identical to one that was not.
    """
    state.model.train()
    step = job.make_step(state)
    sink.built(step.build())
    while state.diverged_step is None:
        if _row_is_due(state, job.config):
            _add_row(state, job, sink)
        elif _signals_are_due(state, job.config):
            _add_signals(state, job)
        if state.step == job.config.steps or state.diverged_step is not None:
            return
        with state.train_clock:
            _train_until(_next_edge(state.step, job.config), step, state, job, sink)
        if _is_edge(state.step, job.config):
            _check_divergence(state)
            _check_warmup(state, job.config)
        if sink.wants_pause() and state.diverged_step is None:
            sink.pause(state)


def _row_is_due(state: TrainState, config: RunConfig) -> bool:
    return state.step > state.row_step and (state.step % config.row_every == 0 or state.step == config.steps)


def _signals_are_due(state: TrainState, config: RunConfig) -> bool:
    last = state.signals[-1].step if state.signals else -1
    return last < state.step and state.step in signal_steps(config.steps, config.row_every)


def _is_edge(step: int, config: RunConfig) -> bool:
    return step == config.steps or any(step % period == 0 for period in _periods(config))


def _periods(config: RunConfig) -> list[int]:
    return [CHECK_STEPS, config.row_every] + ([config.lr_warmup_window] if config.lr_warmup is not None else [])


def _next_edge(step: int, config: RunConfig) -> int:
    """The next step at which the host looks at what the device counted, or at the network."""
    first = (early for early in FIRST_STEPS if early > step)
    return min(config.steps, *first, *(step - step % period + period for period in _periods(config)))


def _train_until(edge: int, step: TrainStep, state: TrainState, job: Job, sink: Sink) -> None:
    while state.step < edge:
        state.lr = learning_rate(job.config, state.step, state.lr_warmup_steps)
        set_learning_rate(state.optimizer, state.lr)
        draws = job.stream.draws(state.step)
        state.batches_digest = chain_digest(state.batches_digest, draws)
        step(draws)
        state.step += 1
        sink.step(state)
        if sink.wants_pause():
            return


def _check_divergence(state: TrainState) -> None:
    finite_steps = int(state.meter.finite_steps)
    if finite_steps < state.step:
        state.diverged_step = finite_steps + 1


def _check_warmup(state: TrainState, config: RunConfig) -> None:
    """End the warm-up phase once the error of a whole window is low enough (section 4.2, footnote on 110 layers)."""
    over = state.lr_warmup_steps is not None or state.diverged_step is not None
    if config.lr_warmup is None or over or state.step % config.lr_warmup_window:
        return
    wrong = int(state.meter.wrong)
    error = 100 * (wrong - state.window_wrong) / (config.lr_warmup_window * config.batch_size)
    state.window_wrong = wrong
    if error < config.lr_warmup_error:
        state.lr_warmup_steps = state.step


@busy("evaluating")
def _add_row(state: TrainState, job: Job, sink: Sink) -> None:
    if not all_finite(state.model):  # the step's loss was finite, what the update made of the weights was not
        state.diverged_step = state.step
        return
    config, data, eval_sets = job.config, job.data, job.eval_sets
    last = state.step == config.steps
    train_set = eval_sets.final_train if last else eval_sets.row_train
    test_set = eval_sets.final_test if last else eval_sets.row_test
    with state.eval_clock:
        precision = job.execution.precision
        train_clean_loss, train_clean_err = evaluate(state.model, data, train_set, precision, sink.poll)
        confusion = data.no_confusion() if last else None
        test_loss, test_err = evaluate(state.model, data, test_set, precision, sink.poll, confusion)
        validation = eval_sets.validation
        validation_loss, validation_err = (
            evaluate(state.model, data, validation, precision, sink.poll) if validation else (None, None)
        )
        _select(state, validation_err, validation_loss)
        if last and state.selected:
            confusion = _test_selected(state, job, sink)
    state.rows.append(
        CurveRow(
            run_id=config.run_id,
            step=state.step,
            epoch=state.step * config.batch_size / len(data.train_images),
            lr=state.lr,
            train_loss=float(state.meter.loss_sum) / (state.step - state.row_step),
            train_top1_err=state.running_error(),
            train_clean_loss=train_clean_loss,
            train_clean_top1_err=train_clean_err,
            train_clean_images=len(train_set.labels),
            test_loss=test_loss,
            test_top1_err=test_err,
            test_images=len(test_set.labels),
            validation_loss=validation_loss,
            validation_top1_err=validation_err,
            train_seconds=state.train_clock.seconds,
            eval_seconds=state.eval_clock.seconds,
        )
    )
    if confusion is not None:
        state.confusion = confusion.tolist()
    state.row_step, state.row_wrong = state.step, int(state.meter.wrong)
    state.meter.loss_sum.zero_()
    if state.step in signal_steps(config.steps, config.row_every):
        _add_signals(state, job)
    sink.row(state)


def _select(state: TrainState, validation_err: float | None, validation_loss: float | None) -> None:
    """Keep the state if none before had so low a validation error, or as low a one with so low a loss.

    Few images have few different errors, and the first of many equal ones would be one of the least trained.
    """
    if validation_err is None or validation_loss is None:
        return
    best = state.selected
    if best and (best.validation_top1_err, best.validation_loss) <= (validation_err, validation_loss):
        return
    kept = {name: value.detach().cpu().clone() for name, value in state.model.state_dict().items()}
    state.selected = Selected(state.step, validation_err, validation_loss, kept)


@torch.no_grad()
def _test_selected(state: TrainState, job: Job, sink: Sink) -> Tensor:
    """Evaluate the selected state on all test images; gives its confusions."""
    assert state.selected is not None
    model = copy.deepcopy(state.model)
    for name, value in model.state_dict().items():
        value.copy_(state.selected.model[name])
    confusion = job.data.no_confusion()
    precision = job.execution.precision
    _, error = evaluate(model, job.data, job.eval_sets.final_test, precision, sink.poll, confusion)
    state.selected = replace(state.selected, test_top1_err=error)
    return confusion


def _add_signals(state: TrainState, job: Job) -> None:
    """For the first images of those that rows are evaluated on, the same for all runs of a study.

    Not of networks that are trained in part: what their layers do is not what training does with them. Nor of those
    that a function of the user's builds: which layers lie on their main path is not known. Nor once something is not
    finite, of which the run hears at the next edge.
    """
    if job.config.frozen_parts or not isinstance(state.model, Net):
        return
    chosen = job.eval_sets.row_train
    with state.eval_clock:
        if not state.is_finite():
            return
        images = job.data.normalise(chosen.images[:BATCH])
        measured = measure_signals(state.model, images, chosen.labels[:BATCH], job.execution.precision)
    run: dict[str, Any] = {"run_id": job.config.run_id, "step": state.step}
    state.signals += [SignalRow(**run, **asdict(layer)) for layer in measured]
