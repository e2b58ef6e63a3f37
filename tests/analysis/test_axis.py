"""What a study varies: settings as text, each judged by itself, and the lines of error against a field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resnet_bench.analysis.axis import FINAL_TRAIN, axis_fields, axis_lines, others
from resnet_bench.analysis.claims import RULES, judge_study, rules
from resnet_bench.analysis.findings import weights_of
from resnet_bench.analysis.rules import FIRST, OTHERS, SECOND
from resnet_bench.analysis.statistics import weighted_holm
from resnet_bench.errors import UsageError
from resnet_bench.results.settings import axes_of, file_names, in_order, parse, text_of
from tests import studies

STEPS_AND_LR = {"steps": (400, 100), "lr": (0.1, 0.02)}


# ---------------------------------------------------------------------------------------------- the text


def test_a_setting_is_its_fields_and_values() -> None:
    assert parse("steps=400, lr=0.1, optimizer=sgd") == {"steps": 400, "lr": 0.1, "optimizer": "sgd"}
    assert parse("lr_drops=(0.5, 0.75), lr=1e-05") == {"lr_drops": "(0.5, 0.75)", "lr": 1e-5}
    assert parse("") == {} and parse("weight_decay=nan") == {"weight_decay": "nan"}
    assert text_of(parse("steps=400, lr=1e-05, augmentation=none")) == "steps=400, lr=1e-05, augmentation=none"


@pytest.mark.parametrize("text", ["400", "=4", "steps=1, steps=2"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not field=value"):
        parse(text)


def test_numbers_are_in_order_and_texts_as_they_come() -> None:
    settings = ["steps=1600, on=sgd", "steps=200, on=adam", "steps=200, on=sgd", "steps=1600, on=adam"]
    assert axes_of(settings) == {"steps": [200, 1600], "on": ["sgd", "adam"]}
    assert in_order(settings) == [settings[2], settings[1], settings[0], settings[3]]


def test_names_of_files_are_safe_and_differ() -> None:
    names = file_names(["steps=400, lr=0.1", "steps=400 lr=0.1", "on=ÄÖ", "on=../..", "x=" + "9" * 99])
    assert list(names.values())[:4] == ["steps-400-lr-0_1", "steps-400-lr-0_1-2", "on", "on-__-__"]
    assert all(len(name) <= 62 for name in names.values())


# ---------------------------------------------------------------------------------------------- frames


def test_frames_know_what_is_varied() -> None:
    frames = studies.varied(STEPS_AND_LR).frames()
    assert frames.axes == {"steps": [100, 400], "lr": [0.02, 0.1]}
    assert frames.settings == ["steps=100, lr=0.02", "steps=100, lr=0.1", "steps=400, lr=0.02", "steps=400, lr=0.1"]
    assert set(frames.runs["setting"]) == set(frames.curves["setting"]) == set(frames.settings)


def test_one_setting_is_a_study_of_its_own() -> None:
    frames = studies.with_insides(studies.varied({"steps": (100, 400)})).frames()
    part = frames.within("steps=400")
    assert (part.setting, part.settings, part.axes) == ("steps=400", [], {}) and part.parts == [part]
    assert set(part.runs["steps"]) == {400} and len(part.plan) == len(part.runs) == 8
    for name in ("curves", "signals", "confusion"):
        own, whole = getattr(part, name), getattr(frames, name)
        assert set(own["run_id"]) == set(part.runs["run_id"]) and len(own) == len(whole) / 2
    with pytest.raises(UsageError, match=r"no setting 'steps=4': steps=100; steps=400"):
        frames.within("steps=4")


def test_a_study_that_varies_nothing_is_one_part() -> None:
    frames = studies.demo().frames()
    assert frames.parts == [frames] and not frames.settings and not frames.axes
    assert set(frames.runs["setting"]) == {""}


@pytest.mark.parametrize(
    ("column", "values", "refused"),
    [
        ("dataset_digest", ("0" * 64, "1" * 64), False),
        ("protocol", ("a/1", "b/1"), False),
        ("compile", ("eager", "graph"), True),
        ("precision", ("fp32", "tf32"), True),
    ],
)
def test_settings_may_differ_in_what_is_varied_but_not_in_how_they_ran(
    column: str, values: tuple[str, str], refused: bool
) -> None:
    rows = studies.varied({"steps": (100, 400)})
    rows.runs = [replace(run, **{column: values[run.steps == 400]}) for run in rows.runs]  # type: ignore[arg-type]
    if refused:
        with pytest.raises(UsageError, match=f"column '{column}' holds"):
            rows.frames()
    else:
        assert getattr(rows.frames(), column) == ", ".join(values)


def test_within_a_setting_nothing_is_mixed() -> None:
    rows = studies.varied({"steps": (100, 400)})
    with pytest.raises(UsageError, match=r"column 'protocol' holds a/1 and digits-220/1 within steps=100;"):
        rows.change(rows.runs[0].run_id, protocol="a/1").frames()
    twice = replace(rows, plan=[*rows.plan, replace(rows.plan[0], run_id="x")])
    twice.runs.append(replace(rows.runs[0], run_id="x"))
    with pytest.raises(UsageError, match="are the same network and seed"):
        twice.frames()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", r"plan.csv: column 'setting': 'steps' is not field=value"),
        ("lr=0.1", r"plan.csv: column 'setting' holds 'lr=0.1' and 'steps=100', which are not of the same fields"),
        ("", r"plan.csv: column 'setting' holds '' and 'steps=100', which"),
    ],
)
def test_a_plan_that_says_it_in_two_ways_is_refused(setting: str, message: str) -> None:
    rows = studies.varied({"steps": (100, 400)})
    rows.plan[0] = replace(rows.plan[0], setting=setting)
    with pytest.raises(UsageError, match=message):
        rows.frames()


def test_a_run_whose_setting_nobody_knows_is_refused() -> None:
    rows = studies.varied({"steps": (100, 400)})
    gone = rows.plan.pop()
    with pytest.raises(UsageError, match=rf"run '{gone.run_id}' is not in plan.csv, so its setting"):
        rows.frames()


# ---------------------------------------------------------------------------------------------- claims


PLACES = {"plain-degrades-train": FIRST, "gap-grows-train": SECOND}


def test_claims_are_judged_within_each_setting_and_corrected_over_all() -> None:
    rows = studies.varied({"steps": (100, 400)}, depths=(20, 32, 44, 56, 110), num_seeds=3)
    frames = rows.frames()
    found, alone = judge_study(frames), [judge_study(part) for part in frames.parts]
    assert [row.setting for row in found] == [s for s in frames.settings for _ in alone[0]]
    assert [row.p for row in found] == [row.p for part in alone for row in part]
    tested = [row for row in found if row.p is not None]
    weights = weights_of([PLACES.get(row.claim, OTHERS) for row in tested])
    assert sum(weight == pytest.approx(0.3) for weight in weights) == 2  # the first claim, of both settings
    corrected = weighted_holm([row.p for row in tested if row.p is not None], weights)
    assert [row.p_holm for row in tested] == pytest.approx(list(corrected))
    assert {row.verdict for row in found if row.claim == "plain-degrades-train"} == {"supported"}
    assert "the tests of all 2 settings together" in rules(frames)[-1] and rules(frames.parts[0]) is RULES


# ---------------------------------------------------------------------------------------------- lines


def test_lines_are_means_over_seeds_at_each_value() -> None:
    frames = studies.varied({"steps": (400, 100), "lr": (0.1, 0.02)}).frames()
    assert axis_fields(frames) == ["steps", "lr"]
    assert others(frames, "steps") == [{"lr": 0.02}, {"lr": 0.1}]
    lines = axis_lines(frames, "steps", FINAL_TRAIN, {"lr": 0.02})
    assert [(line.arm[0], line.depth) for line in lines] == [
        ("plain", 20), ("plain", 56), ("residual", 20), ("residual", 56)
    ]  # fmt: skip
    runs = frames.within("steps=400, lr=0.02").runs
    errors = runs[(runs["arch"] == "plain") & (runs["depth"] == 56)][FINAL_TRAIN]
    points = lines[1].points
    assert list(points.index) == [100, 400]
    assert list(points.loc[400]) == [errors.mean(), errors.min(), errors.max(), 2]


def test_seeds_of_weights_and_batches_are_repeats_and_no_axis() -> None:
    frames = studies.varied({"steps": (100, 400), "init_seed": (0, 1, 2), "lr": (0.1,)}).frames()
    assert axis_fields(frames) == ["steps"] and others(frames, "steps") == [{}]
    assert set(axis_lines(frames, "steps", FINAL_TRAIN, {})[0].points["count"]) == {6}
