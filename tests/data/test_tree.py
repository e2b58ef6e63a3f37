"""Folders as people have them: which layout it is, what is used, and what becomes of everything else in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from resnet_bench.cli import main
from resnet_bench.data import layout, listing
from resnet_bench.data.listing import Account, Reason, few
from resnet_bench.data.sources import find_source
from resnet_bench.data.tree import Tree, list_images
from resnet_bench.errors import UsageError
from tests.conftest import ROOT

CAFE = normalize("NFC", "café"), normalize("NFD", "café")


def fill(root: Path, *places: str) -> Path:
    """Files at these places; `a/{b,c}/` stands for two class folders of three pictures each; the folder."""
    for place in places:
        if place.endswith("}/"):
            above, _, names = place.removesuffix("}/").partition("{")
            for name in names.split(","):
                fill(root, *(f"{above}{name}/{number}.png" for number in range(3)))
        else:
            assert not place.startswith("/")
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / place, format="PNG")
    return root


def link(root: Path, place: str, target: str) -> None:
    (root / place).symlink_to(target)


def used(tree: Tree) -> dict[str, int]:
    """How many images each split has."""
    splits = {"train": tree.train, "test": tree.test, "val": tree.validation}
    return {split: sum(map(len, classes.values())) for split, classes in splits.items() if classes}


def left_out(tree: Tree) -> dict[Reason, list[str]]:
    return tree.account.left_out


BOTH = ("train/{cat,dog}/", "test/{cat,dog}/")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "splits without classes": (
        ("train/1.png", "test/2.png"), r"no class folders in test/, train/; understood are train/<class>/\*, test"),
    "a split without classes": (("train/1.png", "train/2.png"), "no class folders in train/; understood are"),
    "unlabelled ones beside": (("train/1.png", "train/2.png", "test1/1.png"), "no class folders in test1/, train/"),
    "masks beside images": (("train/1.png", "train_masks/1.png"), "no class folders in train/, train_masks/"),
    "no folder at all": (("1.png", "2.png"), "no class folders; understood are"),
    "no train": (("test/{cat,dog}/",), "no folder train/ with class folders beside test/"),
    "two spellings": ((*BOTH, "Test/{cat,dog}/"), "Test/ and test/ both mean test/; keep one of them"),
    "two words": ((*BOTH, "val/{cat,dog}/", "eval/{cat,dog}/"), "eval/ and val/ both mean val/; keep one of them"),
    "two for training": ((*BOTH, "training/{cat,dog}/"), "train/ and training/ both mean train/"),
    "unknown, same classes": ((*BOTH, "held_out/{cat,dog}/"), "held_out: holds class folders, but would be left out"),
    "unknown, same words": ((*BOTH, "test_set/{Kitten,Puppy}/"), "test_set: holds class folders, but would be left"),
    "splits of unknown names": (
        ("train_images/{cat,dog}/", "test_images/{cat,dog}/"), "test_images/, train_images/: is it a split"),
    "classes beside train": ((*BOTH, "cat/1.png"), "cat: a class that lies beside train/ would be left out"),
    "classes unknown": (
        ("train/{cat,dog}/", "test/unknown/1.png"), "test: holds none of the classes of train/, but unknown/"),
    "classes with splits": (("cat/{train,test}/", "dog/{train,test}/"), "cat/test: a split within a class"),
    "a folder around": (("photos/{cat,dog}/",), "one class only, 'photos'; .* .if its folders are the classes"),
    "a folder around splits": (("photos/train/{cat,dog}/",), "photos/train: a split within a class; if photos/ is"),
    "another case": (("train/{Cat,dog}/", "test/{cat,dog}/"), "'cat' is missing in train/ .* 'Cat' is another name"),
    "accents twice": ((f"{{{CAFE[0]},{CAFE[1]}}}/",), r"'caf\\xe9' and 'cafe\\u0301' look the same"),
    "accents by split": (
        (f"train/{{{CAFE[0]},dog}}/", f"test/{{{CAFE[1]},dog}}/"),
        r"is missing in train/ .* 'cafe\\u0301' and 'caf\\xe9' look the same"),
    "of another suffix": (
        (*BOTH, "train/owl/1.HEIC", "test/owl/1.png"), r"train/owl: no image .*left out: 1 .*\(.heic\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_be_meant_otherwise_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    places, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as caught:
        find_source("cifar10", str(fill(tmp_path / "pets", *places)))
    assert str(caught.value).startswith(str(tmp_path / "pets")) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("held_out", "split"),
    [("Test", "test"), ("testing", "test"), ("TESTING", "test"), ("eval", "test"), ("Valid", "test"), ("val", "test")],
)
def test_usual_spellings_in_any_case_are_used_as_what_they_mean(tmp_path: Path, held_out: str, split: str) -> None:
    tree = list_images(fill(tmp_path, "Training/{cat,dog}/", f"{held_out}/{{cat,dog}}/"))
    assert used(tree) == {"train": 6, split: 6} and not tree.split_here and not left_out(tree)
    assert {path.parts[-3] for files in tree.test.values() for path in files} == {held_out}
    assert tree.notes == (f"tested on {held_out}/",)


def test_validation_images_beside_test_images_are_for_validation(tmp_path: Path) -> None:
    tree = list_images(fill(tmp_path, *BOTH, "Eval/{cat,dog}/"))
    assert used(tree) == {"train": 6, "test": 6, "val": 6} and tree.notes == ()


def test_every_layout_of_the_table_is_read_as_it_says(tmp_path: Path) -> None:
    for number, one in enumerate(layout.LAYOUTS):
        root = fill(tmp_path / str(number), *(f"{name}/{{cat,dog}}/" for name in one.folders or ["."]))
        counts = used(list_images(root))
        if not one.test:
            assert counts == {"train": 4, "test": 2}, one
        else:
            assert counts == {"train": 6, "test": 6, **({"val": 6} if one.validation else {})}, one


def test_the_tables_in_the_documents_are_those_in_the_code() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    assert layout.to_markdown() in text
    assert all(f"\n| {reason.value} | " in text for reason in Reason)


def test_loose_pictures_do_not_hide_the_class_folders(tmp_path: Path) -> None:
    tree = list_images(fill(tmp_path, *BOTH, "train/x.png", "train/y.png", "test/x.png", "top.png"))
    assert used(tree) == {"train": 6, "test": 6}
    assert left_out(tree) == {Reason.LOOSE: ["top.png", "train/x.png", "train/y.png", "test/x.png"]}


def test_what_systems_and_tools_leave_is_left_out_and_counted(tmp_path: Path) -> None:
    root = fill(tmp_path, *BOTH, "__MACOSX/{cat,dog}/", ".git/{a,b}/", "train/@eaDir/1.png", "test/dog/Thumbs.db")
    fill(root, "labels/cat.txt", "lost+found/1.png")
    tree = list_images(root)
    assert used(tree) == {"train": 6, "test": 6}
    assert left_out(tree) == {
        Reason.HIDDEN: [".git"],
        Reason.SYSTEM: ["__MACOSX", "lost+found", "train/@eaDir", "test/dog/Thumbs.db"],
        Reason.BESIDE: ["labels/"],
    }
    assert used(list_images(fill(tmp_path / "one", "{cat,dog}/", "__MACOSX/cat/1.png"))) == {"train": 4, "test": 2}


def test_unlabelled_pictures_for_a_test_are_left_out_and_said(tmp_path: Path) -> None:
    root = fill(tmp_path, "train/{cat,dog}/", "test/1.png", "test1/1.png")
    tree = list_images(root)
    assert used(tree) == {"train": 4, "test": 2} and tree.split_here
    assert left_out(tree) == {Reason.UNLABELLED: ["test/"], Reason.BESIDE: ["test1/"]}
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    with pytest.raises(UsageError, match="test: no image in it; fill it or remove it"):
        list_images(root)


def test_pictures_in_sub_folders_of_a_class_are_used(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", *BOTH, "train/cat/a/b/9.png", "train/cat/a.png")
    fill(tmp_path / "elsewhere", "1.png", "deep/2.png")
    link(root, "train/dog/linked", str(tmp_path / "elsewhere"))
    tree = list_images(root)
    assert [path.relative_to(root / "train" / "cat").as_posix() for path in tree.train["cat"]] == [
        "0.png", "1.png", "2.png", "a/b/9.png", "a.png",
    ]  # fmt: skip
    assert [path.relative_to(root / "train" / "dog").as_posix() for path in tree.train["dog"]][3:] == [
        "linked/1.png",
        "linked/deep/2.png",
    ]
    assert tree.notes == ("3 of the images in sub-folders of classes",) and not left_out(tree)


def test_links_that_lead_round_are_followed_once(tmp_path: Path) -> None:
    root = fill(tmp_path, "{cat,dog}/", "cat/a/5.png")
    for place, target in (("cat/up", ".."), ("cat/same", "."), ("cat/a/top", "../.."), ("cat/b", "a"), ("dog/x", "x")):
        link(root, place, target)
    tree = list_images(root)
    assert used(tree) == {"train": 5, "test": 2}
    assert sorted(left_out(tree).pop(Reason.AGAIN)) == ["cat/a/top", "cat/b", "cat/same", "cat/up"]
    assert left_out(tree) == {Reason.BROKEN: ["dog/x"]}


def test_a_link_from_one_folder_to_the_next_and_twice_each_is_no_bomb(tmp_path: Path) -> None:
    root = fill(tmp_path, "{cat,dog}/")
    for number in range(40):
        (root / "cat" / f"d{number}").mkdir()
        for side in "ab":
            link(root, f"cat/d{number}/{side}", f"../d{number + 1}")
    (root / "cat" / "d40").mkdir()
    tree = list_images(root)
    assert used(tree) == {"train": 4, "test": 2} and len(left_out(tree)[Reason.AGAIN]) == 80


def test_the_split_of_a_tree_without_sub_folders_is_as_it_always_was(tmp_path: Path) -> None:
    root = fill(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)))
    chosen = [path.relative_to(root).as_posix() for files in list_images(root).test.values() for path in files]
    assert chosen == ["cat/6.png", "cat/7.png", "dog/2.png", "dog/7.png"]


def test_what_is_no_picture_is_named_and_never_opened(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "pets", *BOTH, "train/cat/a.HEIC", "train/cat/b.txt", "train/cat/README", "test/cat/.hidden.png"
    )
    os.mkfifo(root / "train" / "dog" / "pipe.png")
    link(root, "train/dog/zero.png", "/dev/zero")
    link(root, "train/dog/gone.png", "nowhere.png")
    source = find_source("cifar10", str(root))
    assert source.load(None).train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.left_out == (
        "left out: 1 hidden: test/cat/.hidden.png; 3 not named as pictures (no suffix, .heic, .txt): "
        "train/cat/README and 2 more; 1 behind a link that leads nowhere: train/dog/gone.png; "
        "2 neither file nor folder: train/dog/pipe.png and 1 more"
    )


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("train/owl", "train/owl: a link that leads nowhere, beside classes; mend or remove it"),
        ("Testing", "Testing: a link that leads nowhere; mend or remove it"),
        ("train/cat/up", ""),
    ],
)
def test_a_link_that_may_have_been_a_class_or_a_split_is_an_error(tmp_path: Path, place: str, message: str) -> None:
    root = fill(tmp_path, "train/{cat,dog}/", "val/{cat,dog}/")
    link(root, place, "/no/such/place")
    if not message:
        assert left_out(list_images(root)) == {Reason.BROKEN: [place]}
        return
    with pytest.raises(UsageError, match=message):
        list_images(root)


def test_one_folder_under_two_names_is_no_held_out_set(tmp_path: Path) -> None:
    root = fill(tmp_path, *BOTH)
    link(root, "val", "test")
    with pytest.raises(UsageError, match="test: the same folder as val/; remove one of them"):
        list_images(root)


def test_a_class_may_be_called_like_a_split_and_that_is_said(tmp_path: Path) -> None:
    tree = list_images(fill(tmp_path, "{invalid,valid}/"))
    assert list(tree.train) == ["invalid", "valid"] and tree.notes[0] == "valid/ taken for a class"


def test_more_folders_than_classes_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path, *(f"{number}/1.png" for number in range(5)))
    monkeypatch.setattr(listing, "MOST_FOLDERS", 4)
    real: Callable[[Path], object] = os.scandir
    seen = []
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(Path(path)) or real(path))
    with pytest.raises(UsageError, match="5 folders beside each other; 4 are understood as classes"):
        list_images(root)
    assert seen == [root]
    monkeypatch.setattr(listing, "MOST_FOLDERS", 5)
    monkeypatch.setattr(listing, "MOST_ENTRIES", 7)
    with pytest.raises(UsageError, match="more than 7 files; take a part of them"):
        list_images(root)


def test_progress_is_told_from_the_start(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    list_images(fill(tmp_path, *BOTH), lambda done, total: told.append((done, total)))
    assert told[0] == (2, 0) and told[-1] == (12, 12) and len(told) > 5


def test_the_account_is_told_by_reason_with_the_first_names() -> None:
    account = Account(Path("pets"))
    assert account.summary() == "" and account.lines() == []
    account.leave(Reason.SUFFIX, *(f"train/{number}.xml" for number in range(1200)), "a.HEIC", "b\n.txt", "c.d", "e")
    account.leave(Reason.HIDDEN, ".a")
    assert account.lines(2) == [
        "1 hidden: .a",
        "1,204 not named as pictures (.xml, .heic, .txt and 2 more): train/0.xml, train/1.xml and 1,202 more",
    ]
    assert few(["a\nb", "c"], 3) == r"a\nb, c"


def test_stats_and_a_sweep_say_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fill(tmp_path / "pets", *BOTH, "val/{cat,dog}/", "train/cat/a.heic", "train/x.png")
    assert main(["data", "stats", "--data", str(root)]) == 0
    out = capsys.readouterr().out
    assert "validation images" in out and "left out: 1 in no class folder: train/x.png\n" in out
    assert "left out: 1 not named as pictures (.heic): train/cat/a.heic\n" in out
    words = ["sweep", "--study", "demo", "--data", str(root), "--results", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--depths", "8", "--seeds", "0", "--dry-run"]) == 0
    assert main(["data", "verify", "--data", str(root)]) == 0
    told = "left out: 1 not named as pictures (.heic): train/cat/a.heic; 1 in no class folder: train/x.png\n"
    assert capsys.readouterr().out.count(told) == 2
