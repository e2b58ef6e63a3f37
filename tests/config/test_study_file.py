"""Study files: what may stand in one, how what may not is told, and that what is written is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resnet_bench.config.study import Networks, Protocol, Study, twins
from resnet_bench.errors import UsageError

FILE = """# mine
name = "svhn-800"
meaning = "what it is for"
data = "svhn"
seeds = [0, 1]

[networks]
arms = ["plain", "residual-a"]
depths = [20, 56]

[protocol]
steps = 800
lr = 0.02
lr_drops = [0.5, 0.75]

[vary]
steps = [200, 800]
"""
STUDY = Study(
    name="svhn-800",
    meaning="what it is for",
    dataset="svhn",
    seeds=(0, 1),
    networks=twins([20, 56]),
    protocol=Protocol(steps=800, lr=0.02, lr_drops=(0.5, 0.75)),
    vary={"steps": (200, 800)},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "my.toml").write_text(FILE)
    return tmp_path / "my.toml"


def test_a_file_and_the_same_in_python_are_equal(file: Path) -> None:
    study = Study.load(file)
    assert study == STUDY and study.text == FILE and study.file_text() == FILE
    assert Study.parse(study.to_toml().encode()) == study
    assert study.on("mnist").file_text() == study.on("mnist").to_toml() != FILE
    file.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    assert Study.load(file) == study


WHOLE = Study(
    name="everything.1",
    meaning='a "quote", a \\ and Größe',
    dataset="mine.data:load",
    seeds=(3,),
    networks=Networks(
        arms=("plain", "residual-b", "mynet"),
        depths=(8,),
        builders={"mynet": "tests.owned:plain", "plain": "tests.conftest:git"},
    ),
    protocol=Protocol(
        name="x/2", steps=10, batch_size=3, lr=1e-5, lr_drops=(0.25, 7), lr_warmup=1, lr_warmup_from_depth=8,
        momentum=0,
        weight_decay=1e-300, zero_init_residual=True, augmentation="crop", crop_padding=2, image_side=16,
        images_per_class=5, rows=3, final_train_images=7,
    ),
    vary={"lr": (1, 0.5), "lr_drops": ((), (0.5,)), "optimizer": ("sgd", "adam"), "init_seed": (1, 2)},
)  # fmt: skip


def test_every_kind_of_value_is_written_so_that_it_is_read_again() -> None:
    again = Study.parse(WHOLE.to_toml().encode())
    assert again == WHOLE and again.to_toml() == WHOLE.to_toml()
    assert [run.run_id for run in again.runs()] == [run.run_id for run in WHOLE.runs()]


BAD = {
    "unknown field": ("steps = 800", "stepz = 800", "protocol.stepz: there is no such field; nearest: steps; there ar"),
    "unknown table": ("[vary]", "[varry]", "varry: there is no such field; nearest: vary"),
    "in another table": ("lr = 0.02", "depths = [8]", "protocol.depths: there is no such field here; it belongs in [n"),
    "before the tables": ("seeds = [0, 1]", "seeds = [0]\nlr = 1", "lr: there is no such field here; it belongs in [p"),
    "missing": ("steps = 800", "", "protocol.steps: is missing"),
    "no name": ('name = "svhn-800"', "", "name: is missing"),
    "no table": ("[vary]\nsteps = [200, 800]", "", None),
    "wrong type": ("steps = 800", 'steps = "800"', "protocol.steps: '800' is not a whole number"),
    "a date": ("steps = 800", "steps = 2026-01-01", "protocol.steps: datetime.date(2026, 1, 1) is not a whole number"),
    "true": ("lr = 0.02", "lr = true", "protocol.lr: True is not a number"),
    "nan": ("lr = 0.02", "lr = nan", "protocol.lr: 'nan' is not a finite number"),
    "too large": ("lr = 0.02", "lr = 1e999", "protocol.lr: 'inf' is not a finite number"),
    "range": ("steps = 800", "steps = 0", "protocol.steps: 0 is not between 1 and"),
    "momentum": ("lr = 0.02", "momentum = 2", "protocol.momentum: 2 is not between 0 and 1"),
    "choice": ("lr = 0.02", 'schedule = "linear"', "protocol.schedule: 'linear' is not one of step, cosine"),
    "protocol's name": ("lr = 0.02", 'name = "x"', "protocol.name: 'x' is not a name and a version, as in short-400/1"),
    "name": ("svhn-800", "../x", "name: '../x' is not a name for a folder"),
    "data": ('"svhn"', '""', "data: '' is not a dataset's name"),
    "depth": ("[20, 56]", "[20, 57]", "networks.depths.1: depth 57 is not 6n+2"),
    "no depths": ("[20, 56]", "[]", "networks.depths: is empty"),
    "depth twice": ("[20, 56]", "[20, 20]", "networks.depths: 20 stands there twice"),
    "seed": ("[0, 1]", "[0, -1]", "seeds.1: -1 is not between 0 and 2,147,483,647"),
    "too many runs": ("[0, 1]", str(list(range(3_000))), "vary: these are more than 10,000 runs"),
    "arm": ('"residual-a"', '"residual"', "networks.arms.1: there is no arm 'residual'; nearest: residual-"),
    "family": ('"residual-a"', '"resnet50"', 'networks.arms.1: resnet50 is of ImageNet style: it needs family = "imag'),
    "builder": ("[protocol]", "[networks.builders]\nplain = 'x'\n[protocol]", "networks.builders.plain: 'x' is not pa"),
    "builder of none": ("[protocol]", "[networks.builders]\nx = 'a:b'\n[protocol]", "networks.builders.x: there is no"),
    "drop after the end": ("0.75]", "900]", "protocol.lr_drops.1: 900 is neither a step before the last (800) nor a s"),
    "drop of a short setting": ("[0.5, 0.75]", "[300]", "protocol.lr_drops.0: 300 is neither a step before the last ("),
    "drops in disorder": ("[0.5, 0.75]", "[0.75, 0.5]", "protocol.lr_drops: the drops do not stand in the order"),
    "drops of a cosine": ("lr = 0.02", "schedule = 'cosine'", "protocol.lr_drops: a cosine schedule has no drops"),
    "rows twice": ("lr = 0.02", "rows = 5\nrow_every = 3", "protocol.rows: say rows or row_every, not both"),
    "rate of adam": ("lr = 0.02", "optimizer = 'adam'", "protocol.lr: is missing: 0.1, as where none is said, is for"),
    "vary unknown": ("steps = [200", "stepz = [200", "vary.stepz: there is no such field; nearest: steps"),
    "vary an axis": ("steps = [200, 800]", "depth = [8]", "vary.depth: is an axis of its own; write the values in net"),
    "vary nothing": ("steps = [200, 800]", "steps = []", "vary.steps: is empty"),
    "vary a value": ("steps = [200, 800]", "steps = 800", "vary.steps: 800 is not a list of values"),
    "vary twice": ("steps = [200, 800]", "lr = [1, 1.0]", "vary.lr: 1.0 stands there twice"),
    "vary a wrong type": ("steps = [200, 800]", "steps = [200, 'a']", "vary.steps.1: 'a' is not a whole number"),
    "vary without use": (
        "steps = [200, 800]", "zero_init_residual = [false, true]", "vary.zero_init_residual: makes no difference to"),
    "vary the momentum of adam": (
        "steps = [200, 800]", "optimizer = ['adam']\nmomentum = [0, 0.9]", "vary.momentum: has no meaning with"),
    "vary a window of nothing": (
        "steps = [200, 800]", "lr_warmup_window = [5, 10]", "vary.lr_warmup_window: has no meaning without lr_warmup"),
    "vary family": (
        "steps = [200, 800]", "family = ['cifar', 'imagenet']", "networks.depths.0: depth 20 is unknown for plain"),
    "no TOML": ("lr = 0.02", "lr 0.02", "is no TOML: Expected '=' after a key in a key/value pair (at line 13, column"),
    "too deep": ("lr = 0.02", "lr = " + "[" * 20_000, "is no TOML that can be read"),
    "too long": ("lr = 0.02", "lr = " + "9" * 5_000, "is no TOML that can be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_in_a_line_with_file_and_place(case: str, file: Path) -> None:
    old, new, message = BAD[case]
    assert old in FILE
    file.write_text(FILE.replace(old, new))
    if message is None:
        assert len(Study.load(file).runs()) == 8
        return
    with pytest.raises(UsageError) as caught:
        Study.load(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: {message}") and "\n" not in text and len(text) < 1_000


def test_what_is_no_file_of_text_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b'name = "a"\n\xff\xfe')
    (tmp_path / "large.toml").write_bytes(b"#" * 70_000)
    os.mkfifo(tmp_path / "pipe.toml")
    for name, why in (
        ("binary.toml", "line 2: is no text in UTF-8"),
        ("large.toml", "is larger than 65,536 bytes"),
        ("pipe.toml", "is no plain file"),
        (".", "is no plain file"),
        ("none.toml", "No such file or directory"),
    ):
        with pytest.raises(UsageError, match=why):
            Study.load(tmp_path / name)


def test_in_python_the_same_is_told_without_a_file() -> None:
    with pytest.raises(UsageError, match=r"^protocol\.steps: None is not a whole number$"):
        Protocol(steps=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^networks\.depths\.0: depth 9 is not 6n\+2"):
        twins([9])
    with pytest.raises(UsageError, match=r"^data: 5 is not a text$"):
        Study(name="a", dataset=5, seeds=(0,), networks=twins([8]), protocol=Protocol(steps=2))  # type: ignore[arg-type]
