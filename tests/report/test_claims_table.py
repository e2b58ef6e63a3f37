"""What a reader is told of the verdicts: sentence, cards, table, limitations, lines for the terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from resnet_bench.analysis.findings import (
    BEYOND,
    CONTRADICTED,
    DECISIONS,
    NO_DIFFERENCE,
    NOT_MEASURED,
    NOT_TESTABLE,
    SOUND,
    SUPPORTED,
    UNDECIDED,
    claim_row,
)
from resnet_bench.analysis.rules import DATE, VERSION
from resnet_bench.report import html, page
from resnet_bench.report.cards import groups
from resnet_bench.report.claim_words import (
    both,
    effect,
    effect_in_words,
    effect_sentence,
    interval,
    not_measured,
    p_value,
    powers,
)
from resnet_bench.report.claims_table import claims_table
from resnet_bench.report.document import Document, make_document
from resnet_bench.report.limitations import limitations, planned_under
from resnet_bench.report.settings_tables import verdicts
from resnet_bench.report.summary import summary
from resnet_bench.report.tables import to_latex, to_markdown
from resnet_bench.report.verdict import headline, verdict_sentence
from resnet_bench.results.rows import ClaimRow
from tests import studies

SCOPE = "after 400 steps of batch 128 (1/160 of the paper's steps, 1.0 of its 164 epochs), on cifar10-jpeg"
WHY = "training stops after 1.0 epochs"
STATEMENTS = {
    "plain-degrades-train": "the training error of plain nets rises with depth",
    "residual-holds-train": "the training error of residual nets does not rise with depth",
    "gap-grows-train": "the gap in training error between plain nets and their residual twins grows with depth",
    "fair": "twins are equal in everything but the shortcut",
    "lesions": "a residual net bears the loss of a block better than its plain twin",
}
KINDS = {"fair": SOUND, "lesions": BEYOND}

VERDICTS = (*DECISIONS, UNDECIDED, NOT_MEASURED)


def claim(name: str, verdict: str = SUPPORTED, *, trained: str = NOT_TESTABLE, **values: Any) -> ClaimRow:
    """A row of three seeds about training, unless `values` say otherwise."""
    subject = {"plain-degrades-train": "plain", "residual-holds-train": "residual (A)"}.get(
        name, "plain and residual (A)"
    )
    row = claim_row(name, subject, STATEMENTS[name], "depth 110 minus 20, t over seeds", "60.9 % at depth 20")
    numbers: dict[str, Any] = {"effect": 28.77, "low": 22.2, "high": 35.34, "unit": "points", "n": 3, "p_holm": 0.0026}
    told = {"scope": SCOPE, "verdict": verdict, "trained": trained, "trained_because": WHY if trained else ""}
    return replace(row, **{"kind": KINDS.get(name, row.kind), **told, **numbers, **values})


def silent(name: str, reason: str, **values: Any) -> ClaimRow:
    return claim(name, NOT_MEASURED, trained="", scope="", effect=None, low=None, high=None, p_holm=None, n=0,
                 evidence=reason, **values)  # fmt: skip


def primary(*verdicts_: str, **values: Any) -> list[ClaimRow]:
    names = ("plain-degrades-train", "residual-holds-train", "gap-grows-train")
    return [claim(name, verdict, **values) for name, verdict in zip(names, verdicts_, strict=True)]


def everything() -> list[ClaimRow]:
    return [
        *primary(SUPPORTED, CONTRADICTED, UNDECIDED),
        claim("fair", trained="", effect=None, low=None, high=None, p_holm=None, unit=""),
        claim("lesions", NO_DIFFERENCE, unit="%", effect=4.2, low=1.0, high=7.4),
    ]


# ---------------------------------------------------------------------------------------------- the sentence


def test_the_sentence_begins_with_the_scope_and_says_what_is_not_said() -> None:
    assert verdict_sentence(primary(SUPPORTED, UNDECIDED, SUPPORTED)) == (
        f"After{SCOPE.removeprefix('after')}, 3 seeds: on the training images plain nets degrade: supported; residual "
        "nets do not degrade: undecided; the gap between twins grows with depth: supported. This protocol cannot tell "
        f"what trained networks do: {WHY}."
    )


@pytest.mark.parametrize("verdict", [word for word in VERDICTS if word != NOT_MEASURED])
def test_every_verdict_stands_in_the_sentence_as_it_is(verdict: str) -> None:
    sentence = verdict_sentence(primary(verdict, verdict, verdict))
    assert sentence.count(f": {verdict}") == 3
    assert "Of trained" not in sentence


def test_where_the_protocol_trains_to_the_end_the_same_holds() -> None:
    rows = [replace(row, trained=row.verdict, trained_because="164 epochs") for row in primary(*[SUPPORTED] * 3)]
    assert verdict_sentence(rows).endswith("Of trained networks the same holds: 164 epochs.")


def test_options_that_differ_are_told_apart() -> None:
    rows = [
        replace(claim("residual-holds-train", verdict), subject=f"residual ({option})")
        for option, verdict in (("A", SUPPORTED), ("B", SUPPORTED), ("C", CONTRADICTED))
    ]
    rows = [silent("plain-degrades-train", "no run of plain has finished"), *rows]
    sentence = verdict_sentence(rows)
    assert (
        "3 seeds: on the training images residual nets do not degrade: supported for residual (A) and residual (B), "
        "contradicted for residual (C). "
    ) in sentence
    assert sentence.endswith("Not measured: plain nets degrade.")


def test_settings_that_differ_are_named_or_counted() -> None:
    steps = [100, 200, 400, 800]
    rows = [
        replace(row, setting=f"steps={n}", scope=f"after {n} steps, on digits", trained_because=f"only {n} steps")
        for n in steps
        for row in primary(UNDECIDED if n == 100 else SUPPORTED, SUPPORTED, SUPPORTED)
    ]
    sentence = verdict_sentence(rows)
    assert sentence.startswith(
        "Within each of 4 settings of steps (3 seeds), the first after 100 steps, on digits, the last after 800 steps, "
        "on digits: on the training images plain nets"
    )
    assert "supported in 3 of 4 settings, undecided at steps=100; residual" in sentence
    assert sentence.endswith("what trained networks do: in the last of these settings only 800 steps.")
    reached = [replace(row, trained=row.verdict) if row.setting == "steps=800" else row for row in rows]
    assert verdict_sentence(reached).endswith(
        "Of trained networks the same holds at steps=800 (only 800 steps); elsewhere this protocol cannot tell."
    )


def test_nothing_measured_is_said_with_its_reason() -> None:
    rows = [silent(name, "no run of plain has finished") for name in STATEMENTS]
    assert verdict_sentence(rows) == "Whether depth hurts was not measured: no run of plain has finished."


def test_a_comparison_that_is_not_sound_is_said_so() -> None:
    unequal = claim("fair", CONTRADICTED, trained="")
    sentence = "The comparison is not sound; contradicted: twins are equal in everything but the shortcut."
    assert verdict_sentence([*primary(*[SUPPORTED] * 3), unequal]).endswith(sentence)
    assert verdict_sentence([silent("plain-degrades-train", "none"), unequal]).endswith(sentence)


def test_an_unfinished_study_says_so_first() -> None:
    study = studies.demo()
    rows = primary(UNDECIDED, UNDECIDED, UNDECIDED, n=1)
    assert headline(study.frames(), rows).startswith("After 400 steps")
    part = study.keep(run.run_id for run in study.runs if run.seed == 0)
    assert headline(part.frames(), rows).startswith(
        "Unfinished: 4 of 8 planned runs have ended, and what follows is about these alone; it may change with the "
        "others. After 400 steps"
    )
    part.curves += [row for row in study.curves if row.run_id == "plain-none-d20-s1"]
    assert "4 of 8 planned runs have ended (1 more so far in curves only)" in headline(part.frames(), rows)
    assert headline(study.keep([]).frames(), []).endswith("8 planned runs has ended, so nothing is judged.")


# ---------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "words"),
    [
        (89.12, 88.81, 89.43, "points", "+89.1 points, 88.8 to 89.4"),
        (28.77, 22.2, 35.34, "points", "+29 points, 22 to 35"),
        (0.4, -3.3, 4.2, "points", "+0.4 points, -3.3 to 4.2"),
        (0.012, -0.021, 0.046, "points", "+0.01 points, -0.02 to 0.05"),
        (-0.001, -0.001, -0.001, "points", "+0.0 points, 0.0 to 0.0"),
        (1.541, 1.4, 1.7, "times", "1.54 times, 1.40 to 1.70"),
        (7.6e6, 1e6, 5e7, "times", "8 x 10^6 times, 1 x 10^6 to 5 x 10^7"),
        (2.4e-7, 0.0098, 0.5, "times", "2 x 10^-7 times, 0.0098 to 0.50"),
        (42.4, 30.0, 54.8, "%", "+42 %, 30 to 55"),
    ],
)
def test_effects_have_units_and_few_digits(value: float, low: float, high: float, unit: str, words: str) -> None:
    row = claim("plain-degrades-train", effect=value, low=low, high=high, unit=unit)
    assert f"{effect(row)}, {interval(row)}" == words


def test_effects_in_a_sentence() -> None:
    row = claim("plain-degrades-train", effect=89.1, low=88.8, high=89.4, n=5, p_holm=4e-11)
    assert effect_sentence(row) == "+89.1 points (95 % interval 88.8 to 89.4, 5 seeds; p < 0.001)"
    one = replace(row, low=None, high=None, p_holm=None, n=1)
    assert (effect_sentence(one), interval(one)) == ("+89.1 points (one seed)", "-")
    lesions = claim("lesions", unit="%", effect=42.0, low=30.0, high=54.0)
    assert effect_sentence(lesions).startswith("+42 % of the way to guessing (")
    assert effect_sentence(replace(row, effect=None)) == ""


def test_a_ratio_is_told_with_what_it_is_of() -> None:
    row = claim("lesions", claim="gradients-explode", unit="times", effect=1.2e6, low=2e5, high=7e6, p_holm=0.02)
    words = "Highest gradient x weight norm 1 x 10^6 times the last convolution's (95 % interval 2 x 10^5 to 7 x 10^6, "
    assert effect_sentence(row) == f"{words}3 seeds; p = 0.020)"
    assert "norm 1 \u00d7 10\u2076 times" in powers(effect_sentence(row))
    assert powers("3 x 10^-16") == "3 \u00d7 10\u207b\xb9\u2076"
    forward = replace(row, claim="forward-healthy", effect=0.989, low=0.987, high=0.992)
    assert effect_in_words(forward) == "lowest standard deviation of a response 0.989"
    assert effect_in_words(replace(row, claim="gradients-vanish", effect=None)) == "-"


def test_digits_of_p() -> None:
    assert [p_value(p) for p in (4e-11, 0.001, 0.0342, 1.0)] == ["p < 0.001", "p = 0.001", "p = 0.034", "p = 1.000"]


# ---------------------------------------------------------------------------------------------- cards and table


def test_cards_stand_in_groups_and_tell_two_verdicts_where_there_are_two() -> None:
    found = groups([*everything(), silent("lesions", "no block was taken out", subject="others")])
    assert [(group.title, len(group.cards)) for group in found] == [
        ("The paper's claims", 3), ("Is the comparison sound", 1), ("Beyond the paper", 1)
    ]  # fmt: skip
    lines = [[(line.verdict, line.about) for line in card.lines] for group in found for card in group.cards]
    assert lines[1] == [("contradicted", "at this budget"), ("not testable", "of trained networks")]
    assert lines[3] == [("supported", "")]
    assert found[2].cards[0].lines[0].shape == "no-relevant-difference"


def test_what_was_not_measured_is_one_line() -> None:
    gaps = [replace(silent("gap-grows-train", "no pair"), subject=f"plain and residual ({o})") for o in "ABC"]
    degrade = [
        replace(silent("plain-degrades-train", "no run of plain"), claim=f"plain-degrades-{k}")
        for k in ("train", "test")
    ]
    assert not_measured([*everything()[3:], *degrade, *gaps]) == (
        "Not measured: plain nets degrade (no run of plain); the gap between twins grows (no pair)."
    )
    assert not_measured([claim("gap-grows-train"), gaps[2]]) == (
        "Not measured: the gap between twins grows for plain and residual (C) (no pair)."
    )
    assert not_measured(everything()) == ""


def test_the_table_is_grouped_and_explains_its_words() -> None:
    table = claims_table(everything(), "x")
    assert table.header[:6] == ["claim", "at this budget", "of trained networks", "networks", "effect", "95 % interval"]
    assert table.groups == {0: "The paper's claims", 3: "Is the comparison sound", 4: "Beyond the paper"}
    assert table.rows[0][1:8] == ["supported", "not testable", "plain", "+29 points", "22 to 35", "3", "0.003"]
    assert table.rows[3][1:8] == ["supported", "-", "plain and residual (A)", "-", "-", "3", "-"]
    assert table.notes[0] == f"Judged {SCOPE}; trained networks: {WHY}."
    for word in (*VERDICTS, NOT_TESTABLE):
        assert f"{word}: " in " ".join(table.notes)
    grid = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(grid) == 2 + 5 + 3 and len({line.count("|") for line in grid}) == 1
    assert grid[1] == "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
    assert to_latex(table).count("multicolumn{9}{l}") == 3


def test_with_settings_both_verdicts_stand_in_each_cell() -> None:
    frames = studies.varied({"steps": (100, 400)}).frames()
    rows = [replace(row, setting=setting) for setting in frames.settings for row in everything()]
    table = verdicts(frames, rows)
    assert table.rows[0][2:] == ["supported / not testable"] * 2 and table.rows[3][2:] == ["supported"] * 2
    assert table.notes[1] == f"At steps=100: {SCOPE}; trained networks: {WHY}."
    assert "setting" in claims_table(rows, "x").header


def document_of(rows: list[ClaimRow]) -> Document:
    return make_document(studies.demo().frames(), rows, {})


def test_the_page_tells_verdicts_by_word_and_by_sign() -> None:
    text = html.to_html(document_of(everything()), lambda name: b"")
    for shape in ("supported", "contradicted", "undecided", "no-relevant-difference", "not-testable"):
        assert f'href="#sign-{shape}"' in text and f'<symbol id="sign-{shape}"' in text
    assert text.index("The paper&#39;s claims</h3>") < text.index("Is the comparison sound</h3>")


def test_the_page_on_a_forge_has_the_same_in_its_order() -> None:
    text = page.to_page(document_of([*everything(), silent("plain-degrades-train", "none", subject="x")]))
    order = ["**After 400 steps", "## What this can and cannot show", "## Claims", "### The paper's claims",
             "### Is the comparison sound", "### Beyond the paper", "Not measured: ", "The numbers behind", "## Errors",
             "## Convergence", "## Causes", "## Classes", "## Cost", "## Provenance", "## Missing",
             "## How it is judged"]  # fmt: skip
    assert [text.index(words) for words in order] == sorted(text.index(words) for words in order)
    assert (
        "- The training error of residual nets does not rise with depth (residual (A)): **contradicted** at this "
        "budget, **not testable** of trained networks. +29 points (95 % interval 22 to 35, 3 seeds; p = 0.003)"
    ) in text


# ---------------------------------------------------------------------------------------------- limitations


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        ([VERSION] * 3, f"planned under rules {VERSION} ({DATE}), and judged by them."),
        ([0] * 3, f"judged afterwards by rules {VERSION} ({DATE}); when it was planned, the version was not recorded."),
        ([1] * 3, f"judged afterwards by rules {VERSION} ({DATE}); when it was planned, rules 1 stood."),
        ([0, 1, VERSION, VERSION], f"judged by rules {VERSION} ({DATE}); of 4 planned runs 1 before the version was "
         f"recorded, 1 under rules 1, 2 under rules {VERSION} were planned."),
    ],
)  # fmt: skip
def test_the_rules_that_stood_when_it_was_planned(planned: list[int], words: str) -> None:
    assert planned_under(pd.Series(planned)) == words


def about(study: studies.Rows, rows: list[ClaimRow] | None = None) -> dict[str, str]:
    found = limitations(study.frames(), primary(*[SUPPORTED] * 3) if rows is None else rows)
    return {limit.about: limit.text for limit in found}


def test_limitations_are_those_of_the_protocol() -> None:
    found = about(studies.full())
    assert list(found) == ["Can show", "Cannot show", "Data", "Seeds", "Errors", "Learning rate", "Machine",
                           "Otherwise than the paper", "Rules"]  # fmt: skip
    assert found["Can show"] == f"how these networks compare {SCOPE}."
    assert found["Cannot show"] == f"what trained networks do: {WHY}."
    assert found["Data"].startswith("handwritten digits of 8x8 pixels instead of CIFAR-10")
    assert found["Data"].endswith("1,437 training images, the same ones for all seeds.")
    assert found["Seeds"].endswith('verdict, that of "plain nets degrade", reaches 6.6 points either way.')
    options = [claim("residual-holds-train", low=0, high=n, subject=f"residual ({o})") for n, o in ((1, "A"), (9, "B"))]
    assert '"residual nets do not degrade" for residual (B), reaches 4.5' in about(studies.full(), options)["Seeds"]
    assert "one test image is 0.28 points" in found["Errors"]
    assert "no warm-up at a lower rate with 110 layers" in found["Otherwise than the paper"]


def test_a_study_of_the_papers_protocol_is_limited_by_less() -> None:
    rows = [replace(row, trained=row.verdict) for row in primary(*[SUPPORTED] * 3)]
    study = studies.paper()
    study.runs = [replace(r, lr_warmup_steps=400) if r.depth == 110 else r for r in study.runs]
    found = about(study, rows)
    assert "Cannot show" not in found and found["Data"].startswith("CIFAR-10, as in the paper; ")
    assert found["Otherwise than the paper"].startswith("where the paper leaves a choice")


def test_what_is_missing_or_diverged_stands_first() -> None:
    found = limitations(studies.demo().diverge("plain-none-d56-s1", 120).keep(["plain-none-d56-s1"]).frames(), [])
    assert [limit.about for limit in found[:3]] == ["Unfinished or diverged", "Unfinished or diverged", "Data"]
    one = about(studies.make("one", (20, 56), num_seeds=1))
    assert one["Seeds"].startswith("one; luck cannot be told from effect")
    assert list(about(studies.empty(), [])) == ["Unfinished or diverged", "Rules"]


# ---------------------------------------------------------------------------------------------- the terminal


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_summary_fits_any_window_and_keeps_numbers_whole(width: int) -> None:
    frames = studies.full().frames()
    text = summary(frames, everything(), width)
    assert max(map(len, text.splitlines())) <= width and text.isascii()
    assert not re.search(r"p [=<]$|\d$\s+(points|%)", text, re.MULTILINE)
    one_line = " ".join(text.split())
    assert (
        "The paper's claims (at this budget / of trained networks): supported / not testable: the training" in one_line
    )
    assert "Is the comparison sound: supported: twins are equal" in one_line
    assert all(f"{both(row)}: {row.statement} ({row.subject}" in one_line for row in everything())
