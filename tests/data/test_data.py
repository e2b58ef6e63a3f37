"""Sources: digits, synthetic, folders of images; which one is chosen; what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_bench.data import builtin, folder
from resnet_bench.data.show import COLUMNS, EPOCHS, augmented_views, write_grid
from resnet_bench.data.sources import find_source
from resnet_bench.data.tree import list_images
from resnet_bench.errors import UsageError
from tests.conftest import Cli

DIGITS_DIGEST = "9e18cbd3c13089b12b78d325b9eb11398c3a72356876ec901f79bf30753bf134"


def test_digits_are_what_scikit_learn_ships_split_by_a_fixed_rule() -> None:
    data = builtin.digits()
    assert (data.train_images.shape, data.test_images.shape) == ((1437, 3, 8, 8), (360, 3, 8, 8))
    assert data.digest == DIGITS_DIGEST
    assert (data.train_images.min(), data.train_images.max()) == (0, 255)
    assert np.array_equal(data.train_images[:, 0], data.train_images[:, 2])
    everything = np.concatenate([data.train_images, data.test_images])
    assert everything.sum() == 3 * np.rint(builtin_digits_images() * 255 / 16).sum()
    assert min(np.bincount(data.test_labels)) >= 20


def builtin_digits_images() -> np.ndarray:
    from sklearn.datasets import load_digits

    images: np.ndarray = load_digits().images
    return images


def test_synthetic_is_seeded_and_of_any_shape() -> None:
    one, other = builtin.synthetic((1, 28, 20), num_train=5), builtin.synthetic((1, 28, 20), num_train=5)
    assert one.digest == other.digest and one.image_shape == (1, 28, 20)
    assert one.name == "synthetic-1x28x20"


def test_digest_follows_pixels_and_labels_not_the_name() -> None:
    import dataclasses

    data = builtin.synthetic((3, 8, 8), num_train=5, num_test=5)
    assert dataclasses.replace(data, name="other").digest == data.digest
    pixels, labels = data.train_images.copy(), data.test_labels.copy()
    pixels[3, 1, 2, 5] ^= 1
    labels[0] += 1
    assert dataclasses.replace(data, train_images=pixels).digest != data.digest
    assert dataclasses.replace(data, test_labels=labels).digest != data.digest


def test_folder_is_decoded_in_order_of_class_and_name(image_folder: Path, tmp_path: Path) -> None:
    data = folder.read(list_images(image_folder), "pets", tmp_path / "cache")
    assert data.classes == ("cat", "dog")
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test_labels.tolist() == [0, 0, 1, 1]
    with Image.open(image_folder / "train" / "dog" / "1.png") as picture:
        assert np.array_equal(data.train_images[4], np.asarray(picture).transpose(2, 0, 1))


def test_folder_is_cached_and_the_cache_is_checked(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder.read(list_images(image_folder), "pets", tmp_path / "cache")
    decoded = []
    real = folder.read_picture
    monkeypatch.setattr(folder, "read_picture", lambda path: decoded.append(path) or real(path))
    assert folder.read(list_images(image_folder), "pets", tmp_path / "cache").digest == first.digest
    assert decoded == []
    cached = next((tmp_path / "cache" / "decoded").iterdir())
    content = bytearray(cached.read_bytes())
    content[content.find(first.train_images.tobytes()) + 7] ^= 1
    cached.write_bytes(content)
    assert folder.read(list_images(image_folder), "pets", tmp_path / "cache").digest == first.digest
    assert decoded  # the damaged cache was not believed


def test_a_changed_image_changes_the_digest(image_folder: Path, tmp_path: Path) -> None:
    before = folder.read(list_images(image_folder), "pets", tmp_path / "cache").digest
    Image.new("RGB", (8, 8), "red").save(image_folder / "train" / "cat" / "0.png")
    assert folder.read(list_images(image_folder), "pets", tmp_path / "cache").digest != before


def test_an_unwritable_cache_is_no_obstacle(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert len(folder.read(list_images(image_folder), "pets", tmp_path / "cache").train_labels) == 6


def spoil(case: str, place: Path) -> None:
    if case == "class missing in test":
        shutil.rmtree(place / "test" / "dog")
    elif case == "empty class":
        for path in (place / "test" / "dog").iterdir():
            path.unlink()
    elif case == "unreadable":
        (place / "train" / "cat" / "1.png").write_bytes(b"not an image")
    elif case == "truncated":
        path = place / "test" / "dog" / "1.png"
        path.write_bytes(path.read_bytes()[:60])
    elif case == "no image":
        for path in place.rglob("*.png"):
            path.unlink()
    elif case == "no train":
        shutil.rmtree(place / "train")
    elif case == "one class":
        shutil.rmtree(place / "train" / "dog")
        shutil.rmtree(place / "test" / "dog")
    elif case == "one image to split":
        shutil.rmtree(place / "test")
        for number in (0, 1):
            (place / "train" / "dog" / f"{number}.png").unlink()


BAD_FOLDERS = {
    "class missing in test": "class 'dog' is missing in test/",
    "empty class": "dog: no image in this class folder",
    "unreadable": "1.png: not a readable image",
    "truncated": "1.png: not a readable image",
    "no image": "no image in train/<class>/ and test/<class>/",
    "no train": "no folder train/ with class folders beside test/",
    "one class": "one class only, 'cat'",
    "one image to split": "dog: one image; a class that is split needs two",
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders_are_one_clear_line_and_change_nothing(case: str, image_folder: Path, cli: Cli) -> None:
    spoil(case, image_folder)
    answer = cli("data", "verify", "--data", image_folder)
    assert answer.returncode == 2, answer.stderr
    assert BAD_FOLDERS[case] in answer.stderr and answer.stderr.count("\n") == 1
    assert not (image_folder.parent / "cache" / "decoded").exists()


def test_data_decides_the_source(image_folder: Path, tmp_path: Path) -> None:
    environ = {"RESNET_BENCH_CACHE": str(tmp_path / "cache")}
    assert find_source("digits", None, environ).name == "digits"
    assert find_source("cifar10", "digits", environ).name == "digits"
    assert find_source("cifar10", str(image_folder), environ).name == "pets"
    assert find_source("cifar10", "synthetic:1x28x28", environ).image_shape == (1, 28, 28)
    (tmp_path / "empty").mkdir()
    fetched = find_source("cifar10", str(tmp_path / "empty"), environ)
    assert fetched.name == "cifar10" and not fetched.found and str(tmp_path / "empty") in fetched.where
    (tmp_path / "mine" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "mine" / "cifar-10-batches-py" / "test_batch").write_bytes(b"")
    assert find_source("digits", str(tmp_path / "mine"), environ).name == "cifar10"
    there = {**environ, "RESNET_BENCH_DATA": str(tmp_path / "mine")}
    assert find_source("cifar10", None, there).where.startswith(str(tmp_path / "mine"))


def test_a_folder_never_poses_as_a_known_dataset(image_folder: Path) -> None:
    image_folder.rename(image_folder.with_name("CIFAR10"))
    assert find_source("cifar10", str(image_folder.with_name("CIFAR10"))).name == "cifar10-folder"


@pytest.mark.parametrize("data", ["/no/such/place", "imagenet", "synthetic:3x4x4", "synthetic:big", "cifar11"])
def test_unknown_data_is_refused(data: str) -> None:
    with pytest.raises(UsageError, match=data):
        find_source("cifar10", data)


def test_a_place_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="neither a known dataset"):
        find_source("cifar10", str(tmp_path))


def test_show_gives_back_the_stored_pixels_where_nothing_is_augmented(tmp_path: Path) -> None:
    data = builtin.digits()
    indices, views = augmented_views(data, seed=0)
    assert views.shape == (EPOCHS, COLUMNS, 3, 8, 8)
    assert np.array_equal(views[1], data.train_images[indices])  # digits: no crop, no flip
    write_grid(data, 0, tmp_path / "digits.png")
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.size[0] > 900


def test_show_crops_and_flips_larger_images() -> None:
    indices, views = augmented_views(builtin.synthetic((3, 16, 16), num_train=30), seed=0)
    assert len(indices) == COLUMNS and not np.array_equal(views[0], views[1])


def test_data_list_and_show_commands(cli: Cli, tmp_path: Path) -> None:
    listed = cli("data", "list")
    assert listed.returncode == 0 and "digits" in listed.stdout and "not found yet" in listed.stdout
    shown = cli("data", "show", "--data", "digits", "--out", tmp_path / "x.png")
    assert shown.returncode == 0 and (tmp_path / "x.png").exists()
    refused = cli("data", "show", "--data", "digits", "--out", tmp_path / "no" / "x.png")
    assert refused.returncode == 2 and "cannot be written" in refused.stderr
