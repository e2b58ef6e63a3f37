"""The rates of verdicts: what is simulated, judged and counted is right, and the document has what the code makes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdict_rates import __main__ as program
from benchmarks.verdict_rates import bounds, document, rates, truths
from benchmarks.verdict_rates.rates import CLAIMS, KINDS, PRIMARY, Cell
from benchmarks.verdict_rates.truths import TRUTHS, Floats, Networks, Truth
from resnet_bench.analysis.claims import judge_study
from resnet_bench.errors import UsageError
from resnet_bench.results.rows import ClaimRow
from tests import studies
from tests.conftest import ROOT

BY_NAME = {truth.name: truth for truth in TRUTHS}
DEPTHS = {2: (20, 56), 3: (20, 44, 56), 5: (20, 32, 44, 56, 110)}
PAGE = (ROOT / "docs" / "verdicts.md").read_text()
S, C, N, U = range(4)


# ---------------------------------------------------------------------------------------------- judging


def as_study(errors: Floats, images: tuple[int, int]) -> studies.Rows:
    """A study whose runs have these errors, of shape errors, arms, seeds, depths."""
    _, arms, seeds, depths = errors.shape
    assert arms == len(truths.ARMS)
    rows = studies.make("simulated", DEPTHS[depths], num_seeds=seeds)
    train_images, test_images = images

    def measured(run: studies.RunRow) -> studies.RunRow:
        train, test = errors[:, truths.ARMS.index(run.arch), run.seed, DEPTHS[depths].index(run.depth)]
        return replace(
            run, final_train_clean_top1_err=train, final_test_top1_err=test,
            final_train_clean_images=train_images, final_test_images=test_images,
        )  # fmt: skip

    return replace(rows, runs=[measured(run) for run in rows.runs])


def judged(study: studies.Rows) -> dict[str, ClaimRow]:
    return {row.claim: row for row in judge_study(study.frames()) if row.claim in CLAIMS}


@pytest.mark.parametrize(
    ("name", "seeds", "depths"),
    [("demo", 3, 2), ("demo", 3, 5), ("published", 5, 3), ("plain falls", 5, 3), ("residual rises", 5, 2),
     ("no difference", 10, 2), ("one run diverged, spread 1", 2, 5), ("heavy tails, spread 5", 3, 3)],
)  # fmt: skip
def test_many_studies_are_judged_as_each_of_them_is(name: str, seeds: int, depths: int) -> None:
    truth = BY_NAME[name]
    networks = truth.networks(depths)
    errors = rates.simulate(np.random.default_rng(0), truth, networks, (1, seeds))
    kinds = rates.judge(errors, networks.finest)
    _, corrected = rates.tests(errors, networks.finest)
    for study in range(len(kinds)):
        rows = judged(as_study(errors[:, :, study], networks.images))
        assert [rows[claim].verdict for claim in CLAIMS] == [KINDS[kind] for kind in kinds[study]]
        assert [rows[claim].p_holm for claim in CLAIMS] == pytest.approx(list(corrected[study]))


def test_the_primary_claims_are_those_of_the_rules() -> None:
    """The corrected p-values above would differ otherwise; here one is worked out by hand."""
    errors = np.array(30 + np.random.default_rng(1).normal(size=(2, 2, 1, 5, 2)))
    plain, residual = errors[0, :, 0]
    ends = [arm[:, 1] - arm[:, 0] for arm in (plain, plain - residual)]
    smallest = [
        2
        * min(
            stats.ttest_1samp(values, 0.5, alternative="greater").pvalue,
            stats.ttest_1samp(values, -0.5, alternative="less").pvalue,
            max(
                stats.ttest_1samp(values, -0.5, alternative="greater").pvalue,
                stats.ttest_1samp(values, 0.5, alternative="less").pvalue,
            ),
        )
        for values in ends
    ]
    _, corrected = rates.tests(errors, (0.002, 0.01))
    by_share = [p / share for p, share in zip(smallest, (0.6, 0.3), strict=True)]
    claim = PRIMARY[by_share.index(min(by_share))]
    assert corrected[0, CLAIMS.index(claim)] == pytest.approx(min(1.0, *by_share))


# ---------------------------------------------------------------------------------------------- truth, counting


def means(plain: list[float], residual: list[float]) -> Floats:
    return np.array([[plain, residual], [plain, residual]])


def right(plain: list[float], residual: list[float]) -> dict[str, str]:
    """`S`, `C`, `N`, or `-` where no verdict is right, of the claims about training errors."""
    found = rates.what_is_right(means(plain, residual))
    said = {claim: "".join(np.array(["S", "C", "N"])[row]) or "-" for claim, row in zip(CLAIMS, found, strict=True)}
    return {claim: said[claim] for claim in CLAIMS if not claim.endswith("test")}


@pytest.mark.parametrize(
    ("plain", "residual", "degrades", "holds", "gap", "twins"),
    [
        ([30, 30, 30], [30, 30, 30], "N", "S", "N", "N"),
        ([30, 30, 35], [30, 30, 30], "S", "S", "S", "S"),
        ([30, 35, 30], [30, 30, 30], "-", "S", "-", "S"),
        ([30, 30, 30], [30, 35, 30], "N", "C", "-", "C"),
        ([35, 30, 25], [30, 30, 30], "C", "S", "C", "N"),
        ([30, 30.25, 30.5], [30, 30, 30], "-", "S", "-", "N"),
        ([30, 30, 30], [30, 30.25, 30.5], "N", "-", "-", "N"),
        ([30.5, 30.5, 30.5], [30, 30, 30], "N", "S", "N", "-"),
    ],
)
def test_what_is_true_of_each_claim(
    plain: list[float], residual: list[float], degrades: str, holds: str, gap: str, twins: str
) -> None:
    expected = {"plain-degrades-train": degrades, "residual-holds-train": holds, "gap-grows-train": gap, "twins": twins}
    assert right(plain, residual) == expected


def counted(kinds: list[list[int]]) -> Cell:
    """Of studies without any difference."""
    truth = BY_NAME["no difference"]
    return rates.count(truth, 3, 2, np.array(kinds), rates.what_is_right(truth.networks(2).means))


def test_the_rates_of_a_cell_by_hand() -> None:
    nothing_false = [N, N, S, S, N, N, U]
    cell = counted([nothing_false, [S, U, S, C, S, U, U], [U] * 7, [C, U, U, U, U, U, N]])
    assert (cell.share("plain-degrades-train", "supported"), cell.share("twins", "undecided")) == (0.25, 0.75)
    assert cell.answer("plain-degrades-train") == "no relevant difference"
    assert cell.answer("residual-holds-test") == "supported"
    assert list(cell.false) == [1, 2, 0]  # twice in one study is one study
    assert document.verdicts(cell)[0] == "25 25 25 25"


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    false = counted([[S, U, U, U, U, U, U]] * 8 + [[U] * 7] * 92)
    assert bounds.failures([false]) == []  # 3.7 to 15 %: 8 of 100 may still be 5 % of all
    assert bounds.failures([counted([[S] + [U] * 6] * 20 + [[U] * 7] * 80)]) == [
        "no difference, 2 depths, 3 seeds: false 'supported' in 20.0%, at most 5%"
    ]
    few = bounds.Floor("", ("no difference",), ("twins",), "no relevant difference", 3, 0.5)
    monkeypatch.setattr(bounds, "FLOORS", (few,))
    assert bounds.failures([counted([[U] * 6 + [N]] * 4 + [[U] * 7] * 6)]) == [
        "no difference, 2 depths, 3 seeds: twins no relevant difference in 40.0%, at least 50%"
    ]


@pytest.mark.parametrize(("count", "of"), [(0, 50), (3, 50), (58, 1000), (1000, 1000)])
def test_the_limit_of_a_rate_is_exact(count: int, of: int) -> None:
    known = stats.binomtest(count, of).proportion_ci(0.98, "exact").low
    assert bounds.lower_limit(count, of) == pytest.approx(known)


# ---------------------------------------------------------------------------------------------- simulating


def luck_of(name: str, depths: int = 3) -> Floats:
    """Training errors of many studies, of shape arms, studies x seeds, depths."""
    truth = BY_NAME[name]
    errors = rates.simulate(np.random.default_rng(0), truth, truth.networks(depths), (4000, 2))
    return errors[0].reshape(2, 8000, depths)


@pytest.mark.parametrize("share", [20, 50, 80])
def test_a_seed_shares_what_it_should(share: int) -> None:
    plain, residual = luck_of(f"{share} % common in both arms, spread 1")
    assert np.corrcoef(plain[:, 0], residual[:, 2])[0, 1] == pytest.approx(share / 100, abs=0.05)
    plain, residual = luck_of(f"{share} % common in each arm, spread 1")
    assert np.corrcoef(plain[:, 0], plain[:, 2])[0, 1] == pytest.approx(share / 100, abs=0.05)
    assert np.corrcoef(plain[:, 0], residual[:, 2])[0, 1] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.endswith("spread 5") and "heavy" not in name])
def test_nulls_are_what_they_are_said_to_be(name: str) -> None:
    truth = BY_NAME[name]
    expected = truth.expected(truth.networks(3), seeds=2)[0][:, None]
    assert (luck_of(name) - expected).mean(axis=1) == pytest.approx(0, abs=0.6)


def test_one_run_diverges_and_counts_in_the_truth() -> None:
    errors = luck_of("one run diverged, spread 1", depths=2).reshape(2, 4000, 2, 2)
    assert ((errors == truths.CHANCE).sum(axis=(0, 2, 3)) == 1).all()
    truth = BY_NAME["demo, one ResNet diverged"]
    networks = truth.networks(2)
    errors = rates.simulate(np.random.default_rng(0), truth, networks, (5, 3))
    chance = np.round(truths.CHANCE * 1437 / 100) * 100 / 1437
    assert (np.isclose(errors[0, 1, :, :, 1], chance).sum(axis=1) == 1).all()
    assert truth.expected(networks, 3)[0, 1] == pytest.approx([0, 30])


def test_errors_are_whole_images_between_0_and_100() -> None:
    for truth in TRUTHS:
        networks = truth.networks(5)
        errors = rates.simulate(np.random.default_rng(0), truth, networks, (20, 2))
        images = errors / np.array(networks.finest)[:, None, None, None, None]
        assert images == pytest.approx(np.rint(images), abs=1e-6) and errors.min() >= 0 and errors.max() <= 100


def test_real_errors_are_those_of_the_files() -> None:
    assert truths.demo(2).means[0, 0] == pytest.approx([0, 56.28], abs=0.01)  # results/digits-full/README.md
    published: Networks = truths.published(2)
    assert published.means[1] == pytest.approx(np.array([[9.78, 12.95], [8.51, 7.40]]))
    assert published.spreads[1] == pytest.approx(np.array([[0.13, 0.22], [0.22, 0.27]]))


# ---------------------------------------------------------------------------------------------- the document


def section(truth: Truth) -> str:
    """What the document has of a truth."""
    return PAGE.partition(f"<summary><b>{truth.name}</b>")[2].partition("</details>")[0]


@pytest.mark.parametrize(("name", "seeds", "depths"), [("demo", 3, 2), ("normal, spread 5", 2, 5), ("published", 5, 3)])
def test_the_document_has_the_rates_that_the_code_makes(name: str, seeds: int, depths: int) -> None:
    cell = rates.run(BY_NAME[name], seeds, depths, 1000)
    assert document.row([str(depths), str(seeds), *document.verdicts(cell)]) in section(BY_NAME[name]).splitlines()


def test_the_document_is_whole() -> None:
    assert "1,000 studies" in PAGE and "All bounds hold." in PAGE
    for truth in TRUTHS:
        rows = re.findall(r"^\| \d+ \| \d+ \|", section(truth), re.MULTILINE)
        assert len(rows) == len(rates.NUM_SEEDS) * sum(depths >= truth.fewest for depths in rates.NUM_DEPTHS)


def test_a_document_without_a_place_for_them_is_an_error() -> None:
    with pytest.raises(UsageError, match="no place for the rates"):
        document.around("# Verdicts")


def test_the_program_tells_the_rates_and_fails_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "summary", lambda cells: f"{len(cells)} cells")
    monkeypatch.setattr(program, "TRUTHS", [BY_NAME["normal, spread 1"]])
    assert program.main(["--studies", "20"]) == 0
    assert capsys.readouterr().out == "12 cells\n"
    monkeypatch.setattr(program, "failures", lambda cells: ["a bound"])
    assert program.main(["--studies", "1"]) == 1
    assert capsys.readouterr().err == "a bound\n"
    with pytest.raises(UsageError, match="no such file"):
        program.main(["--write", "nowhere.md"])
