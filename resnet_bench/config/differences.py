"""What one study says otherwise than another that has begun in the same folder."""

from __future__ import annotations

from typing import Any

from resnet_bench.config.study import Study
from resnet_bench.schema import shown


def differences(new: Study, begun: Study) -> list[str]:
    """One text for each: its place, what it is now, and what it was. Seeds, depths and values may have been added."""
    found = [f"{place} is {_told(now)}, was {_told(was)}" for place, now, was in _whole(new, begun) if now != was]
    found += [
        f"{place} is without {_told(gone)}"
        for place, now, was in _lists(new, begun)
        if (gone := [value for value in was if value not in now])
    ]
    return found + _of_protocol(new, begun)


def _whole(new: Study, begun: Study) -> list[tuple[str, Any, Any]]:
    """What must be the same."""
    nets, others = new.networks, begun.networks
    return [
        ("data", new.dataset, begun.dataset),
        ("networks.arms", sorted(nets.arms), sorted(others.arms)),
        ("networks.family", nets.family, others.family),
        ("networks.builders", dict(nets.builders), dict(others.builders)),
        ("vary", list(new.vary), list(begun.vary)),
    ]


def _lists(new: Study, begun: Study) -> list[tuple[str, Any, Any]]:
    """What nothing must be taken from."""
    both = [name for name in begun.vary if name in new.vary]
    return [
        ("seeds", new.seeds, begun.seeds),
        ("networks.depths", new.networks.depths, begun.networks.depths),
        *((f"vary.{name}", new.vary[name], begun.vary[name]) for name in both),
    ]


def _of_protocol(new: Study, begun: Study) -> list[str]:
    """What the runs of the one that has begun would be otherwise, by fields of the protocol, as it works out."""
    found: dict[str, str] = {}
    for run in begun.runs(seeds=begun.seeds[:1]):
        again = next((other for other in new.alike(run) if new.setting_of(other) == begun.setting_of(run)), None)
        if again is None:  # what is varied has changed, which is told
            continue
        for name, was in vars(run).items():
            now = getattr(again, name, None)
            if now != was:
                found.setdefault(name, f"protocol.{name} is {_told(now)}, was {_told(was)}")
    return list(found.values())


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "empty"
    return value if isinstance(value, str) and value else shown(value)
