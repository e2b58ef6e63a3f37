"""Claims in words: verdicts, effects with their units, p-values, each to the digits that a few seeds can carry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from resnet_bench.analysis.findings import (
    BEYOND,
    CONTRADICTED,
    NO_DIFFERENCE,
    NOT_MEASURED,
    NOT_TESTABLE,
    PAPER,
    SOUND,
    SUPPORTED,
    UNDECIDED,
)
from resnet_bench.results.rows import ClaimRow
from resnet_bench.text import counted

KINDS = {PAPER: "The paper's claims", SOUND: "Is the comparison sound", BEYOND: "Beyond the paper"}
AT_BUDGET, OF_TRAINED = "at this budget", "of trained networks"
MEANINGS = {
    SUPPORTED: "the effect is on the claim's side by more than the margin that matters",
    CONTRADICTED: "it is on the other side by more than the margin",
    NO_DIFFERENCE: "it is within the margin",
    UNDECIDED: "none of these can be said",
    NOT_TESTABLE: "the protocol does not train networks to the end",
    NOT_MEASURED: "there is nothing to judge by",
}
NAMES = {
    "plain-degrades": "plain nets degrade", "residual-holds": "residual nets do not degrade",
    "gap-grows": "the gap between twins grows", "twins": "residual nets are better than their twins",
    "fair": "twins are equal", "gradients-vanish": "gradients do not vanish",
    "gradients-explode": "gradients do not explode", "forward-healthy": "forward signals do not die out",
    "responses-small": "residual responses are small",
    "responses-fall": "residual responses fall with depth", "solution-exists": "a solution exists and is not found",
    "lesions": "residual nets bear lesions",
}  # fmt: skip
# Which figure shows what a claim is about.
FIGURE_OF = {
    "plain-degrades": "depth", "residual-holds": "depth", "gap-grows": "depth", "twins": "curves",
    "gradients": "gradients", "forward": "responses", "responses": "responses", "solution-exists": "continuation",
    "lesions": "lesions",
}  # fmt: skip
# What a ratio is of, as a sentence about the effect says it: of "times" alone nobody can tell. {0}: `1.54`.
RATIOS = {
    "gradients-vanish": "lowest gradient x weight norm {} times the last convolution's",
    "gradients-explode": "highest gradient x weight norm {} times the last convolution's",
    "forward": "lowest standard deviation of a response {}",
    "responses-small": "plain response {} times the residual net's",
    "responses-fall": "response of the shallowest net {} times the deepest one's",
}
ALL = {1: "in the one setting", 2: "in both settings"}
NO_BREAK = "\N{NO-BREAK SPACE}"
_TOGETHER = re.compile(r"(?<=\d) (?=%|points|times|seeds|layers)|(?<=\bp) (?=[<=])|(?<=\bp [<=]) ")
_POWER = re.compile(r"(?<=\d) x 10\^(-?\d+)")
TIMES = "\N{MULTIPLICATION SIGN}"
RAISED = str.maketrans("-0123456789", "\u207b\u2070\xb9\xb2\xb3\u2074\u2075\u2076\u2077\u2078\u2079")
MOST_NAMED = 2  # settings that are named; more are counted


def figure_of(row: ClaimRow) -> str:
    """The name of the figure that shows it; "" if none does."""
    return next((figure for prefix, figure in FIGURE_OF.items() if row.claim.startswith(prefix)), "")


def by_networks(rows: Sequence[ClaimRow]) -> list[list[ClaimRow]]:
    """The rows of each claim on the same networks: one, or one for each setting."""
    found: dict[tuple[str, str], list[ClaimRow]] = {}
    for row in rows:
        found.setdefault((row.claim, row.subject), []).append(row)
    return list(found.values())


def by_kind(rows: Sequence[ClaimRow]) -> dict[str, list[ClaimRow]]:
    """The rows in groups, by the groups' titles; groups without any are left out."""
    found = {title: [row for row in rows if row.kind == kind] for kind, title in KINDS.items()}
    return {title: group for title, group in found.items() if group}


def measured(rows: Sequence[ClaimRow]) -> list[ClaimRow]:
    """The rows of claims that there was something to judge by, in some setting at least."""
    return [row for found in by_networks(rows) if any(r.verdict != NOT_MEASURED for r in found) for row in found]


def not_measured(rows: Sequence[ClaimRow]) -> str:
    """One line that names all claims that nothing was measured for, and why; "" if there is none.

    `Not measured: plain nets degrade (no run of plain has finished); lesions (no block was taken out).`
    """
    everywhere = {row.claim for row in rows} - {row.claim for row in measured(rows)}
    reasons: dict[str, str] = {}
    for found in by_networks(rows):
        if all(row.verdict == NOT_MEASURED for row in found):
            of = "" if found[0].claim in everywhere else f" for {found[0].subject}"
            reasons.setdefault(short_name(found[0]) + of, found[0].evidence)
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    text = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    where = " in any setting" if any(row.setting for row in rows) else ""
    return f"Not measured{where}: {text}." if text else ""


def short_name(row: ClaimRow) -> str:
    """The claim in a few words, the same of training and test error."""
    name = row.claim.removesuffix("-train").removesuffix("-test")
    return NAMES.get(name, row.statement)


def at_budget(row: ClaimRow) -> str:
    """The verdict on the comparison after as much training as there was."""
    return row.verdict


def of_trained(row: ClaimRow) -> str:
    """The verdict on trained networks; "" where the claim is about something else, or nothing was measured."""
    return "" if row.verdict == NOT_MEASURED else row.trained


def both(row: ClaimRow) -> str:
    """`supported / not testable`: at this budget, and of trained networks; one word where there is one verdict."""
    return f"{row.verdict} / {of_trained(row)}" if of_trained(row) else row.verdict


def verdict_in_words(rows: Sequence[ClaimRow], verdict: Callable[[ClaimRow], str] = at_budget) -> str:
    """Of one claim on the same networks: `supported`, or `supported in 4 of 6 settings, undecided at steps=100`.

    Which settings these are is said of all verdicts but the most frequent one, where they are one or two.
    """
    at: dict[str, list[str]] = {}
    for row in rows:
        at.setdefault(verdict(row), []).append(row.setting)
    most, *others = sorted(at, key=lambda found: -len(at[found]))
    if not rows[0].setting:
        return most
    if not others:
        return f"{most} {ALL.get(len(rows)) or f'in all {len(rows)} settings'}"
    told = [f"{name} {places(at[name])}" for name in others]
    return f"{most} in {len(at[most])} of {len(rows)} settings, {', '.join(told)}"


def places(settings: Sequence[str]) -> str:
    """`at steps=100 and at steps=200`; of many `in 5`."""
    return f"at {' and at '.join(settings)}" if len(settings) <= MOST_NAMED else f"in {len(settings)}"


def because(rows: Sequence[ClaimRow]) -> str:
    """Why the protocol reaches trained networks, or does not; of several reasons that of the last setting."""
    reasons = list(dict.fromkeys(row.trained_because for row in rows))
    return reasons[0] if len(reasons) == 1 else f"in the last of these settings {reasons[-1]}"


# ---------------------------------------------------------------------------------------------- numbers


def effect(row: ClaimRow) -> str:
    """`+89.1 points`, `1.54 times`, `+42 %` (of the way to guessing); "-" without one."""
    if row.effect is None or math.isnan(row.effect):
        return "-"
    return f"{_number(row, row.effect, sign=True)} {row.unit}".strip()


def interval(row: ClaimRow) -> str:
    """`88.8 to 89.4`, in the unit of the effect; "-" without one."""
    ends = _ends(row)
    return f"{_number(row, ends[0])} to {_number(row, ends[1])}" if ends else "-"


def effect_sentence(row: ClaimRow) -> str:
    """`+89.1 points (95 % interval 88.8 to 89.4, 5 seeds; p < 0.001)`, or "" without an effect."""
    if effect(row) == "-":
        return ""
    within = [f"95 % interval {interval(row)}"] if _ends(row) else []
    p = f"; {p_of(row)}" if row.p_holm is not None else ""
    words = effect_in_words(row)
    return f"{words[:1].upper()}{words[1:]} ({', '.join([*within, seeds(row.n)])}{p})"


def effect_in_words(row: ClaimRow) -> str:
    """The effect, and of a share or a ratio what it is of: `+42 % of the way to guessing`."""
    if row.unit == "%":
        return f"{effect(row)} of the way to guessing"
    words = next((words for prefix, words in RATIOS.items() if row.claim.startswith(prefix)), "")
    known = row.unit == "times" and words and effect(row) != "-"
    return words.format(effect(row).removesuffix(" times")) if known else effect(row)


def powers(text: str) -> str:
    """The text with `1 x 10^6` as books set it."""
    return _POWER.sub(lambda found: f" {TIMES} 10{found[1].translate(RAISED)}", text)


def seeds(number: int) -> str:
    """`one seed`, `5 seeds`."""
    return "one seed" if number == 1 else counted(number, "seed")


def p_value(p: float) -> str:
    """`p = 0.034`, `p < 0.001`."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def p_of(row: ClaimRow) -> str:
    """`p = 0.034`; of an undecided claim `p = 0.13 of contradicted`, which its data come nearest to; "" without one."""
    if row.p_holm is None:
        return ""
    of = f" of {row.nearest}" if row.verdict == UNDECIDED and row.nearest and row.p_holm < 1 else ""
    return f"{p_value(row.p_holm)}{of}"


def together(text: str) -> str:
    """The text with blanks at which no line breaks, between a number and its unit, and between `p` and its value."""
    return _TOGETHER.sub(NO_BREAK, text)


def _ends(row: ClaimRow) -> tuple[float, float] | None:
    if row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
        return None
    return row.low, row.high


def _number(row: ClaimRow, value: float, *, sign: bool = False) -> str:
    if row.unit == "times":
        return _ratio(value, _digits(row, 2))
    rounded = round(value, _digits(row, 1)) + 0.0  # + 0.0 makes -0.0 positive
    return f"{rounded:{'+' if sign else ''},.{_digits(row, 1)}f}"


def _digits(row: ClaimRow, usual: int) -> int:
    """Digits after the point, fewer or one more where the interval is wide or narrow."""
    ends = _ends(row)
    half = (ends[1] - ends[0]) / 2 if ends else math.nan
    if half >= 5 * 10 ** (1 - usual):
        return usual - 1
    return usual + 1 if 0 < half < 0.5 * 10**-usual else usual


def _ratio(value: float, digits: int) -> str:
    """A ratio of any size: `0.36`, `1.54`, `12,300`, `8 x 10^6`."""
    if value > 0 and not 1e-4 <= value < 1e5:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa} x 10^{int(exponent)}"
    if 0 < value < 0.1:
        return f"{value:.2g}"
    return f"{value:,.{digits if value < 10 else 1 if value < 100 else 0}f}"
