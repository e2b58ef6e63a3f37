"""Turns a study's CSV files into figures, tables and a page; needs no torch."""

from __future__ import annotations

from pathlib import Path


def render(folder: Path) -> list[Path]:
    """Draw figures/, tables/, report.html, README.md and claims.csv from a study's CSV files: same files, same bytes.

    Raises:
        UsageError: the CSV files are missing, malformed or not comparable; figures/ or tables/ is a link.
        Failure: the folder cannot be written.
    """
    # pandas and matplotlib load slowly, so only a report that is really drawn pays for them.
    from resnet_bench.files import make_own_folder
    from resnet_bench.frames import load
    from resnet_bench.report import (
        canvas,
        confusion_figure,
        cost_figures,
        figures,
        html,
        page,
        signal_figures,
        surgery_figures,
        tables,
    )
    from resnet_bench.report.claims_table import claims
    from resnet_bench.report.document import make_document
    from resnet_bench.results.tables import CLAIMS, write_csv

    frames = load(folder)
    draws = {
        **figures.FIGURES,
        **signal_figures.signal_figures(frames),
        **confusion_figure.confusion_figures(frames),
        **surgery_figures.surgery_figures(frames),
        **cost_figures.cost_figures(frames),
    }
    for place in (folder / "figures", folder / "tables"):
        make_own_folder(place)
    paths: list[Path] = []
    captions: dict[str, str] = {}
    for name, draw in draws.items():
        figure = draw(frames)
        captions[name] = canvas.caption_of(figure)
        paths += canvas.save(figure, folder / "figures" / name)
    verdicts = claims(frames)
    document = make_document(frames, verdicts, captions)
    for name, table in document.tables.items():
        paths.append(_write(folder / "tables" / f"{name}.md", tables.to_markdown(table)))
        paths.append(_write(folder / "tables" / f"{name}.tex", tables.to_latex(table)))
    write_csv(folder / CLAIMS.file, CLAIMS, verdicts)
    paths.append(folder / CLAIMS.file)
    paths.append(_write(folder / "README.md", page.to_page(document)))
    paths.append(_write(folder / "report.html", html.to_html(document, html.read_png(folder))))
    return paths


def summarize(folder: Path) -> str:
    """The summary of a study for the terminal."""
    from resnet_bench.frames import load
    from resnet_bench.report.claims_table import claims
    from resnet_bench.report.summary import summary

    frames = load(folder)
    return summary(frames, claims(frames))


def _write(path: Path, text: str) -> Path:
    from resnet_bench.files import write_atomically

    write_atomically(path, text.encode())
    return path
