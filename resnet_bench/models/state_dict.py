"""State dicts as people store them: found in their file, under their plain names, each value what a weight can be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_bench.errors import UsageError
from resnet_bench.models.torch_file import Refused, loads
from resnet_bench.text import one_line

# Keys under which training scripts keep the state dict; another is read too if it is the only one.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
COUNTERS = ("num_batches_tracked", "n_averaged")  # what we have no use for
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MOST_FAULTS = 8  # in one message
MOST_NAMED = 3  # tensors in a message that shows what a file holds


def tensors_of(origin: str, content: bytes, is_safetensors: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights in a file by their plain names, on the CPU, and what it says of itself.

    Args:
        origin: what to call the file.
        content: all of it: safetensors, or as torch.save writes it.
        is_safetensors: whatever it looks like.

    Raises:
        UsageError: it holds no weights, or not only one network's.
    """
    if is_safetensors or content[8:9] == b"{":  # after the length of a header
        stored, facts = _from_safetensors(origin, content)
    else:
        stored, facts = _from_torch(origin, content), {}
    return _checked(origin, stored), facts


def _from_safetensors(origin: str, content: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        stored = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, RecursionError) as error:
        why = one_line((str(error).strip() or type(error).__name__).splitlines()[0][:200])
        raise UsageError(f"{origin}: not a file of safetensors ({why})") from None
    return stored, header.get("__metadata__") or {}


def _from_torch(origin: str, content: bytes) -> dict[Any, Any]:
    """The state dict in it: the only one, or the only one under a usual name; a dict of tensors is one."""
    try:
        stored = loads(content)
    except Refused as error:
        raise UsageError(f"{origin}: not a state dict that can be read, nor safetensors: {error}") from None
    if not isinstance(stored, dict):
        raise UsageError(f"{origin}: holds a {type(stored).__name__}, not a state dict")
    inner = {key: value for key, value in stored.items() if isinstance(value, dict) and _holds_weights(value)}
    keys: list[Any] = [key for key in WRAPPERS if key in inner] or list(inner)
    if len(keys) > 1:
        raise UsageError(
            f"{origin}: holds {len(keys)} state dicts ({', '.join(_short(key) for key in keys[:8])}) and does not say "
            "which is meant; store one of them alone, with torch.save"
        )
    if not keys and not _holds_weights(stored):
        told = f", but {', '.join(_short(key) for key in list(stored)[:8])}" if stored else ""
        raise UsageError(f"{origin}: holds no weights{told}")
    return inner[keys[0]] if keys else stored


def _holds_weights(stored: dict[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) and value.ndim for value in stored.values())


def _checked(origin: str, stored: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors by their plain names; UsageError, which names it, if one is not what weights are.

    Numbers and texts that stand between them are left out: what a network needs is looked for later.
    """
    given = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
    for name in given:
        if not isinstance(name, str):
            raise UsageError(f"{origin}: {_short(name)} is no name of a tensor; not a state dict")
    given = {name: value for name, value in given.items() if not name.endswith(COUNTERS)}
    for name, value in given.items():
        if value.layout != torch.strided or value.dtype not in DTYPES:
            raise UsageError(
                f"{origin}: {_short(name)} is {value.dtype}, {value.layout}; weights are dense floating-point numbers "
                "of 16, 32 or 64 bits"
            )
        if not value.float().isfinite().all():
            raise UsageError(f"{origin}: {_short(name)} holds values that are not finite")
    if not given:
        raise UsageError(f"{origin}: holds no weights")
    plain = dict(zip(_plain(list(given)), given.values(), strict=True))
    if len(plain) < len(given):
        raise UsageError(f"{origin}: holds two tensors of one name, apart from {' or '.join(PREFIXES)} before it")
    return plain


def _plain(names: list[str]) -> list[str]:
    """Without what wrappers put before them: known words, and any word that all names begin with."""
    for prefix in PREFIXES * 2:
        names = [name.removeprefix(prefix) for name in names]
    rest = names
    while len({name.partition(".")[0] for name in rest}) == 1 and all("." in name for name in rest):
        rest = [name.partition(".")[2] for name in rest]
    # A network has more than one part that has parts: what is left of a single layer alone is its names.
    return rest if len({name.partition(".")[0] for name in rest if "." in name}) > 1 else names


def _short(name: Any) -> str:
    return repr(one_line(name[:60])) if isinstance(name, str) else f"a {type(name).__name__}"


# ---------------------------------------------------------------------------------------------- for messages


def held(tensors: Mapping[str, Tensor], most: int = MOST_NAMED) -> str:
    """How many, and the first of them: `122 tensors (conv1.weight 64x3x7x7, ...)`."""
    told = [f"{one_line(name[:60])} {shape_of(tensor)}" for name, tensor in list(tensors.items())[:most]]
    return f"{len(tensors)} tensors ({', '.join([*told, '...'] if len(tensors) > most else told)})"


def shape_of(tensor: Tensor) -> str:
    """`64x3x7x7`."""
    return "x".join(map(str, tensor.shape)) or "a number"


def check_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Compare names and shapes, exactly; nothing is ever spread over a larger one.

    Args:
        own: of the network.
        given: of the file.

    Raises:
        ValueError: names what is missing, left over or of another shape, and shows both sides.
    """
    faults = [f"{name} is missing" for name in own if name not in given]
    faults += [f"{one_line(name[:60])} is not in the network" for name in given if name not in own]
    strange = bool(faults)
    faults += [
        f"{name} is {shape_of(given[name])}, in the network {shape_of(value)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        sides = f"; there are {held(given)}, the network has {held(own)}" if strange else ""
        raise ValueError("; ".join(faults[:MOST_FAULTS]) + more + sides)


def names_under(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Those of the modules so called."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(tuple(f"{part}." for part in names))}
