"""Datasets as runs take them: boxes averaged exactly, the first images of each class, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset, Resized
from resnet_bench.data.prepare import averaged_shape, box_means, box_side, check_preparable, prepare
from resnet_bench.data.summary import channel_statistics
from resnet_bench.errors import UsageError


@pytest.mark.parametrize(("shape", "box"), [((3, 8, 8), 2), ((1, 12, 6), 3), ((3, 32, 32), 4), ((2, 8, 12), 1)])
def test_box_means_are_those_of_numpy_and_halves_go_to_even(shape: tuple[int, int, int], box: int) -> None:
    random = np.random.default_rng(0)
    images = np.concatenate([random.integers(0, 256, (50, *shape)), random.integers(0, 2, (50, *shape))])
    channels, height, width = shape
    boxes = images.reshape(100, channels, height // box, box, width // box, box)
    means = box_means(images.astype(np.uint8), box)
    assert means.dtype == np.uint8
    assert np.array_equal(means, np.rint(boxes.mean((3, 5))))  # to even; a mean is exact where it is a half


def test_extreme_images_stay_what_they_are_and_halves_go_both_ways() -> None:
    for value in (0, 255):
        assert (box_means(np.full((2, 3, 16, 16), value, np.uint8), 8) == value).all()
    halves = np.array([[[[0, 1], [0, 1]]], [[[1, 2], [1, 2]]]], np.uint8)
    assert box_means(halves, 2).ravel().tolist() == [0, 2]


def test_many_images_are_averaged_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).integers(0, 256, (7, 3, 8, 8)).astype(np.uint8)
    whole = box_means(images, 4)
    monkeypatch.setattr("resnet_bench.data.prepare.CHUNK", 3 * 8 * 8 * 2)
    assert np.array_equal(box_means(images, 4), whole)


def test_nothing_asked_for_gives_the_dataset_itself(small_data: Dataset) -> None:
    assert prepare(small_data) is small_data
    assert prepare(small_data, 8) is small_data  # they have that side already


def test_all_splits_are_averaged_alike_and_the_digest_is_that_of_the_pixels(small_data: Dataset) -> None:
    pixels, labels = small_data.test_images[:10], small_data.test_labels[:10]
    dataset = replace(small_data, validation_images=pixels, validation_labels=labels)
    small = prepare(dataset, 4)
    assert small.image_shape == (3, 4, 4) == averaged_shape(dataset.image_shape, 4)
    assert small.validation_images is not None
    assert np.array_equal(small.train_images, box_means(dataset.train_images, 2))
    assert np.array_equal(small.test_images, box_means(dataset.test_images, 2))
    assert np.array_equal(small.validation_images, small.test_images[:10])
    assert np.array_equal(small.train_labels, dataset.train_labels)
    assert small.digest == prepare(dataset, 4).digest != dataset.digest
    assert small.name == dataset.name


def test_images_that_are_not_square_keep_their_shape() -> None:
    assert averaged_shape((1, 12, 18), 4) == (1, 4, 6)
    assert averaged_shape((1, 12, 18), None) == (1, 12, 18)


@pytest.mark.parametrize("side", [3, 5, 64])
def test_a_side_that_cannot_be_had_is_refused_with_those_that_can(side: int) -> None:
    with pytest.raises(UsageError, match=rf"image_side {side}: images of 32x32 .* a side of 4, 8, 16 or 32$"):
        box_side((3, 32, 32), side)


def test_the_first_images_of_each_class_are_taken_in_their_order(small_data: Dataset) -> None:
    few = prepare(small_data, images_per_class=3)
    assert np.bincount(few.train_labels).tolist() == [3] * 4
    for label in range(4):
        first = np.flatnonzero(small_data.train_labels == label)[:3]
        assert np.array_equal(few.train_images[few.train_labels == label], small_data.train_images[first])
    assert few.test_images is small_data.test_images
    both = prepare(small_data, 4, 3)
    assert np.array_equal(both.train_images, box_means(few.train_images, 2))
    assert len({small_data.digest, few.digest, both.digest, prepare(small_data, 4).digest}) == 4


def test_more_images_than_a_class_has_are_refused(small_data: Dataset) -> None:
    scarce = min(range(4), key=lambda label: (small_data.train_labels == label).sum())
    count = int((small_data.train_labels == scarce).sum())
    told = rf"class '{small_data.classes[scarce]}' has {count} training images; {count + 1} are needed"
    for refuse in (prepare, check_preparable):
        with pytest.raises(UsageError, match=told):
            refuse(small_data, None, count + 1)


def test_the_split_says_which_images_are_left(small_data: Dataset) -> None:
    split = tuple((f"{number}.png", str(label), "train") for number, label in enumerate(small_data.train_labels))
    few = prepare(replace(small_data, split=(*split, ("t.png", "0", "test"))), images_per_class=1)
    firsts = sorted(np.flatnonzero(small_data.train_labels == label)[0] for label in range(4))
    assert [row[0] for row in few.split] == [*(f"{number}.png" for number in firsts), "t.png"]


def test_images_that_were_resized_as_they_were_read_are_not_averaged_too() -> None:
    data = synthetic((3, 16, 16), num_train=8, num_test=4, num_classes=2)
    sources = np.zeros((8, 3, 18, 18), np.uint8)
    resized = Resized(sources, np.ones(8, np.float32), channel_statistics(data.train_images))
    with pytest.raises(UsageError, match=r"resized when they are read.*leave image_side out and write FOLDER@8"):
        prepare(replace(data, resized=resized), 8)
