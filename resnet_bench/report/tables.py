"""The table of a study, twin of the paper's Table 6, in Markdown and LaTeX: StudyFrames -> str."""

from __future__ import annotations

import csv
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from resnet_bench.frames import StudyFrames, select
from resnet_bench.networks import CIFAR, OWN, PLAIN, Arm, arm_name, display_name, option_name
from resnet_bench.report import markdown, wording
from resnet_bench.report.wording import range_of
from resnet_bench.results.tables import RUNS
from resnet_bench.text import one_line

PM = "\N{PLUS-MINUS SIGN}"
FINAL_TRAIN, FINAL_TEST = "final_train_clean_top1_err", "final_test_top1_err"
PAPER = "He et al. 2015 Table 6"
NUMBER = re.compile(r"[-+<]?\s?\d[\d,.]*( .*)?|-|")  # with what may stand behind it: a unit, a spread
LONG = 40  # characters from which on a cell is set as a paragraph in LaTeX


@dataclass(frozen=True)
class TextTable:
    """A table of unescaped text, its caption, the notes that belong under it, and titles that stand before rows."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]
    groups: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_numeric(self) -> list[bool]:
        """Of each column, does it hold numbers alone, so that it is set to the right."""
        return [all(NUMBER.fullmatch(row[index]) for row in self.rows) for index in range(len(self.header))]

    @property
    def grouped(self) -> list[tuple[str, list[str]]]:
        """The rows, each with the title that stands before it, or ""."""
        return [(self.groups.get(index, ""), row) for index, row in enumerate(self.rows)]


def errors(frames: StudyFrames) -> TextTable:
    """Final errors by depth: plain and residual, training and test, beside published ones where they are comparable."""
    residual = [arm for arm in frames.arms if arm != PLAIN] or [("residual", "a")]
    several = len(residual) > 1
    alike = all(arch == "residual" for arch, _ in residual)  # they differ in the shortcut alone
    name = ("residual" if alike else "its") if several else arm_name(residual[0])
    header = ["depth", *(["shortcut" if alike else "network"] if several else []), "params", "MACs"]
    header += ["plain train", "plain test"] if PLAIN in frames.arms else []
    header += [f"{name} train", f"{name} test"]
    header += ["published plain test", "published residual (A) test"] if may_stand_beside_published(frames) else []
    named: dict[Arm, str] = {arm: option_name(arm) if alike else arm_name(arm) for arm in residual} if several else {}
    rows = [_row(frames, depth, arm, named.get(arm)) for depth in frames.depths for arm in residual]
    caption = f"Final error (%) by depth, study {frames.name}: mean {PM} std (n seeds)"
    return TextTable(caption, header, rows, _notes(frames, several))


def selected(frames: StudyFrames) -> dict[str, TextTable]:
    """By name, the errors of the states that were selected by validation images, where runs had such."""
    runs = frames.finished.dropna(subset=["selected_test_top1_err"])
    if runs.empty:
        return {}
    rows = []
    for arm in frames.arms:
        for depth in frames.depths:
            cell = select(runs, arm, depth)
            if len(cell):
                steps = range_of(cell["selected_step"])
                errors_of = [mean_std(cell[f"selected_{split}_top1_err"]) for split in ("validation", "test")]
                rows.append([display_name(arm[0], depth, arm[1]), steps, *errors_of])
    notes = [
        f"Chosen by {range_of(runs['validation_images'])} images kept from training; the test images take no part. "
        "The validation error is the lowest of all epochs, so it flatters.",
        f"Made from {RUNS.file} of study {frames.name}.",
    ]
    caption = f"Errors (%) of the states with the lowest validation error, study {frames.name}: mean {PM} std (n seeds)"
    return {"selected": TextTable(caption, ["network", "step", "validation error", "test error"], rows, notes)}


def _row(frames: StudyFrames, depth: int, arm: Arm, name: str | None) -> list[str]:
    cells = [str(depth), *([name] if name else []), *_size(frames, depth, arm)]
    for which in (PLAIN, arm) if PLAIN in frames.arms else (arm,):
        finished = select(frames.finished, which, depth)
        cells += [mean_std(finished[FINAL_TRAIN]), mean_std(finished[FINAL_TEST])]
    if may_stand_beside_published(frames):
        cells += [published_plain(depth), published_residual(depth) if arm[1] == "a" else "-"]
    return cells


def mean_std(errors: pd.Series[Any]) -> str:
    """`8.75 +- 0.20 (5)` with the sample standard deviation; `8.75 (1)`; `-` if there is none."""
    known = errors.dropna()
    if known.empty:
        return "-"
    spread = f" {PM} {known.std(ddof=1):.2f}" if len(known) > 1 else ""
    return f"{known.mean():.2f}{spread} ({len(known)})"


def _size(frames: StudyFrames, depth: int, arm: Arm) -> list[str]:
    """Params and MACs of the residual network, or of its plain twin where option A makes them equal."""
    runs = select(frames.runs, arm, depth)
    if runs.empty and arm[1] == "a":
        runs = select(frames.runs, PLAIN, depth)
    if runs.empty:
        return ["-", "-"]
    return [f"{runs['params'].iloc[0] / 1e6:.2f} M", f"{runs['macs'].iloc[0] / 1e6:.1f} M"]


# ---------------------------------------------------------------------------------------------- published values


def may_stand_beside_published(frames: StudyFrames) -> bool:
    """Only 6n+2 networks on canonical CIFAR-10 under the paper's protocol are comparable with published values."""
    return frames.dataset == "cifar10" and frames.is_paper_protocol and frames.family == CIFAR


def published() -> list[dict[str, str]]:
    """The rows of published_errors.csv."""
    path = importlib.resources.files("resnet_bench.report") / "published_errors.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def published_residual(depth: int) -> str:
    """The paper's Table 6; for depth 110 its mean over five runs, as ours is a mean, too."""
    rows = _paper_rows(depth)
    means = [row for row in rows if row["metric"] == FINAL_TEST]
    if means:
        return f"{float(means[0]['value_percent']):.2f} {PM} {means[0]['std_percent']} ({means[0]['num_seeds']})"
    return f"{float(rows[0]['value_percent']):.2f}" if rows else "-"


def _paper_rows(depth: int) -> list[dict[str, str]]:
    return [row for row in published() if row["source"] == PAPER and row["depth"] == str(depth)]


def published_plain(depth: int) -> str:
    """The range over the reproductions with the paper's 64k steps; the paper tabulates no plain error."""
    values = sorted(float(row["value_percent"]) for row in _plain_reproductions() if row["depth"] == str(depth))
    if not values:
        return "-"
    return f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"


def _plain_reproductions() -> list[dict[str, str]]:
    return [
        row
        for row in published()
        if row["arch"] == "plain" and row["metric"] == FINAL_TEST and row["protocol"].startswith("64k steps")
    ]


# ---------------------------------------------------------------------------------------------- notes


def _notes(frames: StudyFrames, several: bool) -> list[str]:
    notes = [wording.conditions(frames)]
    if len(frames.finished):
        train = wording.range_of(frames.finished["final_train_clean_images"])
        test = wording.range_of(frames.finished["final_test_images"])
        notes.append(
            f"Errors at the last step, eval mode, not augmented: train on {train} training images, "
            f"test on {test} test images. std is the sample standard deviation over seeds; - means no finished run."
        )
    notes.append("MACs are multiply-adds per image, forward; 1 MAC = 2 FLOPs.")
    if several and PLAIN in frames.arms:
        notes.append("params and MACs are the residual network's; plain has those of option A.")
    notes += [*_published_notes(frames), *wording.excluded(frames)]
    return [*notes, f"Made from runs.csv of study {frames.name}."]


def _published_notes(frames: StudyFrames) -> list[str]:
    if may_stand_beside_published(frames):
        sources = sorted({f"{row['source']} ({row['protocol']})" for row in _plain_reproductions()})
        best = next(row["value_percent"] for row in _paper_rows(110) if row["metric"] != FINAL_TEST)
        return [
            f"Published residual: {PAPER}, option A; depth 110 is the mean of 5 runs (the best of them: {best}).",
            f"Published plain: value, or range, of the final errors of {', '.join(sources)}; "
            "the paper tabulates no plain errors.",
        ]
    if frames.runs.empty:
        return []
    reasons = [] if frames.dataset == "cifar10" else [f"the data are {frames.dataset}, not canonical CIFAR-10"]
    kind = "not all the paper's" if frames.family == OWN else "of ImageNet style"
    reasons += [] if frames.family == CIFAR else [f"the networks are {kind}"]
    reasons += [] if frames.is_paper_protocol else [f"protocol {frames.protocol} is {wording.not_the_papers(frames)}"]
    return [f"No published values are shown beside these: {'; '.join(reasons)}."]


# ---------------------------------------------------------------------------------------------- Markdown, LaTeX


def to_markdown(table: TextTable) -> str:
    """The table with its caption above and its notes below, as Markdown."""
    rules = ["---:" if numeric else "---" for numeric in table.is_numeric]
    blanks = [""] * (len(table.header) - 1)
    rows = [cells for title, row in table.grouped for cells in (*([[title, *blanks]] if title else []), row)]
    lines = markdown.table(table.header, rules, rows)
    return "\n".join([markdown.bold(table.caption), "", *lines, "", *map(markdown.item, table.notes)]) + "\n"


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", PM: r"$\pm$",
}  # fmt: skip


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def _latex_cell(text: str) -> str:
    """The same where a row may begin: `[` and `*` there would belong to the end of the row before."""
    return f"{{{text[0]}}}{latex(text[1:])}" if text.startswith(("[", "*")) else latex(text)


def to_latex(table: TextTable) -> str:
    """The table as a LaTeX float; needs the package booktabs."""
    body = [f"    {' & '.join(map(_latex_cell, cells))} \\\\" for cells in (table.header, *table.rows)]
    for index, title in sorted(table.groups.items(), reverse=True):
        body.insert(index + 1, f"    \\multicolumn{{{len(table.header)}}}{{l}}{{\\emph{{{latex(title)}}}}} \\\\")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{latex(table.caption)}}}",
            f"  \\begin{{tabular}}{{{''.join(_latex_columns(table))}}}",
            r"    \toprule",
            body[0],
            r"    \midrule",
            *body[1:],
            r"    \bottomrule",
            r"  \end{tabular}",
            r"  \par\smallskip\footnotesize\raggedright",
            *(f"  {latex(note)}" for note in table.notes),
            r"\end{table}",
            "",
        ]
    )


def _latex_columns(table: TextTable) -> list[str]:
    """Numbers to the right, text to the left, long text as paragraphs."""
    longest = [max((len(row[index]) for row in table.rows), default=0) for index in range(len(table.header))]
    return [
        "r" if numeric else "p{4cm}" if length > LONG else "l"
        for numeric, length in zip(table.is_numeric, longest, strict=True)
    ]
