"""The training loop that people write today, by the book. A yardstick for `benchmarks.peers`, used for nothing else.

PIL images in a map-style Dataset, torchvision's transforms, a DataLoader, eager steps in fp32, loss and correct
answers read with `.item()` at every step. The network, the batch size, the update and the threads are those of
resnet_bench, so that only the loop around them differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_bench.data import dataset

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, by channel


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """Training images in memory, each a PIL image on its way out, as in torchvision.datasets.CIFAR10."""

    def __init__(self, source: dataset.Dataset) -> None:
        self.images = np.ascontiguousarray(source.train_images.transpose(0, 2, 3, 1))  # [N, H, W, C]
        self.labels: list[int] = source.train_labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(source.image_shape[1:], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch."""
    while True:
        yield from loader


class ReferenceLoop:
    """Trains a network on batches from `workers` processes (0: in this one); `train` goes on where it left off."""

    def __init__(
        self,
        images: TrainingImages,
        model: nn.Module,
        device: torch.device,
        *,
        workers: int,
        batch_size: int = 128,
        lr: float = 0.1,
    ) -> None:
        self.device = device
        self.model = model.to(device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
        self.loader = DataLoader(
            images,
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        self.batches = endless(self.loader)

    @property
    def queue_length(self) -> int:
        """Batches that the workers make ahead."""
        return self.loader.num_workers * (self.loader.prefetch_factor or 0)

    def update(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One optimizer update; gives the loss and the logits."""
        self.optimizer.zero_grad()
        logits: Tensor = self.model(images)
        loss: Tensor = self.criterion(logits, labels)
        loss.backward()
        self.optimizer.step()
        return loss, logits

    def train(self, steps: int) -> tuple[float, float]:
        """Some steps; gives their mean loss and their error in percent."""
        self.model.train()
        running_loss, correct, seen = 0.0, 0, 0
        for cpu_images, cpu_labels in itertools.islice(self.batches, steps):
            images = cpu_images.to(self.device, non_blocking=True)
            labels = cpu_labels.to(self.device, non_blocking=True)
            loss, logits = self.update(images, labels)
            running_loss += loss.item()
            correct += int((logits.argmax(1) == labels).sum().item())
            seen += len(labels)
        return running_loss / steps, 100 * (1 - correct / seen)
