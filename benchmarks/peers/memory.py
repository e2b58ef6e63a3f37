"""Peak memory of training, each side in a fresh process of its own: `python -m benchmarks.peers --memory`.

On the CPU: the process's peak resident memory minus what it held before the network was built. Compiling happens in
the same process, so the compiler's own memory is part of it. It is the median of three processes, as the C library's
heap does not grow the same way every time. On CUDA: the peak of torch's allocator, likewise.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from rich import box
from rich.table import Table

from benchmarks.peers import sides
from benchmarks.peers.reference_loop import TrainingImages
from resnet_bench.data.builtin import synthetic
from resnet_bench.data.on_device import DeviceData
from resnet_bench.environment import configure, find_device
from resnet_bench.execution import Execution, default_precision
from resnet_bench.networks import display_name
from resnet_bench.terminal import to_text
from resnet_bench.training.state import Job

REFERENCE = "reference"
STEPS, PROCESSES = 5, 3


def to_table(depth: int, modes: Iterable[str], device: str) -> str:
    """The reference with 0 workers and ours in some modes, as text."""
    table = Table(
        f"{display_name('residual', depth)}, batch {sides.BATCH}", "peak memory, MB", "of the reference",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    baseline = typical_peak(REFERENCE, depth, device)
    table.add_row("reference, 0 workers", f"{baseline / 1e6:,.0f}", "1.00x")
    for mode in modes:
        peak = typical_peak(mode, depth, device)
        table.add_row(f"ours, {mode}", f"{peak / 1e6:,.0f}", f"{peak / baseline:.2f}x")
    return to_text(table)


def typical_peak(side: str, depth: int, device: str) -> int:
    """The median of what several fresh processes take."""
    return statistics.median_low(in_fresh_process(side, depth, device) for _ in range(PROCESSES))


def in_fresh_process(side: str, depth: int, device: str) -> int:
    """Bytes, as `measure` gives them."""
    print(f"ResNet-{depth}, {STEPS} steps: {side}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.peers.memory", side, str(depth), device, str(torch.get_num_threads())]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(side: str, depth: int, device: torch.device) -> int:
    """Bytes that a few steps of one side need at most, network and optimizer included, dataset not."""
    dataset = synthetic(num_train=1_280, num_test=100)
    images, data = TrainingImages(dataset), DeviceData.of(dataset, device)
    before = _held(device)
    if side == REFERENCE:
        sides.reference_training(sides.make_reference(images, depth, 0, device))(STEPS)
    else:
        job = Job.of(sides.config(depth), data, Execution(side, default_precision(device.type)))
        sides.OurTraining(job, dataset.digest)(STEPS)
    return _peak(device) - before


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("VmRSS")


def _peak(device: torch.device) -> int:
    # VmHWM is getrusage's ru_maxrss, but that one also holds what the parent process had when this one was started.
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    """A figure of /proc/self/status (Linux), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """The fresh process: print the bytes for the side, depth, device and threads that the command line names."""
    side, depth, name, threads = sys.argv[1:]
    device = find_device(name)
    configure(device, int(threads))
    print(measure(side, int(depth), device))


if __name__ == "__main__":
    main()
