"""Data that a function of the user's returns."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_bench.data.own import read_function
from resnet_bench.data.sources import find_source
from resnet_bench.errors import UsageError
from tests.conftest import WriteModule
from tests.owned import DATA


@pytest.fixture
def module(write_module: WriteModule) -> str:
    return write_module(DATA)


def test_grey_images_and_numbered_classes(module: str) -> None:
    dataset = read_function(f"{module}:rings")
    assert dataset.name == "rings" and dataset.classes == ("0", "1", "2")
    assert dataset.image_shape == (1, 8, 8) and len(dataset.test_labels) == 9
    assert dataset.digest == read_function(f"{module}:digits").digest  # of pixels and labels, not of names


def test_colours_may_be_last_or_second(module: str) -> None:
    last, second = (read_function(f"{module}:{name}") for name in ("colours", "first"))
    assert last.image_shape == (3, 8, 8) and last.classes == ("a", "b", "c")
    assert np.array_equal(last.train_images, second.train_images) and last.digest == second.digest


def test_it_is_a_source_wherever_data_are_named(module: str) -> None:
    for source in (find_source("cifar10", f"{module}:rings"), find_source(f"{module}:rings")):
        assert source.name == "rings" and source.image_shape == (1, 8, 8) and source.found
        assert source.where.endswith(f"{module}.py") and source.load(None).name == "rings"
    assert find_source("cifar10", f"{module}:digits").name == "digits-own"  # never as a known dataset


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("too_few", "returns a tuple of 3; wanted is"),
        ("floats", "train_images are an array of float64, 24x8x8; images are a NumPy array of uint8"),
        ("flat", "train_images are an array of uint8, 24x64"),
        ("either", "either of the second and the last axis can be colours"),
        ("neither", "neither of the second and the last axis can be colours"),
        ("small", "train_images have 4x8 pixels"),
        ("none", "train_images: there are none"),
        ("unlike", "differ in channels x height x width: 1x8x8 and 3x8x8"),
        ("short", "train_labels: 20 for 24 images"),
        ("hot", "train_labels are an array of float64, 24x3"),
        ("real", "train_labels are an array of float64, 24"),
        ("negative", "train_labels: -1 is below 0"),
        ("gaps", "train_labels are 3 different numbers from 0 to 4"),
        ("beyond", "label 3 of a test image is none of 3 classes"),
        ("alone", "1 class"),
        ("one_name", "1 class"),
        ("twice", "'a' stands there twice"),
        ("numbers", "classes are a list of 3; they are a list of names"),
        ("raising", "raised OSError: the disk is not here (line "),
        ("nowhere", "has no function 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(module: str, function: str, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_function(f"{module}:{function}")
    assert what in str(raised.value) and module in str(raised.value)
    assert "\n" not in str(raised.value)
