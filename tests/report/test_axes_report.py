"""The report of a study that varies fields: error against each of them, and each setting by itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.text import Text

from resnet_bench.errors import UsageError
from resnet_bench.networks import TWINS
from resnet_bench.report import canvas, make
from resnet_bench.report.axis_figure import draw_axis, is_logarithmic
from resnet_bench.report.claim_words import verdict_in_words
from resnet_bench.report.claims_table import claims
from resnet_bench.report.document import make_document
from resnet_bench.report.drawings import drawings
from resnet_bench.report.figures import FIGURES
from resnet_bench.report.settings_tables import final_errors, verdicts
from resnet_bench.report.summary import WIDTH, summary
from resnet_bench.report.tables import errors
from resnet_bench.report.verdict import verdict_sentence
from resnet_bench.report.wording import excluded
from resnet_bench.results.tables import CLAIMS, read_csv, write_claims
from tests import studies
from tests.report.test_html import Page

DEPTHS = (20, 32, 44, 56, 110)


def steps() -> studies.Rows:
    return studies.varied({"steps": (100, 200, 400, 800, 1600)}, DEPTHS, num_seeds=3)


def two_fields() -> studies.Rows:
    return studies.varied({"steps": (200, 400, 800), "lr": (0.02, 0.1)})


def names() -> studies.Rows:
    return studies.varied({"lr_drops": ("0.5+0.75+0.9", "0.25+0.5+0.75", "none")}, arms=TWINS[:1])


def gaps() -> studies.Rows:
    """No residual net at 400 steps, the deep ones not at 800, one diverged."""
    rows = studies.varied({"steps": (100, 200, 400, 800)}, DEPTHS)
    rows = rows.keep(
        run.run_id
        for run in rows.runs
        if not (run.steps == 400 and run.arch == "residual") and not (run.steps == 800 and run.depth > 32)
    )
    return rows.diverge("plain-none-d110-s0-0", 50)


def few() -> studies.Rows:
    """Two settings, without residual nets at one of them."""
    rows = studies.varied({"steps": (100, 400)})
    return rows.keep(run.run_id for run in rows.runs if run.steps == 100 or run.arch == "plain")


def nothing() -> studies.Rows:
    return two_fields().keep([])


# ---------------------------------------------------------------------------------------------- the figure


@pytest.mark.parametrize(
    ("make_rows", "field", "panels"),
    [
        (steps, "steps", ["training error", "test error"]),
        (two_fields, "steps", ["lr=0.02", "lr=0.1"] * 2),
        (two_fields, "lr", ["steps=200", "steps=400", "steps=800"] * 2),
        (names, "lr_drops", ["training error", "test error"]),
        (gaps, "steps", ["training error", "test error"]),
        (nothing, "lr", ["steps=200", "steps=400", "steps=800"] * 2),
    ],
)
def test_every_figure_is_whole(make_rows: Callable[[], studies.Rows], field: str, panels: list[str]) -> None:
    figure = draw_axis(make_rows().frames(), field)
    assert [axes.get_title() for axes in figure.axes] == panels
    assert canvas.caption_of(figure).endswith("Made from runs.csv of study varied.")
    figure.canvas.draw()
    for axes in figure.axes:
        ticks = [tick for tick in axes.get_xticklabels() if tick.get_text()]
        for text in (*figure.texts, *axes.texts, axes.title, axes.xaxis.label, *ticks):
            box = Text.get_window_extent(text)
            assert box.x0 >= 0 and box.y0 >= 0, text.get_text()
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()
        for left, right in itertools.pairwise(ticks):
            assert left.get_window_extent().x1 <= right.get_window_extent().x0
        boxes = sorted((Text.get_window_extent(text) for text in axes.texts), key=lambda box: float(box.y0))
        assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))


def test_steps_and_learning_rates_are_logarithmic() -> None:
    assert is_logarithmic("lr", [0.1, 0.2]) and is_logarithmic("batch_size", [32, 256])
    assert not is_logarithmic("batch_size", [64, 128]) and not is_logarithmic("weight_decay", [0, 1e-4, 1e-2])
    assert not is_logarithmic("lr", [0.1, "none"])
    axes = draw_axis(studies.varied({"lr": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)}).frames(), "lr").axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]


def test_lines_show_the_means_and_arms_stand_side_by_side() -> None:
    frames = studies.varied({"steps": (100, 400)}, depths=(56,)).frames()
    axes = draw_axis(frames, "steps").axes[0]
    plain, residual = (line for line in axes.lines if line.get_label() != "chance")
    runs = frames.runs[frames.runs["arch"] == "plain"]
    means = runs.groupby("steps")["final_train_clean_top1_err"].mean()
    assert list(plain.get_ydata()) == pytest.approx(list(means))
    assert list(plain.get_xdata()) == pytest.approx([100, 400], rel=0.03)
    assert all(left < right for left, right in zip(plain.get_xdata(), residual.get_xdata(), strict=True))
    assert (plain.get_marker(), residual.get_marker()) == ("s", "o")
    assert sorted(text.get_text() for text in axes.texts) == ["ResNet-56", "plain-56"]


def test_a_line_is_broken_where_nothing_has_finished() -> None:
    axes = draw_axis(gaps().frames(), "steps").axes[0]
    shallow = next(line for line in axes.lines if line.get_marker() == "o")
    assert [math.isnan(y) for y in shallow.get_ydata()] == [False, False, True, False]


def test_what_is_no_axis_is_refused() -> None:
    with pytest.raises(UsageError, match=r"study varied has no axis 'lr'; it varies steps"):
        draw_axis(studies.varied({"steps": (100, 400), "lr": (0.1,)}).frames(), "lr")


# ---------------------------------------------------------------------------------------------- what is made


def test_few_settings_have_figures_of_their_own_and_many_have_not() -> None:
    two = drawings(studies.varied({"steps": (100, 400)}).frames())
    assert list(two) == [
        "axis-steps",
        *(f"{name}-steps-{value}" for value in (100, 400) for name in FIGURES),
    ]
    assert two["curves-steps-400"].title == "Error during training, steps=400"
    assert list(drawings(two_fields().frames())) == ["axis-steps", "axis-lr"]
    repeats = studies.varied({"init_seed": (0, 1)}).frames()
    assert not any(name.startswith("axis") for name in drawings(repeats))


def test_final_errors_have_a_row_for_each_setting_and_depth() -> None:
    table = final_errors(two_fields().frames())
    assert table.header[:3] == ["steps", "lr", "depth"] and len(table.rows) == 12
    assert [row[:3] for row in table.rows[:3]] == [["200", "0.02", "20"], ["200", "0.02", "56"], ["200", "0.1", "20"]]
    frames = gaps().frames()
    at_400 = [row for row in final_errors(frames).rows if row[0] == "400"]
    assert all(row[2].endswith("(2)") and row[4:] == ["-", "-"] for row in at_400)
    notes = " ".join(final_errors(frames).notes)
    assert "Missing: 22 of 80 planned runs: at steps=400: ResNet-20 seeds" in notes


def test_many_missing_runs_are_named_in_few_words() -> None:
    rows = studies.varied({"steps": (100, 200, 400, 800), "lr": (0.01, 0.02, 0.05, 0.1)}, DEPTHS)
    (missing,) = excluded(rows.keep(row.run_id for row in rows.plan if row.depth == 20).frames())
    assert missing.startswith("Missing: 256 of 320 planned runs: 16 at steps=100, lr=0.01; 16 at steps=100, lr=0.02;")


def test_a_table_of_one_setting_says_which() -> None:
    part = studies.varied({"steps": (100, 400)}).frames().within("steps=400")
    assert errors(part).notes[0].startswith("Setting steps=400; dataset digits; protocol")
    assert "n = 2 seeds" in errors(part).notes[0]


def test_verdicts_stand_beside_each_other() -> None:
    frames = steps().frames()
    found = claims(frames)
    table = verdicts(frames, found)
    assert table.header == ["claim", "networks", *frames.settings]
    assert table.rows[0][2:] == [*["supported / not testable"] * 4, "supported / supported"]  # 143 epochs
    assert list(table.groups.values()) == ["The paper's claims", "Is the comparison sound"] and len(table.rows) == 8
    assert verdict_sentence(found).startswith(
        "Within each of 5 settings of steps (3 seeds), the first after 100 steps of batch 128 (1/640 of the paper's "
        "steps, 8.9 of its 164 epochs), on digits, the last after 1,600 steps "
    )
    assert ", on digits: on the training images plain nets degrade: supported in all 5 settings;" in verdict_sentence(
        found
    )
    one = [row for row in found if row.claim == "twins"]
    changed = [replace(row, verdict="undecided") if row.setting == "steps=100" else row for row in one]
    assert verdict_in_words(changed) == "supported in 4 of 5 settings, undecided at steps=100"


def test_the_summary_is_short_and_says_at_which_setting() -> None:
    frames = gaps().frames()
    text = summary(frames, claims(frames))
    assert max(map(len, text.splitlines())) <= WIDTH and len(text.splitlines()) < 60
    assert "steps=200, plain: depth 20 to 110: training error 0.0 to " in text
    assert "steps=400, residual (A): no seed has finished at two depths." in text
    assert "Not measured in any setting: " in text
    assert "The paper's claims (at this budget / of trained networks):" in text


@pytest.mark.parametrize("make_rows", [few, two_fields])
def test_the_report_is_whole(make_rows: Callable[[], studies.Rows], tmp_path: Path) -> None:
    folder = make_rows().write(tmp_path)
    report = make(folder)
    report.write()
    assert read_csv(folder / CLAIMS.file, CLAIMS) == list(report.verdicts)
    assert {row.setting for row in report.verdicts} == set(report.frames.settings)
    page = Page((folder / "report.html").read_text())
    assert len(page.ids) == len(set(page.ids)) and all(link.removeprefix("#") in page.ids for link in page.links)
    assert len(page.images) == len(list((folder / "figures").glob("*.png"))) == len(drawings(report.frames))
    text = (folder / "README.md").read_text()
    assert "is judged within each setting by itself" in text and "figures/axis-steps.png" in text


def test_a_study_that_varies_fields_may_have_finished_nothing() -> None:
    frames = nothing().frames()
    document = make_document(frames, claims(frames), {})
    missing = "Missing: 48 of 48 planned runs: all at steps=200, lr=0.02; all at steps=200, lr=0.1; "
    assert document.sections[-1].sentences[-1].startswith(missing)
    assert {cell for row in document.tables["final_errors"].rows for cell in row[3:]} == {"-"}


def test_a_study_that_varies_nothing_has_no_column_of_settings(tmp_path: Path) -> None:
    folder = studies.demo().write(tmp_path)
    write_claims(folder / CLAIMS.file, make(folder).verdicts)
    assert (folder / CLAIMS.file).read_text().startswith("claim,subject,rules,kind,statement,")
