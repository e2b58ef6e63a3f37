"""Folders of photographs: any size and format, resized as is usual for ImageNet, split where they are one tree."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from resnet_bench.cli import main, make_parser
from resnet_bench.data import folder
from resnet_bench.data.batches import AREA, MIRRORED, RATIO, TOP, UNIT, BatchStream, random_boxes, resized_crops
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.picture import read_picture
from resnet_bench.data.select import only_classes, part_name
from resnet_bench.data.sources import find_source
from resnet_bench.data.summary import channel_statistics
from resnet_bench.data.tree import list_images
from resnet_bench.errors import Failure, UsageError
from resnet_bench.results.tables import RUNS, SPLIT, read_csv

SIZES = ((120, 90), (90, 120), (200, 60), (100, 100), (61, 240))
FORMATS = ("jpg", "png", "gif", "webp", "bmp", "tiff")


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Something smooth with a gradient, so that resizing is not noise."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [127.5 * (1 + np.sin(9 * x + seed + k) * np.cos(7 * y + k)) for k in range(3)]
    return Image.fromarray(np.stack(waves, 2).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One tree: two classes of ten images each, of many sizes, formats and modes."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            size, suffix = SIZES[number % len(SIZES)], FORMATS[number % len(FORMATS)]
            image = picture(*size, seed=20 * label + number)
            image = image.convert({7: "L", 8: "RGBA"}.get(number, "RGB")) if suffix == "png" else image
            image.save(tmp_path / "photos" / name / f"{number}.{suffix}")
    return tmp_path / "photos"


def cache(tmp_path: Path) -> dict[str, str]:
    return {"RESNET_BENCH_CACHE": str(tmp_path / "cache")}


def test_test_images_are_resized_exactly_as_torchvision_does(photos: Path, tmp_path: Path) -> None:
    data = folder.read(list_images(photos), "photos", tmp_path / "cache", side=64)
    recipe = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(73), torchvision.transforms.CenterCrop(64), torchvision.transforms.PILToTensor()]
    )
    tree = list_images(photos)
    stored = [*data.train_images, *data.test_images]
    for path, image in zip(tree.files(), stored, strict=True):
        with Image.open(path) as opened:
            assert np.array_equal(recipe(opened.convert("RGB")).numpy(), image), path


def test_a_tree_is_split_by_class_and_name_alone(photos: Path, tmp_path: Path) -> None:
    tree = list_images(photos)
    assert {name: len(files) for name, files in tree.test.items()} == {"cat": 2, "dog": 2}
    assert {name: len(files) for name, files in tree.train.items()} == {"cat": 8, "dog": 8}
    assert set(tree.files()) == set(photos.rglob("*.*"))
    (tmp_path / "moved").mkdir()
    photos.rename(tmp_path / "moved" / "train")
    moved = list_images(tmp_path / "moved")
    assert [p.name for p in moved.files()] == [p.name for p in tree.files()]
    assert {split for _, _, split in moved.split()} == {"train", "test"} and len(moved.split()) == 20


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_are_the_test_where_there_is_none(image_folder: Path, name: str) -> None:
    (image_folder / "test").rename(image_folder / name)
    tree = list_images(image_folder)
    assert len(tree.files()) == 10 and tree.split() == ()
    assert all(path.parts[-3] == name for files in tree.test.values() for path in files)


def test_formats_of_sixteen_bits_keep_their_upper_half_and_others_are_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "deep.png"))[..., 0], ramp >> 8)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(UsageError, match=r"float.tiff: not a readable image \(mode F: values without a known range"):
        read_picture(tmp_path / "float.tiff")


def test_sizes_that_differ_are_resized_however_small(image_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(image_folder / "train" / "dog" / "2.png")
    source = find_source("cifar10", str(image_folder), cache(tmp_path))
    assert source.image_shape == (3, 224, 224)


def test_an_unlabelled_test_folder_is_passed_over(image_folder: Path) -> None:
    (image_folder / "test").rename(image_folder / "val")
    (image_folder / "test").mkdir()
    Image.new("RGB", (8, 8)).save(image_folder / "test" / "1.png")
    assert len(list_images(image_folder).files()) == 10


def test_a_class_may_be_called_train(photos: Path) -> None:
    (photos / "dog").rename(photos / "train")
    assert list(list_images(photos).train) == ["cat", "train"]


def test_a_name_that_is_not_utf8_is_said(photos: Path) -> None:
    (photos / "cat" / "0.jpg").rename(os.fsdecode(os.fsencode(photos / "cat") + b"/caf\xe9.jpg"))
    with pytest.raises(UsageError, match=r"the name b'caf.xe9.jpg' is not UTF-8; rename it"):
        list_images(photos)


def test_a_folder_that_cannot_be_read_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "dog":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"dog: cannot be read .Permission denied."):
        list_images(photos)


def test_a_folder_without_images_beside_classes_is_said(photos: Path) -> None:
    (photos / "notes").mkdir()
    with pytest.raises(UsageError, match="notes: no image; a class that is split needs two"):
        list_images(photos)


def test_exif_says_what_is_up(photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture(120, 90, 1).save(photos / "cat" / "0.jpg", exif=exif)
    assert read_picture(photos / "cat" / "0.jpg").size == (90, 120)


def test_large_images_are_resized_small_ones_kept(photos: Path, image_folder: Path, tmp_path: Path) -> None:
    large, small = (find_source("cifar10", str(place), cache(tmp_path)) for place in (photos, image_folder))
    assert (large.name, large.image_shape, large.augmentation) == ("photos-224", (3, 224, 224), "resized-crop-flip")
    assert "resized to 224x224, a fifth of each class kept for the test" in large.reason
    assert (small.name, small.image_shape, small.augmentation) == ("pets", (3, 8, 8), None)
    asked = find_source("cifar10", f"{image_folder}@32", cache(tmp_path))
    assert (asked.name, asked.image_shape) == ("pets-32", (3, 32, 32))
    data = asked.load(None)
    assert data.resized is not None and data.resized.sources.shape == (6, 3, 37, 37)
    assert asked.load(None).digest == data.digest  # from the cache


@pytest.mark.parametrize("side", [7, 513])
def test_sizes_out_of_reach_are_refused(photos: Path, side: int) -> None:
    with pytest.raises(UsageError, match=f"photos@{side}: images are resized to 8 to 512 pixels a side"):
        find_source("cifar10", f"{photos}@{side}")


def test_known_datasets_are_not_resized(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"")
    for data in (f"{tmp_path}@64", "cifar10@64", "digits@16"):
        with pytest.raises(UsageError, match="only folders of images are resized; leave out @"):
            find_source("cifar10", data)


def test_what_does_not_fit_into_memory_is_said_before_it_is_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 200}[name])
    monkeypatch.setattr(folder, "file_digest", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(Failure, match=r"at 224 pixels a side these images need 0.0 GB .* a smaller size, as in .*@112"):
        folder.read(list_images(photos), "photos", tmp_path / "cache", side=224)
    monkeypatch.setattr(folder, "MOST_MEMORY", 1e-6)
    with pytest.raises(Failure, match="at 90 pixels a side these images need"):
        folder.read(list_images(photos), "photos", tmp_path / "cache")


def test_pixels_in_the_cache_are_of_these_files_in_these_roles_at_this_size(tmp_path: Path) -> None:
    picture(16, 16, 1).save(tmp_path / "one.png")
    picture(16, 16, 2).save(tmp_path / "two.png")
    digests = set()
    for held_out, flipped, side in (("test", 0, None), ("test", 1, None), ("test", 0, 16), ("val", 0, None)):
        shutil.rmtree(tmp_path / "pets", ignore_errors=True)
        for split in ("train", held_out):
            for name, source in zip(("cat", "dog"), ("one", "two")[:: -1 if flipped else 1], strict=True):
                (tmp_path / "pets" / split / name).mkdir(parents=True)
                shutil.copy(tmp_path / f"{source}.png", tmp_path / "pets" / split / name / "1.png")
        tree = list_images(tmp_path / "pets")
        data = folder.read(tree, "pets", tmp_path / "cache", side=side)
        assert (data.resized is not None) == (side is not None)
        cached = {path.name for path in (tmp_path / "cache" / "decoded").iterdir()}
        assert len(cached) == len(digests) + 1
        digests |= cached
        assert folder.read(tree, "pets", tmp_path / "cache", side=side).digest == data.digest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Photos", "photos"), ("my_photos (2)", "my_photos-2"), ("---", "images"), ("caf\u00e9", "caf"),
        ("cafe\u0301", "cafe"), ("\u041a\u043e\u0448\u043a\u0438", "images-8e8a6b"),
        ("\u043a\u043e\u0448\u043a\u0438", "images-8e8a6b"), ("\u732b", "images-a810bf"), ("\u72ac", "images-1e82f9"),
        ("photos \u732b", "photos-19e0a7"),
    ],
)  # fmt: skip
def test_a_folder_of_any_script_has_a_name_of_its_own(tmp_path: Path, name: str, expected: str) -> None:
    assert folder.dataset_name(tmp_path / name, frozenset()) == expected


def test_decoding_stops_at_the_first_error_and_tells_of_each_image(photos: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder.read(list_images(photos), "photos", tmp_path / "cache", lambda *done: told.append(done), side=32)
    assert told == [(number // 2, 20) for number in range(1, 41)]
    told.clear()
    folder.read(list_images(photos), "photos", tmp_path / "cache", lambda *done: told.append(done), side=32)
    assert told[-1] == (20, 20) and len(told) == 21  # the pixels come from the cache
    looked = []

    def work(number: int) -> int:
        looked.append(number)
        if number == 3:
            raise UsageError("broken")
        return number

    with pytest.raises(UsageError, match="broken"):
        list(folder._each(range(1_000_000), work, None))
    assert len(looked) <= folder.AT_ONCE


def test_any_class_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    names = make_parser().parse_args(["finetune", "--classes", 'cat, "dog, small" ,"a ""b""", " x",'], None).classes
    assert names == ["cat", "dog, small", 'a "b"', " x"]
    spelt = ["dog, small", "caf\u00e9", "cat"]
    for name in ("cat", "cafe\u0301", "dog, small"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(2):
            picture(8, 8, number).save(tmp_path / "pets" / name / f"{number}.png")
    data = find_source("cifar10", str(tmp_path / "pets"), cache(tmp_path)).load(None)
    assert only_classes(data, spelt).classes == ("dog, small", "cafe\u0301", "cat")
    with pytest.raises(UsageError, match=r"no class 'd\\n'; it has cafe"):
        only_classes(data, ["d\n", "cat"])
    assert part_name("x", ["a+b", "c"], None) != part_name("x", ["a", "b+c"], None)


# ---------------------------------------------------------------------------------------------- boxes


def test_boxes_have_the_shapes_and_areas_of_the_recipe() -> None:
    aspects = torch.tensor([1.0, 4 / 3, 0.75, 0.5, 2.0]).repeat(4000)
    boxes = random_boxes(aspects, torch.Generator().manual_seed(0)).double() / UNIT
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height <= 1 + 1e-4).all() and (left + width <= 1 + 1e-4).all()
    area, ratio = width * height, width * aspects / height
    assert area.min() > AREA[0] - 1e-3 and area.max() <= 1
    assert ratio.min() > RATIO[0] - 1e-3 and ratio.max() < RATIO[1] + 1e-3
    square = aspects == 1
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.empty(1, 400, 400), AREA, RATIO)[2:] for _ in range(4000)]  # type: ignore[arg-type]
    assert area[square].mean() == pytest.approx(np.mean([h * w / 160_000 for h, w in theirs]), abs=0.015)
    assert abs(ratio[square].log().mean()) < 0.02
    assert abs((left[square] / (1 - width[square]).clamp_min(1e-9))[width[square] < 0.9].mean() - 0.5) < 0.02


def test_an_image_that_no_box_fits_gives_its_central_part() -> None:
    wide, tall = random_boxes(torch.tensor([50.0, 0.02]), torch.Generator().manual_seed(0)).double() / UNIT
    assert wide[2] == 1 and wide[3] == pytest.approx(4 / 3 / 50, abs=1e-4) and wide[1] == pytest.approx(0.5, abs=0.02)
    assert tall[3] == 1 and tall[2] == pytest.approx(0.02 / 0.75, abs=1e-4)


def test_a_crop_is_what_bilinear_interpolation_by_hand_gives() -> None:
    sources = torch.randint(256, (3, 2, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    top, left, height, width = UNIT // 4, UNIT // 8, UNIT // 2, 3 * UNIT // 4
    draws = torch.tensor([[2, top, left, height, width, 0], [2, top, left, height, width, 1]], dtype=torch.int32)
    plain, mirrored = resized_crops(sources, draws, 7).numpy()
    assert np.allclose(plain[:, :, ::-1], mirrored, atol=1e-4)
    source = sources[2].numpy().astype(float)
    for row, column in ((0, 0), (3, 5), (6, 6)):
        y = (0.25 + (row + 0.5) / 7 * 0.5) * 20 - 0.5
        x = (0.125 + (column + 0.5) / 7 * 0.75) * 20 - 0.5
        i, j = math.floor(y), math.floor(x)
        v, u = y - i, x - j
        corners = [(i, j, (1 - v) * (1 - u)), (i, j + 1, (1 - v) * u), (i + 1, j, v * (1 - u)), (i + 1, j + 1, v * u)]
        expected = sum(weight * source[:, a, b] for a, b, weight in corners)
        assert np.allclose(plain[:, row, column], expected, atol=1e-2)


def test_draws_of_boxes_are_a_function_of_seed_epoch_and_position() -> None:
    aspects = torch.linspace(0.5, 2, 30)
    stream = BatchStream(30, 8, 3, "resized-crop-flip", aspects)
    forward = [stream.draws(step) for step in range(12)]
    other = BatchStream(30, 8, 3, "resized-crop-flip", aspects)
    assert all(torch.equal(other.draws(step), forward[step]) for step in (11, 0, 5))
    seen = torch.cat(forward)
    assert seen.shape[1] == stream.columns == 6 and sorted(seen[:30, 0].tolist()) == list(range(30))
    assert set(seen[:, MIRRORED].tolist()) == {0, 1} and len(set(seen[:, TOP].tolist())) > 50


def test_resized_images_are_normalised_by_channel(photos: Path, tmp_path: Path) -> None:
    data = folder.read(list_images(photos), "photos", tmp_path / "cache", side=32)
    there = DeviceData.of(data, torch.device("cpu"))
    whole = there.normalise(there.train_images).double()
    assert whole.mean(dim=(0, 2, 3)).abs().max() < 1e-5 and (whole.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
    assert there.mean.flatten().tolist() == pytest.approx(channel_statistics(data.train_images)[0].tolist(), abs=1e-6)
    unchanged = BatchStream(16, 16, 0, "none", there.aspects).draws(0)
    there_again = there.normalise(there.train_images[unchanged[:, 0].long()])
    assert torch.equal(there.make_batch(unchanged), there_again)  # trained on as it is evaluated
    draws = BatchStream(16, 4, 0, "resized-crop-flip", there.aspects).draws(0)
    assert there.make_batch(draws).shape == (4, 3, 32, 32)
    assert torch.equal(there.make_batch(draws), there.make_batch(draws))


# ---------------------------------------------------------------------------------------------- in a study


TINY = """
name = "tiny"
data = "digits"
seeds = [0]
[networks]
arms = ["plain", "residual-a"]
depths = [8]
[protocol]
steps = 2
batch_size = 8
lr = 0.01
"""


def test_twins_are_trained_on_photographs_and_the_split_is_recorded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    monkeypatch.setenv("RESNET_BENCH_CACHE", str(tmp_path / "cache"))
    words = ["--study", str(file), "--data", f"{photos}@32", "--results", str(tmp_path), "--device", "cpu", "--quiet"]
    assert main(["sweep", *words]) == 0
    study = tmp_path / "tiny-photos-32"
    plain, residual = read_csv(study / RUNS.file, RUNS)
    assert plain.batches_digest == residual.batches_digest and plain.dataset == "photos-32"
    rows = read_csv(study / SPLIT.file, SPLIT)
    assert len(rows) == 20 and sum(row.split == "test" for row in rows) == 4
    assert main(["verify", str(study)]) == 0
    config = json.loads((study / "runs" / plain.run_id / "config.json").read_text())["config"]
    assert config["augmentation"] == "resized-crop-flip"
    for what in ("stats", "verify"):
        assert main(["data", what, "--data", f"{photos}@32"]) == 0
    assert "this mean is subtracted, this std divided by" in capsys.readouterr().out
    assert main(["data", "show", "--data", f"{photos}@32", "--out", str(tmp_path / "show.png")]) == 0
    (photos / "dog" / "0.jpg").rename(photos / "dog" / "renamed.jpg")
    assert main(["sweep", *words, "--depths", "14"]) == 2
    assert "a study never mixes them" in capsys.readouterr().err and read_csv(study / SPLIT.file, SPLIT) == rows
