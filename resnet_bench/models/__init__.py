"""Networks: one builder, `build_model`; plain and residual twins of one seed start from the same weights."""

from resnet_bench.models.build import Net, build_model, init_digest
from resnet_bench.models.cifar import Block, CifarNet
from resnet_bench.models.imagenet import ImageNetNet

__all__ = ["Block", "CifarNet", "ImageNetNet", "Net", "build_model", "init_digest"]
