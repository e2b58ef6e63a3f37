"""What figures of errors tell: one colour meaning, lines that greys tell apart, comparable points, nothing dropped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import resnet_bench as rb
from resnet_bench.networks import PLAIN, RESIDUAL_ARMS, TWINS, Arm
from resnet_bench.report import canvas, figures
from resnet_bench.report.axis_figure import draw_axis
from resnet_bench.report.convergence_table import convergence_table
from resnet_bench.report.error_axis import ErrorAxis
from resnet_bench.report.error_cost_figure import draw_cost
from resnet_bench.report.looks import ARM_STYLES, LUMA, depth_marker, shade
from resnet_bench.report.surgery_figures import draw_continuation, draw_lesions
from resnet_bench.report.transfer_figures import draw_transfer
from tests import studies

DEPTHS = (20, 32, 44, 56, 110)
SEVEN = (8, 14, 20, 26, 32, 38, 44)


def luma(color: str) -> float:
    return sum(share * part for share, part in zip(LUMA, to_rgb(color), strict=True))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.texts]


def curves(axes: Axes) -> list[Line2D]:
    """The lines of a panel, without that of guessing and the bare markers."""
    return [line for line in axes.lines if line.get_label() != "chance" and line.get_linestyle() != "None"]


def apart(axes: Axes) -> list[tuple[float, float]]:
    """Where bare markers stand."""
    bare = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() not in ("x", "None")]
    return [(float(x), float(y)) for line in bare for x, y in line.get_xydata()]


def seven() -> studies.Rows:
    finals = {arch: {d: (2.0 + d, 4.0 + d) for d in SEVEN} for arch in ("plain", "residual")}
    return studies.make("seven", SEVEN, finals=finals, num_seeds=1)


def more_at_the_end(rows: studies.Rows, train: int = 1437, test: int = 360) -> studies.Rows:
    """The same on 100 images of each kind in all rows but the last."""
    last = max(row.step for row in rows.curves)
    rows.curves = [
        replace(row, train_clean_images=train, test_images=test)
        if row.step == last
        else replace(row, train_clean_images=100, test_images=100)
        for row in rows.curves
    ]
    return rows


def unfinished() -> studies.Rows:
    """Seed 1 of plain-56 and all of ResNet-56 are on their way."""
    rows = studies.demo()
    done = [r.run_id for r in rows.runs if r.depth == 20 or r.run_id == "plain-none-d56-s0"]
    kept = rows.keep(done)
    kept.curves += [row for row in rows.curves if row.run_id not in done and row.step <= 120]
    return kept


# ---------------------------------------------------------------------------------------------- looks


def test_orange_is_plain_and_blue_residual_at_every_depth() -> None:
    for depth in DEPTHS:
        red, green, blue = to_rgb(shade(PLAIN, depth, DEPTHS))
        assert red > green > blue
        for arm in RESIDUAL_ARMS:
            red, green, blue = to_rgb(shade(arm, depth, DEPTHS))
            assert blue > green > red


def test_no_arm_looks_like_another() -> None:
    others: list[Arm] = [arm for arm in ARM_STYLES if arm not in (PLAIN, *RESIDUAL_ARMS)]
    assert len({ARM_STYLES[arm][0] for arm in (PLAIN, *RESIDUAL_ARMS, *others)}) == 4 + len(others)
    assert len({ARM_STYLES[arm][1] for arm in (PLAIN, *RESIDUAL_ARMS, *others)}) == 4 + len(others)
    assert abs(luma(ARM_STYLES[PLAIN][0]) - luma(ARM_STYLES["residual", "a"][0])) > 0.15


@pytest.mark.parametrize("arm", [PLAIN, *RESIDUAL_ARMS])
def test_the_deeper_the_darker_in_even_steps_of_grey(arm: Arm) -> None:
    greys = [luma(shade(arm, depth, DEPTHS)) for depth in DEPTHS]
    steps = [before - after for before, after in pairwise(greys)]
    assert all(step == pytest.approx(0.1175, abs=0.01) for step in steps)


def test_looks_of_the_papers_depths_are_fixed() -> None:
    assert shade(PLAIN, 56, [20, 56]) == shade(PLAIN, 56, DEPTHS)
    assert depth_marker(56, [20, 56]) == depth_marker(56, DEPTHS)
    assert len({depth_marker(depth, SEVEN) for depth in SEVEN}) == 7


@pytest.mark.parametrize("make_rows", [studies.full, seven, studies.shortcuts])
def test_greys_tell_every_line_of_a_panel_apart(make_rows: Callable[[], studies.Rows]) -> None:
    for axes in figures.draw_curves(make_rows().frames()).axes:
        looks = [(line.get_linestyle(), line.get_marker()) for line in curves(axes)]
        assert len(set(looks)) == len(looks)
        assert all(0 < len(line.get_markevery()) <= 3 for line in curves(axes))


# ---------------------------------------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("errors", "from_zero", "shows_chance"),
    [
        ((0.0, 3.0), True, False),
        ((0.0, 70.0), True, False),
        ((0.0, 75.0), True, True),  # near 90
        ((48.0, 91.0), False, True),
        ((6.1, 9.5), False, False),
        ((math.nan, 50.0, 50.0), False, False),
        ((), True, True),
    ],
)
def test_axes_follow_the_errors(errors: tuple[float, ...], from_zero: bool, shows_chance: bool) -> None:
    axis = ErrorAxis.of(errors, 90.0)
    known = [error for error in errors if not math.isnan(error)]
    assert (axis.from_zero, axis.shows_chance) == (from_zero, shows_chance)
    assert all(axis.low < error < axis.high for error in known)
    assert bool(axis.words()) is not from_zero and len(axis.handles()) == shows_chance
    if known:
        length = axis.high - axis.low
        assert length >= 1 and (from_zero or min(known) - axis.low < 0.05 * length)


def test_an_axis_that_does_not_begin_at_0_is_told_and_both_panels_have_it() -> None:
    finals = {arch: {20: (50.0, 50.0), 56: (60.0, 60.0)} for arch in ("plain", "residual")}
    frames = studies.make("high", (20, 56), finals=finals).frames()
    for figure in (figures.draw_curves(frames), figures.draw_depth(frames), draw_cost(frames)):
        left, right = figure.axes
        assert left.get_ylim() == right.get_ylim() and 30 < left.get_ylim()[0] < 50
        assert "The axis of errors begins at" in canvas.caption_of(figure)


def test_a_long_study_leaves_out_networks_that_end_above_by_any_error() -> None:
    finals = {"plain": {20: (1.0, 9.0), 110: (59.0, 63.0)}, "residual": {20: (1.0, 9.0), 110: (1.0, 8.0)}}
    rows = studies.make("long", (20, 110), finals=finals, every=4000, steps=64_000)
    assert figures.draw_curves(rows.frames()).axes[0].get_ylim()[1] < 25


def test_few_steps_have_whole_numbers() -> None:
    axes = figures.draw_curves(studies.make("few", (20,), every=1, steps=3).frames()).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_many_legend_entries_stand_in_rows() -> None:
    rows = more_at_the_end(unfinished())
    figure = figures.draw_curves(rows.frames())
    figure.canvas.draw()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    assert len(boxes) > 1 and all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert boxes[-1].y0 > figure.axes[0].title.get_window_extent().y1


# ---------------------------------------------------------------------------------------------- which error


def test_the_clean_training_error_is_drawn_and_the_running_one_on_demand() -> None:
    frames = studies.demo().frames()
    clean, running = rb.plot.curves(frames), rb.plot.curves(frames, training="running")
    assert "training error, clean" in legend(clean) and "training error, running" in legend(running)
    rows = frames.finished_curves[(frames.finished_curves["arch"] == "plain") & (frames.finished_curves["depth"] == 20)]
    for figure, column in ((clean, "train_clean_top1_err"), (running, "train_top1_err")):
        assert list(curves(figure.axes[0])[0].get_ydata()) == pytest.approx(list(rows.groupby("step")[column].mean()))
    assert "clean, eval mode, not augmented, on 500 training images" in canvas.caption_of(clean)
    assert "as trained on (augmented)" in canvas.caption_of(running)
    with pytest.raises(rb.UsageError, match="training error 'last' is unknown; one of clean, running"):
        rb.plot.curves(frames, training="last")


def test_points_on_more_images_stand_apart() -> None:
    rows = more_at_the_end(studies.demo())
    figure = figures.draw_curves(rows.frames())
    for axes in figure.axes:
        assert {float(line.get_xdata()[-1]) for line in curves(axes)} == {200}
        assert {x for x, _ in apart(axes)} == {220} and len(apart(axes)) == 4
    finals = [row.test_top1_err for row in rows.curves if row.step == 220 and row.run_id.startswith("plain-none-d20")]
    assert any(y == pytest.approx(sum(finals) / 2) for _, y in apart(figure.axes[0]))
    assert "last step, on more images, bar: min to max" in legend(figure)
    caption = canvas.caption_of(figure)
    assert "on 100 training images; test error: eval mode, on 100 test images." in caption
    assert "Markers apart at the last step: on 1,437 training images and 360 test images" in caption


def test_only_what_is_on_more_images_stands_apart() -> None:
    figure = figures.draw_curves(more_at_the_end(studies.demo(), train=100).frames())
    assert len(apart(figure.axes[0])) == 2 and "at the last step: on 360 test images" in canvas.caption_of(figure)
    running = figures.draw_curves(more_at_the_end(studies.demo()).frames(), "running")
    ends = [float(line.get_xdata()[-1]) for line in curves(running.axes[0])]
    assert ends == [220, 220, 200, 200]  # a running error is always on the images trained on


def test_a_mean_may_be_above_all_of_its_seeds_by_rounding() -> None:
    rows = more_at_the_end(studies.make("same", (20,), num_seeds=3))
    rows.curves = [replace(row, test_top1_err=0.1) for row in rows.curves]  # (0.1 + 0.1 + 0.1) / 3 > 0.1
    assert figures.draw_curves(rows.frames()).axes


def test_a_constructed_net_has_its_last_point_apart_where_the_others_have() -> None:
    figure = draw_continuation(more_at_the_end(studies.insides()).frames())
    assert {float(line.get_xdata()[-1]) for line in curves(figure.axes[0])} == {200}
    assert sum(x == 220 for x, _ in apart(figure.axes[0])) == 3
    assert "last step, on more images, bar: min to max" in legend(figure)


# ---------------------------------------------------------------------------------------------- in no mean


def test_unfinished_runs_are_drawn_so_far_and_in_no_mean() -> None:
    rows = unfinished()
    plain, residual = (figure := figures.draw_curves(rows.frames())).axes
    first = [row.test_top1_err for row in rows.curves if row.run_id == "plain-none-d56-s0"]
    assert [first] == [list(line.get_ydata()) for line in curves(plain) if line.get_linestyle() == "-"][1:]
    assert "unfinished run so far" in legend(figure)
    assert sorted(text.get_text() for text in residual.texts) == ["ResNet-20", "ResNet-56 (unfinished)"]
    assert "Unfinished: plain-56 seed 1 to step 120; ResNet-56 seed 0 to step 120; " in canvas.caption_of(figure)
    alone = studies.demo()
    begun = replace(alone, runs=[], curves=[row for row in alone.curves if row.step <= 40])
    drawn = figures.draw_curves(begun.frames())
    assert not any("no finished" in text.get_text() for axes in drawn.axes for text in axes.texts)
    assert figures.degradation_depths(begun.frames()) == [20, 56]


def test_diverged_runs_end_in_a_cross() -> None:
    rows = studies.diverged()
    rows.curves = [
        replace(row, test_top1_err=math.nan) if (row.run_id, row.step) == ("plain-none-d56-s1", 100) else row
        for row in rows.curves
    ]
    figure = figures.draw_curves(rows.frames())
    last = next(row for row in rows.curves if (row.run_id, row.step) == ("plain-none-d56-s1", 80))
    crosses = [tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert (80, last.test_top1_err) in crosses and len(crosses) == 2  # of the training and of the test error
    assert "diverged run" in legend(figure)
    assert "Diverged, x at its last value: plain-56 seed 1 to step " in canvas.caption_of(figure)
    assert "1 run: plain-56 seed 1" in " ".join(convergence_table(rows.frames()).notes)


# ---------------------------------------------------------------------------------------------- which figures


def test_plain_nets_are_compared_where_there_are_two_depths_of_them() -> None:
    for rows in (studies.shortcuts(), studies.make("one", (20,)), studies.Rows("nothing")):
        assert "degradation" not in figures.error_figures(rows.frames())
        with pytest.raises(rb.UsageError, match="it has no plain networks of two depths"):
            rb.plot.degradation(rows.frames())
    assert "degradation" in figures.error_figures(studies.empty().frames())


# ---------------------------------------------------------------------------------------------- cost


def test_what_has_no_comparable_seconds_is_named() -> None:
    rows = studies.make("cost", (20, 56), num_seeds=3)
    for seed in range(3):
        rows = rows.change(f"plain-none-d56-s{seed}", exclusive=False)
    rows = rows.change("plain-none-d20-s1", attempts=2).change("residual-a-d20-s0", device="Other_CPU")
    figure = draw_cost(rows.frames())
    caption = canvas.caption_of(figure)
    assert (
        "Not on the right: 5 runs (3 not known to have been exclusive, 1 broken off and resumed, 1 made on" in caption
    )
    assert "plain-20 seed 1; plain-56 seeds 0, 1, 2; ResNet-20 seed 0." in caption
    words = "No point there, and no line over it: plain-56; a mean of some of the seeds (hollow): plain-20 (2 of 3), "
    assert f"{words}ResNet-20 (2 of 3)." in caption
    assert "mean of some of the seeds" in legend(figure)
    whole = draw_cost(studies.demo().frames())
    assert "Not on the" not in canvas.caption_of(whole) and "mean of some of the seeds" not in legend(whole)


def test_networks_without_a_number_of_multiply_adds_are_named() -> None:
    caption = canvas.caption_of(draw_cost(studies.demo().change("plain-none-d20-s0", macs=0).frames()))
    assert "Not on the left, for their multiply-adds are not known: plain-20 seed 0." in caption


# ---------------------------------------------------------------------------------------------- surgery, axes, transfer


def test_lesions_stand_beside_the_intact_nets_and_guessing() -> None:
    figure = draw_lesions(studies.insides().frames())
    plain, residual = figure.axes
    assert (plain.get_title(), residual.get_title()) == ("plain-56", "ResNet-56")
    assert plain.get_ylim() == residual.get_ylim() and "guessing (90 %)" in legend(figure)
    texts = [{text.get_text() for text in axes.texts} for axes in figure.axes]
    # Of five seeds: min(100, 2 + 60 (1 + seed) / 2) = 32, 62, 92, 100, 100; 2 + 4 (1 + seed) / 2 = 4 to 12
    assert texts == [{"worst: block 1, 77.2 %", "intact: 2.0 %"}, {"worst: block 1, 8.0 %", "intact: 2.0 %"}]


def test_what_is_made_of_plain_nets_is_orange() -> None:
    figure = draw_continuation(studies.insides().frames())
    for line in curves(figure.axes[0]):
        red, green, blue = to_rgb(line.get_color())
        assert red > green > blue
    assert len({(line.get_marker(), str(line.get_linestyle())) for line in curves(figure.axes[0])}) == 3


def test_guessing_is_drawn_against_an_axis_where_errors_are_near() -> None:
    near = draw_axis(studies.varied({"steps": (100, 400)}, DEPTHS).frames(), "steps")
    assert "guessing (90 %)" in legend(near)
    assert "guessing (90 %)" not in legend(draw_axis(studies.varied({"steps": (100, 400)}).frames(), "steps"))


def test_modes_of_transfer_have_no_hue_and_guessing_is_drawn() -> None:
    rows = pd.DataFrame({"images_per_class": [100.0] * 3, "test_top1_err": [38.0, 39.5, 42.0]})
    figure = draw_transfer([("scratch", rows), ("fine-tune", rows)], "made", 50.0)
    assert "guessing (50 %)" in legend(figure) and figure.axes[0].get_ylim()[0] > 20
    assert "The axis of errors begins at 3" in canvas.caption_of(figure)
    for cloud in figure.axes[0].collections:
        colors = cloud.get_facecolor()
        assert len({float(part) for color in colors for part in color[:3]}) <= 1


def test_all_arms_have_a_place_in_the_figures() -> None:
    rows = studies.make("all", (20, 56), arms=(*TWINS, *RESIDUAL_ARMS[1:]))
    for draw in (figures.draw_curves, figures.draw_depth, draw_cost):
        assert draw(rows.frames()).axes
