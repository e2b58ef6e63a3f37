"""How every network of a study is trained: what its file has in [protocol]."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any

from resnet_bench.config.fields import ruled, told_at
from resnet_bench.config.run import AUGMENTATIONS, OPTIMIZERS, POSITIVE, SCHEDULES, USUAL, RunConfig, Variation
from resnet_bench.schema import Invalid, Rule, settle

ROWS = 20  # of the error curves, where a protocol does not say
RATE = Rule(1e-12, 1e6, measured=True)
NAME = Rule(pattern=r"([A-Za-z0-9._+-]{1,60}/[0-9]{1,6})?", wanted="a name and a version, as in short-400/1")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How every network of a study is trained. Defaults are the paper's (section 4.2).

    Raises:
        UsageError: a value that its field must not hold, or values that do not go together.
    """

    name: str = ruled(NAME, "")  # name and version; results are compared only within one. Empty: <study's name>/1
    steps: int = field(metadata={"rule": POSITIVE})  # optimizer updates
    batch_size: int = ruled(POSITIVE, 128)
    lr: float = ruled(RATE, 0.1)
    lr_drops: tuple[float, ...] = ruled(RATE, ())  # where lr is divided by 10: steps, or shares of all if below 1
    lr_warmup: float | None = ruled(RATE, None)  # lr until the windowed training error is below lr_warmup_error
    lr_warmup_error: float = ruled(Rule(0, 100, measured=True), 80.0)  # percent
    lr_warmup_window: int = ruled(POSITIVE, 100)  # steps
    lr_warmup_from_depth: int = ruled(Rule(0, 100_000), 0)  # only networks that deep begin at lr_warmup
    momentum: float = ruled(Rule(0, 1, measured=True), 0.9)
    weight_decay: float = ruled(Rule(0, 1e6, measured=True), 1e-4)
    optimizer: str = ruled(Rule(among=OPTIMIZERS), "sgd")
    schedule: str = ruled(Rule(among=SCHEDULES), "step")  # lr_drops; or "cosine": from lr to 0 over all steps
    zero_init_residual: bool = False  # residual networks begin with every residual function at 0
    augmentation: str = ruled(Rule(among=("", *AUGMENTATIONS)), "")  # empty: what fits the data
    crop_padding: int = ruled(Rule(0, 16), 4)  # pixels of zeros at each side, from which a crop is cut
    image_side: int | None = ruled(Rule(4, 4096), None)  # pixels that images are made smaller to; None: as they are
    images_per_class: int | None = ruled(Rule(1, 10**9), None)  # training images of each class; None: all
    row_every: int | None = ruled(POSITIVE, None)  # steps between two rows of the error curves; or instead:
    rows: int | None = ruled(POSITIVE, None)  # so many rows, evenly. None of both: 20 rows
    row_train_images: int | None = ruled(POSITIVE, None)  # training images evaluated for a row; None: all
    row_test_images: int | None = ruled(POSITIVE, None)  # test images evaluated for a row; None: all
    final_train_images: int | None = ruled(POSITIVE, None)  # training images evaluated at the last step; None: all

    def __post_init__(self) -> None:
        with told_at("protocol"):
            settle(self)
            self._check_together()

    def _check_together(self) -> None:
        for number, drop in enumerate(self.lr_drops):
            if drop >= 1 and (drop != int(drop) or drop >= self.steps):
                raise Invalid(
                    f"{drop:.10g} is neither a step before the last ({self.steps:,}) nor a share of all steps, as 0.5 "
                    "is",
                    "lr_drops",
                    str(number),
                )
        steps = [self._step_of(drop) for drop in self.lr_drops]
        if steps != sorted(steps):
            raise Invalid("the drops do not stand in the order in which they happen", "lr_drops")
        if self.lr_drops and self.schedule == "cosine":
            raise Invalid("a cosine schedule has no drops; leave them out", "lr_drops")
        if self.rows and self.row_every:
            raise Invalid("say rows or row_every, not both", "rows")
        if (self.rows or 1) > self.steps:
            raise Invalid(f"{self.rows:,} rows are more than the {self.steps:,} steps", "rows")

    def _step_of(self, drop: float) -> int:
        return int(drop) if drop >= 1 else round(drop * self.steps)

    def idle(self) -> dict[str, str]:
        """The fields that have no meaning as the others are, and why."""
        found: dict[str, str] = {}
        if self.lr_warmup is None:
            fields = ("lr_warmup_error", "lr_warmup_window", "lr_warmup_from_depth")
            found |= dict.fromkeys(fields, "without lr_warmup")
        if self.optimizer != "sgd":
            found["momentum"] = f"with optimizer {self.optimizer}"
        if self.augmentation in ("none", "resized-crop-flip"):
            found["crop_padding"] = f"with augmentation {self.augmentation}"
        return found

    def run_fields(self, depth: int) -> dict[str, Any]:
        """What it says of a run of a network that deep, by fields of RunConfig; all but its name."""
        return {
            **{name: getattr(self, name) for name in _shared()},
            "lr_drops": tuple(map(self._step_of, self.lr_drops)),
            "lr_warmup": self.lr_warmup if depth >= self.lr_warmup_from_depth else None,
            "row_every": self.row_every or -(-self.steps // (self.rows or ROWS)),
        }

    def varied(self, variation: Variation, name: str) -> Protocol:
        """With the changes of a command line, and the name that says so; `name` is what it is called without them."""
        title, _, version = name.rpartition("/")
        usual_lr, usual_decay = USUAL[variation.optimizer] or (self.lr, self.weight_decay)
        schedule = self.schedule if variation.schedule == "step" else variation.schedule
        return replace(
            self,
            name=f"{title}{variation.label}/{version}",
            optimizer=self.optimizer if variation.optimizer == "sgd" else variation.optimizer,
            schedule=schedule,
            lr=usual_lr if variation.lr is None else variation.lr,
            lr_drops=self.lr_drops if schedule == "step" else (),
            lr_warmup=self.lr_warmup if variation.optimizer == "sgd" else None,
            weight_decay=usual_decay,
            zero_init_residual=self.zero_init_residual or variation.zero_init_residual,
        )


@functools.cache
def _shared() -> list[str]:
    """The fields that a run has under the same name."""
    of_run = {f.name for f in fields(RunConfig)}
    return [f.name for f in fields(Protocol) if f.name in of_run]
