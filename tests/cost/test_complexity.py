"""What networks cost: exact counts at tolerance 0, layers that sum to the closed form, the command."""

from __future__ import annotations

import warnings
from math import ceil, prod
from pathlib import Path

import pytest
import torch

from resnet_bench.cli import main
from resnet_bench.complexity import Complexity, complexity, list_layers, torch_flops
from resnet_bench.cost import counting, sized
from resnet_bench.cost.counting import count, count_layers, write_complexity
from resnet_bench.cost.networks import find_images, find_networks
from resnet_bench.cost.sized import SizedNetwork
from resnet_bench.errors import Failure, UsageError
from resnet_bench.networks import DEPTHS, NetworkName
from resnet_bench.results.tables import COMPLEXITY, LAYERS, read_csv, to_csv
from resnet_bench.study.folder import StudyFolder
from tests import studies

CIFAR = ((3, 32, 32), 10)
DIGITS = ((3, 8, 8), 10)
ARMS = [("plain", "none"), ("residual", "a"), ("residual", "b"), ("residual", "c")]
# depth: params, MACs, fvcore total, forward FLOPs, train step FLOPs of plain and option A; params, MACs of B; of C
COUNTS = {
    20: (269_722, 40_551_040, 40_931_968, 81_102_080, 242_421_504, 272_474, 40_813_184, 283_962, 42_648_192),
    32: (464_154, 68_862_592, 69_472_896, 137_725_184, 412_290_816, 466_906, 69_124_736, 489_594, 72_532_608),
    44: (658_586, 97_174_144, 98_013_824, 194_348_288, 582_160_128, 661_338, 97_436_288, 695_226, 102_417_024),
    56: (853_018, 125_485_696, 126_554_752, 250_971_392, 752_029_440, 855_770, 125_747_840, 900_858, 132_301_440),
    110: (1_727_962, 252_887_680, 254_988_928, 505_775_360, 1_516_441_344, 1_730_714, 253_149_824, 1_826_202,
          266_781_312),
}  # fmt: skip


def activations(network: SizedNetwork) -> int:
    """Elements that convolutions and classifier put out, as a formula that knows nothing of modules."""
    blocks, (_, height, width) = (network.network.depth - 2) // 6, network.image_shape
    projections = {"none": (0, 0, 0), "a": (0, 0, 0), "b": (0, 1, 1), "c": (blocks,) * 3}[network.network.shortcut]
    total = 16 * height * width + network.num_classes
    for stage, extra in enumerate(projections):
        pixels = ceil(height / 2**stage) * ceil(width / 2**stage)
        total += (2 * blocks + extra) * 16 * 2**stage * pixels
    return total


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize(("arch", "shortcut"), ARMS)
def test_all_counters_give_the_papers_counts(depth: int, arch: str, shortcut: str) -> None:
    network = SizedNetwork(NetworkName("cifar", arch, depth, shortcut), *CIFAR)
    row, _ = count(network)
    params, macs, fvcore, forward, train = COUNTS[depth][:5]
    if shortcut in "bc":
        at = 5 if shortcut == "b" else 7
        assert (row.params, row.macs) == COUNTS[depth][at : at + 2]
        assert row.flops_forward == 2 * row.macs
    else:
        assert (row.params, row.macs, row.fvcore_total) == (params, macs, fvcore)
        assert (row.flops_forward, row.flops_train_step) == (forward, train)
    assert row.activations == activations(network)
    assert (row.input_size, row.num_classes) == ("32x32x3", 10)


def test_activations_are_what_fvcore_counts() -> None:
    network = SizedNetwork(NetworkName("cifar", "residual", 20, "c"), *CIFAR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore uses torch.jit, which is deprecated
        from fvcore.nn import ActivationCountAnalysis

        analysis = ActivationCountAnalysis(network.build().eval(), torch.zeros(1, 3, 32, 32))
        total = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    assert total == activations(network) == sum(layer.activations for layer in count_layers(network))


def test_closed_form_is_the_paper_text_and_holds_for_1202_layers() -> None:
    for depth in (8, 20, 110, 1202):
        assert complexity(NetworkName("cifar", "residual", depth, "a")).macs == 443_008 + 2_359_296 * (depth - 3)
    assert complexity(NetworkName("cifar", "residual", 1202, "a")).params == 19_421_274


@pytest.mark.parametrize(
    ("depth", "shape", "classes"),
    [(8, (3, 8, 8), 10), (8, (3, 33, 33), 100), (14, (1, 28, 28), 100), (14, (4, 9, 13), 7), (110, (3, 32, 32), 10)],
)
@pytest.mark.parametrize(("arch", "shortcut"), ARMS)
def test_layers_sum_to_the_closed_form(
    depth: int, shape: tuple[int, int, int], classes: int, arch: str, shortcut: str
) -> None:
    network = SizedNetwork(NetworkName("cifar", arch, depth, shortcut), shape, classes)
    model, closed = network.build().eval(), network.closed_form()
    layers = list_layers(model, shape)
    assert Complexity(sum(layer.params for layer in layers), sum(layer.macs for layer in layers)) == closed
    assert closed.params == sum(parameter.numel() for parameter in model.parameters())
    assert 2 * closed.macs == torch_flops(model, shape)
    assert sum(layer.activations for layer in layers) == activations(network)
    weighted = [layer for layer in layers if layer.kind in ("conv", "linear") and "shortcut" not in layer.name]
    assert len(weighted) == depth
    assert all(layer.macs == 0 for layer in layers if layer.kind in ("batch norm", "pool"))
    assert len({layer.name for layer in layers}) == len(layers)


def test_layers_are_in_the_order_of_the_network_with_shapes_as_they_come_out() -> None:
    layers = count_layers(SizedNetwork(NetworkName("cifar", "residual", 8, "b"), (3, 33, 33), 100))
    seen = [(layer.name, layer.kind, layer.window, layer.output_shape) for layer in layers]
    assert seen[:2] == [("stem", "conv", "3x3", (16, 33, 33)), ("stem_bn", "batch norm", "", (16, 33, 33))]
    assert seen[6] == ("stages.1.0.conv1", "conv", "3x3 /2", (32, 17, 17))
    assert seen[10] == ("stages.1.0.shortcut.0", "conv", "1x1 /2", (32, 17, 17))
    assert seen[-2:] == [("pool", "pool", "", (64, 1, 1)), ("head", "linear", "", (100,))]
    assert (layers[0].params, layers[0].macs) == (432, 432 * 33 * 33)
    assert (layers[-1].params, layers[-1].macs) == (6500, 6400)


def test_counters_that_disagree_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SizedNetwork(NetworkName("cifar", "plain", 8, "none"), *DIGITS)
    monkeypatch.setattr(sized, "complexity", lambda *_, **__: Complexity(75_290, 1))
    with pytest.raises(Failure, match=r"plain-8: closed form .*macs=1"):
        count(network)
    monkeypatch.undo()
    monkeypatch.setattr(counting, "torch_flops", lambda *_, **__: 3)
    with pytest.raises(Failure, match="torch counted 3 FLOPs"):
        count(network)


# ---------------------------------------------------------------------------------------------- a study's folder


def write_study(tmp_path: Path, rows: studies.Rows | None = None) -> StudyFolder:
    return StudyFolder((rows or studies.demo()).write(tmp_path))


def test_a_study_is_counted_once(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    assert write_complexity(study, *DIGITS) == 4
    rows = read_csv(study.path / COMPLEXITY.file, COMPLEXITY)
    assert [(row.arch, row.shortcut, row.depth) for row in rows] == [
        ("plain", "none", 20), ("plain", "none", 56), ("residual", "a", 20), ("residual", "a", 56)
    ]  # fmt: skip
    layers = read_csv(study.path / LAYERS.file, LAYERS)
    for row in rows:
        own = [layer for layer in layers if (layer.arch, layer.depth) == (row.arch, row.depth)]
        assert (sum(layer.params for layer in own), sum(layer.macs for layer in own)) == (row.params, row.macs)
        assert sum(layer.params_percent for layer in own) == pytest.approx(100)
        assert sum(layer.macs_percent for layer in own) == pytest.approx(100)
    assert f"  {LAYERS.file}\n" in (study.path / "SHA256SUMS").read_text()
    before = (study.path / COMPLEXITY.file).stat().st_mtime_ns
    assert write_complexity(study, *DIGITS) == 0
    assert (study.path / COMPLEXITY.file).stat().st_mtime_ns == before


def test_only_what_is_missing_or_does_not_belong_is_counted(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    write_complexity(study, *DIGITS)
    whole = [(study.path / table.file).read_bytes() for table in (COMPLEXITY, LAYERS)]
    lines = whole[0].decode().splitlines(keepends=True)
    (study.path / COMPLEXITY.file).write_text("".join(lines[:-1]))
    assert write_complexity(study, *DIGITS) == 1
    lines = whole[1].decode().splitlines(keepends=True)
    (study.path / LAYERS.file).write_text("".join(lines[:-1]))
    assert write_complexity(study, *DIGITS) == 1
    (study.path / LAYERS.file).write_text("damaged")
    assert write_complexity(study, *DIGITS) == 4
    assert [(study.path / table.file).read_bytes() for table in (COMPLEXITY, LAYERS)] == whole
    assert write_complexity(study, (3, 8, 8), 100) == 4
    assert write_complexity(study, (3, 9, 8), 100) == 4
    assert {row.input_size for row in read_csv(study.path / COMPLEXITY.file, COMPLEXITY)} == {"8x8x3", "9x8x3"}


def test_the_images_are_those_of_the_study(tmp_path: Path) -> None:
    assert find_images(None, None, None) == CIFAR
    assert find_images(None, 64, 5) == ((3, 64, 64), 5)
    study = write_study(tmp_path)
    assert find_images(study, None, None) == DIGITS
    assert find_images(study, None, 7) == ((3, 8, 8), 7)
    pets = write_study(tmp_path / "other", studies.demo().change_all(dataset="pets"))
    with pytest.raises(UsageError, match="the images of pets is not known here; pass --input-size and --num-classes"):
        find_images(pets, 32, None)
    write_complexity(pets, (3, 24, 40), 37)  # as the sweep does, which has the images
    assert find_images(pets, None, None) == ((3, 24, 40), 37)
    pixels = studies.demo().change_all(dataset="pets", input_size="24x40x3")
    recorded = write_study(tmp_path / "recorded", pixels)
    assert find_images(recorded, None, None) == ((3, 24, 40), 10)
    unfinished = write_study(tmp_path / "third", studies.empty())
    with pytest.raises(UsageError, match="no run of it has finished; pass"):
        find_images(unfinished, None, None)


def test_networks_can_be_chosen(tmp_path: Path) -> None:
    def names(*chosen: object) -> list[str]:
        return [network.name for network in find_networks(*chosen)]  # type: ignore[arg-type]

    assert names(None, CIFAR, [20]) == ["plain-20", "ResNet-20", "ResNet-20 (B)", "ResNet-20 (C)"]
    assert len(names(None, CIFAR)) == 4 * len(DEPTHS)
    assert names(None, CIFAR, [8, 14], None, "c") == ["ResNet-8 (C)", "ResNet-14 (C)"]
    study = write_study(tmp_path)
    assert names(study, DIGITS) == ["plain-20", "ResNet-20", "plain-56", "ResNet-56"]
    assert names(study, DIGITS, [56], ["plain"]) == ["plain-56"]
    for chosen in ((None, CIFAR, None, ["plain"], "a"), (study, DIGITS, [20, 26]), (study, DIGITS, None, None, "b")):
        with pytest.raises(UsageError, match="no such network: "):
            find_networks(*chosen)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- the command


def call(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command prints."""
    assert main(["complexity", *map(str, words)]) == 0
    answer = capsys.readouterr()
    assert not answer.err
    return answer.out


@pytest.mark.parametrize("columns", ["60", "80", "160"])
def test_the_layer_table_adds_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = call(capsys, "--depths", 20, "--shortcut", "b", "--per-layer")
    table = text.split("\n\n")[0]
    assert "total                                   272,474  100.0  40,813,184  100.0" in table
    assert "3 x conv 3x3" in table and "conv 1x1 /2" in table and "stages.1.1-2" in table
    rows = [line.split() for line in table.splitlines()[3:-2]]
    inner = [row for row in rows if "block" not in row and "blocks" not in row]
    assert sum(int(row[-4].replace(",", "")) for row in inner) == 272_474
    assert sum(int(row[-2].replace(",", "")) for row in inner) == 40_813_184
    assert max(map(len, table.splitlines())) < 80


def test_the_command_writes_into_a_study(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    study = write_study(tmp_path)
    text = call(capsys, study.path)
    assert "Per image of 8x8x3, 10 classes." in text and "ResNet-56" in text
    stored = (study.path / COMPLEXITY.file).read_bytes()
    assert call(capsys, study.path) == text
    assert call(capsys, study.path, "--arch", "plain", "--depths", 20, "--per-layer").count("total") == 1
    assert call(capsys, study.path, "--quiet") == ""
    assert (study.path / COMPLEXITY.file).read_bytes() == stored


def test_layers_go_to_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--depths", 8, "--arch", "residual", "--shortcut", "c", "--input-size", 9, "--num-classes", 3, "--quiet")
    out = tmp_path / "layers.csv"
    assert call(capsys, *words, "--out", out) == ""
    rows = read_csv(out, LAYERS)
    closed = complexity(NetworkName("cifar", "residual", 8, "c"), num_classes=3, image_size=(9, 9))
    assert (sum(row.params for row in rows), sum(row.macs for row in rows)) == (closed.params, closed.macs)
    assert to_csv(LAYERS, rows) == out.read_text()
    assert [prod(map(int, row.output_shape.split("x"))) for row in rows[:2]] == [16 * 81, 16 * 81]
    call(capsys, *words, "--out", tmp_path / "layers.md")
    title, table, _ = (tmp_path / "layers.md").read_text().split("\n\n")
    lines = table.splitlines()
    assert title == "### ResNet-8 (C), per image of 9x9x3, 3 classes"
    assert lines[0] == "| layer | kind | output | params | % | MACs | % |"
    assert f"| total |  |  | {closed.params:,} | 100.0 | {closed.macs:,} | 100.0 |" == lines[-1]
    assert len({line.count("|") for line in lines}) == 1


BAD = {
    "depth": (("--depths", "21"), "depth 21 is not 6n+2"),
    "small": (("--input-size", "7"), "--input-size 7 is not between 8 and 512"),
    "zero": (("--input-size", "0"), "--input-size 0 is not between 8 and 512"),
    "large": (("--input-size", "100000"), "--input-size 100000 is not between 8 and 512"),
    "classes": (("--num-classes", "0"), "--num-classes 0 is not between 1 and 100,000"),
    "arch": (("--arch", "vgg"), "'vgg'"),
    "shortcut": (("--shortcut", "d"), "'d'"),
    "plain a": (("--arch", "plain", "--shortcut", "a"), "there is no such network: plain, shortcut a"),
    "no folder": (("none",), "none: no such folder"),
    "no study": (("empty",), "empty: not a study, for plan.csv is missing or empty"),
    "no study, sizes given": (("empty", "--input-size", "8", "--num-classes", "2"), "empty: not a study"),
    "suffix": (("--depths", "8", "--out", "layers.txt"), "layers.txt: layers are written as .csv or .md"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    words, wrong = BAD[case]
    try:
        code = main(["complexity", *words])
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    answer = capsys.readouterr()
    assert (code, answer.out) == (2, "") and wrong in answer.err and answer.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_place_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["complexity", "--depths", "8", "--out", str(tmp_path / "none" / "layers.csv")]) == 1
    answer = capsys.readouterr()
    assert "cannot write" in answer.err and "layers.csv" in answer.err and answer.err.count("\n") == 1
