"""A picture of what the network sees: images as stored, and the same images as batches give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from resnet_bench.busy import busy
from resnet_bench.config.run import AUGMENTATION_OF
from resnet_bench.data.batches import INDEX, BatchStream, make_batch, pixel_mean, resized_crops
from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

COLUMNS = 10  # at most
EPOCHS = 3  # each image is shown as the first three epochs give it
TILE = 96  # pixels a side in the picture
GAP = 4
LABEL = 14


def augmented_views(dataset: Dataset, seed: int) -> tuple[list[int], Images]:
    """Indices of the first COLUMNS images of epoch 1, and their views uint8 [EPOCHS, COLUMNS, C, H, W]."""
    images = torch.from_numpy(dataset.train_images)
    mean = pixel_mean(images)
    size = len(images)
    if dataset.resized is None:
        stream = BatchStream(size, size, seed, AUGMENTATION_OF.get(dataset.name, "crop-flip"))
    else:
        stream = BatchStream(size, size, seed, "resized-crop-flip", torch.from_numpy(dataset.resized.aspects))
    chosen = stream.draws(0)[:COLUMNS, INDEX]
    views = []
    for epoch in range(EPOCHS):
        draws = stream.draws(epoch)
        place = torch.stack([(draws[:, INDEX] == index).nonzero()[0, 0] for index in chosen])
        if dataset.resized is None:
            view = (make_batch(images, mean, draws[place]) + mean) * 255
        else:
            sources = torch.from_numpy(dataset.resized.sources)
            view = resized_crops(sources, draws[place], images.shape[-1])
        views.append(view.round().clamp(0, 255).byte())
    return chosen.tolist(), torch.stack(views).numpy()


@busy("drawing")
def write_grid(dataset: Dataset, seed: int, path: Path) -> None:
    """Write the picture as PNG: class names, stored images, one row per epoch. UsageError if it cannot be written."""
    indices, views = augmented_views(dataset, seed)
    rows = [dataset.train_images[indices], *views]
    width = len(indices) * (TILE + GAP) + GAP
    picture = Image.new("RGB", (width, LABEL + len(rows) * (TILE + GAP) + 2 * GAP), "white")
    draw = ImageDraw.Draw(picture)
    for column, index in enumerate(indices):
        x = GAP + column * (TILE + GAP)
        draw.text((x, 1), one_line(dataset.classes[dataset.train_labels[index]])[:15], fill="black")
        for number, row in enumerate(rows):
            y = LABEL + GAP + number * (TILE + GAP) + (GAP if number else 0)  # a wider gap under the stored images
            picture.paste(_tile(row[column]), (x, y))
    try:
        picture.save(path, format="PNG")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place with --out") from None


def _tile(image: Images) -> Image.Image:
    """uint8 [C, H, W] -> a tile of one size, pixels kept sharp."""
    channels = np.broadcast_to(image, (3, *image.shape[1:])) if image.shape[0] == 1 else image[:3]
    return Image.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0))).resize(
        (TILE, TILE), Image.Resampling.NEAREST
    )
