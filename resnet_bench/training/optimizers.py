"""The optimisers, their state, and their learning rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer


def make_optimizer(model: nn.Module, momentum: float, weight_decay: float, kind: str = "sgd") -> Optimizer:
    """SGD as in section 4.2, Adam or AdamW; weight decay on every parameter. `set_learning_rate` before each step.

    Args:
        model: what is trained, on its device; what is frozen in it is not.
        momentum: of SGD; the others have torch's own coefficients.
        weight_decay: part of the gradient; apart from it in AdamW.
        kind: "sgd", "adam" or "adamw".
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    fused = device.type == "cuda"
    optimizer: Optimizer
    if kind == "sgd":
        optimizer = SGD(parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=fused)
    else:
        cls = {"adam": Adam, "adamw": AdamW}[kind]
        optimizer = cls(parameters, lr=0.0, weight_decay=weight_decay, fused=fused, capturable=fused)
    if fused:  # a rate on the device, so that a captured step reads the present one; only the fused update allows that
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=device)
    for parameter in parameters:  # zeros are what the first step starts from: nothing is created later
        state = optimizer.state[parameter]
        if kind == "sgd":
            state["momentum_buffer"] = torch.zeros_like(parameter)
        else:
            state["step"] = torch.zeros((), device=device if fused else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return optimizer


def optimizer_tensors(optimizer: Optimizer) -> list[Tensor]:
    """What it remembers from step to step, in the order of the parameters."""
    return [tensor for state in optimizer.state.values() for tensor in state.values()]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """The rate of the steps to come."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
