"""Tables of seeds (rows, the blocks of a test) by depth (columns), and what of them is whole."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resnet_bench.networks import Arm


def by_seed(runs: pd.DataFrame, arm: Arm, column: str) -> pd.DataFrame:
    """Errors of an arm by seed (rows) and depth (columns, ascending); NaN where there is none."""
    chosen = runs[(runs["arch"] == arm[0]) & (runs["shortcut"] == arm[1])]
    table = chosen.set_index(["seed", "depth"])[column].unstack()
    return table.astype(float).sort_index().sort_index(axis=1)


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """The table without gaps.

    Incomplete seeds are left out while two complete ones remain; else the depths that lack most, down to two. Where no
    two seeds share two depths, seeds that have all depths keep them.
    """
    all_depths = table.dropna(axis=0)
    while table.isna().to_numpy().any():
        whole = table.dropna(axis=0)
        if len(whole) >= 2:
            return whole
        if table.shape[1] <= 2:
            return all_depths if len(all_depths) else whole
        lacking = table.isna().sum()
        table = table.drop(columns=lacking[lacking == lacking.max()].index[-1])
    return table


def left_out(table: pd.DataFrame, whole: pd.DataFrame) -> str:
    """`; left out: seeds 1, 2; depth 110`, or "" if nothing was."""
    parts = [
        f"{name}{'s' if len(gone) > 1 else ''} {numbers(gone)}"
        for name, gone in (
            ("seed", table.index.difference(whole.index)),
            ("depth", table.columns.difference(whole.columns)),
        )
        if len(gone)
    ]
    return f"; left out: {', '.join(parts)}" if parts else ""


def numbers(values: pd.Index[Any]) -> str:
    """`20, 56`."""
    return ", ".join(str(int(value)) for value in sorted(values))
