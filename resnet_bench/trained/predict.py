"""What a trained network says of pictures: of files, or of the first test images of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from resnet_bench.busy import busy
from resnet_bench.data.dataset import Dataset, Images
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import UsageError
from resnet_bench.models import Net
from resnet_bench.terminal import columns
from resnet_bench.text import to_json_text

BATCH = 100


@dataclass(frozen=True)
class Example:
    """A picture as the network takes it.

    Attributes:
        name: the file, or which image of the dataset.
        pixels: uint8 [C, H, W].
        actual: its class, where that is known.
    """

    name: str
    pixels: Images
    actual: str | None = None


@dataclass(frozen=True)
class Prediction:
    """What the network says of an example.

    Attributes:
        example: the picture.
        predicted: the class with the highest probability.
        probability: of that class, 0 to 1, by softmax.
        correct: is it the actual class; None where that is not known, or none of the network's.
    """

    example: Example
    predicted: str
    probability: float
    correct: bool | None


def of_files(paths: Iterable[Path], inputs: Inputs) -> tuple[list[Example], list[str]]:
    """The pictures that can be read, and a sentence for each other."""
    examples, problems = [], []
    for path in paths:
        try:
            examples.append(Example(str(path), inputs.read(path)))
        except UsageError as error:
            problems.append(str(error))
    return examples, problems


def of_dataset(dataset: Dataset, first: int, inputs: Inputs, known: Sequence[str]) -> list[Example]:
    """The first test images, from each class in turn, as many datasets are stored class by class.

    Args:
        dataset: whose test images.
        first: how many.
        inputs: what the network takes.
        known: the network's classes; images of others are left out, unless all are of others.

    Raises:
        UsageError: the network takes other images.
    """
    dataset = inputs.prepare(dataset)
    shared = [label for label, name in enumerate(dataset.classes) if name in known]
    seen: Counter[int] = Counter()
    places = []  # (how many of its class come before it, label, index)
    for index, label in enumerate(dataset.test_labels.tolist()):
        if label in shared or not shared:
            places.append((seen[label], label, index))
            seen[label] += 1
    return [
        Example(f"{dataset.name} test {index}", dataset.test_images[index], dataset.classes[label])
        for _, label, index in sorted(places)[:first]
    ]


@torch.inference_mode()
@busy("predicting")
def predict(
    model: Net, inputs: Inputs, classes: Sequence[str], examples: Sequence[Example], device: torch.device
) -> list[Prediction]:
    """What the network says of each example, in their order."""
    model = model.to(device).eval()
    predictions = []
    for start in range(0, len(examples), BATCH):
        part = examples[start : start + BATCH]
        images = torch.stack([torch.from_numpy(example.pixels) for example in part]).to(device)
        probabilities, labels = F.softmax(model(inputs.normalise(images)), 1).max(1)
        for example, label, probability in zip(part, labels.tolist(), probabilities.tolist(), strict=True):
            correct = classes[label] == example.actual if example.actual in classes else None
            predictions.append(Prediction(example, classes[label], probability, correct))
    return predictions


def to_table(predictions: Sequence[Prediction]) -> str:
    """For the terminal; the last line counts, where actual classes are known."""
    labelled = any(p.example.actual is not None for p in predictions)
    known = [p.correct for p in predictions if p.correct is not None]
    header = ["image", "predicted", *(["actual", "right"] if labelled else []), "probability"]
    rows = []
    for p in predictions:
        told = [p.example.actual or "-", {True: "yes", False: "NO", None: "-"}[p.correct]] if labelled else []
        rows.append([p.example.name, p.predicted, *told, f"{100 * p.probability:.1f} %"])
    counted = f"{sum(known)} of {len(known)} right\n" if known else ""
    return columns(header, rows, len(header) - 1) + counted


def to_json(predictions: Sequence[Prediction]) -> str:
    """A list of objects, in the order of the images."""
    rows = [
        {
            "image": p.example.name,
            "predicted": p.predicted,
            "probability": p.probability,
            "actual": p.example.actual,
            "correct": p.correct,
        }
        for p in predictions
    ]
    return to_json_text(rows) + "\n"
