"""The README.md of a study's folder: summary, figures, tables, cost, provenance."""

from __future__ import annotations

from resnet_bench.report import tables, wording
from resnet_bench.report.cost_figures import cost_figures
from resnet_bench.report.cost_tables import cost_tables
from resnet_bench.report.load import StudyFrames
from resnet_bench.report.summary import summary
from resnet_bench.results import COMPLEXITY, CURVES, RUNS, THROUGHPUT

PICTURES = {
    "curves": "Error during training",
    "degradation": "Plain nets: training and test error of a shallow and a deep one",
    "depth": "Final error against depth",
}
COST_PICTURES = {
    "cost": "Final test error against what training cost",
    "throughput": "Images per second against depth",
    "utilisation": "Achieved FLOP/s in percent of the measured peak",
}


def page(frames: StudyFrames) -> str:
    """The page as Markdown."""
    parts = [
        f"# Study {tables.markdown(frames.name)}\n",
        f"```text\n{summary(frames)}\n```\n",
        "## Figures\n",
        *(_picture(name, title) for name, title in PICTURES.items()),
        "## Table\n",
        tables.to_markdown(tables.errors(frames)),
        "## Cost\n",
        *_cost(frames),
        "## Provenance\n",
        *_provenance(frames),
        "",
        f"Made from {_sources(frames)} by `make report STUDY={frames.name}`; do not edit by hand. "
        "The figures are also there as SVG, the tables as LaTeX.",
    ]
    return "\n".join(parts) + "\n"


def _picture(name: str, title: str) -> str:
    return f"![{title}](figures/{name}.png)\n"


def _cost(frames: StudyFrames) -> list[str]:
    parts = [_picture(name, COST_PICTURES[name]) for name in cost_figures(frames)]
    if frames.throughput.empty:
        parts.append(f"Throughput was not measured; `make cost STUDY={frames.name}` does it.\n")
    return parts + [tables.to_markdown(table) for table in cost_tables(frames).values()]


def _sources(frames: StudyFrames) -> str:
    """`runs.csv and curves.csv`, with those of the tables of cost that have rows."""
    cost = {COMPLEXITY.file: frames.complexity, THROUGHPUT.file: frames.throughput}
    files = [RUNS.file, CURVES.file, *(file for file, rows in cost.items() if len(rows))]
    return f"{', '.join(files[:-1])} and {files[-1]}"


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
    }
    lines = [f"- {name}: {tables.markdown(value)}" for name, value in facts.items()]
    return lines + [f"- {tables.markdown(sentence)}" for sentence in wording.excluded(frames)]


def _commits(frames: StudyFrames) -> str:
    commits = ", ".join(frames.unique("git_commit")) or "unknown"
    return commits + (" (with uncommitted changes)" if "True" in frames.unique("git_dirty") else "")
