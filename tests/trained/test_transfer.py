"""Weights from elsewhere, transfer learning, export and prediction."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from resnet_bench.cli import main
from resnet_bench.cli.networks import prediction_table, source_of
from resnet_bench.config.run import RunConfig
from resnet_bench.data.builtin import digits
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.inputs import Inputs
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.select import few_images, only_classes, with_validation
from resnet_bench.data.sources import find_source
from resnet_bench.environment import generator
from resnet_bench.errors import Failure, UsageError
from resnet_bench.models import Net, build_model
from resnet_bench.models.weights import Weights, adopt
from resnet_bench.networks import CIFAR, IMAGENET, NAMED, NetworkName
from resnet_bench.results.tables import CONFUSION, CURVES, RUNS, SIGNALS, TRANSFER, read_csv
from resnet_bench.study.folder import StudyFolder
from resnet_bench.trained.predict import of_dataset, predict
from resnet_bench.trained.runs import find_weights, weights_of_run
from resnet_bench.trained.transfer import Recipe
from resnet_bench.trained.weight_files import read_weights, to_safetensors
from resnet_bench.training.loop import fit
from resnet_bench.training.state import Job
from tests.conftest import CPU
from tests.training.test_training import NoSink

SMALL = NetworkName(CIFAR, "residual", 8, "a")


def network(name: NetworkName = SMALL, num_classes: int = 4, seed: int = 0) -> Net:
    return build_model(
        name.arch,
        name.depth,
        name.shortcut,
        num_classes=num_classes,
        generator=generator(seed, "init"),
        family=name.family,
    )


# ---------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("wrapped", ["plain", "module.", "state_dict", "safetensors"])
def test_a_state_dict_is_understood_as_people_store_it(tmp_path: Path, wrapped: str) -> None:
    model = torchvision.models.resnet18(num_classes=5)
    state: dict[str, Any] = model.state_dict()
    place = tmp_path / ("w.safetensors" if wrapped == "safetensors" else "w.pth")
    if wrapped == "safetensors":
        save_file(state, place)
    elif wrapped == "state_dict":
        torch.save({"state_dict": state, "epoch": 3}, place)
    else:
        torch.save({(wrapped if wrapped == "module." else "") + name: value for name, value in state.items()}, place)
    weights = read_weights(str(place), NAMED["resnet18"])
    ours, x = weights.build(), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert weights.classes == tuple(f"class {k}" for k in range(5))
    assert torch.equal(ours(x), model.eval()(x))


def test_the_body_is_taken_over_and_the_head_is_not() -> None:
    given = Weights(network(num_classes=7, seed=1).state_dict(), "a test")
    model, fresh = network(), network()
    adopt(model, given, head=False)
    for name, value in model.state_dict().items():
        expected = fresh.state_dict() if name.startswith("head") else given.tensors
        assert torch.equal(value, expected[name]), name


def test_a_mismatch_is_named_layer_by_layer() -> None:
    deeper = network(SMALL._replace(depth=14))
    with pytest.raises(UsageError, match=r"stages.0.1.conv1.weight is not in the network.* and 22 more"):
        adopt(network(), Weights(deeper.state_dict(), "a test"), head=False)
    with pytest.raises(UsageError, match=r"head.weight is 7x64, in the network 4x64"):
        adopt(network(), Weights(network(num_classes=7).state_dict(), "a test"), head=True)


class Evil:
    """What a pickle made on purpose would execute."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, "a.pth")
    Path("b.pth").write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(UsageError, match=r"not read|not a state dict"):
            read_weights(name)
    assert not Path("executed").exists()


BROKEN = {"empty": b"", "text": b"hello", "half": b"PK\x03\x04 and no more"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_none_are_named(tmp_path: Path, case: str, suffix: str) -> None:
    place = tmp_path / f"w{suffix}"
    place.write_bytes(BROKEN[case])
    with pytest.raises(UsageError, match=r"w\.(pth|safetensors): not a (file of safetensors|state dict)"):
        read_weights(str(place))


@pytest.mark.parametrize("stored", [[1, 2], {"a": 1}, {}, {3: torch.zeros(1)}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, stored: Any) -> None:
    torch.save(stored, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"not a state dict|no weights"):
        read_weights(str(tmp_path / "w.pth"))


def test_published_weights_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_BENCH_OFFLINE", "1")
    with pytest.raises(Failure, match=r"RESNET_BENCH_OFFLINE.*--weights FILE"):
        read_weights("default", NAMED["resnet18"])
    with pytest.raises(UsageError, match="published are those of resnet18, resnet34"):
        read_weights("default", SMALL)


def test_a_damaged_file_in_torchs_cache_is_neither_read_nor_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    place = tmp_path / "checkpoints" / torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    place.parent.mkdir()
    torch.save({"conv1.weight": Evil()}, place)
    with pytest.raises(Failure, match=r"resnet18-f37072fd.pth: not what was published .*; remove it"):
        read_weights("default", NAMED["resnet18"])
    assert not Path("executed").exists()


ODD = {
    "not finite": torch.tensor([1.0, float("nan")]),
    "whole numbers": torch.ones(2, dtype=torch.int32),
    "sparse": torch.ones(2).to_sparse(),
}


@pytest.mark.parametrize("case", ODD)
def test_tensors_that_are_no_weights_are_named(tmp_path: Path, case: str) -> None:
    torch.save({"stem.weight": ODD[case]}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"'stem.weight' (holds values that are not finite|is torch)|not a state"):
        read_weights(str(tmp_path / "w.pth"))


def test_a_file_of_ours_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    inputs = Inputs((3, 8, 8), False, torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)))
    weights = Weights(network().state_dict(), "x", SMALL, ("a", "b", "c", "d"), inputs, {"run_id": "r", "study": "s"})
    (tmp_path / "w.safetensors").write_bytes(to_safetensors(weights))
    again = read_weights(str(tmp_path / "w.safetensors"))
    assert again.digest == weights.digest and again.network == SMALL and again.classes == weights.classes
    assert again.inputs is not None and torch.equal(again.inputs.mean, inputs.mean) and again.source == "s, run r"
    assert load_file(tmp_path / "w.safetensors").keys() == network().state_dict().keys()
    with pytest.raises(UsageError, match=r"weights of ResNet-8 \(cifar\), not of ResNet-14 \(cifar\)"):
        read_weights(str(tmp_path / "w.safetensors"), SMALL._replace(depth=14))


@pytest.mark.parametrize(
    "facts",
    [
        {"network": "[1]"},
        {"network": '["cifar", "plain", 9, "none"]'},
        {"inputs": '{"shape": [3, 9999, 9999]}'},
        {"inputs": "nonsense"},
        {"classes": "3"},
    ],
)
def test_facts_made_on_purpose_are_refused(tmp_path: Path, facts: dict[str, str]) -> None:
    inputs = Inputs((3, 8, 8), False, torch.zeros(3, 1, 1))
    told = {
        "network": json.dumps(SMALL), "classes": '["a", "b", "c", "d"]', "inputs": inputs.to_json(), "provenance": "{}",
        **facts,
    }  # fmt: skip
    metadata = {f"resnet-bench {name}": text for name, text in told.items()}
    save_file(dict(network().state_dict()), tmp_path / "w.safetensors", metadata)
    with pytest.raises(UsageError):
        read_weights(str(tmp_path / "w.safetensors"))


# ---------------------------------------------------------------------------------------------- parts of a dataset


def test_classes_are_selected_and_numbered_as_named() -> None:
    data = digits()
    part = only_classes(data, ["7", "1"])
    assert part.classes == ("7", "1") and set(part.train_labels) == {0, 1}
    assert np.array_equal(part.train_images[part.train_labels == 0], data.train_images[data.train_labels == 7])
    assert np.array_equal(part.test_images[part.test_labels == 1], data.test_images[data.test_labels == 1])
    for names, message in (
        (["7", "x"], "no class 'x'"), (["7"], "two or more"), (["7", "7"], "each once"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            only_classes(data, names)


def test_validation_images_are_taken_from_training_and_from_nowhere_else() -> None:
    data = few_images(digits(), 10)
    assert np.bincount(data.train_labels).tolist() == [10] * 10
    split = with_validation(data)
    assert split.validation_labels is not None and split.validation_images is not None
    assert np.bincount(split.train_labels).tolist() == [8] * 10
    assert np.bincount(split.validation_labels).tolist() == [2] * 10
    together = np.concatenate([split.train_images, split.validation_images])
    assert sorted(map(bytes, together)) == sorted(map(bytes, data.train_images))
    assert split.test_images is data.test_images and split.digest != data.digest
    assert with_validation(data).digest == split.digest
    with pytest.raises(UsageError, match="class '0' has 1 training images; 2 are needed"):
        with_validation(few_images(data, 1))


# ---------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def split_data(small_data: Dataset) -> Dataset:
    return with_validation(small_data)


def trained(config: RunConfig, data: Dataset, weights: Weights | None = None) -> Any:
    job = Job.of(config, DeviceData.of(data, CPU, weights.inputs if weights else None), weights=weights)
    state = job.initial_state(data.digest)
    fit(state, job, NoSink())
    return state


def test_feature_extraction_trains_the_classifier_alone(small_run: RunConfig, split_data: Dataset) -> None:
    weights = Weights(network(seed=5).state_dict(), "a test")
    state = trained(replace(small_run, weights=weights.digest, frozen_parts=4), split_data, weights)
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, weights.tensors[name]) != name.startswith("head"), name
    assert not state.signals


def test_frozen_stages_keep_weights_and_statistics_and_others_do_not(small_run: RunConfig, split_data: Dataset) -> None:
    weights = Weights(network(seed=5).state_dict(), "a test")
    state = trained(replace(small_run, weights=weights.digest, frozen_parts=2), split_data, weights)
    for name, value in state.model.state_dict().items():
        frozen = name.startswith(("stem", "stages.0"))
        assert torch.equal(value, weights.tensors[name]) == frozen, name


def test_the_state_is_chosen_by_validation_and_never_by_test(small_run: RunConfig, split_data: Dataset) -> None:
    config = replace(small_run, row_every=2, steps=24, lr=0.2)
    state = trained(config, split_data)
    errors = {row.step: row.validation_top1_err for row in state.rows}
    assert len(set(errors.values())) > 1  # else nothing is chosen
    best = min(state.rows, key=lambda row: (row.validation_top1_err, row.validation_loss))
    assert (state.selected.step, state.selected.validation_top1_err) == (best.step, best.validation_top1_err)
    # Other test images change nothing but what is said of them.
    other = replace(split_data, test_images=split_data.test_images[::-1].copy())
    again = trained(config, other)
    assert again.selected.step == state.selected.step
    assert all(torch.equal(value, state.selected.model[name]) for name, value in again.selected.model.items())
    assert state.selected.test_top1_err == pytest.approx(
        100 * (1 - sum(state.confusion[k][k] for k in range(4)) / len(split_data.test_labels))
    )


def test_weights_that_were_not_given_are_named(small_run: RunConfig, split_data: Dataset) -> None:
    with pytest.raises(UsageError, match="begins with weights that were not given"):
        trained(replace(small_run, weights="0" * 64), split_data)


# ---------------------------------------------------------------------------------------------- the command line


FINETUNE = ("finetune", "--data", "digits", "--images-per-class", "10", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on eight digits, and from it two others, in each mode, with two seeds."""
    results = tmp_path_factory.mktemp("transfer") / "results"
    common = (*FINETUNE, "--results", str(results), "--quiet")
    network = ("--arch", "residual", "--depth", "8")
    assert main([*common, *network, "--mode", "scratch", "--classes", "0,1,2,3,4,5,6,7", "--name", "pretrained"]) == 0
    weights = str(results / "pretrained" / "scratch-10each")
    modes = ("--mode", "scratch,feature-extraction,fine-tune", "--seeds", "0,1", "--classes", "8,9")
    assert main([*common, *network, *modes, "--weights", weights]) == 0
    return results


def test_transfer_is_three_ordinary_studies_side_by_side(transferred: Path) -> None:
    folder = transferred / "transfer-digits"
    rows = read_csv(folder / TRANSFER.file, TRANSFER)
    assert [(row.mode, row.seed) for row in rows] == [
        (mode, seed) for mode in ("scratch", "feature-extraction", "fine-tune") for seed in (0, 1)
    ]
    assert {(row.images_per_class, row.train_images, row.validation_images) for row in rows} == {(10.0, 16, 4)}
    assert [row.frozen_parts for row in rows] == [0, 0, 4, 4, 0, 0]
    assert all(bool(row.weights) == (row.mode != "scratch") for row in rows)
    (run_id,) = StudyFolder(transferred / "pretrained" / "scratch-10each").results()
    assert {row.weights_origin for row in rows[2:]} == {f"pretrained/scratch-10each, run {run_id}"}
    for row in rows:
        study = StudyFolder(folder / row.study)
        run = study.results()[row.run_id]
        assert run.selected_test_top1_err == row.test_top1_err and run.study == f"transfer-digits/{row.study}"
        assert {r.validation_top1_err is None for r in study.run(row.run_id).read_table(CURVES)} == {False}
        wrong = sum(r.images for r in study.run(row.run_id).read_table(CONFUSION) if r.true_class != r.predicted_class)
        assert 100 * wrong / row.test_images == pytest.approx(row.test_top1_err)
        assert bool(study.run(row.run_id).read_table(SIGNALS)) == (row.mode != "feature-extraction")
    same = {row.init_digest for row in read_csv(folder / "fine-tune-10each" / RUNS.file, RUNS)}
    assert len(same) == 2  # seeds differ in the new classifier
    for name in ("report.html", "README.md", "transfer.png", "curves-10each.png", "confusion-10each.png"):
        assert (folder / ("figures" if name.endswith("png") else "") / name).stat().st_size > 0
    assert "fine-tune" in (folder / "README.md").read_text()


def test_a_transfer_folder_is_verified_rendered_and_told_like_a_study(
    transferred: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = transferred / "transfer-digits"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert main(["report", str(folder)]) == 0 and "images a class" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert main(["verify", str(folder)]) == 0 and capsys.readouterr().out.count("2 of 2 planned runs") == 3
    alone = tmp_path / "results" / "alone"
    shutil.copytree(folder / "fine-tune-10each", alone)
    assert main(["report", str(alone)]) == 0 and main(["verify", str(alone)]) == 0
    assert "in the state with the lowest validation error" in (alone / "tables" / "classes.md").read_text()
    capsys.readouterr()
    assert main(["status", str(folder)]) == 0 and capsys.readouterr().out.count("2 done") == 3
    text = (folder / TRANSFER.file).read_text()
    (folder / TRANSFER.file).write_text(text.replace(",16,4,", ",17,4,", 1))
    try:
        assert main(["verify", str(folder)]) == 1 and "is not what its study holds" in capsys.readouterr().out
    finally:
        (folder / TRANSFER.file).write_text(text)


def run_of(transferred: Path) -> Path:
    return next((transferred / "transfer-digits" / "fine-tune-10each" / "runs").iterdir())


def test_exported_weights_are_those_of_the_selected_state(transferred: Path, tmp_path: Path) -> None:
    run, out = run_of(transferred), tmp_path / "net.safetensors"
    assert main(["export", str(run), "--out", str(out)]) == 0
    weights, row = read_weights(str(out)), StudyFolder(run.parent.parent).results()[run.name]
    assert weights.digest == weights_of_run(run).digest and weights.classes == ("8", "9")
    assert weights.provenance["selected_test_top1_err"] == str(row.selected_test_top1_err)
    model, inputs = weights.build(), weights.inputs
    assert inputs is not None
    data = only_classes(digits(), ["8", "9"])
    with torch.inference_mode():
        predicted = model(inputs.normalise(torch.from_numpy(data.test_images))).argmax(1).numpy()
    assert 100 * (predicted != data.test_labels).mean() == pytest.approx(row.selected_test_top1_err)


def test_features_are_what_the_classifier_is_given(transferred: Path, tmp_path: Path) -> None:
    run, out = run_of(transferred), tmp_path / "features.npz"
    assert main(["export", str(run), "--features", "--data", "digits", "--out", str(out), "--device", "cpu"]) == 0
    stored = np.load(out)
    assert stored["train_features"].shape == (1437, 64) and stored["test_labels"].shape == (360,)
    weights = weights_of_run(run)
    model, inputs = weights.build(), weights.inputs
    assert inputs is not None
    with torch.inference_mode():
        expected = model(inputs.normalise(torch.from_numpy(digits().test_images)))
        logits = (
            torch.from_numpy(stored["test_features"]) @ weights.tensors["head.weight"].T + weights.tensors["head.bias"]
        )
    assert torch.allclose(expected, logits, atol=1e-5)


def test_features_are_of_what_the_network_was_trained_on_if_that_has_a_name() -> None:
    def trained_on(name: str) -> Weights:
        return Weights({}, "a test", provenance={"dataset": name})

    assert source_of(trained_on("digits"), None).name == "digits"
    assert source_of(trained_on("pets"), "digits").name == "digits"
    with pytest.raises(UsageError, match=r"needs --data.*trained on digits-8\+9"):
        source_of(trained_on("digits-8+9"), None)


def test_predictions_of_a_dataset(transferred: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["predict", str(run_of(transferred)), "--dataset", "digits", "--first", "30", "--device", "cpu"]
    assert main([*words, "--json", "--out", str(tmp_path / "grid.png")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["actual"] for row in rows] == ["8", "9"] * 15
    data, places = digits(), [int(row["image"].removeprefix("digits test ")) for row in rows]
    assert [data.classes[label] for label in data.test_labels[places]] == ["8", "9"] * 15
    assert places[:2] == [int(np.flatnonzero(data.test_labels == digit)[0]) for digit in (8, 9)]
    assert all(row["predicted"] in ("8", "9") and 0.5 <= row["probability"] <= 1 for row in rows)
    assert all(row["correct"] == (row["actual"] == row["predicted"]) for row in rows)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 1000
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 33 and f"{sum(row['correct'] for row in rows)} of 30 right" in out
    weights = weights_of_run(run_of(transferred))
    assert weights.inputs is not None
    examples = of_dataset(data, 30, weights.inputs, ["cat", "dog"])
    assert [example.actual for example in examples[:12]] == [*data.classes, "0", "1"]
    others = predict(weights.build(), weights.inputs, ["cat", "dog"], examples, torch.device("cpu"))
    assert {prediction.correct for prediction in others} == {None} and not prediction_table(others).endswith("right\n")


def test_pictures_of_any_kind_are_handled_and_unreadable_ones_named(
    transferred: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pixels = digits().test_images[0].transpose(1, 2, 0)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "same.png")
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.convert("L").convert("P").save(tmp_path / "palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    image.resize((80, 80), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    Image.new("RGB", (200, 50)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (2000, 2)).save(tmp_path / "strip.png")
    names = ["same", "grey", "alpha", "palette", "turned", "large", "wide", "text", "missing", "strip"]
    words = ["predict", str(run_of(transferred)), *(str(tmp_path / f"{name}.png") for name in names)]
    assert main([*words, "--json", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    rows = {Path(row["image"]).stem: row for row in json.loads(captured.out)}
    assert list(rows) == names[:-3] and all(row["actual"] is None for row in rows.values())
    assert len({rows[name]["probability"] for name in ("same", "grey", "alpha", "palette", "turned")}) == 1
    assert "strip.png: 2000x2 pixels, too long and narrow" in captured.err
    assert "text.png: not a readable image" in captured.err and "missing.png: no such file" in captured.err


def test_large_pictures_are_prepared_as_the_training_data_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    recipe = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(73), torchvision.transforms.CenterCrop(64), torchvision.transforms.PILToTensor()]
    )
    picture.save(tmp_path / "picture.png")
    picture.crop((0, 0, 64, 64)).save(tmp_path / "same-size.png")
    inputs = Inputs((3, 64, 64), True, torch.zeros(3, 1, 1))
    for name in ("picture.png", "same-size.png"):
        assert np.array_equal(inputs.read(tmp_path / name), recipe(Image.open(tmp_path / name)).numpy())
    grey = Inputs((1, 28, 28), False, torch.zeros(1, 28, 28)).read(tmp_path / "picture.png")
    assert grey.shape == (1, 28, 28)


NET = (*FINETUNE, "--arch", "residual", "--depth", "8")
BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no data": (("finetune", "--arch", "resnet18", "--mode", "scratch"), "needs --data"),
    "no weights": (NET, "--mode fine-tune needs --weights"),
    "weights for nothing": (
        (*NET, "--mode", "scratch", "--weights", "x"), "leave them out"),
    "no such weights": ((*NET, "--weights", "none.pth"), "none.pth: no such file"),
    "no network": ((*FINETUNE, "--mode", "scratch"), "--arch is needed"),
    "no such stage": (
        (*NET, "--weights", "default", "--freeze-until", "x"), "number of a stage"),
    "unknown mode": ((*FINETUNE, "--mode", "finetune"), "one or more of scratch"),
    "unknown class": (
        (*NET, "--mode", "scratch", "--classes", "1,x"), "no class 'x'"),
    "folder without classes": (
        ("finetune", "--data", ".", "--arch", "resnet18", "--mode", "scratch"), "neither a known dataset"),
    "empty folder": (
        ("finetune", "--data", "none", "--arch", "resnet18", "--mode", "scratch"), "none: an empty folder"),
    "first 0": (("predict", "x", "--dataset", "digits", "--first", "0"), "'0' is not a whole number from 1"),
    "nothing to predict": (("predict", "x"), "predict needs pictures"),
    "no such run": (("predict", "nothing", "a.png"), "nothing: no such file, and no run"),
    "no run": (("predict", ".", "a.png"), "no finished run"),
    "features of what": (("export", ".", "--features"), "no finished run"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_of_transfer_and_prediction(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "none").mkdir()
    words, message = BAD[case]
    try:
        code = main([*words])
    except SystemExit as ended:  # argparse's own
        code = int(str(ended.code))
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "results").exists()


def test_what_cannot_be_compared_is_not_begun(
    transferred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other images, weights, epochs, a study of its own: refused before a run, and all stays as it was."""
    results = tmp_path / "results"
    shutil.copytree(transferred, results)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    common = [*FINETUNE, "--results", str(results), "--quiet", "--seeds", "5", "--arch", "residual", "--depth", "8"]
    other = results / "transfer-digits" / "fine-tune-10each" / "runs"
    images = ("--classes", "8,9")
    refused = {
        "of different images": (*common, "--mode", "scratch", "--classes", "7,8"),
        "of different protocols": (*common, "--mode", "scratch", *images, "--epochs", "3"),
        "of different weights": (*common, *images, "--weights", str(next(other.iterdir()))),
        "is a study of its own": (*common, "--mode", "scratch", "--name", "own"),
    }
    shutil.copytree(results / "transfer-digits" / "fine-tune-10each", results / "own")
    before |= {path: path.read_bytes() for path in (results / "own").rglob("*") if path.is_file()}
    for message, words in refused.items():
        assert main([*words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    assert main([*common, *images, "--mode", "scratch", "--lr", "0.05", "--name", "lr"]) == 0  # its own business


def test_weights_are_tried_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network(SMALL._replace(depth=14), 10).state_dict(), tmp_path / "w.pth")
    words = [*FINETUNE, "--arch", "residual", "--depth", "8", "--mode", "scratch,fine-tune", "--quiet"]
    assert main([*words, "--weights", str(tmp_path / "w.pth"), "--results", str(tmp_path / "r")]) == 2
    assert "weights of another network" in capsys.readouterr().err and not (tmp_path / "r").exists()


@pytest.mark.parametrize(("images", "batch", "epochs"), [(44, 32, 30), (48, 32, 30), (10, 32, 3), (160, 32, 30)])
def test_as_many_epochs_as_asked_for(small_data: Dataset, images: int, batch: int, epochs: int) -> None:
    data = replace(
        small_data,
        train_images=np.resize(small_data.train_images, (images, *small_data.image_shape)),
        train_labels=np.resize(small_data.train_labels, images),
    )
    (run,) = Recipe(SMALL, epochs, batch).runs("scratch", data, "none", [0], None)
    assert abs(run.steps * run.batch_size / images - epochs) <= run.batch_size / images / 2


def test_validation_images_of_a_folder_are_used_as_such(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        for name in ("cat", "dog", "owl"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / split / name / f"{number}.png")
    for _ in ("decoded", "from the cache"):
        data = find_source("cifar10", str(tmp_path / "pets")).load(None)
        assert data.validation_images is not None and data.validation_images.shape == (6, 3, 12, 12)
        assert data.train_images.shape[0] == 15 and data.test_images.shape[0] == 9
        first = np.asarray(Image.open(tmp_path / "pets" / "val" / "owl" / "0.png")).transpose(2, 0, 1)
        assert np.array_equal(data.validation_images[4], first)
        part = with_validation(few_images(only_classes(data, ["owl", "cat"]), 4))
        assert part.train_labels.tolist() == [1] * 4 + [0] * 4 and part.validation_labels is not None
        assert part.validation_labels.tolist() == [1, 1, 0, 0]


def test_outputs_do_not_destroy_what_is_there(
    transferred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(run_of(transferred))
    Image.new("RGB", (8, 8)).save("cat.png")
    before = Path("cat.png").read_bytes()
    assert main(["export", run]) == 0 and main(["export", run]) == 0  # the same again
    (made,) = Path().glob("*.safetensors")
    assert made.name == f"transfer-digits-fine-tune-10each-{run_of(transferred).name}.safetensors"
    other = str(next((transferred / "pretrained" / "scratch-10each" / "runs").iterdir()))
    capsys.readouterr()
    for words, message in (
        (("export", other, "--out", str(made)), "holds something else already"),
        (("predict", run, "cat.png", "--out", "cat.png"), "is what is read"),
        (("predict", run, "cat.png", "--out", str(made)), "written as FILE.png"),
        (("predict", run, "cat.png", "--first", "3"), "--first is for --dataset"),
    ):
        assert main([*words]) == 2 and message in capsys.readouterr().err
    assert Path("cat.png").read_bytes() == before
    assert main(["predict", str(made), "--json", "--device", "cpu", "cat.png"]) == 0  # pictures may follow options
    assert json.loads(capsys.readouterr().out)[0]["image"] == "cat.png"
    assert main(["predict", run, "cat.png", "--jsn"]) == 2


def test_a_folder_with_one_class_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (40, 40)).save(tmp_path / "pets" / "cat" / f"{number}.png")
    words = ["finetune", "--data", str(tmp_path / "pets"), "--arch", "resnet18", "--mode", "scratch"]
    assert main([*words, "--results", str(tmp_path / "r")]) == 2 and "one class only, 'cat'" in capsys.readouterr().err


def test_weights_of_another_network_end_with_one_line(transferred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*FINETUNE, "--arch", "residual", "--depth", "14", "--weights", str(run_of(transferred))]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "weights of ResNet-8 (cifar), not of ResNet-14 (cifar)" in error and error.count("\n") == 1


def test_a_run_without_its_checkpoint_says_so(transferred: Path) -> None:
    run = run_of(transferred)
    hidden = run / "checkpoint.hidden"
    (run / "checkpoint.pt").rename(hidden)
    try:
        with pytest.raises(UsageError, match=r"checkpoint.pt: no such file; weights are kept where a run was trained"):
            find_weights(str(run))
    finally:
        hidden.rename(run / "checkpoint.pt")


def test_torchvision_style_networks_on_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state dict of torchvision's, its head replaced, one epoch on photographs; ImageNet's normalisation."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (150, 130, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg")
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    words = ["finetune", "--data", f"{tmp_path / 'photos'}@128", "--arch", "resnet18", "--epochs", "1", "--quiet"]
    words += ["--weights", str(tmp_path / "resnet18.pth"), "--batch-size", "4", "--results", str(tmp_path / "r")]
    assert main([*words, "--freeze-until", "3", "--device", "cpu"]) == 0, capsys.readouterr().err
    folder = tmp_path / "r" / "transfer-photos-128"
    (row,) = read_csv(folder / TRANSFER.file, TRANSFER)
    assert (row.family, row.frozen_parts, row.weights_origin) == (IMAGENET, 4, "resnet18.pth")
    run = next((folder / "fine-tune" / "runs").iterdir())
    inputs = weights_of_run(run).inputs
    assert inputs is not None and inputs.resized and torch.equal(inputs.mean, Inputs.imagenet().mean)
    splits = [line.rsplit(",", 1)[1] for line in (folder / "fine-tune" / "split.csv").read_text().splitlines()[1:]]
    assert {name: splits.count(name) for name in splits} == {"train": 8, "validation": 2, "test": 2}
