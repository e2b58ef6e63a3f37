"""The error of a trained network on test images, measured as at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from resnet_bench.busy import busy
from resnet_bench.data.dataset import Dataset
from resnet_bench.data.inputs import Inputs
from resnet_bench.data.on_device import DeviceData
from resnet_bench.data.prepare import prepare
from resnet_bench.data.sources import find_source
from resnet_bench.environment import configure, find_device, settings_kept
from resnet_bench.errors import UsageError
from resnet_bench.models.weights import Weights
from resnet_bench.training.evaluation import EvalSet, evaluate

Arrays: TypeAlias = tuple[ArrayLike, ArrayLike]  # images, uint8 [N, C, H, W], and labels, whole numbers [N]
TAKEN = ("image_side", "images_per_class")  # what a run may say of its images
Pixels: TypeAlias = float | Sequence[float] | NDArray[Any]  # of all values, of each channel [C], or of each pixel


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network makes of test images, each seen once as it is, in eval mode.

    Attributes:
        top1_err: images that are taken for another class, in percent.
        loss: mean cross-entropy of an image.
        images: how many there are.
        confusion: int64 [K, K], images by true class (row) and by the class that they are taken for (column).
        classes: names of the K classes, in the order of the logits.
    """

    top1_err: float
    loss: float
    images: int
    confusion: NDArray[np.int64]
    classes: tuple[str, ...]


def evaluate_weights(
    weights: Weights, data: str | Arrays | None = None, device: str = "auto", precision: str | None = None
) -> Evaluation:
    """The error of weights that say of themselves of which network they are, and what images it takes.

    Threads and precision are those of the run that made them, where that is known.

    Raises:
        UsageError: they do not say it, or the images do not fit.
    """
    model, facts = weights.build(), weights.provenance
    assert weights.inputs is not None and weights.classes is not None  # or there were no model
    dataset = weights.inputs.prepare(_own_images(weights) if data is None else _images(data, weights.classes))
    _check_classes(weights, dataset)
    where, precision = find_device(device), precision or facts.get("precision", "fp32")
    with settings_kept():
        configure(where, int(facts["threads"]) if "threads" in facts else None, precision)
        found = DeviceData.of(dataset, where, weights.inputs)
        return _measured(model.to(where), found, weights.classes, precision)


def evaluate_module(
    model: nn.Module,
    data: str | Arrays,
    mean: Pixels | None = None,
    std: Pixels | None = None,
    precision: str | None = None,
) -> Evaluation:
    """The error of any module that makes logits [N, K] of images float32 [N, C, H, W], where its parameters lie.

    Without `mean` pixels are normalised as if the network had been trained on these data by this package.

    Raises:
        UsageError: arrays without `mean`, or logits that do not fit the classes.
    """
    if mean is None and (std is not None or not isinstance(data, str)):
        raise UsageError("how are pixels normalised? give mean= (0 for none), and std= if they are divided by one")
    dataset = _images(data)
    inputs = None if mean is None else _inputs(dataset.image_shape, mean, std)
    where = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    found = DeviceData.of(dataset, where, inputs)
    num_logits = _num_logits(model, found)
    if num_logits < len(dataset.classes) or (num_logits > len(dataset.classes) and isinstance(data, str)):
        raise UsageError(f"the module makes {num_logits} logits; the images are of {len(dataset.classes)} classes")
    classes = dataset.classes if isinstance(data, str) else _numbers(num_logits)
    return _measured(model, replace(found, num_classes=num_logits), classes, precision or "fp32")


@busy("evaluating")
def _measured(model: nn.Module, data: DeviceData, classes: tuple[str, ...], precision: str) -> Evaluation:
    confusion, chosen = data.no_confusion(), EvalSet.test(data, None)
    loss, error = evaluate(model, data, chosen, precision, confusion=confusion)
    return Evaluation(error, loss, len(chosen.labels), confusion.cpu().numpy(), classes)


def _own_images(weights: Weights) -> Dataset:
    """The data that the weights were trained on, found by name."""
    facts = weights.provenance
    name = facts.get("data") or facts.get("dataset")
    if name is None:
        raise UsageError(f"{weights.origin}: does not say what it was trained on; name the images (data=)")
    side, each = (int(text) if (text := facts.get(key, "")).isdecimal() else None for key in TAKEN)
    dataset = prepare(find_source(name, name).load(None), side, each)
    if dataset.digest != facts.get("dataset_digest", dataset.digest):
        raise UsageError(f"{weights.origin}: was trained on another {name} than is found here; name the images (data=)")
    return dataset


def _images(data: str | Arrays, classes: tuple[str, ...] | None = None) -> Dataset:
    """What `data` names or holds; `classes` are those of the labels in arrays, by default as many as there are."""
    if isinstance(data, str):
        return find_source(data, data).load(None)
    images, labels = (np.asarray(array) for array in data)
    whole = np.issubdtype(labels.dtype, np.integer)
    if images.dtype != np.uint8 or images.ndim != 4 or not whole or labels.shape != images.shape[:1] or not len(labels):
        raise UsageError(
            f"images are {images.dtype} {list(images.shape)}, labels {labels.dtype} {list(labels.shape)}; wanted are "
            "uint8 [N, C, H, W] and whole numbers [N], N at least 1"
        )
    classes = classes or _numbers(int(labels.max()) + 1)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UsageError(f"labels from {labels.min()} to {labels.max()}; there are {len(classes)} classes, from 0")
    pixels, numbers = np.ascontiguousarray(images), labels.astype(np.int64)
    return Dataset("the given images", classes, pixels, numbers, pixels, numbers)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _check_classes(weights: Weights, dataset: Dataset) -> None:
    ours, theirs = weights.classes or (), dataset.classes
    if len(ours) != len(theirs):
        raise UsageError(f"{dataset.name}: {len(theirs)} classes; the network tells {len(ours)} apart")
    if ours != theirs and set(ours) == set(theirs):
        raise UsageError(f"{dataset.name}: its classes stand in another order than the network's ({', '.join(ours)})")


def _inputs(shape: tuple[int, int, int], mean: Pixels, std: Pixels | None) -> Inputs:
    """Pixels scaled to 0..1, minus the mean, divided by the standard deviation."""
    channels = shape[0]

    def tensor(values: Pixels, name: str, shapes: tuple[tuple[int, ...], ...]) -> Tensor:
        array = np.asarray(values, dtype=np.float32)
        if array.shape not in shapes:
            raise UsageError(f"{name}= is {list(array.shape)}; wanted is a number, [{channels}], or {list(shapes[-1])}")
        by_channel = array.reshape(-1, 1, 1) if array.ndim < 2 else array
        return torch.from_numpy(np.broadcast_to(by_channel, (channels, *by_channel.shape[1:])).copy())

    channelwise = ((), (channels,), (channels, 1, 1))
    inverse_std = None if std is None else 1 / tensor(std, "std", channelwise)
    return Inputs(shape, False, tensor(mean, "mean", (*channelwise, shape)), inverse_std)


@torch.inference_mode()
def _num_logits(model: nn.Module, data: DeviceData) -> int:
    """Of one image, in eval mode; the module is left as it was."""
    was_training = model.training
    try:
        logits = model.eval()(data.normalise(data.test_images[:1]))
    finally:
        model.train(was_training)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UsageError("the module does not make logits [N, classes] of images [N, C, H, W]")
    return logits.shape[1]
