"""What `benchmarks.peers` compares: a side does some steps when it is called, and gives the seconds that they took."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.reference_loop import ReferenceLoop, TrainingImages
from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import make_batch
from resnet_bench.environment import generator, prepare_compiler, synchronize
from resnet_bench.errors import Failure
from resnet_bench.models import build_model
from resnet_bench.timing import Stopwatch
from resnet_bench.training.loop import fit
from resnet_bench.training.optimizers import set_learning_rate
from resnet_bench.training.state import Job, TrainState
from resnet_bench.training.step import TrainStep

BATCH, LR = 128, 0.01  # there is nothing to learn: the rate is only small enough never to diverge
SETTLE_SECONDS = 0.2
Side = Callable[[int], float]


@functools.cache
def why_not_compile(device_type: str) -> str:
    """Empty if torch.compile works here, else the reason; found out by trying."""
    prepare_compiler()
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=device_type))
    except Exception as error:  # whatever dynamo, inductor or the compiler make of it
        return f"torch.compile does not work here: {(str(error) or repr(error)).splitlines()[0]}"
    return ""


def config(depth: int) -> RunConfig:
    """A residual network trained as in the paper's study, a row every 400 steps, but without an end."""
    return RunConfig(
        protocol="peers/1", dataset="synthetic", arch="residual", depth=depth, shortcut="a", seed=0, steps=10**9,
        batch_size=BATCH, lr=LR, row_every=400, row_train_images=1_000, row_test_images=1_000,
    )  # fmt: skip


def fixed_batch(job: Job) -> tuple[Tensor, Tensor]:
    """The images, as the network sees them, and labels of the first step."""
    draws = job.stream.draws(0).to(job.data.device)
    return make_batch(job.data.train_images, job.data.mean, draws), job.data.train_labels[draws[:, 0].long()]


def timed(step: Callable[[], object], device: torch.device, steps: int) -> float:
    """Seconds of `steps` steps, after one that does not count."""
    step()
    with Stopwatch(device) as watch:
        for _ in range(steps):
            step()
    return watch.seconds


# ---------------------------------------------------------------------------------------------- ours


class RoundOver(Exception):
    """Raised in the pause after a round, so that `fit` gives way to the other sides."""


class Round:
    """A sink that lets `fit` do one untimed step and then `steps` timed ones, and breaks it off.

    The time is all of the loop's: draws, digests, steps, checks for divergence, rows. Only evaluation is taken out,
    because the reference has none.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.started: float | None = None
        self.evaluated = 0.0  # seconds of evaluation when the clock was started
        self.seconds = 0.0

    def built(self, seconds: float) -> None:
        """From the compiler's cache, and before the round."""

    def step(self, state: TrainState) -> None:
        """Start the clock after the first step; count the others."""
        if self.started is not None:
            self.left -= 1
            return
        synchronize(state.train_clock.device)
        self.started, self.evaluated = time.perf_counter(), state.eval_clock.seconds

    def row(self, state: TrainState) -> None:
        """The row stays in the state."""

    def wants_pause(self) -> bool:
        """Is the round over."""
        return self.left == 0

    def pause(self, state: TrainState) -> None:
        """Stop the clock; `fit` has waited for the device."""
        assert self.started is not None
        self.seconds = time.perf_counter() - self.started - (state.eval_clock.seconds - self.evaluated)
        raise RoundOver

    def poll(self) -> None:
        """An evaluation is never broken off."""


class OurTraining:
    """The real `fit`, broken off after every round and taken up again where it was."""

    def __init__(self, job: Job, dataset_digest: str) -> None:
        self.job = job
        self.state = job.initial_state(dataset_digest)
        # Whenever `fit` is taken up it builds again, but then everything is in the compiler's cache.
        self.build_seconds = job.make_step(self.state).build()

    def __call__(self, steps: int) -> float:
        """One round."""
        sink = Round(steps)
        with contextlib.suppress(RoundOver):
            fit(self.state, self.job, sink)
        if self.state.diverged_step is not None:
            raise Failure(f"the training diverged at step {self.state.diverged_step}")
        return sink.seconds


class OurBareStep(TrainStep):
    """The engine's step in its mode, without making a batch and without counting: always on the same batch."""

    def __init__(self, job: Job) -> None:
        state = job.initial_state("")
        super().__init__(state.model, state.optimizer, job.data, state.meter, job.execution, job.config.batch_size)
        set_learning_rate(state.optimizer, job.config.lr)
        self.images, self.labels = fixed_batch(job)
        self.build()

    def _run(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.forward(self.images), self.labels)
        loss.backward()
        self.optimizer.step()


def our_bare_step(job: Job) -> Side:
    """`OurBareStep` as a side."""
    step = OurBareStep(job)
    return functools.partial(timed, step._run if step.graph is None else step.graph.replay, job.data.device)


# ---------------------------------------------------------------------------------------------- the reference


def make_reference(images: TrainingImages, depth: int, workers: int, device: torch.device) -> ReferenceLoop:
    """The reference loop on the network that ours starts from."""
    model = build_model("residual", depth, "a", generator=generator(0, "init"))
    return ReferenceLoop(images, model, device, workers=workers, batch_size=BATCH, lr=LR)


@contextlib.contextmanager
def as_people_have_it() -> Iterator[None]:
    """Without the determinism that resnet_bench asks for, and with cuDNN's search for the fastest algorithm."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def reference_training(loop: ReferenceLoop) -> Side:
    """The reference loop as a side; its worker processes live from round to round."""

    def side(steps: int) -> float:
        with as_people_have_it():
            # Twice what lay ready is used up, so that the workers make a batch for each that is timed.
            loop.train(1 + 2 * loop.queue_length)
            with Stopwatch(loop.device) as watch:
                loop.train(steps)
        settle()
        return watch.seconds

    return side


def reference_bare_step(loop: ReferenceLoop, job: Job) -> Side:
    """The reference's update on the batch of our bare step, as a side."""
    images, labels = fixed_batch(job)

    def side(steps: int) -> float:
        with as_people_have_it():
            return timed(lambda: loop.update(images, labels), loop.device, steps)

    return side


def settle() -> None:
    """Wait until no worker process uses the processor: they have made batches ahead, and wait themselves."""
    before = -1.0
    while (now := worker_seconds()) > before:
        before = now
        time.sleep(SETTLE_SECONDS)


def worker_seconds() -> float:
    """Processor time of all worker processes so far; 0 where the system does not tell."""
    return sum(_cpu_seconds(child.pid) for child in multiprocessing.active_children())


def _cpu_seconds(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime
