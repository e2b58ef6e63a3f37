"""The one train step and the one evaluation. Neither reads a value back from the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.data.batches import fixed_subset, make_batch, normalise, pixel_mean
from resnet_bench.data.dataset import Dataset

EVAL_BATCH = 500


@dataclass(frozen=True)
class DeviceData:
    """A dataset on the training device: uint8 images, int64 labels, float32 per-pixel mean of the training set."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    num_classes: int

    @classmethod
    def of(cls, dataset: Dataset, device: torch.device) -> DeviceData:
        """Copy the dataset to the device, once."""
        train_images = torch.from_numpy(dataset.train_images).to(device)
        return cls(
            train_images=train_images,
            train_labels=torch.from_numpy(dataset.train_labels).to(device),
            test_images=torch.from_numpy(dataset.test_images).to(device),
            test_labels=torch.from_numpy(dataset.test_labels).to(device),
            mean=pixel_mean(train_images),
            num_classes=len(dataset.classes),
        )

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.train_images.device


class Meter:
    """Running sums of a run, on the device. Reading them waits for the device, so it is done at interval edges.

    Attributes:
        loss_sum: float64, sum over steps since the last row of the mean loss per image.
        wrong: int64, misclassified training images since the start of the run.
        finite_steps: int64, steps before the first loss that was not finite.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.wrong = torch.zeros((), dtype=torch.int64, device=device)
        self.finite_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one step."""
        self.loss_sum.add_(loss)
        self.wrong.add_((logits.argmax(1) != labels).sum())
        self.finite.logical_and_(loss.isfinite())
        self.finite_steps.add_(self.finite)


def make_optimizer(model: nn.Module, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD as in section 4.2; weight decay on every parameter. The learning rate is set before each step."""
    return torch.optim.SGD(model.parameters(), lr=0.0, momentum=momentum, weight_decay=weight_decay)


def train_step(model: nn.Module, optimizer: torch.optim.SGD, data: DeviceData, meter: Meter, draws: Tensor) -> None:
    """One optimizer update on the batch that `draws` (int32 [B, 4], on the data's device) describes."""
    labels = data.train_labels[draws[:, 0].long()]
    logits = model(make_batch(data.train_images, data.mean, draws))
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    meter.add(loss.detach(), logits.detach(), labels)


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
    def _of(cls, images: Tensor, labels: Tensor, count: int | None, stream: str) -> EvalSet:
        indices = fixed_subset(len(images), count, stream)
        if len(indices) == len(images):
            return cls(images, labels, indices)
        there = indices.to(images.device)
        return cls(images[there], labels[there], indices)


@torch.inference_mode()
def evaluate(
    model: nn.Module, data: DeviceData, chosen: EvalSet, poll: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """(mean cross-entropy, top-1 error in percent) in eval mode, on single original views; BN is left as it was.

    `poll` is called before each batch and may raise, to break the evaluation off.
    """
    was_training = model.training
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=data.device)
    wrong = torch.zeros((), dtype=torch.int64, device=data.device)
    try:
        for images, labels in zip(chosen.images.split(EVAL_BATCH), chosen.labels.split(EVAL_BATCH), strict=True):
            poll()
            logits = model(normalise(images, data.mean))
            loss_sum += F.cross_entropy(logits, labels, reduction="sum")
            wrong += (logits.argmax(1) != labels).sum()
    finally:
        model.train(was_training)
    count = len(chosen.labels)
    return loss_sum.item() / count, 100 * wrong.item() / count


@torch.no_grad()
def all_finite(model: nn.Module) -> bool:
    """Are all weights and BN statistics finite; waits for the device once."""
    return bool(torch.stack([value.isfinite().all() for value in model.state_dict().values()]).all())
