"""resnet_bench: see, measure and trust the degradation phenomenon of He et al. (2015)."""

__version__ = "0.1.0"
