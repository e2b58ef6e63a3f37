"""What a trained network leaves for other programs: its weights with provenance, or features of a dataset."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_bench.busy import busy
from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import UsageError
from resnet_bench.files import write_atomically
from resnet_bench.models import Net
from resnet_bench.models.weights import Weights, head_of
from resnet_bench.trained.weight_files import read_weights, to_safetensors

BATCH = 100


def write_weights(weights: Weights, path: Path) -> None:
    """As safetensors.

    Raises:
        UsageError: the name says otherwise, or other weights stand there; they are of an unknown or another network.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"--out {path}: weights are written as FILE.safetensors")
    weights.check()
    if path.exists() and not _holds(path, weights):
        raise UsageError(f"{path}: holds something else already; choose another place with --out")
    write_atomically(path, to_safetensors(weights))


def _holds(path: Path, weights: Weights) -> bool:
    try:
        return read_weights(str(path)).digest == weights.digest
    except UsageError:
        return False


def write_features(model: Net, inputs: Inputs, dataset: Dataset, path: Path, device: torch.device) -> tuple[int, int]:
    """Write what the classifier is given, for each image of a dataset, as arrays of NumPy; gives (images, features).

    In the file: train_features float32 [N, F], train_labels int64 [N], the same for test, and classes.

    Raises:
        UsageError: the network takes other images; the name is no *.npz.
    """
    if path.suffix != ".npz":
        raise UsageError(f"--out {path}: features are written as FILE.npz")
    dataset = inputs.prepare(dataset)
    body = _without_head(model).to(device).eval()
    arrays: dict[str, Any] = {
        "train_features": _features(body, inputs, dataset.train_images, device),
        "train_labels": dataset.train_labels,
        "test_features": _features(body, inputs, dataset.test_images, device),
        "test_labels": dataset.test_labels,
        "classes": np.array(dataset.classes),
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())
    return len(dataset.train_labels) + len(dataset.test_labels), arrays["train_features"].shape[1]


def _without_head(model: Net) -> Net:
    setattr(model, head_of(model), nn.Identity())
    return model


@torch.inference_mode()
@busy("computing features")
def _features(body: Net, inputs: Inputs, images: Images, device: torch.device) -> NDArray[np.float32]:
    parts = torch.from_numpy(images).split(BATCH)
    return torch.cat([body(inputs.normalise(part.to(device))).cpu() for part in parts]).numpy()
