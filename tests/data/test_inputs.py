"""What a network takes that was trained on averaged images: pictures and datasets are averaged as those were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_bench.data.builtin import synthetic
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.inputs import Inputs
from resnet_bench.data.prepare import box_means, prepare
from resnet_bench.errors import UsageError
from resnet_bench.trained.predict import of_dataset

WHOLE = Inputs((3, 8, 8), False, torch.zeros(3, 1, 1))
AVERAGED = Inputs((3, 4, 4), False, torch.zeros(3, 1, 1), box=2)


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (5, 9)])
def test_a_picture_is_averaged_after_it_is_made_as_large_as_the_images_were(
    size: tuple[int, int], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    assert np.array_equal(AVERAGED.read(path), box_means(WHOLE.read(path)[None], 2)[0])


def test_a_dataset_is_averaged_if_it_is_as_large_as_the_images_were(small_data: Dataset) -> None:
    small = prepare(small_data, 4)
    assert AVERAGED.prepare(small) is small and WHOLE.prepare(small_data) is small_data
    assert AVERAGED.prepare(small_data).digest == small.digest
    examples = of_dataset(small_data, 4, AVERAGED, small_data.classes)
    assert {example.pixels.shape for example in examples} == {(3, 4, 4)}


def test_other_images_are_refused_with_both_sizes(small_data: Dataset) -> None:
    large = synthetic((3, 16, 16), num_train=4, num_test=2, num_classes=2)
    with pytest.raises(UsageError, match=r"images of 3x16x16 .* the network takes 3x4x4, averaged from 3x8x8$"):
        AVERAGED.prepare(large)
    with pytest.raises(UsageError, match=r"images of 3x16x16 .* the network takes 3x8x8$"):
        WHOLE.prepare(large)


def test_the_box_is_kept_and_networks_without_one_are_told_as_before() -> None:
    assert Inputs.from_json(AVERAGED.to_json(), "here").box == 2
    assert "box" not in json.loads(WHOLE.to_json()) and Inputs.from_json(WHOLE.to_json(), "here").box == 1
    assert AVERAGED.for_images((3, 16, 16), resized=False).box == 1  # images of another size are what they are
    for box in (0, -1, 10**6, "many"):
        with pytest.raises(UsageError, match=r"^here: .* not understood"):
            Inputs.from_json(json.dumps({**json.loads(WHOLE.to_json()), "box": box}), "here")
