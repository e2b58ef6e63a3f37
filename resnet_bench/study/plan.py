"""What a sweep is going to do: which runs, which are done, how long the rest will take. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from resnet_bench.complexity import Complexity, complexity
from resnet_bench.config.run import RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.prepare import averaged_shape
from resnet_bench.networks import NetworkName
from resnet_bench.results.rows import RunRow

EVAL_PER_TRAIN = 0.25  # an evaluated image costs about a quarter of a trained one: forward only, no BN statistics
# A layer of a network of the user's own, while it is not counted: as plain-20 has it.
TYPICAL_PARAMS, TYPICAL_MACS_PER_PIXEL = 13_500, 2_000
# Work per second where nothing was measured yet: of one core, and of a GPU that waits for the host in eager mode.
TYPICAL_CORE_RATE = 6e9
TYPICAL_CUDA_RATE = 1.5e12
Sized = tuple[NetworkName, tuple[int, int, int]]  # a network, for images of (channels, height, width)


@dataclass(frozen=True)
class DataShape:
    """What the cost of a run depends on beside its configuration."""

    image_shape: tuple[int, int, int]
    num_train: int = 50_000
    num_test: int = 10_000
    num_classes: int = 10
    # Of networks that the user's functions build, for images of that shape.
    own: Mapping[Sized, Complexity] = field(default_factory=dict)

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
    macs, rows = network_macs(run, shape), run.steps // run.row_every
    shape = shape.of_run(run)
    row_images = (run.row_train_images or shape.num_train) + (run.row_test_images or shape.num_test)
    final_images = (run.final_train_images or shape.num_train) + shape.num_test
    images = run.steps * run.batch_size + EVAL_PER_TRAIN * (rows * row_images + final_images)
    return images * macs


def network_macs(run: RunConfig, shape: DataShape) -> int:
    """Multiply-adds of the run's network for one image, forward; at least one, so that it takes some time."""
    return max(1, network_size(run, shape.of_run(run)).macs)


def network_size(run: RunConfig, shape: DataShape) -> Complexity:
    """Size of a run's network for the data as it takes them; a rough guess while nobody has counted one's own."""
    channels, height, width = shape.image_shape
    if run.builder:
        guess = Complexity(run.depth * TYPICAL_PARAMS, run.depth * TYPICAL_MACS_PER_PIXEL * height * width)
        return shape.own.get((run.network, shape.image_shape), guess)
    return complexity(run.network, in_channels=channels, image_size=(height, width))


def in_order(runs: Iterable[RunConfig], shape: DataShape, settings: Mapping[str, str]) -> list[RunConfig]:
    """One seed after the other, so that the first is soon complete; of a seed the longest runs first, twins together.

    Args:
        runs: of a study.
        shape: of its images.
        settings: by run id, what varies within the study beside network and seed.
    """
    runs = list(runs)
    cells = {run.run_id: (run.seed, run.depth, settings.get(run.run_id, "")) for run in runs}
    longest: dict[tuple[int, int, str], float] = {}
    for run in runs:
        cell = cells[run.run_id]
        longest[cell] = max(work(run, shape), longest.get(cell, 0.0))

    def place(run: RunConfig) -> tuple[object, ...]:
        cell = cells[run.run_id]
        return run.seed, -longest[cell], cell, run.arch != "plain", run.arch, run.shortcut

    return sorted(runs, key=place)


@dataclass(frozen=True)
class Plan:
    """The runs of one sweep, in the order they are done: see `in_order`."""

    runs: list[RunConfig]
    done: dict[str, RunRow]  # finished runs of the study's folder, by run id
    shape: DataShape
    settings: Mapping[str, str] = field(default_factory=dict)  # what the study varies, by run id, as in "lr=0.1"

    def title(self, run: RunConfig) -> str:
        """What a reader calls a run of it: `ResNet-56 seed 0`, and in which setting, if the study varies something."""
        setting = self.settings.get(run.run_id, "")
        return f"{run.title}, {setting}" if setting else run.title

    @property
    def image_shapes(self) -> list[tuple[int, int, int]]:
        """Of the images as the runs take them, (channels, height, width): one, unless the study varies their side."""
        return list(dict.fromkeys(self.shape.of_run(run).image_shape for run in self.runs))

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
