"""The README.md of a study's folder: summary, figures, table, provenance."""

from __future__ import annotations

from resnet_bench.report import tables, wording
from resnet_bench.report.load import StudyFrames
from resnet_bench.report.summary import summary
from resnet_bench.results import CURVES, RUNS

PICTURES = {
    "curves": "Error during training",
    "degradation": "Plain nets: training and test error of a shallow and a deep one",
    "depth": "Final error against depth",
}


def page(frames: StudyFrames) -> str:
    """The page as Markdown."""
    pictures = [f"![{title}](figures/{name}.png)\n" for name, title in PICTURES.items()]
    parts = [
        f"# Study {tables.markdown(frames.name)}\n",
        f"```text\n{summary(frames)}\n```\n",
        "## Figures\n",
        *pictures,
        "## Table\n",
        tables.to_markdown(tables.errors(frames)),
        "## Provenance\n",
        *_provenance(frames),
        "",
        f"Made from {RUNS.file} and {CURVES.file} by `make report STUDY={frames.name}`; do not edit by hand. "
        "The figures are also there as SVG, the table as LaTeX.",
    ]
    return "\n".join(parts) + "\n"


def _provenance(frames: StudyFrames) -> list[str]:
    if frames.runs.empty:
        return ["No run has finished."]
    facts = {
        "dataset": frames.dataset,
        "dataset digest (SHA-256)": frames.dataset_digest,
        "protocol": wording.protocol(frames),
        "precision": frames.precision,
        "device": wording.devices(frames),
        "CPU threads": ", ".join(frames.unique("threads")),
        "torch": ", ".join(frames.unique("torch_version")) or "unknown",
        "commit": _commits(frames),
    }
    lines = [f"- {name}: {tables.markdown(value)}" for name, value in facts.items()]
    return lines + [f"- {tables.markdown(sentence)}" for sentence in wording.excluded(frames)]


def _commits(frames: StudyFrames) -> str:
    commits = ", ".join(frames.unique("git_commit")) or "unknown"
    return commits + (" (with uncommitted changes)" if "True" in frames.unique("git_dirty") else "")
