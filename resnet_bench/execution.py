"""How the operations of a run are executed: mode, precision, memory format, threads. One choice for a whole study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from resnet_bench.errors import UsageError
from resnet_bench.schema import Rule

MODES = ("eager", "compile", "graph")
PRECISIONS = ("fp32", "tf32", "bf16")
MEMORY_FORMATS = ("nchw", "nhwc")
MAX_THREADS = 4096

# Compiling is worth its time only in a long study. Both were measured on 2 cores (docs/performance.md).
COMPILE_GAIN = 1.3  # compiled over eager training, images per second
COMPILE_SECONDS, COMPILE_SECONDS_PER_LAYER = 40.0, 0.5  # of one network, nothing in the compiler's cache


@dataclass(frozen=True)
class Execution:
    """What may change rounding and speed of a run, but not its mathematics.

    Attributes:
        mode: "eager"; "compile": the whole network by torch.compile; "graph": the whole step as one CUDA graph.
        precision: "fp32"; "tf32": TF32 for convolutions and products (CUDA); "bf16": the network under autocast.
        memory_format: "nchw" or "nhwc" (channels last).
        threads: CPU threads within one operation, of one run; None: not recorded, as in files from before there was
            a choice, or of no matter, as where training is on a GPU.
    """

    mode: str = "eager"
    precision: str = "fp32"
    memory_format: str = "nchw"
    threads: int | None = field(default=None, metadata={"rule": Rule(low=1, high=MAX_THREADS)})

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("precision", self.precision, PRECISIONS),
            ("memory format", self.memory_format, MEMORY_FORMATS),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r} is unknown; one of {', '.join(known)}")
        if self.threads is not None and not (type(self.threads) is int and 0 < self.threads <= MAX_THREADS):
            raise UsageError(f"threads {self.threads!r} is not a whole number from 1 to {MAX_THREADS}")

    def check(self, device_type: str) -> None:
        """Raise UsageError for what a "cpu" or "cuda" device cannot do."""
        if device_type != "cuda" and self.mode == "graph":
            raise UsageError("mode graph needs a CUDA device; use eager, compile or auto")
        if device_type != "cuda" and self.precision == "tf32":
            raise UsageError("precision tf32 needs a CUDA device; use fp32 or bf16")

    @property
    def step(self) -> tuple[str, str, str]:
        """What decides how a step is built: all but the threads."""
        return self.mode, self.precision, self.memory_format

    def completed(self, other: Execution) -> Execution:
        """This one; with the threads of the other if its own are not recorded."""
        return self if self.threads else replace(self, threads=other.threads)

    def agrees(self, other: Execution) -> bool:
        """May runs of both stand in one study."""
        return self.step == other.step and (self.threads or other.threads) == (other.threads or self.threads)

    def __str__(self) -> str:
        threads = f" on {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        return f"mode {self.mode}, {self.precision}, {self.memory_format}{threads}"


EAGER = Execution()


def default_precision(device_type: str) -> str:
    """TF32 on CUDA, as torch has always done for convolutions; else fp32."""
    return "tf32" if device_type == "cuda" else "fp32"


def auto_mode(device_type: str, eager_seconds: float, depths: Iterable[int]) -> tuple[str, str]:
    """(mode, reason) for a study: one entry in `depths` for each network to compile, `eager_seconds` to train it all.

    A graph is captured in seconds and gives the bits of eager mode, so CUDA always uses it. Compiling costs about a
    minute a network, so a study compiles only if that saves twice what it costs.
    """
    if device_type == "cuda":
        return "graph", "CUDA: the whole step as one graph, the same bits as eager"
    cost = sum(COMPILE_SECONDS + COMPILE_SECONDS_PER_LAYER * depth for depth in depths)
    saving = eager_seconds * (1 - 1 / COMPILE_GAIN)
    if saving > 2 * cost:
        return "compile", f"compiling takes about {cost:,.0f} s and saves about {saving:,.0f} s"
    return "eager", f"compiling takes about {cost:,.0f} s and would save about {saving:,.0f} s"
