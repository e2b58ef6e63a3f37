"""The report of a transfer folder: what beginning with a trained network was worth. transfer.csv -> page and figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from resnet_bench.analysis.statistics import Interval
from resnet_bench.config.run import SCRATCH, TRANSFER_MODES
from resnet_bench.files import make_own_folder, write_atomically
from resnet_bench.frames import StudyFrames, load
from resnet_bench.networks import display_name
from resnet_bench.report import canvas, html, page
from resnet_bench.report.confusion_figure import confusions
from resnet_bench.report.document import Document, Picture, Section
from resnet_bench.report.mpl import Figure
from resnet_bench.report.tables import TextTable, mean_std, to_latex, to_markdown
from resnet_bench.report.transfer_figures import (
    ByMode,
    draw_transfer,
    draw_transfer_confusion,
    draw_transfer_curves,
    images,
)
from resnet_bench.report.wording import chance, count
from resnet_bench.results.rows import TransferRow
from resnet_bench.results.tables import CONFUSION, CURVES, RUNS, TRANSFER, read_csv

SETUP = ["images_per_class", "family", "arch", "depth", "shortcut"]  # what is compared with one another


def render_transfer(folder: Path) -> list[Path]:
    """Draw figures, table, README.md and report.html of a transfer folder from its CSV files: same files, same bytes.

    Raises:
        UsageError: a file is missing or malformed.
        Failure: the folder cannot be written.
    """
    frame = _frame(read_csv(folder / TRANSFER.file, TRANSFER))
    by_level = _studies(folder, frame)
    studies = [frames for modes in by_level.values() for frames in modes.values()]
    name = folder.resolve().name
    for place in (folder / "figures", folder / "tables"):
        make_own_folder(place)
    paths: list[Path] = []

    def picture(file: str, title: str, figure: Figure) -> Picture:
        paths.extend(canvas.save(figure, folder / "figures" / file))
        return Picture(file, title, canvas.caption_of(figure))

    done = frame.dropna(subset=["test_top1_err"])
    table = transfer_table(frame, name)
    curves = [
        picture(f"curves{level}", f"Error during training{_said(level)}", draw_transfer_curves(modes, name))
        for level, modes in by_level.items()
    ]
    counted = {level: {mode: f for mode, f in modes.items() if len(confusions(f))} for level, modes in by_level.items()}
    classes = [
        picture(
            f"confusion{level}",
            f"Which classes are taken for which{_said(level)}",
            draw_transfer_confusion(modes, name),
        )
        for level, modes in counted.items()
        if modes
    ]
    guessing = max((chance(frames) for frames in studies), default=math.inf)
    errors = [picture("transfer", "Test error by mode", draw_transfer(_groups(done), name, guessing))]
    document = Document(
        name=name,
        verdict=verdict(frame),
        facts=_facts(frame),
        sections=[
            Section("Errors", pictures=errors, tables={"transfer": table}),
            Section("Training", pictures=curves),
            Section("Classes", pictures=classes),
            Section("Provenance", _provenance(frame, studies)),
        ],
        sources=[TRANSFER.file, *(f"{RUNS.file}, {CURVES.file}, {CONFUSION.file} of its studies" for _ in studies[:1])],
    )
    texts = {
        "tables/transfer.md": to_markdown(table),
        "tables/transfer.tex": to_latex(table),
        "README.md": page.to_page(document),
        "report.html": html.to_html(document, html.read_png(folder)),
    }
    for path, text in texts.items():
        write_atomically(folder / path, text.encode())
    return [*paths, *(folder / path for path in texts)]


def _studies(folder: Path, frame: pd.DataFrame) -> dict[str, ByMode]:
    """The studies with finished runs, by what their names say after the mode, which is how many images, and by mode."""
    found: dict[str, dict[str, StudyFrames]] = {}
    for mode, study in dict.fromkeys(zip(frame["mode"], frame["study"], strict=True)):
        found.setdefault(study.removeprefix(mode), {})[mode] = load(folder / study)
    return {level: dict(modes) for level, modes in sorted(found.items())}


def _said(level: str) -> str:
    return f", {level.strip('-').removesuffix('each')} images a class" if level else ""


def summarize_transfer(folder: Path) -> tuple[str, TextTable]:
    """The verdict as lines for the terminal, and of the table what fits beside it."""
    frame, name = _frame(read_csv(folder / TRANSFER.file, TRANSFER)), folder.resolve().name
    lines = textwrap.wrap(verdict(frame), 96, subsequent_indent="  ", break_on_hyphens=False)
    whole = transfer_table(frame, name)
    shown = [0, 1, 2, 4, 6, 7]  # validation error, interval of the test error and epoch are in the report
    rows = [[row[index] for index in shown] for row in whole.rows]
    table = TextTable(whole.caption, [whole.header[index] for index in shown], rows, whole.notes)
    return "\n".join([f"{name}: {count(len(frame), 'finished run')}.", *lines]), table


def _frame(rows: Sequence[TransferRow]) -> pd.DataFrame:
    frame = pd.DataFrame([vars(row) for row in rows], columns=TRANSFER.columns)
    for name in ("val_top1_err", "test_top1_err", "last_test_top1_err", "selected_epoch"):
        frame[name] = frame[name].astype("float64")
    return frame


def _groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(mode, its rows) for every setup, protocol by protocol."""
    keys = [*SETUP, "mode", "protocol"]
    groups = [(str(key[len(SETUP)]), rows) for key, rows in frame.groupby(keys, sort=True)]
    return sorted(groups, key=lambda group: (*group[1][SETUP].iloc[0], TRANSFER_MODES.index(group[0])))


def gain(frame: pd.DataFrame, rows: pd.DataFrame) -> Interval | None:
    """Points of test error by which a mode is below training from scratch, paired by seed; None without pairs."""
    same = (frame[SETUP] == rows[SETUP].iloc[0]).all(axis=1)
    scratch = frame[same & (frame["mode"] == SCRATCH)].groupby("seed")["test_top1_err"].mean()
    pairs = pd.concat([scratch, rows.set_index("seed")["test_top1_err"]], axis=1, join="inner").dropna()
    differences = pairs.iloc[:, 0] - pairs.iloc[:, 1]
    return Interval.of(differences) if len(differences) else None


def verdict(frame: pd.DataFrame) -> str:
    """One sentence for each setup: the mode with the lowest test error, against training from scratch."""
    sentences = []
    for _, rows in frame.dropna(subset=["test_top1_err"]).groupby(SETUP, sort=True):
        means = rows.groupby("mode")["test_top1_err"].mean()
        best = str(means.idxmin())
        begin = f"With {images(rows['images_per_class'].iloc[0])} images a class"
        if len(means) == 1:
            sentences.append(f"{begin}: {best} {means[best]:.1f} % test error; nothing to compare it with.")
            continue
        found = gain(frame, rows[rows["mode"] == best])
        told = f"{begin} the lowest test error is that of {best}: {means[best]:.1f} %"
        if best != SCRATCH and found is not None:
            told += f" against {means[SCRATCH]:.1f} % from scratch ({_points(found)})"
        sentences.append(f"{told}.")
    return " ".join(sentences) or "No run has finished."


def _points(found: Interval) -> str:
    if found.n == 1:
        return f"{found.mean:+.1f} points lower, one seed, so no judgement".replace("+", "")
    return f"{found.mean:.1f} points lower, 95 % interval {found.low:.1f} to {found.high:.1f}, {count(found.n, 'seed')}"


def transfer_table(frame: pd.DataFrame, name: str) -> TextTable:
    """Errors by images a class, network and mode, with what each mode gains over training from scratch."""
    header = ["images a class", "network", "mode", "validation error", "test error", "95 % interval", "below scratch",
              "95 % interval", "selected epoch"]  # fmt: skip
    table = []
    for mode, rows in _groups(frame):
        first = rows.iloc[0]
        done = rows.dropna(subset=["test_top1_err"])
        error = Interval.of(done["test_top1_err"]) if len(done) else None
        gained = gain(frame, rows) if mode != SCRATCH else None
        table.append(
            [
                images(first["images_per_class"]),
                display_name(first["arch"], int(first["depth"]), first["shortcut"]),
                mode,
                mean_std(done["val_top1_err"]),
                mean_std(done["test_top1_err"]),
                _range(error),
                f"{gained.mean:+.2f}" if gained else "-",
                _range(gained),
                f"{done['selected_epoch'].median():.0f}" if len(done) else "-",
            ]
        )
    notes = [
        "Errors in %, mean ± std (n seeds), of the state with the lowest validation error (of equal ones the lowest "
        "loss); the test images take no part. That validation error is the lowest of all epochs, so it flatters.",
        "Intervals: Student's t over seeds; below scratch: points of test error, paired by seed. Seeds draw the new "
        "classifier (from scratch all weights), the batches and their augmentation; the images are the same.",
        _diverged(frame),
        f"Made from {TRANSFER.file} of {name}.",
    ]
    return TextTable(f"Transfer, {name}: errors by mode", header, table, [note for note in notes if note])


def _diverged(frame: pd.DataFrame) -> str:
    lost = frame[frame["test_top1_err"].isna()]
    return f"Diverged, in no mean: {count(len(lost), 'run')} ({', '.join(lost['run_id'])})." if len(lost) else ""


def _range(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.low):
        return "-"
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _facts(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return ["No run has finished."]
    return [
        f"{count(len(frame), 'run')} of {', '.join(dict.fromkeys(frame['study']))}: each is a study with all its "
        "tables in its folder here.",
        f"Data {', '.join(sorted(set(frame['dataset'])))}: trained on {_span(frame['train_images'])} images, state "
        f"selected by {_span(frame['validation_images'])}, tested on {_span(frame['test_images'])}.",
        f"Protocols {', '.join(dict.fromkeys(frame['protocol']))}.",
        "feature-extraction: all layers but the new classifier keep their weights and BN statistics; fine-tune: they "
        "begin with them; scratch: nothing is taken over, pixels are normalised by the new images alone.",
    ]


def _span(values: pd.Series[float]) -> str:
    known = sorted({int(value) for value in values.dropna()})
    return " to ".join(f"{value:,}" for value in dict.fromkeys((known[0], known[-1]))) if known else "-"


def _provenance(frame: pd.DataFrame, studies: Sequence[StudyFrames]) -> list[str]:
    named = zip(frame["weights_origin"], frame["weights"], strict=True)
    weights = sorted({f"{origin} ({digest})" for origin, digest in named if digest})

    def told(column: str) -> str:
        return ", ".join(sorted({value for frames in studies for value in frames.unique(column)})) or "unknown"

    return [
        f"dataset digest (SHA-256): {', '.join(sorted(set(frame['dataset_digest']))) or 'none'}",
        f"weights that runs began with (SHA-256): {', '.join(weights) or 'none'}",
        f"device: {told('device')}, {told('threads')} threads; torch {told('torch_version')}",
        f"commit: {told('git_commit')}" + (" (with uncommitted changes)" if "True" in told("git_dirty") else ""),
    ]
