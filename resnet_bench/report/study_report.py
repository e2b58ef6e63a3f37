"""A study that was read and judged once, and what is made of it: files, and lines for the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_bench.files import make_own_folder, write_atomically
from resnet_bench.frames import StudyFrames, load
from resnet_bench.report import canvas, html, page, tables
from resnet_bench.report.claims_table import claims
from resnet_bench.report.document import Document, Picture, make_document
from resnet_bench.report.drawings import drawings
from resnet_bench.report.summary import WIDTH, summary
from resnet_bench.results.rows import ClaimRow
from resnet_bench.results.tables import CLAIMS, write_claims

LEAST_WIDTH = 40  # characters; in a narrower window lines break twice


@dataclass(frozen=True, eq=False)
class StudyReport:
    """The frames of a study's folder and the verdict on every claim."""

    folder: Path
    frames: StudyFrames
    verdicts: Sequence[ClaimRow]

    @classmethod
    def of(cls, folder: Path) -> StudyReport:
        """Read and judge. UsageError: the CSV files are missing, malformed or not comparable."""
        frames = load(folder)
        return cls(folder, frames, claims(frames))

    def summary(self) -> str:
        """What was found, as lines for the terminal, no wider than it is."""
        width = shutil.get_terminal_size((WIDTH, 24)).columns
        return summary(self.frames, self.verdicts, max(LEAST_WIDTH, min(WIDTH, width)))

    def write(self) -> list[Path]:
        """Store the verdicts, draw the figures, and write tables and pages."""
        for name in ("figures", "tables"):
            make_own_folder(self.folder / name)
        write_claims(self.folder / CLAIMS.file, self.verdicts)
        drawn, pictures = self._draw()
        document = make_document(self.frames, self.verdicts, pictures)
        return [self.folder / CLAIMS.file, *drawn, *self._write(document)]

    def _draw(self) -> tuple[list[Path], dict[str, Picture]]:
        """Draw the figures, one after the other; their files, and what a page says of each."""
        paths: list[Path] = []
        pictures = {}
        for name, drawing in drawings(self.frames).items():
            figure = drawing.draw()
            pictures[name] = Picture(name, drawing.title, canvas.caption_of(figure))
            paths += canvas.save(figure, self.folder / "figures" / name)
        return paths, pictures

    def _write(self, document: Document) -> list[Path]:
        texts = {}
        for name, table in document.tables.items():
            texts[f"tables/{name}.md"] = tables.to_markdown(table)
            texts[f"tables/{name}.tex"] = tables.to_latex(table)
        texts["README.md"] = page.to_page(document)
        texts["report.html"] = html.to_html(document, html.read_png(self.folder))
        for name, text in texts.items():
            write_atomically(self.folder / name, text.encode())
        return [self.folder / name for name in texts]
