"""The figures as functions: one for each of the report, what a study lacks in one line, and shown by notebooks."""

from __future__ import annotations

import io

import pytest
from PIL import Image

import resnet_bench as rb
from resnet_bench.report.drawings import TITLES
from tests import studies

LACKING = {
    "axis": "it varies no field",
    "responses": "recorded no signals", "gradients": "recorded no signals", "growth": "recorded no signals",
    "confusion": "recorded no confusions",
    "continuation": "resnet-bench surgery", "lesions": "resnet-bench surgery",
    "throughput": "resnet-bench throughput", "utilisation": "resnet-bench throughput",
}  # fmt: skip


def test_there_is_a_function_for_each_figure_of_the_report() -> None:
    assert sorted(rb.plot.__all__) == sorted([*TITLES, "axis"])


@pytest.mark.parametrize("name", rb.plot.__all__)
def test_a_figure_is_drawn_or_what_it_lacks_is_said_in_a_line(name: str) -> None:
    frames = studies.demo().frames()
    draw = getattr(rb.plot, name)
    assert draw.__doc__
    if name in LACKING:
        with pytest.raises(rb.UsageError, match=f"^study demo has nothing to draw: .*{LACKING[name]}"):
            draw(frames)
    else:
        assert draw(frames).axes


def test_without_a_finished_run_there_is_no_cost() -> None:
    with pytest.raises(rb.UsageError, match="no run has finished"):
        rb.plot.cost(studies.demo().keep(()).frames())


def test_a_notebook_is_given_a_picture_in_the_style_of_the_report() -> None:
    figure = rb.plot.depth(studies.demo().frames())
    picture = figure._repr_png_()  # what IPython asks for where pyplot was not imported
    assert Image.open(io.BytesIO(picture)).size == tuple(figure.canvas.get_width_height())
    assert picture == rb.plot.depth(studies.demo().frames())._repr_png_()


def test_of_a_study_that_varies_a_field_an_axis_is_drawn_or_one_setting() -> None:
    frames = studies.varied({"steps": (200, 400)}).frames()
    assert rb.plot.axis(frames).axes and rb.plot.axis(frames, "steps").axes
    with pytest.raises(rb.UsageError, match=r"^study varied has 2 settings: .*frames.within\('steps=200'\)"):
        rb.plot.curves(frames)
    assert rb.plot.curves(frames.within("steps=400")).axes
    with pytest.raises(rb.UsageError, match="no axis 'lr'"):
        rb.plot.axis(frames, "lr")
