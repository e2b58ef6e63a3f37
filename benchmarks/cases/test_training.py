"""What a run spends its time on: train step, inference, batches, evaluation, checkpoints."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cases.conftest import Measure
from resnet_bench.data.batches import make_batch, normalise
from resnet_bench.execution import Execution
from resnet_bench.training import checkpoint
from resnet_bench.training.evaluation import EVAL_BATCH, EvalSet, all_finite, evaluate
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.state import Job
from resnet_bench.training.step import Forward, make_forward

ROUNDS = {8: 1, 20: 12, 56: 7, 110: 5}  # by depth: deeper networks take longer
MakeJob = Callable[..., Job]


def test_train_step(measure: Measure, make_job: MakeJob, arch: str, depth: int, execution: Execution) -> None:
    """One step on a batch: draws, batch, forward, loss, backward, update, counting."""
    job = make_job(arch, depth, execution)
    state = job.initial_state("")
    step = job.make_step(state)
    build_seconds = step.build()
    set_learning_rate(state.optimizer, 0.01)
    numbers = itertools.count()
    measure.network(
        lambda: step(job.stream.draws(next(numbers))),
        "train step",
        job,
        rounds=ROUNDS[depth],
        images=job.config.batch_size,
        build_seconds=build_seconds,
    )
    assert all_finite(state.model)


@torch.inference_mode()
def test_inference(measure: Measure, make_job: MakeJob, arch: str, depth: int, execution: Execution) -> None:
    """The forward pass of a batch in eval mode."""
    job = make_job(arch, depth, execution)
    images = normalise(job.data.train_images[: job.config.batch_size], job.data.mean)
    model = job.initial_state("").model.eval()
    infer = in_mode(make_forward(model, execution.precision), images, execution.mode)
    logits = measure.network(infer, "inference", job, rounds=2 * ROUNDS[depth], images=len(images))
    assert logits.isfinite().all()


def in_mode(forward: Forward, images: Tensor, mode: str) -> Callable[[], Tensor]:
    """The forward pass of `images`, ready to be repeated."""
    if mode == "compile":
        forward = torch.compile(forward, fullgraph=True, dynamic=False)
    if mode != "graph":
        return functools.partial(forward, images)
    forward(images)  # libraries set themselves up in the first call, which cannot be captured
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = forward(images)

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay


def test_batch_pipeline(measure: Measure, make_job: MakeJob) -> None:
    """What comes before the network: draws of the next step, their copy to the device, the batch."""
    job = make_job("residual", 8)
    there = torch.zeros(job.config.batch_size, 4, dtype=torch.int32, device=job.data.device)
    numbers = itertools.count()

    def pipeline() -> Tensor:
        there.copy_(job.stream.draws(next(numbers)), non_blocking=True)
        return make_batch(job.data.train_images, job.data.mean, there)

    batch = job.config.batch_size
    images = measure(pipeline, "batch pipeline", rounds=30, iterations=20, images=batch, batch=batch)
    assert images.shape == (batch, *job.data.train_images.shape[1:])


def test_evaluation(measure: Measure, make_job: MakeJob, small: bool) -> None:
    """The test error of ResNet-20, the network in which all but the forward passes weighs most."""
    job = make_job("residual", 8 if small else 20)
    model, chosen = job.initial_state("").model, EvalSet.test(job.data, None)
    precision = job.execution.precision
    measure.network(
        lambda: evaluate(model, job.data, chosen, precision), "evaluation", job, rounds=9, images=len(chosen.labels)
    )


@torch.inference_mode()
def test_evaluation_forward_passes_alone(measure: Measure, make_job: MakeJob, small: bool) -> None:
    """The forward passes of the evaluation above, to be divided by."""
    job = make_job("residual", 8 if small else 20)
    forward = make_forward(job.initial_state("").model.eval(), job.execution.precision)
    batches = normalise(job.data.test_images, job.data.mean).split(EVAL_BATCH)
    measure.network(
        lambda: [forward(batch) for batch in batches], "evaluation", job, rounds=9, images=len(job.data.test_images)
    )


def test_checkpoint(measure: Measure, make_job: MakeJob, small: bool, tmp_path: Path) -> None:
    """Writing a checkpoint of ResNet-110: copied from the device, encoded, digested, written through to the disk."""
    job = make_job("residual", 8 if small else 110)
    state = job.initial_state("")
    measure(
        lambda: checkpoint.save(tmp_path, checkpoint.capture(state, {"run_id": job.config.run_id})),
        "checkpoint",
        rounds=20,
        depth=job.config.depth,
    )
    assert checkpoint.load(tmp_path)[0] is not None
