"""Networks: one builder, `build_model`; plain and residual twins of one seed start from the same weights."""

from resnet_bench.models.cifar import Block, CifarNet, build_model, init_digest

__all__ = ["Block", "CifarNet", "build_model", "init_digest"]
