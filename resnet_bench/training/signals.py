"""What a network's layers do while it learns: responses, gradients, weights, dead units, of one fixed batch."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_bench.models import Net
from resnet_bench.training.step import make_forward

BATCH = 128  # images
FIRST_STEPS = (0, 1, 2, 4, 8, 16)  # before the first step, and while a network that explodes does so
MIN_POINTS, MAX_POINTS = 4, 9  # of a run, the start included, the other first steps not
STEPS_PER_POINT = 100  # a point costs about as much as a step, so longer runs may have more of them


@dataclass(frozen=True)
class LayerSignals:
    """One weighted layer at one moment.

    Attributes:
        layer: its name in the network.
        layer_index: its place, 1 for the first.
        response_std: standard deviation of the layer's response, after BN and before addition and ReLU, over all
            images, channels and pixels (figure 7; section 4.2, "Analysis of Layer Responses"); of the logits for the
            classifier.
        grad_norm: L2 norm of the loss's gradient by the layer's weights.
        weight_norm: L2 norm of these weights.
        dead_fraction: share of the channels that are 0 after ReLU for every image and pixel of the batch; None for
            the classifier.
    """

    layer: str
    layer_index: int
    response_std: float
    grad_norm: float
    weight_norm: float
    dead_fraction: float | None


def signal_steps(steps: int, row_every: int) -> list[int]:
    """The steps at which signals are measured: the first ones, the first row, the last step, and rows between."""
    rows = sorted({*range(row_every, steps + 1, row_every), steps})
    points = max(MIN_POINTS, min(MAX_POINTS, steps // STEPS_PER_POINT)) - 1
    if len(rows) > points:
        rows = [rows[round(place * (len(rows) - 1) / (points - 1))] for place in range(points)]
    return sorted({*rows, *(step for step in FIRST_STEPS if step < steps)})


def measure_signals(model: Net, images: Tensor, labels: Tensor, precision: str) -> list[LayerSignals]:
    """The signals of every weighted layer for a batch, in train mode (BN by the batch's own statistics).

    The network is left as it was: everything happens in a copy. Waits for the device once.

    Args:
        model: the network.
        images: as it takes them, float32 [B, C, H, W], on its device.
        labels: int64 [B].
        precision: of the forward pass, as in training.
    """
    copied = copy.deepcopy(model)
    copied.train()
    copied.zero_grad(set_to_none=True)
    layers = copied.weighted_layers()
    stds: dict[str, Tensor] = {}
    peaks: dict[str, Tensor] = {}
    for name, _, response, activated in layers:

        def note_std(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            stds[name] = output.detach().float().std()

        def note_peak(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            peaks[name] = output.detach().amax(dim=(0, 2, 3))

        response.register_forward_hook(note_std)
        if activated is not None:
            activated.register_forward_hook(note_peak)
    F.cross_entropy(make_forward(copied, precision)(images), labels).backward()
    table = torch.stack(
        [
            torch.stack(
                [
                    stds[name],
                    _norm(weights.weight.grad),
                    _norm(weights.weight.detach()),
                    (peaks[name] <= 0).float().mean() if name in peaks else torch.zeros_like(stds[name]),
                ]
            )
            for name, weights, _, _ in layers
        ]
    ).tolist()
    table = [[float(f"{value:.6g}") for value in row] for row in table]  # float32 holds no more
    return [
        LayerSignals(name, index, std, gradient, weight, dead if name in peaks else None)
        for index, ((name, *_), (std, gradient, weight, dead)) in enumerate(zip(layers, table, strict=True), start=1)
    ]


def _norm(values: Tensor | None) -> Tensor:
    assert values is not None
    norm: Tensor = values.float().norm()
    return norm
