"""What a sweep is going to do: which runs, which are done, how long the rest will take. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from resnet_bench.complexity import complexity
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.prepare import averaged_shape
from resnet_bench.results.rows import RunRow

EVAL_PER_TRAIN = 0.25  # an evaluated image costs about a quarter of a trained one: forward only, no BN statistics
# Work per second where nothing was measured yet: of one core, and of a GPU that waits for the host in eager mode.
TYPICAL_CORE_RATE = 6e9
TYPICAL_CUDA_RATE = 1.5e12


@dataclass(frozen=True)
class DataShape:
    """What the cost of a run depends on beside its configuration."""

    image_shape: tuple[int, int, int]
    num_train: int = 50_000
    num_test: int = 10_000
    num_classes: int = 10

    @classmethod
    def of_data(cls, dataset: Dataset) -> DataShape:
        """Once the data are read."""
        return cls(dataset.image_shape, len(dataset.train_labels), len(dataset.test_labels), len(dataset.classes))

    @classmethod
    def of(cls, image_shape: tuple[int, int, int]) -> DataShape:
        """Before the data are read: the size of CIFAR-10, or of the digits for images that small."""
        return cls(image_shape, 1437, 360) if max(image_shape[1:]) == 8 else cls(image_shape)

    def of_run(self, run: RunConfig) -> DataShape:
        """Of the data as the run takes them.

        Raises:
            UsageError: the images cannot be averaged to the run's side.
        """
        each = run.images_per_class
        few = self.num_train if each is None else min(self.num_train, each * self.num_classes)
        return replace(self, image_shape=averaged_shape(self.image_shape, run.image_side), num_train=few)


def work(run: RunConfig, shape: DataShape) -> float:
    """Cost of a run in forward multiply-adds x trained images, evaluation included."""
    shape, rows = shape.of_run(run), run.steps // run.row_every
    row_images = (run.row_train_images or shape.num_train) + (run.row_test_images or shape.num_test)
    final_images = (run.final_train_images or shape.num_train) + shape.num_test
    images = run.steps * run.batch_size + EVAL_PER_TRAIN * (rows * row_images + final_images)
    return images * _macs(run, shape)


def network_macs(run: RunConfig, shape: DataShape) -> int:
    """Multiply-adds of the run's network for one image, forward."""
    return _macs(run, shape.of_run(run))


def _macs(run: RunConfig, shape: DataShape) -> int:
    channels, height, width = shape.image_shape
    return complexity(run.network, in_channels=channels, image_size=(height, width)).macs


@dataclass(frozen=True)
class Plan:
    """The runs of one sweep, in the order they are done."""

    runs: list[RunConfig]
    done: dict[str, RunRow]  # finished runs of the study's folder, by run id
    shape: DataShape
    settings: Mapping[str, str] = field(default_factory=dict)  # what the study varies, by run id, as in "lr=0.1"

    @property
    def todo(self) -> list[RunConfig]:
        """What is left to do."""
        return [run for run in self.runs if run.run_id not in self.done]

    def measured_rate(self, device: str) -> float | None:
        """Work per second of the runs finished so far on this kind of device; None if there are none."""
        finished = [(run, self.done[run.run_id]) for run in self.runs if run.run_id in self.done]
        finished = [(run, row) for run, row in finished if row.device == device]
        seconds = sum(row.train_seconds + row.eval_seconds for _, row in finished)
        return sum(work(run, self.shape) for run, _ in finished) / seconds if seconds else None

    def train_seconds(self, rate: float) -> float:
        """The part of it that is training steps."""
        return sum(run.steps * run.batch_size * network_macs(run, self.shape) for run in self.todo) / rate

    def seconds(self, rate: float) -> float:
        """Estimated time for what is left, at `rate` work per second."""
        return sum(work(run, self.shape) for run in self.todo) / rate


def typical_rate(device_type: str, cores: int) -> float:
    """A rough rate for a machine that has not trained yet."""
    return TYPICAL_CUDA_RATE if device_type == "cuda" else TYPICAL_CORE_RATE * cores


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `4.5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"
