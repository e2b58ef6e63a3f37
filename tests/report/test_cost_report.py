"""The report on cost: setups are kept apart, figures and tables hold what was measured, the page says what was not."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from resnet_bench.errors import UsageError
from resnet_bench.frames import INFERENCE, TRAIN_STEP, StudyFrames, load
from resnet_bench.networks import RESIDUAL_ARMS, TWINS
from resnet_bench.report import canvas, cost_figures, cost_tables, render, setups, tables
from resnet_bench.report.error_cost_figure import draw_cost
from resnet_bench.report.looks import ARM_STYLES
from resnet_bench.report.point_labels import label_points
from resnet_bench.results.rows import ComplexityRow, ThroughputRow
from resnet_bench.results.tables import COMPLEXITY, THROUGHPUT, write_csv
from tests import studies

PLAIN, BLUE = (ARM_STYLES[arm][0].lower() for arm in TWINS)
DEPTHS = (20, 32, 44, 56, 110)


def frames_of(
    rows: studies.Rows, throughput: Sequence[ThroughputRow] = (), complexity: Sequence[ComplexityRow] = ()
) -> StudyFrames:
    study = replace(rows, others={COMPLEXITY: list(complexity), THROUGHPUT: list(throughput)})
    return study.frames()


def write(
    folder: Path, rows: studies.Rows, throughput: Sequence[ThroughputRow], complexity: Sequence[ComplexityRow] = ()
) -> Path:
    path = rows.write(folder)
    write_csv(path / THROUGHPUT.file, THROUGHPUT, throughput)
    write_csv(path / COMPLEXITY.file, COMPLEXITY, complexity)
    return path


def twins(depth: int, **values: object) -> list[ThroughputRow]:
    """Round numbers: residual takes 1.25 times the time of plain, and 1.05 times the memory."""
    return [
        studies.throughput_row(
            arch, depth, shortcut, mode,
            img_per_sec=speed, img_per_sec_iqr=8.0, step_ms=128_000 / speed, peak_memory_bytes=memory,
            utilisation=speed / 20, **values,
        )
        for arch, shortcut, mode, speed, memory in (
            ("plain", "none", TRAIN_STEP, 500.0, 60_000_000),
            ("residual", "a", TRAIN_STEP, 400.0, 63_000_000),
            ("plain", "none", INFERENCE, 1600.0, 20_000_000),
            ("residual", "a", INFERENCE, 1250.0, 20_000_000),
        )
    ]  # fmt: skip


def labels(axes: Axes) -> list[str]:
    return sorted(text.get_text() for text in axes.texts)


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each line through the medians, by colour; x as the depth that it stands beside."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line = container[0]
        depths = (min(axes.get_xticks(), key=lambda tick: abs(math.log(tick / x))) for x in line.get_xdata())
        found[to_hex(line.get_color())] = list(zip(map(float, depths), map(float, line.get_ydata()), strict=True))
    return found


# ---------------------------------------------------------------------------------------------- loading


def test_files_of_cost_may_be_absent(tmp_path: Path) -> None:
    frames = load(studies.demo().write(tmp_path))
    assert frames.complexity.empty and list(frames.complexity) == COMPLEXITY.columns
    assert frames.throughput.empty and list(frames.throughput) == THROUGHPUT.columns


def test_files_of_cost_round_trip(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.demo(), twins(20), studies.complexity_rows((20, 56)))
    frames = load(folder)
    assert list(frames.throughput["step_ms"]) == [256.0, 320.0, 80.0, 102.4]
    assert list(frames.complexity["params"]) == [269_722, 853_018, 269_722, 853_018]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("img_per_sec_iqr", "iqr", r"throughput.csv: row 1: column 'img_per_sec_iqr' is missing"),
        (",500.0,", ",fast,", r"throughput.csv: row 2, column 'img_per_sec': 'fast' is not a number"),
        (",500.0,", ",-500.0,", r"throughput.csv: row 2, column 'img_per_sec': -500.0 is not between 0 and"),
        (",20,", ",0,", r"throughput.csv: row 2, column 'depth': 0 is not between 1 and"),
        ("plain,20,none", "dense,20,none", r"throughput.csv: arch 'dense' with shortcut 'none' is unknown"),
        (",train_step,", ",training,", r"throughput.csv: mode 'training' is unknown; one of train_step, inference"),
    ],
)
def test_malformed_throughput_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = write(tmp_path, studies.demo(), twins(20))
    text = (folder / THROUGHPUT.file).read_text()
    assert old in text
    (folder / THROUGHPUT.file).write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        render(folder)
    assert "\n" not in str(caught.value)


def test_malformed_complexity_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.demo(), [], [replace(studies.complexity_rows((20,))[0], macs=-1)])
    with pytest.raises(UsageError, match=r"complexity.csv: row 2, column 'macs': -1 is not between 0 and"):
        load(folder)


# ---------------------------------------------------------------------------------------------- setups

EAGER = twins(20)
COMPILED = twins(20, compile="compile", compile_seconds=41.5)[:2]  # inference is always measured eagerly
GRAPH = [*twins(20, compile="graph")[:2], *twins(20)[2:]]
CPU, H100 = "Some_CPU @ 2.5GHz", "NVIDIA H100 80GB HBM3"
GPU = studies.throughput_rows(
    (20,), device=H100, fingerprint="ffff0000", precision="tf32", torch_version="2.10.0+cu130"
)


def test_one_setup_needs_no_label() -> None:
    (only,) = setups.setups(frames_of(studies.demo(), EAGER))
    assert only.label == "" and len(only.rows) == 4 and only.depths == [20]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*EAGER, *COMPILED], ["eager", "compile"]),
        (GRAPH, [""]),
        ([*EAGER[2:]], [""]),
        (
            [*EAGER, *twins(20, batch_size=512), *twins(56, batch_size=512)],
            ["batch 512", "batch 128"],
        ),  # most rows first
        ([*GPU, *EAGER], [CPU, H100]),
        ([*EAGER, *twins(20, batch_size=512)], ["batch 128", "batch 512"]),
        ([*EAGER, *twins(20, memory_format="nhwc")], ["nchw", "nhwc"]),
        ([*EAGER, *twins(20, input_size="8x8x3")], ["32x32x3", "8x8x3"]),
        ([*EAGER, *twins(20, fingerprint="ffff0000")], ["0123abcd", "ffff0000"]),  # nothing else sets them apart
        ([*EAGER, *COMPILED, *GPU], [f"{CPU}, eager", f"{CPU}, compile", f"{H100}, eager"]),
    ],
)
def test_setups_are_kept_apart(rows: list[ThroughputRow], expected: list[str]) -> None:
    found = setups.setups(frames_of(studies.demo(), rows))
    assert [setup.label for setup in found] == expected
    assert {row for setup in found for row in setup.rows.index} == set(range(len(rows)))


def test_eager_inference_stands_beside_every_way_of_training() -> None:
    (graph,) = setups.setups(frames_of(studies.demo(), GRAPH))
    assert list(graph.rows["compile"]) == ["graph", "graph", "eager", "eager"]
    assert "nchw; train step graph, inference eager; batch size 128" in setups.conditions(graph)
    rows = [*EAGER, *twins(56), *COMPILED]
    eager, compiled = setups.setups(frames_of(studies.demo(), rows))
    assert (len(eager.rows), eager.depths) == (8, [20, 56])
    assert (list(compiled.rows["mode"]), compiled.depths) == ([*[TRAIN_STEP] * 2, *[INFERENCE] * 2], [20])
    own = [*COMPILED, replace(EAGER[2], compile="compile", img_per_sec=9.0), *EAGER]
    speeds = [list(setup.rows["img_per_sec"]) for setup in setups.setups(frames_of(studies.demo(), own))]
    assert speeds == [[500, 400, 1600, 1250], [500, 400, 9]]


def test_of_equal_setups_the_one_of_the_runs_comes_first() -> None:
    rows = [*EAGER, *COMPILED]
    eager, compiled = (frames_of(studies.demo().change_all(compile=mode), rows) for mode in ("eager", "compile"))
    assert [setup.label for setup in setups.setups(eager)] == ["eager", "compile"]
    assert [setup.label for setup in setups.setups(compiled)] == ["compile", "eager"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (9.999, "10.0"), (62.71, "62.7"), (99.96, "100"), (1454.5, "1,454"), (math.nan, "-")],
)
def test_numbers_have_three_digits_or_all(value: float, text: str) -> None:
    assert setups.number(value) == text


# ---------------------------------------------------------------------------------------------- speed, utilisation


def test_throughput_figure_holds_medians_and_quartiles() -> None:
    slower = [replace(row, img_per_sec=row.img_per_sec / 2) for row in twins(56)]
    figure = cost_figures.draw_throughput(frames_of(studies.demo(), [*slower, *twins(20)]))
    train, inference = figure.axes
    assert (train.get_title(), inference.get_title()) == ("train step", "inference")
    assert lines(train) == {PLAIN: [(20, 500), (56, 250)], BLUE: [(20, 400), (56, 200)]}
    assert lines(inference) == {PLAIN: [(20, 1600), (56, 800)], BLUE: [(20, 1250), (56, 625)]}
    bar = train.containers[0][2][0].get_segments()[0]
    assert [float(y) for _, y in bar] == [496, 504]  # half of 8 to each side
    assert {axes.get_xscale() for axes in figure.axes} == {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert list(train.get_xticks()) == [20, 56]
    assert train.get_ylabel() == "images per second"
    assert train.get_ylim()[1] < inference.get_ylim()[1]  # each its own axis
    assert train.get_ylim()[0] < 196 and train.get_ylim()[1] > 504
    assert [text.get_text() for text in figure.legends[0].texts] == ["plain", "residual (A)"]


def test_captions_name_the_conditions() -> None:
    frames = frames_of(studies.demo(), twins(20, rounds=7, threads=2))
    for draw in (cost_figures.draw_throughput, cost_figures.draw_utilisation):
        caption = canvas.caption_of(draw(frames))
        for part in ("Device Some_CPU @ 2.5GHz; 2 threads; fp32; nchw; eager; batch size 128; images of 32x32x3, 10 ",
                     "torch 2.10.0+cpu; median over 7 rounds; exclusive (other processes used under 5 %"):  # fmt: skip
            assert part in caption
        assert caption.endswith("Made from throughput.csv of study demo.")
        assert "setup" not in caption and "slowed" not in caption


def test_of_several_setups_one_is_drawn_and_the_others_are_named() -> None:
    faster = [replace(row, img_per_sec=2 * row.img_per_sec) for row in COMPILED]
    figure = cost_figures.draw_throughput(frames_of(studies.demo(), [*faster, *EAGER, *GPU[:1]]))
    assert lines(figure.axes[0]) == {PLAIN: [(20, 500)], BLUE: [(20, 400)]}
    made_compiled = frames_of(studies.demo().change_all(compile="compile"), [*faster, *EAGER])
    drawn = cost_figures.draw_throughput(made_compiled).axes
    assert lines(drawn[0]) == {PLAIN: [(20, 1000)], BLUE: [(20, 800)]}
    assert lines(drawn[1]) == {PLAIN: [(20, 1600)], BLUE: [(20, 1250)]}
    caption = canvas.caption_of(figure)
    assert "Drawn is one setup of 3, Some_CPU @ 2.5GHz, eager (the one with the most rows; of equals" in caption
    assert "in the table stand also: Some_CPU @ 2.5GHz, compile; NVIDIA H100 80GB HBM3, eager." in caption


def test_what_was_not_exclusive_is_hollow() -> None:
    rows = [replace(row, exclusive=alone) for row, alone in zip(twins(20), (True, False, None, True), strict=True)]
    figure = cost_figures.draw_throughput(frames_of(studies.demo(), rows))
    faces = [[to_hex(face) for cloud in axes.collections if isinstance(cloud, PathCollection)
              for face in cloud.get_facecolor()] for axes in figure.axes]  # fmt: skip
    assert faces == [[PLAIN, "#ffffff"], ["#ffffff", BLUE]]
    assert figure.legends[0].texts[-1].get_text() == "not exclusive, or not known"
    caption = canvas.caption_of(figure)
    assert "1 of 4 measurements not exclusive (other processes used 5 % of the processors or more)" in caption
    assert "1 of 4 measurements not known to be exclusive." in caption


def test_utilisation_figure_holds_shares_of_the_peak() -> None:
    figure = cost_figures.draw_utilisation(frames_of(studies.demo(), twins(20)))
    train, inference = figure.axes
    assert lines(train) == {PLAIN: [(20, 25)], BLUE: [(20, 20)]}
    assert lines(inference) == {PLAIN: [(20, 80)], BLUE: [(20, 62.5)]}
    assert train.get_ylim() == inference.get_ylim() == (0, pytest.approx(92))
    assert train.get_ylabel() == "utilisation (% of the peak)"
    caption = canvas.caption_of(figure)
    assert "a large matrix product in the same precision and session, 200 GFLOP/s (peak_gflops)" in caption
    assert "a large copy ran at 12.5 GB/s (peak_gbytes)" in caption


def test_peaks_of_several_sessions_are_a_range_and_throttling_is_told() -> None:
    rows = [*twins(20, peak_gflops=190.0), *twins(56, gpu_throttled="SW power cap")]
    caption = canvas.caption_of(cost_figures.draw_utilisation(frames_of(studies.demo(), rows)))
    assert "190 to 200 GFLOP/s (peak_gflops)" in caption
    assert "The GPU slowed its clocks in 4 of 8 measurements: SW power cap." in caption


@pytest.mark.parametrize("draw", [cost_figures.draw_throughput, cost_figures.draw_utilisation])
def test_a_mode_that_was_not_measured_says_so(draw: Callable[[StudyFrames], Figure]) -> None:
    figure = draw(frames_of(studies.demo(), twins(20)[:2]))
    assert [labels(axes) for axes in figure.axes] == [[], ["inference not measured"]]
    nothing = [replace(row, img_per_sec=math.nan, utilisation=math.nan) for row in twins(20)]
    assert [len(labels(axes)) for axes in draw(frames_of(studies.demo(), nothing)).axes] == [1, 1]


def test_an_arm_measured_in_one_mode_only() -> None:
    figure = cost_figures.draw_throughput(frames_of(studies.demo(), twins(20)[:3]))
    assert lines(figure.axes[1]) == {PLAIN: [(20, 1600)], BLUE: []}


# ---------------------------------------------------------------------------------------------- error against cost


def cost_points(axes: Axes) -> list[list[tuple[float, float]]]:
    """The means of each arm."""
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in axes.lines]


def timed() -> studies.Rows:
    """The demo; at depth 20 the seeds take 10 and 30 s plain, 20 and 40 s residual, and at 56 four times as long."""
    rows = studies.demo()
    for run in rows.runs:
        seconds = (10.0 + 20 * run.seed + 10 * (run.arch == "residual")) * (4 if run.depth == 56 else 1)
        rows = rows.change(run.run_id, train_seconds=seconds, final_test_top1_err=float(run.depth + run.seed))
    return rows


def test_cost_figure_by_hand() -> None:
    figure = draw_cost(frames_of(timed()))
    by_macs, by_seconds = figure.axes
    assert (by_macs.get_title(), by_seconds.get_title()) == ("multiply-adds", "seconds")
    # 3 x 40,551,040 MACs x 128 images x 220 steps = 3.4257518592e12; 3 x 125,485,696 x 128 x 220 = 1.060103159808e13
    for arm in cost_points(by_macs):
        assert arm == [(pytest.approx(3.4257518592), 20.5), (pytest.approx(10.60103159808), 56.5)]
    assert cost_points(by_seconds) == [[(20, 20.5), (80, 56.5)], [(30, 20.5), (120, 56.5)]]
    seeds = [tuple(map(float, point)) for cloud in by_seconds.collections for point in cloud.get_offsets()]
    assert len(seeds) == 8 and (10.0, 20.0) in seeds and (160.0, 57.0) in seeds
    assert [labels(axes) for axes in figure.axes] == [["20", "20", "56", "56"]] * 2
    assert by_macs.get_xlabel() == "training multiply-adds (1e12)" and by_seconds.get_xlabel() == "training time (s)"
    assert by_macs.get_ylabel() == "test error (%)" and by_macs.get_ylim() == by_seconds.get_ylim()
    assert {axes.get_xscale() for axes in figure.axes} == {"log"} and by_macs.get_yscale() == "linear"
    assert by_seconds.get_xlim()[0] < 8 and by_seconds.get_xlim()[1] > 200  # 10 to 160 s, and room for labels
    caption = canvas.caption_of(figure)
    for part in (
        "means over seeds", "; pale points: every seed", "3 x MACs x batch size x steps", "8 of 8 finished runs",
        "on Some_CPU @ 2.5GHz, 1 thread, eager.", "digits-220/1 (reduced", "n = 2 seeds",
    ):  # fmt: skip
        assert part in caption
    assert caption.endswith("Made from runs.csv of study demo.")


def test_only_exclusive_runs_of_one_machine_have_seconds() -> None:
    rows = timed().change("plain-none-d20-s0", exclusive=False).change("plain-none-d56-s0", attempts=2)
    rows = rows.change("residual-a-d20-s1", device="Other_CPU")
    figure = draw_cost(frames_of(rows))
    assert cost_points(figure.axes[1]) == [[(30, 21), (120, 57)], [(20, 20), (120, 56.5)]]
    assert [y for arm in cost_points(figure.axes[0]) for _, y in arm] == [20.5, 56.5] * 2
    assert "of 5 of 8 finished runs: those made in one go with the machine to themselves" in canvas.caption_of(figure)


def test_no_line_leads_over_a_depth_without_a_point() -> None:
    rows = studies.make("some", (20, 32, 44, 56), num_seeds=1)
    rows = rows.change("plain-none-d32-s0", exclusive=False)
    figure = draw_cost(frames_of(rows))
    by_macs, by_seconds = ([len(line) for line in cost_points(axes)] for axes in figure.axes)
    assert by_macs == [4, 4] and by_seconds == [1, 2, 4]
    assert "No point there, and no line over it: plain-32." in canvas.caption_of(figure)


def test_numbers_beside_each_other_do_not_read_as_one() -> None:
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 288), ylim=(0, 216))  # in points
    apart = 2.5 * canvas.LABEL_SIZE * 0.64  # labels of two and three digits just touch
    axes.plot([100, 100 + apart], [100, 100], linestyle="none", marker="o")
    label_points(figure, axes, [canvas.EndLabel(t, x, 100, "#000000") for t, x in (("20", 100), ("110", 100 + apart))])
    (left, low), (right, high) = (text.get_position() for text in axes.texts)  # from their own points
    assert low != high or right - left >= 2


def test_one_seed_is_no_mean() -> None:
    caption = canvas.caption_of(draw_cost(frames_of(studies.partial())))
    assert "cost: one seed, joined" in caption and "mean" not in caption and "pale" not in caption


def test_without_exclusive_runs_there_are_no_seconds() -> None:
    figure = draw_cost(frames_of(studies.demo().change_all(exclusive=None)))
    assert labels(figure.axes[0]) == ["20", "20", "56", "56"]
    assert labels(figure.axes[1]) == ["no finished run is known\nto have been exclusive"]
    assert "Right:" not in canvas.caption_of(figure)


def test_diverged_runs_have_no_cost() -> None:
    figure = draw_cost(frames_of(studies.diverged()))
    assert sum(len(cloud.get_offsets()) for cloud in figure.axes[0].collections) == 7
    assert "at chance in the claims: 1 run: plain-56 seed 1." in canvas.caption_of(figure)
    rows = studies.demo().keep(["plain-none-d56-s1"]).diverge("plain-none-d56-s1", 120)
    assert [labels(axes) for axes in draw_cost(frames_of(rows)).axes] == [["no finished run"]] * 2


# ---------------------------------------------------------------------------------------------- all figures

GPU_SPEEDS = [replace(row, img_per_sec=400 * row.img_per_sec) for row in studies.throughput_rows(DEPTHS)]
WHOLE: dict[str, Callable[[], StudyFrames]] = {
    "five depths": lambda: frames_of(studies.full(), studies.throughput_rows(DEPTHS)),
    "paper on a GPU": lambda: frames_of(studies.paper(), GPU_SPEEDS),
    "one depth": lambda: frames_of(studies.make("one", (20,)), twins(20)),
    "three options": lambda: frames_of(
        studies.shortcuts(), studies.throughput_rows((20, 56, 110), RESIDUAL_ARMS, exclusive=False)
    ),
    "four arms": lambda: frames_of(
        studies.make("all", DEPTHS, arms=(*TWINS, *RESIDUAL_ARMS[1:])),
        studies.throughput_rows(DEPTHS, (*TWINS, *RESIDUAL_ARMS[1:])),
    ),
    "one run": lambda: frames_of(studies.partial(), twins(20)[:1]),
    "diverged": lambda: frames_of(studies.diverged(), [*EAGER, *COMPILED]),
}


@pytest.mark.parametrize("name", ["cost", "throughput", "utilisation"])
@pytest.mark.parametrize("shape", WHOLE)
def test_every_figure_is_readable(shape: str, name: str) -> None:
    frames = WHOLE[shape]()
    before = dict(matplotlib.rcParams)
    figure = cost_figures.cost_figures(frames)[name](frames)
    assert dict(matplotlib.rcParams) == before
    figure.canvas.draw()
    for axes in figure.axes:
        words = [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        words += tick_labels(axes, "x") + tick_labels(axes, "y")
        boxes = [text.get_window_extent() for text in words if text.get_text()]
        for box in [*boxes, *(legend.get_window_extent() for legend in figure.legends)]:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)
    left, right = figure.axes
    assert len(tick_labels(left, "y")) >= 2 and tick_labels(left, "x")
    assert all(text.get_window_extent().x0 > left.bbox.x1 for text in tick_labels(right, "y"))


def tick_labels(axes: Axes, which: Literal["x", "y"]) -> list[Text]:
    """Those that are drawn: of the ticks in view, and not of a y axis whose labels stand at the panel to the left."""
    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    return [
        tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()
    ]


@pytest.mark.parametrize("low", [0.013, 1.0, 3.7, 510.0, 51_000.0])
@pytest.mark.parametrize("ratio", [1.0, 1.4, 3.0, 6.0, 30.0, 150.0, 9_000.0])
def test_logarithmic_axes_have_two_to_ten_ticks(low: float, ratio: float) -> None:
    figure, (axes, _) = canvas.panels(["a", "b"], "", "")
    canvas.log_axis(axes, "x", [low, low * ratio])
    first, last = axes.get_xlim()
    assert first < low <= low * ratio < last
    assert 2 <= sum(first <= tick <= last for tick in axes.get_xticks()) <= 10
    assert len(axes.get_xticks(minor=True)) == 0  # their labels would overlap
    figure.canvas.draw()


def labelled(points: Sequence[tuple[float, float, str]]) -> dict[str, tuple[float, float]]:
    """Where the labels of these points of one line stand, in points from their own one."""
    figure, (axes, _) = canvas.panels(["a", "b"], "", "")
    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points])
    label_points(figure, axes, [canvas.EndLabel(text, x, y, "#000000") for x, y, text in points])
    return {text.get_text(): text.get_position() for text in axes.texts if isinstance(text, Annotation)}


def test_labels_of_points_keep_clear() -> None:
    assert labelled([(5, 5, "20")]) == {"20": (0, 8.5)}  # 4.5 above the point, and half a letter's height
    below = labelled([(5, 5, "20"), (5, 4, "20")])
    assert below == {"20": (0, -8.5)}  # of two with one text the lower one stands below; here it is the last one
    steep = labelled([(5, 5, "20"), (5.01, 9, "32")])
    assert steep["20"][0] < 0 and steep["32"] == (0, 8.5)  # beside the line that rises from it
    at_the_top = labelled([(5, 9.99, "20")])["20"]
    assert at_the_top[1] <= 0
    crowd = labelled([(5 + x / 100, 5, str(20 + x)) for x in range(40)])
    assert 2 <= len(crowd) < 20  # what finds no place is left out


def test_figures_are_only_of_what_there_is() -> None:
    assert list(cost_figures.cost_figures(frames_of(studies.empty()))) == []
    assert list(cost_figures.cost_figures(frames_of(studies.demo()))) == ["cost"]
    assert list(cost_figures.cost_figures(frames_of(studies.empty(), EAGER))) == ["throughput", "utilisation"]


# ---------------------------------------------------------------------------------------------- tables


def rows_of(table: tables.TextTable) -> list[dict[str, str]]:
    return [dict(zip(table.header, cells, strict=True)) for cells in table.rows]


def test_throughput_table_by_hand() -> None:
    table = cost_tables.throughput(frames_of(studies.demo(), [*twins(56), *twins(20)]))
    assert [row["depth"] for row in rows_of(table)] == ["20", "56"]
    # 320 ms / 256 ms = 1.25; 63 MB / 60 MB = 1.05
    assert rows_of(table)[0] == {
        "depth": "20",
        "plain train img/s": "500", "residual (A) train img/s": "400", "price in time %": "+25.0",
        "plain inference img/s": "1,600", "residual (A) inference img/s": "1,250",
        "plain memory MB": "60.0", "residual (A) memory MB": "63.0", "price in memory %": "+5.0",
        "plain utilisation %": "25.0", "residual (A) utilisation %": "20.0",
    }  # fmt: skip
    notes = " ".join(table.notes)
    for part in ("Device Some_CPU @ 2.5GHz; 1 thread; fp32; nchw; eager; batch size 128; images of 32x32x3, 10 classes",
                 "median over 5 rounds; exclusive (", "200 GFLOP/s (peak_gflops)", "1 MB = 1e6 bytes"):  # fmt: skip
        assert part in notes
    assert table.notes[-1] == "Made from throughput.csv of study demo."


def test_every_setup_stands_in_the_table() -> None:
    table = cost_tables.throughput(frames_of(studies.demo(), [*COMPILED, *EAGER, *GPU[:1]]))
    assert [row["setup"] for row in rows_of(table)] == [
        f"{CPU}, eager", f"{CPU}, compile", f"{H100}, eager"
    ]  # fmt: skip
    assert [row["plain compile s"] for row in rows_of(table)] == ["-", "41.5", "-"]
    conditions = "1 thread; fp32; nchw; train step compile, inference eager; batch size 128"
    assert table.notes[1].startswith(f"{CPU}, compile: Device {CPU}; {conditions}")
    last = rows_of(table)[-1]
    assert last["plain train img/s"] == "500" and last["price in time %"] == last["residual (A) memory MB"] == "-"


def test_rows_that_were_not_exclusive_are_marked() -> None:
    rows = [replace(row, exclusive=alone) for row, alone in zip(twins(20), (True, False, None, True), strict=True)]
    table = cost_tables.throughput(frames_of(studies.demo(), rows))
    row = rows_of(table)[0]
    assert (row["plain train img/s"], row["residual (A) train img/s"]) == ("500", "400 *")
    assert (row["price in time %"], row["price in memory %"]) == ("+25.0 *", "+5.0")
    assert (row["plain inference img/s"], row["residual (A) inference img/s"]) == ("1,600 ?", "1,250")
    assert (row["plain utilisation %"], row["residual (A) utilisation %"]) == ("25.0", "20.0 *")
    assert [note[:22] for note in table.notes[1:3]] == ["* other processes used", "? nothing tells whethe"]
    assert "1 of 4 measurements not exclusive" in table.notes[0]
    clean = cost_tables.throughput(frames_of(studies.demo(), twins(20)))
    assert not any(note[0] in "*?" for note in clean.notes)
    assert r"400 \* |" in tables.to_markdown(table)


def test_every_option_has_a_row_beside_plain() -> None:
    rows = studies.throughput_rows((20, 56), (*TWINS, *RESIDUAL_ARMS[1:]))
    rows = [row for row in rows if (row.depth, row.shortcut) not in ((56, "b"), (56, "c"))]
    table = cost_tables.throughput(frames_of(studies.demo(), rows))
    found = [(row["depth"], row["shortcut"], row["price in time %"]) for row in rows_of(table)]
    assert found == [("20", "A", "+10.0"), ("20", "B", "+12.0"), ("20", "C", "+25.0"), ("56", "A", "+10.0")]
    assert table.header[3] == "residual train img/s"
    assert "plain has the parameters of option A; the price of B and C includes their projections." in table.notes


def test_one_arm_alone_has_no_empty_columns() -> None:
    plain = cost_tables.throughput(frames_of(studies.demo(), studies.throughput_rows((20,), TWINS[:1])))
    assert plain.header == [
        "depth", "plain train img/s", "plain inference img/s", "plain memory MB", "plain utilisation %"
    ]  # fmt: skip
    options = cost_tables.throughput(frames_of(studies.shortcuts(), studies.throughput_rows((20,), RESIDUAL_ARMS)))
    assert options.header[:3] == ["depth", "shortcut", "residual train img/s"] and len(options.rows) == 3
    assert not any("price" in text for text in (*plain.header, *plain.notes, *options.header, *options.notes))


def test_a_depth_measured_for_plain_only_keeps_its_row() -> None:
    table = cost_tables.throughput(frames_of(studies.demo(), [*twins(20), twins(56)[0]]))
    deep = rows_of(table)[1]
    assert (deep["depth"], deep["plain train img/s"], deep["residual (A) train img/s"]) == ("56", "500", "-")


def test_what_was_not_measured_is_a_dash_without_a_mark() -> None:
    rows = [replace(row, peak_memory_bytes=0, img_per_sec=math.nan, exclusive=False) for row in twins(20)]
    row = rows_of(cost_tables.throughput(frames_of(studies.demo(), rows)))[0]
    assert row["plain train img/s"] == row["plain memory MB"] == row["price in memory %"] == "-"


def test_complexity_table_by_hand() -> None:
    table = cost_tables.complexity(frames_of(studies.demo(), (), studies.complexity_rows((56, 20))))
    assert [row[0] for row in table.rows] == ["plain-20", "ResNet-20", "plain-56", "ResNet-56"]
    assert rows_of(table)[1] == {
        "network": "ResNet-20", "params": "269,722", "MACs": "40,551,040", "fvcore total": "41,051,040",
        "FLOPs forward": "81,102,080", "FLOPs train step": "242,306,240", "activations": "200,000",
    }  # fmt: skip
    notes = " ".join(table.notes)
    for part in ("images of 32x32x3 (height x width x channels), 10 classes", "2 per multiply-add", "2 per element"):
        assert part in notes
    options = cost_tables.complexity(frames_of(studies.demo(), (), studies.complexity_rows((20,), RESIDUAL_ARMS)))
    assert [row[0] for row in options.rows] == ["ResNet-20", "ResNet-20 (B)", "ResNet-20 (C)"]


def test_latex_of_the_cost_tables() -> None:
    frames = frames_of(studies.demo(), twins(20), studies.complexity_rows((20,)))
    for table in cost_tables.cost_tables(frames).values():
        text = tables.to_latex(table)
        assert text.isascii()
        width = len(table.header) - 1
        assert all(line.count(" & ") == width for line in text.splitlines() if line.endswith(r"\\"))
    assert list(cost_tables.cost_tables(frames_of(studies.demo()))) == []


# ---------------------------------------------------------------------------------------------- the whole report


def test_rendering_with_cost_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.demo(), [*EAGER, *COMPILED], studies.complexity_rows((20, 56)))
    first = {path: path.read_bytes() for path in render(folder)}
    names = {str(path.relative_to(folder)) for path in first}
    assert {
        *(f"figures/{name}.{kind}" for name in ("cost", "throughput", "utilisation") for kind in ("png", "svg")),
        *(f"tables/{name}.{kind}" for name in ("throughput", "complexity") for kind in ("md", "tex")),
    } <= names  # fmt: skip
    assert {path: path.read_bytes() for path in render(folder)} == first


def test_the_page_has_a_section_on_cost(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.demo(), twins(20), studies.complexity_rows((20, 56)))
    render(folder)
    page = (folder / "README.md").read_text()
    cost = page[page.index("## Cost") : page.index("## Provenance")]
    for part in ("figures/cost.png", "figures/throughput.png", "figures/utilisation.png", "| 20 | 500 | 400 | +25.0 |",
                 "| ResNet-56 | 853,018 |"):  # fmt: skip
        assert part in cost
    assert "not measured;" not in page
    assert "Made from runs.csv, curves.csv, complexity.csv and throughput.csv by" in page


def test_without_throughput_the_page_says_how_to_measure_it(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.demo(), twins(20), studies.complexity_rows((20,)))
    render(folder)
    (folder / THROUGHPUT.file).unlink()
    paths = render(folder)
    page = (folder / "README.md").read_text()
    assert "Throughput was not measured; resnet-bench throughput results/demo does it." in page
    assert "figures/cost.png" in page and "figures/throughput.png" not in page
    assert "Made from runs.csv, curves.csv and complexity.csv by" in page
    assert (folder / "figures" / "throughput.png").exists()  # stale, but not ours to delete
    assert folder / "figures" / "throughput.png" not in paths


def test_speeds_without_runs_still_render(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.Rows("größe"), twins(20))
    paths = render(folder)
    assert folder / "figures" / "throughput.svg" in paths and folder / "figures" / "cost.svg" not in paths
    assert "of study größe." in (folder / "tables" / "throughput.md").read_text()
    assert "results/größe" in (folder / "README.md").read_text()


def test_the_report_on_cost_never_imports_torch(tmp_path: Path) -> None:
    folder = write(tmp_path, studies.partial(), twins(20), studies.complexity_rows((20,)))
    code = (
        "import sys, pathlib, resnet_bench.report as report\n"
        "report.render(pathlib.Path(sys.argv[1]))\n"
        "assert 'resnet_bench.report.cost_tables' in sys.modules\n"
        "assert not {'torch', 'fvcore', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
