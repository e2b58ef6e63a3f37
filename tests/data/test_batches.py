"""Batches: a function of seed, epoch and position; every crop occurs; crop and flip are exact."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from resnet_bench.data.batches import BatchStream, chain_digest, fixed_subset, make_batch, normalise, pixel_mean


def images(count: int, side: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(
        256, (count, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_every_image_is_seen_once_per_epoch_and_steps_run_over_epoch_borders() -> None:
    stream = BatchStream(100, 16, 0, "crop-flip")
    seen = torch.cat([stream.draws(step)[:, 0] for step in range(25)])  # 400 draws: four epochs
    for epoch in seen.split(100):
        assert sorted(epoch.tolist()) == list(range(100))
    assert not torch.equal(seen[:100], seen[100:200])


def test_draws_depend_on_seed_epoch_and_position_alone() -> None:
    stream, other = BatchStream(100, 16, 3, "crop-flip"), BatchStream(100, 16, 3, "crop-flip")
    forward = {step: stream.draws(step) for step in range(30)}
    for step in (29, 7, 0, 13, 6):  # any order, as after a resumption
        assert torch.equal(other.draws(step), forward[step])
    positions = torch.cat([BatchStream(100, 50, 3, "crop-flip").draws(step) for step in range(4)])
    assert torch.equal(positions, torch.cat([BatchStream(100, 100, 3, "crop-flip").draws(step) for step in range(2)]))
    assert not torch.equal(BatchStream(100, 16, 4, "crop-flip").draws(0), forward[0])


def test_a_batch_may_span_several_small_epochs() -> None:
    draws = BatchStream(5, 16, 0, "none").draws(0)
    assert [sorted(part.tolist()) for part in draws[:15, 0].split(5)] == [[0, 1, 2, 3, 4]] * 3


def test_all_81_offsets_and_both_flips_occur_evenly() -> None:
    draws = BatchStream(50_000, 50_000, 0, "crop-flip").draws(0)
    offsets, counts = torch.unique(draws[:, 1:3], dim=0, return_counts=True)
    assert sorted(map(tuple, offsets.tolist())) == [(row, column) for row in range(9) for column in range(9)]
    expected = 50_000 / 81
    assert ((counts - expected) ** 2 / expected).sum() < 135  # chi squared, 80 degrees of freedom, p = 1e-4
    assert abs(draws[:, 3].float().mean() - 0.5) < 0.01


@pytest.mark.parametrize("padding", [0, 1, 2, 7])
def test_all_offsets_of_another_padding_occur_evenly(padding: int) -> None:
    draws = BatchStream(20_000, 20_000, 0, "crop", padding=padding).draws(0)
    offsets, counts = torch.unique(draws[:, 1:3], dim=0, return_counts=True)
    places = range(2 * padding + 1)
    assert sorted(map(tuple, offsets.tolist())) == [(row, column) for row in places for column in places]
    expected, freedom = 20_000 / len(counts), len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() <= freedom + 4 * (2 * freedom) ** 0.5
    assert not draws[:, 3].any()


@pytest.mark.parametrize(
    ("augmentation", "digest"),
    [("crop-flip", "6c6f786cb01e4701"), ("crop", "6a3f983fb2a5fd23"), ("none", "a3544f4ceec7c34e")],
)
def test_the_draws_of_the_usual_padding_are_those_of_all_runs_before(augmentation: str, digest: str) -> None:
    stream = BatchStream(50, 16, 3, augmentation)
    drawn = b"".join(stream.draws(step).numpy().tobytes() for step in range(7))
    assert hashlib.sha256(drawn).hexdigest().startswith(digest)


@pytest.mark.parametrize("padding", [0, 3, 4, 8])
@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 9, 13)])
def test_crop_and_flip_equal_a_numpy_loop(shape: tuple[int, int, int], padding: int) -> None:
    channels, height, width = shape
    data = torch.randint(256, (20, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean = pixel_mean(data)
    draws = BatchStream(20, 64, 0, "crop-flip", padding=padding).draws(0)
    batch = make_batch(data, mean, draws, padding=padding).numpy()
    for row, (index, top, left, flip) in zip(batch, draws.tolist(), strict=True):
        padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), np.float32)
        inside = slice(padding, padding + height), slice(padding, padding + width)
        padded[:, *inside] = data[index].numpy().astype(np.float32) * np.float32(1 / 255) - mean.numpy()
        crop = padded[:, top : top + height, left : left + width]
        assert np.array_equal(row, crop[:, :, ::-1] if flip else crop)


def test_no_augmentation_gives_the_normalised_image() -> None:
    data = images(40)
    mean = pixel_mean(data)
    for padding in (4, 2):
        draws = BatchStream(40, 40, 0, "none", padding=padding).draws(0)
        batch = make_batch(data, mean, draws, padding=padding)
        assert torch.equal(batch, normalise(data[draws[:, 0].long()], mean))


def test_pixel_mean_is_exact_and_centres_the_training_set() -> None:
    data = images(300)
    assert np.allclose(pixel_mean(data).numpy(), data.numpy().astype(np.float64).mean(0) / 255, atol=1e-7)
    assert normalise(data, pixel_mean(data)).mean(0).abs().max() < 1e-6


def test_digest_is_a_chain_over_all_draws() -> None:
    stream = BatchStream(100, 16, 0, "crop-flip")
    first = hashlib.sha256(b"data").hexdigest()
    second = chain_digest(first, stream.draws(0))
    assert second == hashlib.sha256(bytes.fromhex(first) + stream.draws(0).numpy().tobytes()).hexdigest()
    for column in range(4):  # index, row, column and flip each count
        changed = stream.draws(0).clone()
        changed[5, column] += 1
        assert chain_digest(first, changed) != second


def test_fixed_subsets_are_the_same_for_everyone() -> None:
    assert torch.equal(fixed_subset(1000, 10, "x"), fixed_subset(1000, 10, "x"))
    assert len(set(fixed_subset(1000, 10, "x").tolist())) == 10
    assert torch.equal(fixed_subset(10, None, "x"), torch.arange(10))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_have_the_same_bits_on_cuda() -> None:
    data = images(100)
    mean = pixel_mean(data)
    draws = BatchStream(100, 64, 0, "crop-flip").draws(1)
    there = make_batch(data.cuda(), pixel_mean(data.cuda()), draws.cuda())
    assert torch.equal(there.cpu(), make_batch(data, mean, draws))
