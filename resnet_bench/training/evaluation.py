"""The one evaluation: error and loss on fixed images, in eval mode. Reads nothing back from the device in between."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.config.run import RunConfig
from resnet_bench.data.batches import (
    fixed_subset,
)
from resnet_bench.data.on_device import DeviceData
from resnet_bench.training.step import make_forward

EVAL_BATCH, EVAL_PIXELS = 500, 500 * 96 * 96  # at most


@dataclass(frozen=True)
class EvalSet:
    """Images evaluated together, on the device."""

    images: Tensor
    labels: Tensor
    indices: Tensor  # into the whole split, on the CPU

    @classmethod
    def train(cls, data: DeviceData, count: int | None) -> EvalSet:
        """`count` fixed training images; None means all."""
        return cls._of(data.train_images, data.train_labels, count, "evaluated-train")

    @classmethod
    def test(cls, data: DeviceData, count: int | None) -> EvalSet:
        """`count` fixed test images; None means all."""
        return cls._of(data.test_images, data.test_labels, count, "evaluated-test")

    @classmethod
    def validation(cls, data: DeviceData) -> EvalSet | None:
        """All validation images, if there are any."""
        if data.validation_images is None or data.validation_labels is None:
            return None
        return cls._of(data.validation_images, data.validation_labels, None, "evaluated-validation")

    @classmethod
    def _of(cls, images: Tensor, labels: Tensor, count: int | None, stream: str) -> EvalSet:
        indices = fixed_subset(len(images), count, stream)
        if len(indices) == len(images):
            return cls(images, labels, indices)
        there = indices.to(images.device)
        return cls(images[there], labels[there], indices)


def eval_batch(data: DeviceData) -> int:
    """How many images are evaluated at once: fewer of large ones."""
    return max(1, min(EVAL_BATCH, EVAL_PIXELS // math.prod(data.test_images.shape[-2:])))


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    data: DeviceData,
    chosen: EvalSet,
    precision: str = "fp32",
    poll: Callable[[], None] = lambda: None,
    confusion: Tensor | None = None,
) -> tuple[float, float]:
    """(mean cross-entropy, top-1 error in percent) in eval mode, on single original views; BN is left as it was.

    Always without compiling: an evaluation's last batch has another size. `poll` is called before each batch and may
    raise, to break the evaluation off. To `confusion` (int64 [true class, predicted class]) the images are added.
    """
    forward = make_forward(model, precision)
    was_training = model.training
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=data.device)
    wrong = torch.zeros((), dtype=torch.int64, device=data.device)
    try:
        size = eval_batch(data)
        for images, labels in zip(chosen.images.split(size), chosen.labels.split(size), strict=True):
            poll()
            logits = forward(data.normalise(images))
            loss_sum += F.cross_entropy(logits, labels, reduction="sum")
            predicted = logits.argmax(1)
            wrong += (predicted != labels).sum()
            if confusion is not None:
                cells = labels * data.num_classes + predicted
                confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))
    finally:
        model.train(was_training)
    count = len(chosen.labels)
    return loss_sum.item() / count, 100 * wrong.item() / count


@torch.no_grad()
def all_finite(model: nn.Module) -> bool:
    """Are all weights and BN statistics finite; waits for the device once."""
    return bool(torch.stack([value.isfinite().all() for value in model.state_dict().values()]).all())


@dataclass(frozen=True)
class EvalSets:
    """The images evaluated in rows, and at the last step."""

    row_train: EvalSet
    row_test: EvalSet
    final_train: EvalSet
    final_test: EvalSet
    validation: EvalSet | None = None

    @classmethod
    def of(cls, config: RunConfig, data: DeviceData) -> EvalSets:
        """As the configuration says; the test set is whole at the last step."""
        return cls(
            row_train=EvalSet.train(data, config.row_train_images),
            row_test=EvalSet.test(data, config.row_test_images),
            final_train=EvalSet.train(data, config.final_train_images),
            final_test=EvalSet.test(data, None),
            validation=EvalSet.validation(data),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the indices of all four."""
        sha256 = hashlib.sha256()
        for chosen in (self.row_train, self.row_test, self.final_train, self.final_test):
            sha256.update(chosen.indices.numpy().tobytes() + b";")
        return sha256.hexdigest()
