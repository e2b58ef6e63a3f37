"""The rates as tables of Markdown: the worst first, every cell at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.verdict_rates.bounds import FLOORS, failures, most_false
from benchmarks.verdict_rates.rates import CLAIMS, KINDS, NUM_DEPTHS, NUM_SEEDS, PRIMARY, Cell
from benchmarks.verdict_rates.truths import EFFECTS, GROUPS, RARE, SHARED, SKEWED, Truth
from resnet_bench.analysis.findings import DECISIONS, SUPPORTED, UNDECIDED
from resnet_bench.analysis.rules import VERSION
from resnet_bench.errors import UsageError

BEGIN, END = "<!-- rates: made by benchmarks.verdict_rates -->", "<!-- end of rates -->"
LETTERS = dict(zip(KINDS, "SCNU", strict=True))
SHOWN = ("demo", "published")  # in a table of their own


def around(text: str) -> tuple[str, str]:
    """What stands before and after the place for the tables. UsageError if there is none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"there is no place for the rates: {BEGIN} and after it {END}")
    return before, after


def put_in(text: str, cells: Sequence[Cell]) -> str:
    """The document with the tables between its markers. UsageError if it has none."""
    before, after = around(text)
    return f"{before}{BEGIN}\n\n{summary(cells)}\n\n{all_rates(cells)}\n\n{END}{after}"


def summary(cells: Sequence[Cell]) -> str:
    """Without the rates of every cell."""
    failed = failures(cells)
    studies = cells[0].studies
    parts = [
        f"{studies:,} studies of each of {len({cell.truth.name for cell in cells})} truths at "
        f"{_listed(NUM_DEPTHS)} depths and {_listed(NUM_SEEDS)} seeds, {len(cells)} cells in all. "
        + (f"**{len(failed)} bounds fail:**" if failed else "All bounds hold."),
        *(["\n".join(f"- {line}" for line in failed)] if failed else []),
        "### False verdicts",
        "The worst cell of each group of truths: in how many percent of studies any claim has a false verdict of this "
        "kind. A bound fails if the lower 99 % limit of a rate (Clopper and Pearson) is above it.",
        _table(["truths", *(f"false “{kind}”" for kind in DECISIONS), "bound"], map(_worst_of(cells), _groups(cells))),
        "The same by the number of seeds, the worst over depths and truths: supported / contradicted / no relevant "
        "difference.",
        _table(["truths", *map(_seeds, NUM_SEEDS)], map(_worst_by_seeds(cells), _groups(cells))),
        "### Right verdicts",
        "Percent of studies with the right verdict on a claim, and of undecided ones in brackets: the lowest and the "
        "highest at 2, 3 and 5 depths. What is neither is false. A star marks primary claims.",
        *(_right(cells, name) for name in SHOWN),
        "The least power that is asked for, and the worst of the cells it is asked of, which are those of all numbers "
        "of depths. It lies somewhat below what these rules reach, so that a change of rules that costs power is seen.",
        _table(["what", "seeds", "right", "at least", "worst", "where"], _floors(cells)),
        "### Beside version 1",
        _table(["simulated", "version 1", f"version {VERSION}"], _beside_version_1(cells)),
    ]
    return "\n\n".join(parts)


def all_rates(cells: Sequence[Cell]) -> str:
    """The other effects, and the verdicts on each claim in every cell, each truth folded away."""
    others = [_right(cells, name) for name in _names(cells, EFFECTS) if name not in SHOWN]
    return "\n\n".join(
        [
            "### Every cell",
            _folded("Right verdicts of the other effects", "\n\n".join(others)),
            "Of each claim the percent of studies in which it is supported (S), contradicted (C), of no relevant "
            "difference (N) and undecided (U), in this order. “Right” is the verdict that the truth asks for, U where "
            "none does.",
            *(details(truth, [cell for cell in cells if cell.truth is truth]) for truth in _truths(cells)),
        ]
    )


def details(truth: Truth, cells: Sequence[Cell]) -> str:
    """The verdicts of every cell of a truth, folded away."""
    answers = ["/".join(dict.fromkeys(LETTERS[cell.answer(claim)] for cell in cells)) for claim in CLAIMS]
    rows = [["right", "", *answers], *([str(c.depths), str(c.seeds), *verdicts(c)] for c in cells)]
    return _folded(f"<b>{truth.name}</b>: {truth.words}", _table(["depths", "seeds", *map(_breakable, CLAIMS)], rows))


def verdicts(cell: Cell) -> list[str]:
    """`98 0 0 2` for each claim."""
    return [" ".join(f"{100 * cell.share(claim, kind):.0f}" for kind in KINDS) for claim in CLAIMS]


def row(values: Sequence[str]) -> str:
    """Of a table."""
    return f"| {' | '.join(values)} |"


# ---------------------------------------------------------------------------------------------- rows


def _worst_of(cells: Sequence[Cell]) -> Callable[[str], list[str]]:
    def line(group: str) -> list[str]:
        return [group, *(_worst(cells, group, kind) for kind in range(len(DECISIONS))), _bound(group)]

    return line


def _bound(group: str) -> str:
    return "none" if group == RARE else _percent(most_false(group))


def _worst(cells: Sequence[Cell], group: str, kind: int) -> str:
    cell = max((cell for cell in cells if cell.truth.group == group), key=lambda cell: int(cell.false[kind]))
    rate = f"{100 * cell.false[kind] / cell.studies:.1f}"
    return f"{rate} ({cell})" if cell.false[kind] else rate


def _worst_by_seeds(cells: Sequence[Cell]) -> Callable[[str], list[str]]:
    def at(group: str, seeds: int) -> str:
        chosen = [cell for cell in cells if cell.truth.group == group and cell.seeds == seeds]
        return " / ".join(f"{max(100 * c.false[kind] / c.studies for c in chosen):.1f}" for kind in range(3))

    return lambda group: [group, *(at(group, seeds) for seeds in NUM_SEEDS)]


def _right(cells: Sequence[Cell], name: str) -> str:
    chosen = [cell for cell in cells if cell.truth.name == name]
    rows = []
    for claim in CLAIMS:
        answers = " / ".join(dict.fromkeys(cell.answer(claim) for cell in chosen))
        shares = [_shares([cell for cell in chosen if cell.seeds == seeds], claim) for seeds in NUM_SEEDS]
        rows.append([f"{claim}{' *' if claim in PRIMARY else ''}", answers, *shares])
    head = ["claim", "right verdict", *map(_seeds, NUM_SEEDS)]
    return f"**{name}**: {chosen[0].truth.words}\n\n{_table(head, rows)}"


def _shares(cells: Sequence[Cell], claim: str) -> str:
    undecided = _range([cell.share(claim, UNDECIDED) for cell in cells])
    if all(cell.answer(claim) == UNDECIDED for cell in cells):
        return undecided
    return f"{_range([cell.share(claim, cell.answer(claim)) for cell in cells])} ({undecided})"


def _range(shares: Sequence[float]) -> str:
    """`98 to 100`, in percent."""
    return " to ".join(dict.fromkeys(f"{100 * share:.0f}" for share in (min(shares), max(shares))))


def _floors(cells: Sequence[Cell]) -> Iterator[list[str]]:
    for floor in FLOORS:
        share, claim, cell = min(floor.of(cells), key=lambda found: found[0])
        where = f"{claim}, {cell.truth.name}, {cell.depths} depths"
        yield [floor.words, str(floor.seeds), floor.answer, _percent(floor.share), _percent(share, 1), where]


def _beside_version_1(cells: Sequence[Cell]) -> Iterator[list[str]]:
    """What is known of the first rules, and the cells that come nearest to it."""
    at = {(cell.truth.name, cell.depths, cell.seeds): cell for cell in cells}
    worst = {group: [max(c.false[kind] / c.studies for c in cells if c.truth.group == group) for kind in range(2)]
             for group in (SHARED, SKEWED)}  # fmt: skip
    demo, deepest, middle = at["demo", 2, 5], at["only the deepest", 5, 3], at["residual rises and falls", 5, 3]
    few, many = at["demo, one ResNet diverged", 5, 3], at["demo, one ResNet diverged", 5, 10]
    undecided = [cell.share("gap-grows-train", UNDECIDED) for cell in (few, many)]
    rows = [
        ("20 and 56 layers, 50 points worse, 5 seeds: “plain nets degrade” is supported", "0 %",
         f"{_percent(demo.share('plain-degrades-train', SUPPORTED))}"),
        ("only the deepest of 5 plain nets is worse, 3 seeds: supported", "17 % (by 12 times the spread)",
         f"{_percent(deepest.share('plain-degrades-train', SUPPORTED))} (by 5 times)"),
        ("residual nets are worse in the middle, equal at the ends: “they do not rise” is supported, falsely",
         "67 % (by 3 points)", f"{_percent(middle.share('residual-holds-train', SUPPORTED), 1)} (by 5 points)"),
        ("no effect, 0 / 20 / 50 / 80 % of the variance common to a seed: “twins” is supported, falsely",
         "5 / 12 / 20 / 24 %", f"at most {_percent(worst[SHARED][0], 1)}, all claims together"),
        ("no effect, skewed errors, unequal spread: contradicted, falsely", "18 %, one claim",
         f"at most {_percent(worst[SKEWED][1], 1)}, all claims together"),
        ("one run of the deepest residual net diverges: “the gap grows” is undecided", "100 % of 3 seeds",
         f"{_percent(undecided[0])} of 3 seeds, {_percent(undecided[1])} of 10"),
    ]  # fmt: skip
    yield from map(list, rows)


# ---------------------------------------------------------------------------------------------- pieces


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _groups(cells: Sequence[Cell]) -> list[str]:
    present = {cell.truth.group for cell in cells}
    return [group for group in GROUPS if group in present]


def _truths(cells: Sequence[Cell]) -> list[Truth]:
    return list({cell.truth.name: cell.truth for cell in cells}.values())


def _names(cells: Sequence[Cell], group: str) -> list[str]:
    return [truth.name for truth in _truths(cells) if truth.group == group]


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _seeds(number: int) -> str:
    return f"{number} seeds"


def _breakable(claim: str) -> str:
    return claim.replace("-", " ")
