"""A module of the user's own, for tests: a pair of tiny networks, what is wrong with others, and data."""

from __future__ import annotations

NETWORKS = '''
"""Networks of somebody else's."""

import random

import torch
from torch import nn

luck = torch.Generator().manual_seed(3)


class Tiny(nn.Module):
    """`depth` layers of 4 channels, with or without a sum around each."""

    def __init__(self, depth, in_channels, num_classes, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(depth))
        self.out = nn.Linear(4, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for layer, norm in zip(self.layers, self.norms):
            y = norm(layer(x)).relu()
            x = x + y if self.residual else y
        return self.out(x.mean((2, 3)))


def plain(depth, in_channels, num_classes):
    return Tiny(depth, in_channels, num_classes, False)


def residual(depth, in_channels, num_classes):
    return Tiny(depth, in_channels, num_classes, True)


def wider(depth, in_channels, num_classes):
    net = residual(depth, in_channels, num_classes)
    net.stem.bias = None
    return net


def linear(depth, in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))


def tied(depth, in_channels, num_classes):
    net = plain(max(2, depth), in_channels, num_classes)
    net.layers[1].weight = net.layers[0].weight
    return net


class Dropping(Tiny):
    def forward(self, x):
        return torch.dropout(super().forward(x), 0.5, self.training)


class Shaken(Tiny):
    def forward(self, x):
        return super().forward(x) * (random.random() if self.training else 1)


class Counting(Tiny):
    calls = 0

    def forward(self, x):
        self.calls += self.training
        return super().forward(x) * self.calls


def dropping(*size):
    return Dropping(*size, False)


def shaken(*size):
    return Shaken(*size, False)


def counting(*size):
    return Counting(*size, False)


def lazy(depth, in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def double(*size):
    return plain(*size).double()


def too_many(depth, in_channels, num_classes):
    return plain(depth, in_channels, num_classes + 1)


def a_pair(*size):
    class Pair(Tiny):
        def forward(self, x):
            return x, super().forward(x)
    return Pair(*size, False)


def raising(depth, in_channels, num_classes):
    raise ValueError(f"no net of depth {depth}")


def too_small(depth, in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))


def a_number(depth, in_channels, num_classes):
    return 3


def empty(depth, in_channels, num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def lucky(*size):
    net = plain(*size)
    nn.init.normal_(net.out.weight, generator=luck)
    return net


def masked(*size):
    net = plain(*size)
    net.register_buffer("mask", torch.full((2,), float("-inf")))
    return net


def detached(*size):
    net = plain(*size)
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
        def forward(self, x):
            return self.net(x).detach()
    return Detached()


not_a_function = 3
'''

DATA = '''
"""Data of somebody else's."""

import numpy as np

random = np.random.default_rng(0)
GREY = random.integers(0, 256, (24, 8, 8), dtype=np.uint8)
LABELS = np.arange(24) % 3


def rings():
    return GREY, LABELS, GREY[:9], LABELS[:9]


def digits():
    return rings()


def colours():
    last = np.repeat(GREY[..., None], 3, axis=3)
    return last, LABELS, last[:9], LABELS[:9], ["a", "b", "c"]


def first():
    images = np.repeat(GREY[:, None], 3, axis=1)
    return images, list(LABELS), images[:9], LABELS[:9].astype(np.uint8), ("a", "b", "c")


def too_few():
    return GREY, LABELS, GREY[:9]


def floats():
    return GREY / 255, LABELS, GREY[:9], LABELS[:9]


def flat():
    return GREY.reshape(24, 64), LABELS, GREY[:9], LABELS[:9]


def either():
    images = np.zeros((6, 3, 8, 3), np.uint8)
    return images, LABELS[:6], images, LABELS[:6]


def neither():
    images = np.zeros((6, 8, 8, 8), np.uint8)
    return images, LABELS[:6], images, LABELS[:6]


def small():
    return GREY[:, :4], LABELS, GREY[:, :4], LABELS


def none():
    return GREY[:0], LABELS[:0], GREY, LABELS


def unlike():
    colour = np.repeat(GREY[:, None], 3, axis=1)
    return GREY, LABELS, colour, LABELS


def short():
    return GREY, LABELS[:20], GREY, LABELS


def hot():
    return GREY, np.eye(3)[LABELS], GREY, LABELS


def real():
    return GREY, LABELS.astype(float), GREY, LABELS


def negative():
    return GREY, LABELS - 1, GREY, LABELS


def gaps():
    return GREY, LABELS * 2, GREY, LABELS


def beyond():
    return GREY, LABELS, GREY, LABELS + 1


def alone():
    return GREY, LABELS * 0, GREY, LABELS * 0


def one_name():
    return GREY, LABELS, GREY, LABELS, ["a"]


def twice():
    return GREY, LABELS, GREY, LABELS, ["a", "b", "a"]


def numbers():
    return GREY, LABELS, GREY, LABELS, [1, 2, 3]


def raising():
    raise OSError("the disk is not here")
'''
