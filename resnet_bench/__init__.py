"""resnet_bench: see, measure and trust the degradation phenomenon of He et al. (2015).

>>> import resnet_bench as rb
>>> frames = rb.load_study("results/digits-full")
>>> errors = frames.runs.groupby(["arch", "depth"]).final_test_top1_err.mean()
>>> print(errors["plain", 56].round(1), errors["residual", 56].round(1))
59.4 2.4

What is listed in `__all__` is loaded when it is first asked for: importing the package costs nothing, and what only
reads results (`load_study`, `judge`, `plot`) never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_bench import plot, studies
    from resnet_bench.api import build_model, evaluate, judge, load_study, train
    from resnet_bench.config.study import Networks, Protocol, Study, twins
    from resnet_bench.errors import Failure, UsageError
    from resnet_bench.frames import StudyFrames
    from resnet_bench.trained.assess import Evaluation

__version__ = "0.1.0"
__all__ = [
    "Evaluation", "Failure", "Networks", "Protocol", "Study", "StudyFrames", "UsageError", "build_model", "evaluate",
    "judge", "load_study", "plot", "studies", "train", "twins",
]  # fmt: skip

# Where each is defined; modules are not in it.
_HOMES = {
    **dict.fromkeys(("build_model", "evaluate", "judge", "load_study", "train"), "api"),
    **dict.fromkeys(("Networks", "Protocol", "Study", "twins"), "config.study"),
    **dict.fromkeys(("Failure", "UsageError"), "errors"),
    "StudyFrames": "frames",
    "Evaluation": "trained.assess",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _HOMES:
        return import_module(f"{__name__}.{name}")  # which makes it an attribute
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
