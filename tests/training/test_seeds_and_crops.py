"""Seeds of weights and of batches apart from the seed, and the padding of crops: what they change, what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from resnet_bench.config.run import LATER, RunConfig
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.on_device import DeviceData
from resnet_bench.errors import UsageError
from resnet_bench.training.state import Job, TrainState
from tests.conftest import CPU
from tests.training.test_training import train


def trained(config: RunConfig, dataset: Dataset) -> TrainState:
    return train(replace(config, steps=4), dataset)


def digests(config: RunConfig, dataset: Dataset) -> tuple[str, str]:
    """Of the initial weights, and of the batches."""
    state = trained(config, dataset)
    return state.init_digest, state.batches_digest


def test_each_seed_decides_its_own_part(small_run: RunConfig, small_data: Dataset) -> None:
    weights, batches = digests(small_run, small_data)
    other_weights, other_batches = digests(replace(small_run, seed=1), small_data)
    assert digests(replace(small_run, init_seed=1), small_data) == (other_weights, batches)
    assert digests(replace(small_run, batch_seed=1), small_data) == (weights, other_batches)
    assert digests(replace(small_run, seed=1, init_seed=0, batch_seed=0), small_data) == (weights, batches)
    assert len({weights, other_weights, batches, other_batches}) == 4


def test_twins_of_one_batch_seed_share_their_batches(small_run: RunConfig, small_data: Dataset) -> None:
    plain = replace(small_run, arch="plain", shortcut="none", seed=3, batch_seed=7)
    assert digests(plain, small_data)[1] == digests(replace(small_run, seed=4, batch_seed=7), small_data)[1]


def test_a_padding_is_in_the_batches_and_in_their_digest(small_run: RunConfig, small_data: Dataset) -> None:
    usual, narrow = trained(small_run, small_data), trained(replace(small_run, crop_padding=2), small_data)
    assert trained(replace(small_run, crop_padding=4), small_data).batches_digest == usual.batches_digest
    assert narrow.batches_digest != usual.batches_digest and narrow.init_digest == usual.init_digest
    job = Job.of(replace(small_run, crop_padding=0, augmentation="crop"), DeviceData.of(small_data, CPU))
    draws = job.stream.draws(0)
    assert torch.equal(job.data.make_batch(draws), job.data.normalise(job.data.train_images[draws[:, 0].long()]))


LAWFUL = {"crop_padding": 3, "image_side": 8, "images_per_class": 5, "init_seed": 0, "batch_seed": 0}


@pytest.mark.parametrize("name", LAWFUL)
def test_a_field_that_is_set_is_part_of_the_runs_name(name: str, small_run: RunConfig) -> None:
    assert name in LATER and name not in small_run.canonical_json()
    changed = replace(small_run, **{name: LAWFUL[name]})
    assert f'"{name}":{LAWFUL[name]}' in changed.canonical_json() and changed.run_id != small_run.run_id


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"crop_padding": -1}, "crop_padding -1 is not between 0 and 16"),
        ({"crop_padding": 17}, "crop_padding 17 is not between 0 and 16"),
        ({"image_side": 3}, "image_side 3 is not between 4 and 4096"),
        ({"images_per_class": 0}, "images_per_class 0 is not between 1 and"),
        ({"init_seed": -1}, "init_seed -1 is not between 0 and 2147483647"),
        ({"batch_seed": 2**31}, "batch_seed 2147483648 is not between 0 and 2147483647"),
        ({"image_side": 4}, "crop_padding 4: crops of images of 4 pixels a side could be padding alone"),
    ],
)
def test_what_no_run_can_have_is_refused(values: dict[str, int], told: str, small_run: RunConfig) -> None:
    with pytest.raises(UsageError, match=told):
        replace(small_run, **values)


def test_images_that_are_not_cropped_may_be_as_small_as_the_padding(small_run: RunConfig) -> None:
    assert replace(small_run, image_side=4, augmentation="none").image_side == 4
