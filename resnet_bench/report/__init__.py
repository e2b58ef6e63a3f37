"""Turns a study's CSV files into figures, tables and a page; needs no torch."""

from __future__ import annotations

from pathlib import Path

from resnet_bench.errors import Failure


def render(folder: Path) -> list[Path]:
    """Draw figures/, tables/ and README.md of a study from its CSV files; the same files give the same bytes.

    Raises:
        UsageError: the CSV files are missing, malformed or not comparable.
        Failure: the folder cannot be written.
    """
    # pandas and matplotlib load slowly, so only a report that is really drawn pays for them.
    from resnet_bench.report import canvas, cost_figures, cost_tables, figures, page, tables
    from resnet_bench.report.load import load

    frames = load(folder)
    paths: list[Path] = []
    for name, draw in {**figures.FIGURES, **cost_figures.cost_figures(frames)}.items():
        paths += canvas.save(draw(frames), _made(folder / "figures") / name)
    for name, table in {"errors": tables.errors(frames), **cost_tables.cost_tables(frames)}.items():
        paths.append(_write(_made(folder / "tables") / f"{name}.md", tables.to_markdown(table)))
        paths.append(_write(folder / "tables" / f"{name}.tex", tables.to_latex(table)))
    paths.append(_write(folder / "README.md", page.page(frames)))
    return paths


def summarize(folder: Path) -> str:
    """The summary of a study for the terminal."""
    from resnet_bench.report.load import load
    from resnet_bench.report.summary import summary

    return summary(load(folder))


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make {folder}: {error.strerror}; free or unlock the place and call again") from None
    return folder


def _write(path: Path, text: str) -> Path:
    from resnet_bench.files import write_atomically

    write_atomically(path, text.encode())
    return path
