"""The report: frames are checked, figures hold what they should, tables and the summary say what is true."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from resnet_bench.errors import UsageError
from resnet_bench.frames import StudyFrames, load
from resnet_bench.report import canvas, curve_data, figures, render, summarize, tables
from resnet_bench.report.claim_words import both, measured, not_measured
from resnet_bench.report.claims_table import claims
from resnet_bench.report.confusion_figure import draw_confusion
from resnet_bench.report.summary import WIDTH, compare, summary
from resnet_bench.report.verdict import verdict_sentence
from resnet_bench.results.rows import ConfusionRow, PlanRow
from resnet_bench.results.tables import CONFUSION, CURVES, PLAN, RUNS
from tests import studies

SHAPES: list[Callable[[], studies.Rows]] = [
    studies.demo, studies.full, studies.paper, studies.shortcuts, studies.partial, studies.empty, studies.diverged
]  # fmt: skip


def frames_of(rows: studies.Rows) -> StudyFrames:
    return rows.frames()


def curves(axes: Axes) -> list[Line2D]:
    """The lines of a panel, without that of guessing and the bare markers."""
    return [line for line in axes.lines if line.get_label() != "chance" and line.get_linestyle() != "None"]


def line_styles(axes: Axes) -> list[str]:
    return [str(line.get_linestyle()) for line in curves(axes)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.texts]


def labels(axes: Axes) -> list[str]:
    return sorted(text.get_text() for text in axes.texts)


# ---------------------------------------------------------------------------------------------- loading


def test_csv_folder_round_trip(tmp_path: Path) -> None:
    rows = studies.demo()
    frames = load(rows.write(tmp_path))
    assert (frames.name, frames.dataset, frames.protocol) == ("demo", "digits", "digits-220/1")
    assert (frames.precision, frames.dataset_digest) == ("fp32", "d" * 64)
    assert (len(frames.plan), len(frames.runs), len(frames.curves)) == (8, 8, 88)
    assert frames.missing.empty and not frames.is_paper_protocol
    assert frames.arms == [("plain", "none"), ("residual", "a")] and frames.depths == [20, 56]


def test_without_a_plan_the_runs_are_the_plan(tmp_path: Path) -> None:
    folder = studies.partial().write(tmp_path)
    (folder / PLAN.file).unlink()
    frames = load(folder)
    assert list(frames.plan["run_id"]) == ["plain-none-d20-s0"]
    assert frames.missing.empty


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("protocol", "other/1"),
        ("dataset", "other/1"),
        ("dataset_digest", "0" * 64),
        ("precision", "bf16"),
        ("compile", "compile"),
    ],
)
def test_mixed_studies_are_refused(tmp_path: Path, column: str, other: str) -> None:
    folder = studies.demo().change("plain-none-d20-s0", **{column: other}).write(tmp_path)
    with pytest.raises(
        UsageError, match=rf"runs.csv: column '{column}' holds .*{other}.*a table never mixes"
    ) as raised:
        render(folder)
    assert "\n" not in str(raised.value)


def test_curves_of_unknown_runs_are_refused() -> None:
    rows = studies.demo()
    rows.curves.append(replace(rows.curves[0], run_id="stranger"))
    with pytest.raises(UsageError, match=r"curves.csv: run 'stranger' is in neither"):
        frames_of(rows)


def test_an_unknown_arm_is_refused() -> None:
    rows = studies.demo()
    rows.plan.append(PlanRow(run_id="x", arch="dense", depth=20, shortcut="none", seed=0))
    with pytest.raises(UsageError, match=r"plan.csv: arch 'dense'"):
        frames_of(rows)


def test_missing_runs_and_files(tmp_path: Path) -> None:
    assert len(frames_of(studies.partial()).missing) == 7
    with pytest.raises(UsageError, match=r"runs\.csv: no such file"):
        load(tmp_path)


# ---------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_is_whole(shape: Callable[[], studies.Rows], name: str) -> None:
    frames = frames_of(shape())
    before = dict(matplotlib.rcParams)
    figure = figures.FIGURES[name](frames)
    assert dict(matplotlib.rcParams) == before
    sources = tuple(f"Made from {file} of study {frames.name}." for file in ("runs.csv", "curves.csv"))
    assert canvas.caption_of(figure).endswith(sources)
    assert figure.axes[0].get_ylabel()
    assert_nothing_cut_off(figure)


def assert_nothing_cut_off(figure: Figure) -> None:
    figure.canvas.draw()
    written = [*figure.texts, *(text for axes in figure.axes for text in [*axes.texts, axes.title, axes.xaxis.label])]
    for text in written:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()
    for axes in figure.axes:
        # Of an annotation only the text: its own extent includes the line to what it labels.
        boxes = sorted((Text.get_window_extent(text) for text in axes.texts), key=lambda box: float(box.y0))
        assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    for axes, following in itertools.pairwise(figure.axes):
        assert all(text.get_window_extent().x1 < following.bbox.x0 for text in axes.texts)


def test_curves_of_the_demo() -> None:
    figure = figures.draw_curves(frames_of(studies.demo()))
    plain, residual = figure.axes
    assert (plain.get_title(), residual.get_title()) == ("plain", "residual (shortcut option A)")
    assert line_styles(plain) == line_styles(residual) == ["--", "--", "-", "-"]
    assert labels(plain) == ["plain-20", "plain-56"]
    assert labels(residual) == ["ResNet-20", "ResNet-56"]
    assert [line.get_marker() for line in plain.lines] == [line.get_marker() for line in residual.lines]
    assert plain.get_xlabel() == "step" and plain.get_xlim()[0] == 0 and 220 < plain.get_xlim()[1] < 230
    assert plain.get_ylim() == residual.get_ylim()
    assert -2 < plain.get_ylim()[0] < 0 and 60 < plain.get_ylim()[1] < 100
    assert len(plain.collections) == 4  # a band per line
    caption = canvas.caption_of(figure)
    for part in ("Dataset digits", "digits-220/1 (reduced", "n = 2 seeds", "360 test images", "Some_CPU @ 2.5GHz"):
        assert part in caption


def test_curves_of_the_paper_have_its_axes() -> None:
    figure = figures.draw_curves(frames_of(studies.paper()))
    plain = figure.axes[0]
    assert plain.get_xlabel() == "iter. (1e4)" and plain.get_xlim()[0] == 0 and 6.4 < plain.get_xlim()[1] < 6.6
    assert 20 <= plain.get_ylim()[1] < 25
    assert len(plain.lines) == 10  # guessing is far above
    assert "plain-110 (63 %)" in labels(plain)
    assert "plain-110 (above 60 % at the end" in canvas.caption_of(figure)
    assert "reduced" not in canvas.caption_of(figure)


def test_means_are_over_the_seeds_present() -> None:
    rows = studies.make("cut", (20,), num_seeds=2)
    rows.curves = [row for row in rows.curves if row.step <= 40 and (row.step < 40 or "s0" in row.run_id)]
    rows.curves = [replace(row, test_top1_err=10.0 if "s0" in row.run_id else 20.0) for row in rows.curves]
    points = curve_data.mean_curves(frames_of(rows), curve_data.TEST, ("plain", "none"))[0].points
    assert points.to_dict("index") == {
        20: {"mean": 15.0, "min": 10.0, "max": 20.0},
        40: {"mean": 10.0, "min": 10.0, "max": 10.0},
    }


def test_a_gap_in_the_curve_is_left_out() -> None:
    rows = studies.make("gap", (20,), num_seeds=1)
    rows.curves[0] = replace(rows.curves[0], train_clean_top1_err=math.nan)
    curve = curve_data.mean_curves(frames_of(rows), curve_data.CLEAN, ("plain", "none"))[0]
    assert next(iter(curve.points.index)) == 40


def test_every_shortcut_has_its_panel() -> None:
    figure = figures.draw_curves(frames_of(studies.shortcuts()))
    assert [axes.get_title()[-1 - 1] for axes in figure.axes] == ["A", "B", "C"]
    assert labels(figure.axes[1]) == ["ResNet-110 (B)", "ResNet-20 (B)", "ResNet-56 (B)"]
    assert list(figures.error_figures(frames_of(studies.shortcuts()))) == ["curves", "depth"]


def test_a_missing_arm_says_so() -> None:
    figure = figures.draw_curves(frames_of(studies.partial()))
    assert labels(figure.axes[1]) == ["no finished residual (A) run"]
    assert "Missing: 7 of 8 planned runs: plain-20 seed 1; plain-56 seeds 0, 1;" in canvas.caption_of(figure)
    alone = studies.demo().keep(f"residual-a-d{depth}-s0" for depth in (20, 56))
    assert labels(figures.draw_curves(frames_of(alone)).axes[0]) == ["no finished plain run"]


@pytest.mark.parametrize(
    ("depths", "pair"), [((20, 32, 44, 56, 110), [20, 56]), ((20, 110), [20, 110]), ((8, 14), [8, 14]), ((56,), [56])]
)
def test_depths_of_the_degradation_figure(depths: tuple[int, ...], pair: list[int]) -> None:
    finals = {arch: dict.fromkeys(depths, (1.0, 2.0)) for arch in ("plain", "residual")}
    frames = frames_of(studies.make("any", depths, finals=finals))
    assert figures.degradation_depths(frames) == pair
    figure = figures.draw_degradation(frames)
    assert [line_styles(axes) for axes in figure.axes] == [["--"] * len(pair), ["-"] * len(pair)]
    assert labels(figure.axes[0]) == sorted(f"plain-{depth}" for depth in pair)


def test_depth_figure_shows_every_seed() -> None:
    figure = figures.draw_depth(frames_of(studies.full()))
    points = [offset for cloud in figure.axes[1].collections for offset in cloud.get_offsets()]
    assert len(points) == 50
    assert len({float(x) for x, _ in points}) == 50  # no two at the same place, though errors may be equal
    assert len(curves(figure.axes[0])) == 2
    assert list(figure.axes[0].get_xticks()) == [20, 32, 44, 56, 110]
    assert legend(figure) == ["plain", "residual (A)", "guessing (90 %)"]


def test_depth_figure_marks_diverged_runs() -> None:
    figure = figures.draw_depth(frames_of(studies.diverged()))
    heights = [float(y) for cloud in figure.axes[0].collections for _, y in cloud.get_offsets()]
    assert heights.count(90.0) == 1 and len(heights) == 8
    assert legend(figure)[-2:] == ["diverged (drawn at chance, 90 %)", "guessing (90 %)"]
    assert (
        "at step 120), in no mean of figures and tables, at chance in the claims: 1 run: plain-56 seed 1."
        in canvas.caption_of(figure)
    )


def test_spread_keeps_order_and_distance() -> None:
    assert canvas.spread([1.0, 5.0], 1.0, 0.0, 10.0) == [1.0, 5.0]
    assert canvas.spread([4.0, 4.0, 4.0], 1.0, 0.0, 10.0) == [3.0, 4.0, 5.0]
    assert canvas.spread([0.0, 0.0], 1.0, 0.0, 10.0) == [0.0, 1.0]
    assert canvas.spread([10.0, 10.0], 1.0, 0.0, 10.0) == [9.0, 10.0]
    assert canvas.spread([], 1.0, 0.0, 10.0) == []


@pytest.mark.parametrize("classes", [["airplane", "automobile", "bird"], ["a$_$", "深さ", "x" * 60], ["0", "1"]])
def test_confusions_with_any_names_of_classes_are_whole(classes: list[str]) -> None:
    study = studies.demo()
    study.others[CONFUSION] = [
        ConfusionRow(run_id=run.run_id, true_class=name, predicted_class=name, images=10)
        for run in study.runs
        for name in classes
    ]
    figure = draw_confusion(study.frames())
    figure.canvas.draw()
    caption = next(text for text in figure.texts if text.get_gid() == "caption").get_window_extent()
    for axes in figure.axes:
        assert axes.xaxis.label.get_window_extent().y0 >= caption.y1
        for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            assert tick.get_window_extent().x0 >= 0


# ---------------------------------------------------------------------------------------------- tables


def row_of(table: tables.TextTable, depth: int) -> dict[str, str]:
    cells = next(row for row in table.rows if row[0] == str(depth))
    return dict(zip(table.header, cells, strict=True))


def test_mean_and_sample_std_by_hand() -> None:
    rows = studies.make("three", (20,), num_seeds=3)
    for seed, error in enumerate((8.0, 9.0, 11.5)):
        rows = rows.change(f"plain-none-d20-s{seed}", final_test_top1_err=error)
    rows = rows.keep(run.run_id for run in rows.runs if run.arch == "plain" or run.seed == 0)
    row = row_of(tables.errors(frames_of(rows)), 20)
    # mean 28.5/3 = 9.5; squares 2.25 + 0.25 + 4 = 6.5; std sqrt(6.5/2) = 1.80
    assert row["plain test"] == "9.50 ± 1.80 (3)"
    assert row["residual (A) train"] == "0.00 (1)"
    assert (row["params"], row["MACs"]) == ("0.27 M", "40.6 M")


def test_what_is_not_there_is_a_dash() -> None:
    row = row_of(tables.errors(frames_of(studies.partial())), 56)
    assert set(row.values()) == {"56", "-"}
    assert tables.errors(frames_of(studies.empty())).rows[0][1:] == ["-"] * 6


def test_published_values_stand_beside_the_paper_protocol() -> None:
    table = tables.errors(frames_of(studies.paper()))
    published = {depth: (row_of(table, depth)["published plain test"], row_of(table, depth)[table.header[-1]])
                 for depth in (20, 32, 110)}  # fmt: skip
    assert published == {20: ("9.52 to 9.78", "8.75"), 32: ("10.21", "7.51"), 110: ("-", "6.61 ± 0.16 (5)")}
    notes = " ".join(table.notes)
    assert "(the best of them: 6.43)" in notes
    assert "He et al. 2015 Table 6" in notes and "nabla0001/resnet" in notes and "robertkoller" in notes


@pytest.mark.parametrize(
    ("dataset", "protocol", "reason"),
    [
        ("cifar10-jpeg", "paper-64k/1", "the data are cifar10-jpeg, not canonical CIFAR-10."),
        ("cifar10", "short-400/1", "protocol short-400/1 is reduced, not the paper's 64k steps."),
    ],
)
def test_published_values_stand_nowhere_else(dataset: str, protocol: str, reason: str) -> None:
    table = tables.errors(frames_of(studies.demo().change_all(dataset=dataset, protocol=protocol)))
    assert not any("published" in name for name in table.header)
    assert f"No published values are shown beside these: {reason}" in table.notes


def test_several_shortcuts_have_a_row_each() -> None:
    table = tables.errors(frames_of(studies.shortcuts()))
    assert [row[:2] for row in table.rows[:3]] == [["20", "A"], ["20", "B"], ["20", "C"]]
    assert table.header == ["depth", "shortcut", "params", "MACs", "residual train", "residual test"]
    assert {len(row) for row in table.rows} == {6}  # no empty columns for plain networks that nobody planned


def test_diverged_runs_are_in_no_mean_but_named() -> None:
    table = tables.errors(frames_of(studies.diverged()))
    assert row_of(table, 56)["plain test"].endswith("(1)") and row_of(table, 20)["plain test"].endswith("(2)")
    assert "at chance in the claims: 1 run: plain-56 seed 1." in " ".join(table.notes)


def test_latex_is_escaped() -> None:
    assert tables.latex(r"50 % of a_b & c # $1 {x} ~^ \y") == (
        r"50 \% of a\_b \& c \# \$1 \{x\} \textasciitilde{}\textasciicircum{} \textbackslash{}y"
    )
    text = tables.to_latex(tables.errors(frames_of(studies.demo())))
    assert text.isascii()
    assert r"\toprule" in text and r"Some\_CPU" in text and r"(\%)" in text and r"$\pm$" in text
    assert all(line.count(" & ") == 6 for line in text.splitlines() if line.endswith(r"\\"))


def test_markdown_is_escaped_and_regular() -> None:
    text = tables.to_markdown(tables.errors(frames_of(studies.demo().change_all(device="a|b_c"))))
    assert r"a\|b_c" in text
    grid = [line for line in text.splitlines() if line.startswith("|")]
    assert len(grid) == 4 and {line.count("|") for line in grid} == {8}


# ---------------------------------------------------------------------------------------------- summary


def with_train_errors(shallow: tuple[float, ...], deep: tuple[float, ...]) -> StudyFrames:
    rows = studies.make("pairs", (20, 56), num_seeds=max(len(shallow), len(deep)))
    keep = []
    for depth, errors in ((20, shallow), (56, deep)):
        for seed, error in enumerate(errors):
            run_id = f"plain-none-d{depth}-s{seed}"
            rows = rows.change(run_id, final_train_clean_top1_err=error)
            keep += [] if math.isnan(error) else [run_id]
    return frames_of(rows.keep(keep))


def summary_of(frames: StudyFrames) -> str:
    return summary(frames, claims(frames))


@pytest.mark.parametrize(
    ("shallow", "deep", "words"),
    [
        ((0.0, 0.0), (51.6, 52.0), "rose from 0.0 % to 51.8 % (+51.8 points, in 2 of 2 seeds)"),
        ((1.0, 1.0), (1.4, 1.4), "rose from 1.0 % to 1.4 % (+0.4 points)"),
        ((3.0, 3.0), (1.0, 1.0), "fell from 3.0 % to 1.0 % (-2.0 points)"),
        ((1.0, 1.0), (1.2, 9.0), "rose from 1.0 % to 5.1 % (+4.1 points, in 1 of 2 seeds)"),
        ((0.0, 0.0), (0.0, 0.0), "stayed at 0.0 % (+0.0 points)"),
        ((0.0,), (9.0,), "shallowest to the deepest (plain; +9.0 points; one seed, so no judgement)"),
        ((0.0, math.nan), (math.nan, 9.0), "no seed has finished at both depths, so they are not compared"),
        ((1.0,), (), "only depth 20 has finished; the comparison needs two depths"),
    ],
)
def test_changes_with_depth(shallow: tuple[float, ...], deep: tuple[float, ...], words: str) -> None:
    assert words in " ".join(summary_of(with_train_errors(shallow, deep)).split())


def test_every_claim_has_its_verdict_in_the_summary() -> None:
    frames = frames_of(studies.full())
    text = " ".join(summary_of(frames).split())
    for row in measured(claims(frames)):
        assert f"{both(row)}: {row.statement} ({row.subject}" in text
    assert not_measured(claims(frames)) in text


def test_pairs_are_by_seed() -> None:
    found = compare(with_train_errors((1.0, 5.0), (2.0, 6.0)), ("plain", "none"))
    assert found is not None and list(found.rises) == [1.0, 1.0]


def test_the_verdict_names_the_options_where_they_differ() -> None:
    found = claims(frames_of(studies.shortcuts()))
    assert "on the training images residual nets do not degrade: supported. " in verdict_sentence(found)
    differing = [replace(r, verdict="contradicted") if r.subject == "residual (C)" else r for r in found]
    words = "supported for residual (A) and residual (B), contradicted for residual (C)"
    assert words in verdict_sentence(differing)


@pytest.mark.parametrize("shape", SHAPES)
def test_summary_fits_the_terminal(shape: Callable[[], studies.Rows], tmp_path: Path) -> None:
    text = summarize(shape().write(tmp_path))
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert text.isascii()


def test_summary_explains_and_names_what_is_missing() -> None:
    text = " ".join(summary_of(frames_of(studies.demo())).split())
    assert "Study demo: 8 of 8 planned runs finished. After 220 steps of batch 128 (1/291 of" in text
    assert "Dataset digits; protocol digits-220/1 (reduced" in text
    assert "on the images trained on it cannot be overfitting." in text and "Missing" not in text
    partial = " ".join(summary_of(frames_of(studies.partial())).split())
    assert "Missing: 7 of 8 planned runs" in partial
    assert "No run has finished" in summary_of(frames_of(studies.empty()))


# ---------------------------------------------------------------------------------------------- the whole report


def tables_of(rows: studies.Rows) -> list[str]:
    return ["claims", "errors", *(["convergence"] if rows.curves else [])]


@pytest.mark.parametrize("shape", [studies.paper, studies.diverged, studies.partial])
def test_rendering_twice_gives_the_same_bytes(shape: Callable[[], studies.Rows], tmp_path: Path) -> None:
    rows = shape()
    folder = rows.write(tmp_path)
    first = {path: path.read_bytes() for path in render(folder)}
    names = [*figures.error_figures(rows.frames()), *(["cost"] if rows.runs else [])]
    assert {str(path.relative_to(folder)) for path in first} == {
        *(f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")),
        *(f"tables/{name}.{kind}" for name in tables_of(rows) for kind in ("md", "tex")),
        "claims.csv", "README.md", "report.html",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in render(folder)} == first


def test_the_page_tells_where_it_comes_from(tmp_path: Path) -> None:
    folder = studies.partial().change_all(git_dirty=True).write(tmp_path)
    render(folder)
    page = (folder / "README.md").read_text()
    for part in ("# Study demo", "d" * 64, "2.10.0+cpu", "c0ffee", "uncommitted", "resnet-bench report results/demo",
                 "figures/curves.png", "Missing: 7 of 8"):  # fmt: skip
        assert part in page


def test_an_unplanned_empty_study_still_renders(tmp_path: Path) -> None:
    folder = studies.Rows("nothing").write(tmp_path)
    assert (folder / RUNS.file).exists() and (folder / CURVES.file).exists()
    render(folder)
    assert "No run has finished" in (folder / "README.md").read_text()


def test_report_never_imports_torch_and_loads_late(tmp_path: Path) -> None:
    folder = studies.partial().write(tmp_path)
    code = (
        "import sys, pathlib, resnet_bench.report as report\n"
        "assert not {'pandas', 'matplotlib'} & set(sys.modules)\n"
        "report.render(pathlib.Path(sys.argv[1]))\n"
        "ours = {m.split('.')[1] for m in sys.modules if m.startswith('resnet_bench.')}\n"
        "assert not ours & {'data', 'models', 'training', 'study', 'cli', 'environment', 'throughput'}, ours\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
