"""Where and how a run executes: named random streams, determinism switches, device, hardware and software."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from resnet_bench.cores import cores_here
from resnet_bench.errors import UsageError
from resnet_bench.machine import available_cores, cpu_model


def generator(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A CPU generator that is a function of its arguments alone.

    A seed is split into named streams ("init", "order", "augmentation"), and a stream by counters (the epoch, say), so
    that nothing depends on how many numbers were drawn before.
    """
    text = ":".join(("resnet-bench", stream, str(seed), *map(str, counters)))
    derived = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(derived)


def find_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is a GPU, else the CPU. UsageError for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


def configure(device: torch.device, threads: int | None = None, precision: str | None = None) -> None:
    """Set what makes runs repeatable: deterministic algorithms, a fixed number of threads, denormals flushed.

    Call once per process before the first operation: worker threads inherit the denormal mode when they start.

    Args:
        device: where the runs are going to be.
        threads: CPU threads within one operation; unless given all available cores, or what the environment asks for.
        precision: "fp32", "tf32" or "bf16" (whose parts in fp32 are TF32 on CUDA); the device's default unless given.
    """
    for kind in (np.half, np.single, np.double, np.longdouble):
        np.finfo(kind)  # numpy keeps it; before 2.2 it warns if it first looks when there are no denormals any more
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads or cores_here().threads())
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time only
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # older torch refuses deterministic mode without


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Give what `configure` sets back as it was: it is for our runs, not for what else a user does with torch."""
    threads, flushed = torch.get_num_threads(), _flushes_denormals()
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    switches = [
        (torch.utils.deterministic, "fill_uninitialized_memory"),
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
    ]
    before = [getattr(module, name) for module, name in switches]
    try:
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def _flushes_denormals() -> bool:
    return bool((torch.full((), 1e-40) * 1).item() == 0)


@functools.cache
def prepare_compiler() -> None:
    """Set up torch.compile: room for all networks of a study in one process, and no talk about CUDA kits."""
    import torch._dynamo.config

    torch._dynamo.config.recompile_limit = 64
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def synchronize(device: torch.device) -> None:
    """Wait for everything queued on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Fingerprint:
    """What the numbers of a run may depend on beside its configuration."""

    device: str
    threads: int
    torch_version: str
    details: dict[str, Any]

    @property
    def digest(self) -> str:
        """8 hex digits of a SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


def gpu_uuid(device: torch.device) -> str:
    """The name by which nvidia-smi knows this very GPU; "" for the CPU."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else ""


def fingerprint(device: torch.device) -> Fingerprint:
    """Hardware and software of this process. Holds no host names and no paths."""
    details: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": available_cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "flush_denormal": _flushes_denormals(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        details |= {
            "gpu_memory_bytes": properties.total_memory,
            "gpu_multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return Fingerprint(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else details["cpu"],
        threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        details=details,
    )
