"""What can be counted exactly about a step, on any machine: the first layer of the gate.

Everything is counted on the CPU, with random images, above the level at which torch picks a kernel, so that neither the
processor nor its number of cores matters; torch's version may, and is stored with the counts.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from resnet_bench.busy import busy
from resnet_bench.complexity import list_layers
from resnet_bench.environment import prepare_compiler
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import read_regular, write_json
from resnet_bench.gate.benchmark import Benchmark
from resnet_bench.schema import MAX_JSON_BYTES, Invalid, from_json, parse_json, shown
from resnet_bench.text import one_line

WARMUP_STEPS = 2
HOST_READS = ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "bincount")
OPERATIONS = "operations"
Counts = dict[str, Any]


def host_read(name: str, args: tuple[Any, ...]) -> bool:
    """Does the host need to know what is in a tensor, for an operation of that name (without "aten::")."""
    by_mask = name.startswith("index") and any(
        isinstance(value, Tensor) and value.dtype == torch.bool for value in tree_leaves(args[1:2])
    )
    return name.startswith(HOST_READS) or by_mask


class StepCounter(TorchDispatchMode):
    """Counts the ATen operations that run while it is entered, those that read back, and memory newly taken."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.host_reads = self.allocations = self.allocated_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        self.operations[name] += 1
        self.host_reads += host_read(name.removeprefix("aten::").split(".")[0], args)
        given = {_storage(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and _storage(value) not in given:
                given.add(_storage(value))
                self.allocations += 1
                self.allocated_bytes += value.untyped_storage().nbytes()
        return out

    def counts(self) -> Counts:
        """What was counted since this was entered, as it is kept in a file."""
        return {
            OPERATIONS: dict(sorted(self.operations.items())),
            "host_reads": self.host_reads,
            "allocations": self.allocations,
            "allocated_bytes": self.allocated_bytes,
        }


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@busy("counting what a step does")
def count(benchmark: Benchmark) -> Counts:
    """The counts of one benchmark, made for the CPU.

    Raises:
        Failure: two steps in the steady state do not count the same.
    """
    for _ in range(WARMUP_STEPS):
        benchmark.step()
    first, second = _count_step(benchmark), _count_step(benchmark)
    if first != second:
        raise Failure(f"its steps are not alike: {'; '.join(_changes('', first, second))}")
    network, example = benchmark.network, benchmark.example
    return first | (_count_network(network, example) if network is not None and example is not None else {})


def _count_step(benchmark: Benchmark) -> Counts:
    with StepCounter() as counter:
        benchmark.step()
    with FlopCounterMode(display=False) as flops:
        benchmark.step()
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        benchmark.step()
    return {**counter.counts(), "flops": flops.get_total_flops(), "saved_bytes": sum(saved.values())}


def _count_network(network: nn.Module, example: Tensor) -> Counts:
    network = copy.deepcopy(network)
    graphs: list[int] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(1)
        return graph.forward

    prepare_compiler()
    torch.compiler.reset()
    compiled = torch.compile(network.train(), backend=backend, dynamic=False)
    compiled(example)
    at_first = len(graphs)
    for _ in range(2):
        compiled(example + 1)
    torch.compiler.reset()
    channels, height, width = example.shape[1:]
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs_per_image": sum(layer.macs for layer in list_layers(network, (channels, height, width))),
        "graph_breaks": at_first - 1,
        "recompiles": len(graphs) - at_first,
    }


def cuda_synchronisations(benchmark: Benchmark) -> int:
    """How often a step, made for CUDA, waits for the device, as torch's own debug mode sees it."""
    for _ in range(WARMUP_STEPS):
        benchmark.step()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            benchmark.step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchroniz" in str(warning.message) for warning in caught)


# ---------------------------------------------------------------------------------------------- the stored counts


def load_benchmarks(path: Path) -> dict[str, Any]:
    """`BENCHMARKS` of a file, whose folder's parent is where its own packages are looked for first. UsageError."""
    if not path.is_file():
        raise UsageError(f"no benchmarks at {path}; write such a file, or give --benchmarks")
    sys.path.insert(0, str(path.resolve().parent.parent))
    spec = importlib.util.spec_from_file_location("gated_benchmarks", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not getattr(module, "BENCHMARKS", None):
        raise UsageError(f"{path} defines no BENCHMARKS, a dictionary from name to a function of the device")
    benchmarks: dict[str, Any] = module.BENCHMARKS
    return benchmarks


def count_all(path: Path) -> Counts:
    """The counts of every benchmark in a file, with the version of torch they hold for.

    On a machine with a GPU each is also run there: it must wait for the device as often as it reads back on the CPU.
    """
    counts: Counts = {}
    for name, make in load_benchmarks(path).items():
        try:
            counts[name] = count(make("cpu"))
        except Failure as error:
            raise Failure(f"{name}: {error}") from None
        if torch.cuda.is_available():
            counts[name]["host_reads"] = max(counts[name]["host_reads"], cuda_synchronisations(make("cuda")))
    return {"torch": torch.__version__.split("+")[0], "benchmarks": counts}


def stored_at(benchmarks: Path) -> Path:
    """Where the accepted counts of a file of benchmarks lie."""
    return benchmarks.with_name("counters.json")


@dataclass(frozen=True)
class StoredCounts:
    """counters.json: the version of torch, and the counts of each benchmark."""

    torch: str
    benchmarks: dict[str, dict[str, Any]]


def read_counts(path: Path) -> Counts:
    """Accepted counts. UsageError if there are none, or it is no such file."""
    try:
        counts: Counts = parse_json(read_regular(path, MAX_JSON_BYTES))
        from_json(StoredCounts, counts)
        for name, benchmark in counts["benchmarks"].items():
            for what, number in benchmark.items():
                if not _is_count(number) and not (
                    what == OPERATIONS and isinstance(number, dict) and all(map(_is_count, number.values()))
                ):
                    raise Invalid(f"{shown(number)} is not a count", "benchmarks", name, what)
    except FileNotFoundError:
        raise UsageError(f"no counters at {path}; resnet-bench counters --accept writes them") from None
    except (Invalid, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else one_line(str(error))
        raise UsageError(f"{path} holds no counters ({why}); resnet-bench counters --accept writes them anew") from None
    return counts


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18


def write_counts(path: Path, counts: Counts) -> None:
    """Keep counts as those that later ones are compared with."""
    write_json(path, counts)


def differences(before: Counts, after: Counts) -> list[str]:
    """What changed from one file of counts to another, a line for each count, in words."""
    lines = []
    old, new = before["benchmarks"], after["benchmarks"]
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            lines.append(f"{name}: is no longer there")
        elif name not in old:
            lines.append(f"{name}: is new")
        else:
            lines += _changes(f"{name}: ", old[name], new[name])
    return lines


def _changes(prefix: str, old: Counts, new: Counts) -> list[str]:
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key == OPERATIONS and before is not None and after is not None:
            changed = [
                f"{name} {before.get(name, 0)} -> {after.get(name, 0)}"
                for name in sorted(before.keys() | after.keys())
                if before.get(name, 0) != after.get(name, 0)
            ]
            total = f"{sum(before.values())} -> {sum(after.values())}"
            lines.append(f"{prefix}{OPERATIONS} {total} ({', '.join(changed)})")
        else:
            lines.append(f"{prefix}{key.replace('_', ' ')} {before} -> {after}")
    return lines
