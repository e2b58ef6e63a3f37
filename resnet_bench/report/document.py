"""What a report says, in order, whatever it is written in: StudyFrames -> Document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resnet_bench.analysis.claims import rules
from resnet_bench.frames import StudyFrames
from resnet_bench.report import settings_tables, tables, wording
from resnet_bench.report.cards import Group, groups
from resnet_bench.report.claim_words import figure_of, not_measured
from resnet_bench.report.claims_table import claims_table
from resnet_bench.report.confusion_figure import class_table, confusions
from resnet_bench.report.construction_table import construction_table
from resnet_bench.report.convergence_table import convergence_table
from resnet_bench.report.cost_tables import cost_tables
from resnet_bench.report.drawings import MOST_SETTINGS, single_settings
from resnet_bench.report.figures import FIGURES, error_figures
from resnet_bench.report.limitations import Limit, limitations
from resnet_bench.report.signal_figures import recorded
from resnet_bench.report.signal_table import signals_table
from resnet_bench.report.summary import facts
from resnet_bench.report.tables import TextTable
from resnet_bench.report.verdict import headline
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.settings import REPLICATES, number
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

FIRST = "curves"  # the figure that shows most
TEXT_SETTINGS = 8  # up to which the facts name the change with depth within each


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
        return re.sub("[^a-z0-9_-]+", "-", self.title.lower())


@dataclass(frozen=True)
class Document:
    """A report: the verdict first, and what limits it. One that is not about the paper's claims has nothing of these.

    `first` is the figure that shows most, before all claims; it stands in no section. Where a study varies fields, its
    verdicts stand in `claims_by_setting`, beside each other, and not on cards.
    """

    name: str
    verdict: str
    facts: Sequence[str]
    sections: Sequence[Section]
    sources: Sequence[str]
    limitations: Sequence[Limit] = ()
    first: Picture | None = None
    cards: Sequence[Group] = ()
    not_measured: str = ""
    claims_table: TextTable | None = None
    claims_by_setting: TextTable | None = None
    rules: Sequence[str] = ()

    @property
    def redrawn_by(self) -> tuple[str, ...]:
        """The words of the command that draws the report again."""
        return "resnet-bench", "report", f"results/{self.name}"

    @property
    def tables(self) -> dict[str, TextTable]:
        """Every table by its file name, the claims' first."""
        named = {"claims": self.claims_table, "claims_by_setting": self.claims_by_setting}
        claims = {name: table for name, table in named.items() if table}
        return claims | {n: t for section in self.sections for n, t in section.tables.items()}

    def figure_of(self, row: ClaimRow) -> str:
        """The name of the figure that shows a claim, if this report has it; else ""."""
        drawn = {picture.name for section in self.sections for picture in section.pictures}
        drawn |= {self.first.name} if self.first else set()
        name = figure_of(row)
        return name if name in drawn else ""


def make_document(frames: StudyFrames, claims: Sequence[ClaimRow], pictures: Mapping[str, Picture]) -> Document:
    """The report of a study.

    Args:
        frames: the study.
        claims: its verdicts.
        pictures: every figure that was drawn, by name.
    """
    sections = _sections_by_setting(frames, pictures) if frames.settings else _sections(frames, pictures)
    missing = wording.excluded(frames)
    return Document(
        name=frames.name,
        verdict=headline(frames, claims),
        facts=facts(frames, TEXT_SETTINGS),
        limitations=limitations(frames, claims),
        first=None if frames.settings else pictures.get(FIRST),
        cards=[] if frames.settings else groups(claims),
        not_measured="" if frames.settings else not_measured(claims),  # else it is a note of that table
        claims_table=claims_table(claims, frames.name),
        claims_by_setting=settings_tables.verdicts(frames, claims) if frames.settings else None,
        rules=rules(frames),
        sections=[
            *sections,
            Section("Provenance", _provenance(frames)),
            Section("Missing", missing or ["Nothing that was planned is missing; no run diverged."]),
        ],
        sources=_sources(frames),
    )


def _sections(frames: StudyFrames, pictures: Mapping[str, Picture]) -> list[Section]:
    return [
        Section(
            "Errors",
            _no_degradation(frames),
            _chosen(pictures, *(name for name in FIGURES if name != FIRST)),
            tables={"errors": tables.errors(frames), **tables.selected(frames)},
        ),
        Section("Convergence", tables={"convergence": convergence_table(frames)} if len(frames.curves) else {}),
        Section(
            "Causes",
            _causes(frames),
            _chosen(pictures, "responses", "gradients", "growth", "continuation", "lesions"),
            _causes_tables(frames),
        ),
        Section(
            "Classes",
            _classes(frames),
            _chosen(pictures, "confusion"),
            {"classes": class_table(frames)} if len(confusions(frames)) else {},
        ),
        _cost_section(frames, pictures),
    ]


def _sections_by_setting(frames: StudyFrames, pictures: Mapping[str, Picture]) -> list[Section]:
    """Errors against what is varied; then each setting by itself, where there are few."""
    single = single_settings(frames)
    return [
        Section(
            "Errors",
            _not_drawn(frames, pictures),
            [picture for name, picture in pictures.items() if name.startswith("axis-")],
            {"final_errors": settings_tables.final_errors(frames)},
        ),
        *(_setting_section(part, ending, pictures) for ending, part in single.items()),
        _cost_section(frames, pictures),
    ]


def _setting_section(part: StudyFrames, ending: str, pictures: Mapping[str, Picture]) -> Section:
    made = {"errors": tables.errors(part), **tables.selected(part)}
    made |= {"convergence": convergence_table(part)} if len(part.curves) else {}
    made |= {"signals": signals_table(part)} if len(recorded(part)) else {}
    names = (f"{name}-{ending}" for name in (*FIGURES, "responses", "gradients", "growth"))
    return Section(
        f"Setting {part.setting}",
        pictures=_chosen(pictures, *names),
        tables={f"{name}-{ending}": table for name, table in made.items()},
    )


def _not_drawn(frames: StudyFrames, pictures: Mapping[str, Picture]) -> list[str]:
    """What is varied and has no figure, and why; and where the figures of single settings are."""
    said = []
    for name, values in frames.axes.items():
        if name in REPLICATES:
            said.append(f"{name} repeats runs as the seed does: it has no figure, and means are over it in others.")
        elif len(values) == 1:
            said.append(f"{name} has one value, {number(values[0])}, so there is no figure against it.")
        elif f"axis-{name}" not in pictures:
            said.append(f"There are too many combinations of other fields for a figure against {name}.")
    if not single_settings(frames):
        said.append(
            f"Of more than {MOST_SETTINGS} settings none has figures of its own here; in Python "
            f"frames.within({frames.settings[0]!r}) are the frames of one, which every figure can be drawn of."
        )
    return said


def _cost_section(frames: StudyFrames, pictures: Mapping[str, Picture]) -> Section:
    return Section("Cost", _cost(frames), _chosen(pictures, "cost", "throughput", "utilisation"), cost_tables(frames))


def _chosen(pictures: Mapping[str, Picture], *names: str) -> list[Picture]:
    return [pictures[name] for name in names if name in pictures]


def _causes_tables(frames: StudyFrames) -> dict[str, TextTable]:
    made = {"signals": signals_table(frames)} if len(recorded(frames)) else {}
    return made | ({"construction": construction_table(frames)} if len(frames.construction) else {})


def _no_degradation(frames: StudyFrames) -> list[str]:
    """Why there is no twin of the paper's figure 1; nothing if there is."""
    if "degradation" in error_figures(frames):
        return []
    return ["A shallow and a deep plain net are not compared in a figure: there are not two depths of plain nets."]


def _causes(frames: StudyFrames) -> list[str]:
    return [] if len(frames.signals) else ["The runs of this study recorded no signals of their layers."]


def _classes(frames: StudyFrames) -> list[str]:
    return [] if len(frames.confusion) else ["The runs of this study recorded no confusions of classes."]


def _cost(frames: StudyFrames) -> list[str]:
    if frames.throughput.empty:
        call = command("resnet-bench", "throughput", f"results/{frames.name}")
        return [f"Throughput was not measured; {call} does it."]
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
