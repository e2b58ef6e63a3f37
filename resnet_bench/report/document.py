"""What a report says, in order, whatever it is written in: StudyFrames -> Document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resnet_bench.analysis.claims import RULES
from resnet_bench.frames import StudyFrames
from resnet_bench.report import tables, wording
from resnet_bench.report.claims_table import claims_table, figure_of, verdict_sentence
from resnet_bench.report.confusion_figure import class_table, confusions
from resnet_bench.report.construction_table import construction_table
from resnet_bench.report.convergence_table import convergence_table
from resnet_bench.report.cost_tables import cost_tables
from resnet_bench.report.summary import facts
from resnet_bench.report.tables import TextTable
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.tables import (
    CLAIMS,
    COMPLEXITY,
    CONFUSION,
    CONSTRUCTION,
    CONTINUATION,
    CURVES,
    LESIONS,
    RUNS,
    SIGNALS,
    THROUGHPUT,
)
from resnet_bench.text import command

TITLES = {
    "curves": "Error during training",
    "degradation": "Plain nets: training and test error of a shallow and a deep one",
    "depth": "Final error against depth",
    "responses": "Layer responses",
    "gradients": "Gradients by layer",
    "continuation": "Trained on from the constructed solution",
    "lesions": "Error without one block",
    "confusion": "Which classes are taken for which",
    "cost": "Final test error against what training cost",
    "throughput": "Images per second against depth",
    "utilisation": "Achieved FLOP/s in percent of the measured peak",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the study: its name under figures/, its title, and its caption as one line of text."""

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: sentences, then figures, then tables by their file names."""

    title: str
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Mapping[str, TextTable] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """What links within the page call it: its title in lower case, with hyphens."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class Document:
    """A report: the verdict first. One that is not about the paper's claims has no claims, table of them and rules."""

    name: str
    verdict: str
    facts: Sequence[str]
    sections: Sequence[Section]
    sources: Sequence[str]
    claims: Sequence[ClaimRow] = ()
    claims_table: TextTable | None = None
    rules: Sequence[str] = ()

    @property
    def redrawn_by(self) -> tuple[str, ...]:
        """The words of the command that draws the report again."""
        return "make", "report", f"STUDY={self.name}"

    @property
    def tables(self) -> dict[str, TextTable]:
        """Every table by its file name, the claims' first."""
        claims = {"claims": self.claims_table} if self.claims_table else {}
        return claims | {n: t for section in self.sections for n, t in section.tables.items()}

    def figure_of(self, row: ClaimRow) -> str:
        """The name of the figure that shows a claim, if this report has it; else ""."""
        drawn = {picture.name for section in self.sections for picture in section.pictures}
        name = figure_of(row)
        return name if name in drawn else ""


def make_document(frames: StudyFrames, claims: Sequence[ClaimRow], captions: Mapping[str, str]) -> Document:
    """The report of a study.

    Args:
        frames: the study.
        claims: its verdicts.
        captions: of every figure that was drawn, by name.
    """

    def pictures(*names: str) -> list[Picture]:
        return [Picture(name, TITLES[name], captions[name]) for name in names if name in captions]

    cost = cost_tables(frames)
    sections = [
        Section(
            "Errors",
            pictures=pictures("curves", "degradation", "depth"),
            tables={"errors": tables.errors(frames), **tables.selected(frames)},
        ),
        Section("Convergence", tables={"convergence": convergence_table(frames)} if len(frames.curves) else {}),
        Section(
            "Causes",
            _causes(frames),
            pictures("responses", "gradients", "continuation", "lesions"),
            {"construction": construction_table(frames)} if len(frames.construction) else {},
        ),
        Section(
            "Classes",
            _classes(frames),
            pictures("confusion"),
            {"classes": class_table(frames)} if len(confusions(frames)) else {},
        ),
        Section("Cost", _cost(frames), pictures("cost", "throughput", "utilisation"), cost),
        Section("Provenance", _provenance(frames)),
    ]
    missing = wording.excluded(frames)
    return Document(
        name=frames.name,
        verdict=verdict_sentence(claims),
        facts=facts(frames),
        claims=claims,
        claims_table=claims_table(claims, frames.name),
        rules=RULES,
        sections=[*sections, Section("Missing", missing or ["Nothing that was planned is missing; no run diverged."])],
        sources=_sources(frames),
    )


def _causes(frames: StudyFrames) -> list[str]:
    return [] if len(frames.signals) else ["The runs of this study recorded no signals of their layers."]


def _classes(frames: StudyFrames) -> list[str]:
    return [] if len(frames.confusion) else ["The runs of this study recorded no confusions of classes."]


def _cost(frames: StudyFrames) -> list[str]:
    if frames.throughput.empty:
        return [f"Throughput was not measured; {command('make', 'cost', f'STUDY={frames.name}')} does it."]
    return []


def _sources(frames: StudyFrames) -> list[str]:
    """The CSV files with rows that the report was made from."""
    optional = {
        SIGNALS: frames.signals, CONFUSION: frames.confusion, CONSTRUCTION: frames.construction,
        CONTINUATION: frames.continuation, LESIONS: frames.lesions,
        COMPLEXITY: frames.complexity, THROUGHPUT: frames.throughput,
    }  # fmt: skip
    return [RUNS.file, CURVES.file, *(table.file for table, rows in optional.items() if len(rows))]


def _provenance(frames: StudyFrames) -> list[str]:
    if frames.runs.empty:
        return ["No run has finished."]
    facts = {
        "dataset": frames.dataset,
        "dataset digest (SHA-256)": frames.dataset_digest,
        "protocol": wording.protocol(frames),
        "deviations from the paper": wording.deviations(frames),
        "precision": frames.precision,
        "mode": frames.mode,
        "device": wording.devices(frames),
        "CPU threads": ", ".join(frames.unique("threads")),
        "torch": ", ".join(frames.unique("torch_version")) or "unknown",
        "commit": _commits(frames),
        "verdicts": f"stored in {CLAIMS.file}, by the rules of this report",
    }
    return [f"{name}: {value}" for name, value in facts.items()]


def _commits(frames: StudyFrames) -> str:
    commits = ", ".join(frames.unique("git_commit")) or "unknown"
    return commits + (" (with uncommitted changes)" if "True" in frames.unique("git_dirty") else "")
