"""Which classes are taken for which: the confusion matrix of the deepest plain net beside its residual twin's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from resnet_bench.frames import StudyFrames, arms_in, select
from resnet_bench.networks import display_name
from resnet_bench.report import wording
from resnet_bench.report.canvas import CAPTION_SIZE, drawable, panels, styled
from resnet_bench.report.mpl import Axes, Figure
from resnet_bench.report.tables import TextTable
from resnet_bench.text import one_line

MAX_NAMED = 20  # classes whose names fit beside a panel
LONGEST_NAME = 16  # characters at a tick
MAX_WRITTEN = 12  # classes whose shares fit into the cells


def confusion_figures(frames: StudyFrames) -> dict[str, Callable[[StudyFrames], Figure]]:
    """By name, the figures that the study has counts for."""
    return {"confusion": draw_confusion} if len(confusions(frames)) else {}


def confusions(frames: StudyFrames) -> pd.DataFrame:
    """confusion.csv of finished runs, with arch, depth, shortcut and seed."""
    what = frames.finished[["run_id", "arch", "depth", "shortcut", "seed"]]
    return frames.confusion.merge(what, on="run_id", how="inner")


def classes_of(rows: pd.DataFrame) -> list[str]:
    """The classes in their order: every class stands in the file as its own prediction."""
    own = rows[rows["true_class"] == rows["predicted_class"]]
    return list(dict.fromkeys(own["true_class"]))


def matrix(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Shares in percent of the true class's test images, summed over the rows' runs: [true, predicted]."""
    counts = rows.pivot_table(index="true_class", columns="predicted_class", values="images", aggfunc="sum")
    counts = counts.reindex(index=classes, columns=classes).fillna(0.0)
    totals = counts.sum(axis=1).to_numpy(dtype=float)
    return np.asarray(100 * counts.to_numpy(dtype=float) / np.maximum(totals, 1)[:, None])


def drawn_depth(rows: pd.DataFrame) -> int:
    """56 as in the paper's figure 1, or else the deepest depth at which all arms have finished."""
    by_arm = [set(select(rows, arm)["depth"]) for arm in arms_in(rows)]
    common = set.intersection(*by_arm) or set(rows["depth"])
    return 56 if 56 in common else int(max(common))


@styled
def draw_confusion(frames: StudyFrames) -> Figure:
    """A panel for each arm at one depth: share of each true class (rows) that is taken for each class (columns)."""
    rows = confusions(frames)
    depth = drawn_depth(rows)
    arms = [arm for arm in arms_in(rows) if len(select(rows, arm, depth))]
    head = (
        f"Which classes are taken for which, at depth {depth}: percent of the test images of a class (row) that the "
        f"net calls by each class (column), {state_of(frames)}, over all seeds.{_rounding(rows)}"
    )
    lacking = [display_name(arm[0], depth, arm[1]) for arm in arms_in(rows) if arm not in arms]
    more = [f"Not drawn, for no run of it has finished: {', '.join(lacking)}."] if lacking else []
    sentences = [head, *more, wording.conditions(frames), *wording.excluded(frames)]
    caption = " ".join(sentences) + f" Made from confusion.csv of study {frames.name}."
    return draw_matrices({display_name(a[0], depth, a[1]): select(rows, a, depth) for a in arms}, caption)


def _rounding(rows: pd.DataFrame) -> str:
    return " Without a number: up to 0.5 %." if len(classes_of(rows)) <= MAX_WRITTEN else ""


def state_of(frames: StudyFrames) -> str:
    """Which state of the networks the counts are of."""
    chosen = frames.finished["selected_step"].notna().any()
    return "in the state with the lowest validation error" if chosen else "at the last step"


def draw_matrices(panel_rows: Mapping[str, pd.DataFrame], caption: str) -> Figure:
    """A panel for each title, from its rows of confusion.csv; all of the same classes."""
    classes = classes_of(pd.concat(panel_rows.values()))
    names = [_tick(name) for name in classes] if len(classes) <= MAX_NAMED else []
    longest = max(names, key=len, default="")
    figure, all_axes = panels(list(panel_rows), caption, "", ylabel="true class", longest_tick=longest)
    for axes, rows in zip(all_axes, panel_rows.values(), strict=True):
        _draw_matrix(axes, matrix(rows, classes), names)
    if names:  # the panels share this axis
        all_axes[0].set_yticks(range(len(names)), names, fontsize=CAPTION_SIZE)
    return figure


def _tick(name: str) -> str:
    shown = drawable(one_line(name))
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


def _draw_matrix(axes: Axes, shares: np.ndarray, names: list[str]) -> None:
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=100, aspect="auto")
    axes.grid(False)
    axes.set_xlabel("predicted class")
    if names:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=CAPTION_SIZE)
    if len(shares) <= MAX_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0.5:
                color = "white" if share > 55 else "#1b1b1b"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6.5, color=color)


def class_table(frames: StudyFrames) -> TextTable:
    """Recall and precision of each class at that depth, plain beside residual."""
    rows = confusions(frames)
    classes, depth = classes_of(rows), drawn_depth(rows)
    arms = [arm for arm in arms_in(rows) if len(select(rows, arm, depth))]
    header, columns = ["class"], []
    for arm in arms:
        name = display_name(arm[0], depth, arm[1])
        header += [f"{name} recall %", f"{name} precision %"]
        counts = select(rows, arm, depth).pivot_table(
            index="true_class", columns="predicted_class", values="images", aggfunc="sum"
        )
        table = counts.reindex(index=classes, columns=classes).fillna(0.0).to_numpy(dtype=float)
        columns += [_shares(table.diagonal(), table.sum(axis=1)), _shares(table.diagonal(), table.sum(axis=0))]
    cells = [[name, *(column[index] for column in columns)] for index, name in enumerate(classes)]
    notes = [
        "recall: share of the class's test images that the net calls by its name; precision: share of the images "
        f"that it calls so that are of that class; over all seeds, {state_of(frames)}. - means that it calls no image "
        "so.",
        f"Made from confusion.csv of study {frames.name}.",
    ]
    return TextTable(f"Recall and precision by class at depth {depth}, study {frames.name}", header, cells, notes)


def _shares(hits: np.ndarray, totals: np.ndarray) -> list[str]:
    return [f"{100 * hit / total:.1f}" if total else "-" for hit, total in zip(hits, totals, strict=True)]
