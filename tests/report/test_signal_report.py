"""The figures and the table of signals: what is drawn, on which axes, and what captions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resnet_bench.frames import StudyFrames, load
from resnet_bench.report.canvas import caption_of
from resnet_bench.report.depth_figure import ARM_STYLES
from resnet_bench.report.growth_figure import draw_growth
from resnet_bench.report.mpl import Axes, Figure
from resnet_bench.report.signal_figures import draw_gradients, draw_responses, signal_figures
from resnet_bench.report.signal_table import signals_table
from resnet_bench.results.tables import SIGNALS
from tests import studies
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def digits() -> StudyFrames:
    return load(ROOT / "results" / "digits-full")


@pytest.fixture(scope="module")
def insides() -> StudyFrames:
    return studies.with_insides(studies.make("digits-full", (20, 56, 110), num_seeds=2)).frames()


def lines(axes: Axes, color: str) -> dict[str, np.ndarray]:
    """By style the y values of the lines of a colour."""
    found = [line for line in axes.lines if line.get_color() == color]
    return {str(line.get_linestyle()): np.asarray(line.get_ydata(), dtype=float) for line in found}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


PLAIN, RESIDUAL = ARM_STYLES["plain", "none"][0], ARM_STYLES["residual", "a"][0]


def test_a_study_has_the_figures_that_it_has_signals_for(insides: StudyFrames) -> None:
    assert list(signal_figures(insides)) == ["responses", "gradients", "growth"]
    later = replace(insides, signals=insides.signals[insides.signals["step"] > 0])
    assert list(signal_figures(later)) == ["responses", "gradients"]
    diverged = replace(insides, runs=insides.runs.assign(status="diverged"))
    assert list(signal_figures(diverged)) == ["gradients", "growth"]
    assert signal_figures(studies.demo().frames()) == {}


def test_plain_110_does_not_flatten_the_responses_of_the_others(digits: StudyFrames) -> None:
    figure = draw_responses(digits)
    shallow, between, deep = figure.axes
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
    assert shallow.get_ylim()[1] < 1.2 and between.get_ylim()[1] < 6 and deep.get_ylim()[1] > 1e4
    for axes in figure.axes:  # the lines use most of the height, and none is cut off
        low, high = axes.get_ylim()
        drawn = np.concatenate(list(lines(axes, PLAIN).values()))
        assert low < drawn.min() and drawn.max() < high
    assert "BN makes it 1 at the start" in caption_of(figure) and "Not drawn: depth 32, 44" in caption_of(figure)


def test_gradients_are_drawn_times_weights_with_the_limits_of_the_claims(digits: StudyFrames) -> None:
    figure = draw_gradients(digits)
    deep = figure.axes[-1]
    by_step = lines(deep, PLAIN)
    assert by_step["--"].max() > 1e5 and by_step["-"].min() < 1e-9, "it explodes before it vanishes"
    assert all(values[-1] == pytest.approx(1) for values in by_step.values())
    residual = np.concatenate(list(lines(deep, RESIDUAL).values()))
    assert residual.min() > 0.3 and residual.max() < 10
    assert lines(deep, "#777777")["-."].tolist() == [100, 100]  # the later of the two
    low, high = deep.get_ylim()
    assert low < 0.01 and high > 100
    assert legend(figure) == ["plain", "residual (A)", "step 0", "step 20", "step 220", "limits of the claims"]
    caption = caption_of(figure)
    assert "rise towards the left explode" in caption and "fall towards the left vanish" in caption


def test_lines_can_be_told_apart_without_colours(digits: StudyFrames) -> None:
    axes = draw_gradients(digits).axes[1]
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines if line.get_color() in (PLAIN, RESIDUAL)}
    assert len(looks) == 6


def test_layers_have_whole_numbers(digits: StudyFrames) -> None:
    for figure in (draw_responses(digits), draw_gradients(digits)):
        for axes in figure.axes:
            assert all(tick == int(tick) for tick in axes.get_xticks())


def test_signals_of_other_steps_are_drawn_too() -> None:
    """Runs record steps 0, 1, 2, 4, 8 and on, or few."""
    for points, shown in ((8, ["step 0", "step 31", "step 220"]), (2, ["step 0", "step 220"])):
        frames = studies.with_insides(studies.make("x", (20, 56), num_seeds=2), points=points).frames()
        assert legend(draw_gradients(frames))[2:-1] == shown
    once = replace(frames, signals=frames.signals[frames.signals["step"] == 220])
    assert legend(draw_gradients(once))[2:-1] == ["step 220"]


def test_a_diverged_run_is_drawn_where_it_was_recorded_and_named() -> None:
    study = studies.with_insides(studies.make("x", (20, 56), num_seeds=2))
    study.others[SIGNALS] = [
        replace(row, grad_norm=float("nan"), response_std=float("nan"))
        if row.run_id == "plain-none-d56-s1" and row.step > 100 else row
        for row in study.others[SIGNALS]
    ]  # fmt: skip
    kept = study.others
    study = replace(study.diverge("plain-none-d56-s1", 120), others=kept)
    frames = study.frames()
    for draw in (draw_responses, draw_gradients, draw_growth):
        figure = draw(frames)
        assert "1 run: plain-56 seed 1" in caption_of(figure)
    notes = " ".join(signals_table(frames).notes)
    assert "not finite, in no number here: 110 of" in notes and "plain-56 seed 1" in notes


def test_growth_is_drawn_by_depth_with_intervals_and_against_the_error(digits: StudyFrames) -> None:
    figure = draw_growth(digits)
    left, right = figure.axes
    (plain,) = [line for line in left.lines if line.get_color() == PLAIN]
    assert ((np.asarray(plain.get_ydata()) > 1.15) & (np.asarray(plain.get_ydata()) < 1.17)).all()
    assert len(left.collections) == 2 and left.get_xticks().tolist() == [20, 32, 44, 56, 110]
    assert right.get_xscale() == "log" and right.get_ylabel() == "final training error (%)"
    (points,) = [line for line in right.lines if line.get_color() == PLAIN]
    assert np.asarray(points.get_ydata())[-1] == pytest.approx(89.13, abs=0.01)
    said = [text.get_text() for text in right.texts]
    assert "rank correlation 0.94\n(0.68 to 0.99), 10 networks" in said and "110" in said
    caption = caption_of(figure)
    assert "gets no verdict" in caption and "Yang et al. 2019" in caption and "0.94 (95 % interval 0.68" in caption


def test_few_networks_have_no_correlation(digits: StudyFrames) -> None:
    runs = digits.runs[(digits.runs["depth"].isin([20, 56])) & (digits.runs["seed"] == 0)]
    figure = draw_growth(replace(digits, runs=runs))
    assert "4 networks: too few for a correlation." in caption_of(figure) and "One seed." in caption_of(figure)
    assert not any("correlation" in text.get_text() for text in figure.axes[1].texts)


def test_growth_without_a_final_error(digits: StudyFrames) -> None:
    runs = digits.runs.assign(final_train_clean_top1_err=np.nan)
    assert [text.get_text() for text in draw_growth(replace(digits, runs=runs)).axes[1].texts] == ["no finished run"]


def test_the_table_has_a_row_for_each_network(digits: StudyFrames) -> None:
    table = signals_table(digits)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows)[:2] == ["plain-20", "ResNet-20"] and len(rows) == 10
    assert all(len(row) == len(table.header) for row in table.rows)
    n, lowest, alone, highest, _, growth, ratio, response = rows["plain-110"]
    assert (n, alone) == ("5", "2.9e-18")
    assert lowest == "1.1e-14 to 7.1e-4 (layer 10, step 120)" and highest == "4.0e5 to 3.0e6 (layer 2, step 0)"
    assert growth.startswith("1.155 (1.1") and ratio.startswith("2.4e6 (") and response.startswith("8.328 (5.553")


def test_one_seed_has_no_intervals_and_a_study_without_signals_an_empty_table(digits: StudyFrames) -> None:
    one = replace(digits, runs=digits.runs[digits.runs["seed"] == 0])
    row = signals_table(one).rows[0]
    assert row[1:3] == ["1", "0.12 (layer 1, step 220)"] and "(" not in "".join(row[5:])
    assert signals_table(studies.demo().frames()).rows == []
