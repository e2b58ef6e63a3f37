"""Studies: every run that was ever made keeps its name; what is varied; what may differ in one folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resnet_bench import studies
from resnet_bench.config.builders import source_digest
from resnet_bench.config.differences import differences
from resnet_bench.config.run import OF_THE_ARM, RunConfig, Variation
from resnet_bench.config.study import Networks, Protocol, Study, twins
from resnet_bench.errors import UsageError
from tests.conftest import ROOT, WriteModule

RESULTS = ROOT / "results"
COMMITTED = sorted(RESULTS.glob("**/config.json"))
# The first half of the SHA-256 of the names of all runs, in order, since there are studies.
NAMES = {
    "cifar10-18-34-short": "850935eb1c001a09",
    "cifar10-paper": "34e5f1423b4fdacc",
    "cifar10-short": "ebe5b3da5dd28d7f",
    "demo": "4aeade273afaa3bd",
    "digits-full": "c7899b4cd15ea878",
    "digits-shortcuts": "3c5b55dee9a153e4",
    "fashion-mnist-short": "f041f8cf051a6d85",
}
PROTOCOL = Protocol(steps=100, lr=0.02, lr_drops=(0.5,))
STUDY = Study(name="tiny", dataset="digits", seeds=(1, 0), networks=twins([20, 8]), protocol=PROTOCOL)


def test_every_committed_run_is_read_from_its_file_under_its_name() -> None:
    assert len(COMMITTED) > 100
    for path in COMMITTED:
        value = json.loads(path.read_text())
        assert RunConfig.from_json(value["config"]).run_id == value["run_id"] == path.parent.name


@pytest.mark.parametrize(
    ("folder", "name", "dataset"),
    [
        ("cifar10-jpeg-short", "cifar10-short", "cifar10-jpeg"),
        ("digits-full", "digits-full", "digits"),
        ("digits-shortcuts", "digits-shortcuts", "digits"),
        ("fashion-mnist-short", "fashion-mnist-short", "fashion-mnist"),
    ],
)
def test_the_files_of_the_studies_give_the_runs_that_were_committed(folder: str, name: str, dataset: str) -> None:
    study = studies.find(name)
    committed = {path.parent.name for path in (RESULTS / folder).glob("runs/*/config.json")}
    assert {run.run_id for run in study.runs(dataset)} == committed
    assert study.folder_name(dataset) == study.on(dataset).name == folder
    assert {run.run_id for run in study.on(dataset).runs()} == committed


def test_the_names_of_all_built_in_runs_are_what_they_were() -> None:
    assert studies.names() == list(NAMES)
    for name, digest in NAMES.items():
        ids = sorted(run.run_id for run in studies.find(name).runs())
        assert hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16] == digest, name


def test_a_built_in_study_is_found_by_name_as_an_attribute_and_copied(tmp_path: Path) -> None:
    study = studies.digits_full
    assert study is studies.find("digits-full") and "digits_full" in dir(studies)
    (tmp_path / "my.toml").write_text(study.text)
    assert studies.named(str(tmp_path / "my.toml")) == study == studies.named("digits-full")
    with pytest.raises(AttributeError, match="no study 'nothing'"):
        _ = studies.nothing
    with pytest.raises(UsageError, match="study 'nothing' is unknown; one of cifar10-18-34-short, "):
        studies.named("nothing")


def test_the_studies_need_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from resnet_bench import studies; studies.demo.runs(); print({'torch', 'pandas'} & {*sys.modules})"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output == "set()\n"


def test_what_is_varied_multiplies_the_runs_and_is_told_of_each() -> None:
    study = dataclasses.replace(STUDY, vary={"steps": (50, 200), "lr": (0.1, 1)})
    runs = study.runs()
    assert len({run.run_id for run in runs}) == len(runs) == 4 * len(STUDY.runs()) == 32
    assert [study.setting_of(run) for run in runs[::8]] == [
        "steps=50, lr=0.1", "steps=50, lr=1", "steps=200, lr=0.1", "steps=200, lr=1",
    ]  # fmt: skip
    assert [(run.depth, run.seed, run.arch) for run in runs[:4]] == [
        (8, 0, "plain"), (8, 0, "residual"), (8, 1, "plain"), (8, 1, "residual"),
    ]  # fmt: skip
    assert {(run.steps, run.lr_drops, run.row_every) for run in runs} == {(50, (25,), 3), (200, (100,), 10)}
    assert study.setting_of(study.on("pets").runs("pets", [14], [7], augmentation="crop")[0]) == "steps=50, lr=0.1"
    assert STUDY.setting_of(STUDY.runs()[0]) == ""
    with pytest.raises(UsageError, match="is not by the rules of study tiny"):
        study.setting_of(STUDY.runs()[0])


def test_seeds_of_their_own_and_schedules_may_be_varied() -> None:
    study = dataclasses.replace(STUDY, vary={"batch_seed": (5, 6), "schedule": ("step", "cosine")})
    assert {(run.batch_seed, run.schedule, run.lr_drops) for run in study.runs()} == {
        (5, "step", (50,)), (5, "cosine", ()), (6, "step", (50,)), (6, "cosine", ()),
    }  # fmt: skip
    assert all(run.init_seed is None for run in study.runs())


def test_the_warm_up_is_for_deep_networks_alone_and_zeros_for_residual_ones() -> None:
    protocol = dataclasses.replace(PROTOCOL, lr_warmup=0.001, lr_warmup_from_depth=20, zero_init_residual=True)
    runs = dataclasses.replace(STUDY, protocol=protocol).runs()
    assert {(run.depth, run.lr_warmup) for run in runs} == {(8, None), (20, 0.001)}
    assert {(run.arch, run.zero_init_residual) for run in runs} == {("plain", False), ("residual", True)}


def test_networks_with_names_of_their_own_have_depths_of_their_own() -> None:
    networks = Networks(arms=("resnet50", "plain", "resnext50_32x4d"), depths=(18,), family="imagenet")
    study = dataclasses.replace(STUDY, networks=networks)
    found = [(run.arch, run.depth, run.shortcut, run.family) for run in study.runs(seeds=[0], image_side=64)]
    assert found == [
        ("plain", 18, "none", "imagenet-small"),
        ("residual", 50, "b", "imagenet-small"),
        ("resnext50_32x4d", 50, "b", "imagenet-small"),
    ]
    assert {run.family for run in study.runs(image_side=224)} == {"imagenet"}
    with pytest.raises(UsageError, match=r"^networks\.arms: .* stands there twice"):
        Networks(arms=("resnet18", "residual-b"), depths=(18,), family="imagenet")


def test_a_network_of_ones_own_takes_the_place_of_an_arm(write_module: WriteModule) -> None:
    name = write_module("f = g = len")
    networks = Networks(arms=("plain", "mine"), depths=(9,), builders={"mine": f"{name}:f", "plain": f"{name}:g"})
    study = dataclasses.replace(STUDY, networks=networks)
    runs = study.runs(seeds=[0])
    assert [(run.family, run.arch, run.shortcut, run.builder) for run in runs] == [
        ("own", "plain", "none", f"{name}:g"),
        ("own", "mine", "none", f"{name}:f"),
    ]
    assert {run.builder_digest for run in runs} == {source_digest(f"{name}:f")}
    assert [study.setting_of(run) for run in runs] == ["", ""] and study.alike(runs[1]) == [runs[1]]
    with pytest.raises(UsageError, match=r"^networks\.builders\.resnet18: is torchvision's network"):
        Networks(arms=("resnet18",), builders={"resnet18": "nets:f"})
    with pytest.raises(UsageError, match=r"^networks\.arms\.0: 'my-net': a network of your own has a name"):
        Networks(arms=("my-net",), depths=(1,), builders={"my-net": "nets:f"})


# Another value of each field that is no matter of the arm; of a network that there is in two families.
BASE = RunConfig(protocol="a/1", dataset="digits", arch="residual", depth=50, shortcut="b", seed=0, steps=100)
OTHERS: dict[str, Any] = {
    "protocol": "a/2", "dataset": "pets", "depth": 20, "seed": 1, "steps": 101, "batch_size": 64, "lr": 0.2,
    "lr_drops": (50,), "lr_warmup": 0.01, "lr_warmup_error": 70.0, "lr_warmup_window": 50, "momentum": 0.8,
    "weight_decay": 0.0, "augmentation": "none", "row_every": 10, "row_train_images": 50, "row_test_images": 50,
    "final_train_images": 50, "family": "imagenet", "optimizer": "adam", "schedule": "cosine",
    "zero_init_residual": True, "weights": "f" * 64, "frozen_parts": 1, "crop_padding": 2, "image_side": 16,
    "images_per_class": 5, "init_seed": 3, "batch_seed": 3,
}  # fmt: skip


def test_the_digest_of_twins_changes_with_all_that_is_no_matter_of_the_arm() -> None:
    assert OTHERS.keys() | set(OF_THE_ARM) == {field.name for field in dataclasses.fields(RunConfig)}
    assert not OTHERS.keys() & set(OF_THE_ARM)
    digests = {name: dataclasses.replace(BASE, **{name: value}).twin_digest for name, value in OTHERS.items()}
    assert len({BASE.twin_digest, *digests.values()}) == len(OTHERS) + 1
    assert dataclasses.replace(BASE, arch="plain", shortcut="none").twin_digest == BASE.twin_digest
    assert {dataclasses.replace(BASE, shortcut=option).twin_digest for option in "abc"} == {BASE.twin_digest}
    first, second = "1" * 64, "2" * 64
    own = dataclasses.replace(
        BASE, family="own", arch="mine", shortcut="none", builder="nets:one", builder_digest=first
    )
    twin = dataclasses.replace(own, arch="plain", builder="nets:other", builder_digest=second)
    assert own.twin_digest == twin.twin_digest != BASE.twin_digest
    told = json.loads(BASE.canonical_json())
    text = json.dumps({k: v for k, v in told.items() if k not in ("arch", "shortcut")}, separators=(",", ":"))
    assert BASE.twin_digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_twins_of_the_built_in_studies_are_equal_in_all_else(name: str) -> None:
    """The paper's warm-up of 110 layers too: it goes by depth."""
    study, runs = studies.find(name), studies.find(name).runs()
    cells = {(run.depth, run.seed, study.setting_of(run)) for run in runs}
    assert len(runs) == len(cells) * len(study.networks.arms)
    assert len({(run.depth, run.seed, run.twin_digest) for run in runs}) == len(cells)


def test_a_flag_for_what_the_study_varies_is_refused() -> None:
    study = dataclasses.replace(STUDY, vary={"lr": (0.1, 0.2)})
    with pytest.raises(UsageError, match="--lr: the study varies that itself"):
        study.varied(Variation(lr=0.5))
    changed = study.varied(Variation("adamw", "cosine"))
    assert changed.name == "tiny-adamw-cosine" and {run.protocol for run in changed.runs()} == {"tiny-adamw-cosine/1"}
    own = dataclasses.replace(STUDY, protocol=dataclasses.replace(PROTOCOL, optimizer="adam"))
    assert {run.optimizer for run in own.varied(Variation(lr=0.5)).runs()} == {"adam"}


VARIED = dataclasses.replace(STUDY, vary={"steps": (50, 200)})
DIFFERENCES = {
    "nothing": (VARIED, []),
    "a seed more": (dataclasses.replace(VARIED, seeds=(0, 1, 2)), []),
    "a depth more": (dataclasses.replace(VARIED, networks=twins([8, 14, 20])), []),
    "a value more": (dataclasses.replace(VARIED, vary={"steps": (400, 50, 200)}), []),
    "the same in steps": (dataclasses.replace(VARIED, protocol=dataclasses.replace(PROTOCOL, rows=20)), []),
    "other words": (dataclasses.replace(VARIED, meaning="something"), []),
    "a seed less": (dataclasses.replace(VARIED, seeds=(0,)), ["seeds is without 1"]),
    "a value less": (dataclasses.replace(VARIED, vary={"steps": (50,)}), ["vary.steps is without 200"]),
    "nothing varied": (STUDY, ["vary is empty, was steps"]),
    "another arm": (
        dataclasses.replace(VARIED, networks=Networks(arms=("plain",), depths=(8, 20))),
        ["networks.arms is plain, was plain, residual-a"],
    ),
    "the rate": (
        dataclasses.replace(VARIED, protocol=dataclasses.replace(PROTOCOL, lr=0.1)), ["protocol.lr is 0.1, was 0.02"]),
    "the drops": (
        dataclasses.replace(VARIED, protocol=dataclasses.replace(PROTOCOL, lr_drops=(0.5, 0.9))),
        ["protocol.lr_drops is 25, 45, was 25"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENCES)
def test_what_may_differ_in_one_folder_is_what_was_added(case: str) -> None:
    study, expected = DIFFERENCES[case]
    assert differences(study, VARIED) == expected
