"""What a study is: networks, seeds, a protocol, and what is varied. Its runs are the product."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from resnet_bench.config import vary
from resnet_bench.config.arms import Networks, family_for, twins
from resnet_bench.config.builders import data_name, is_function, source_digest
from resnet_bench.config.fields import check_list, told_at
from resnet_bench.config.protocol import Protocol
from resnet_bench.config.run import AUGMENTATION_OF, RunConfig, Variation
from resnet_bench.config.study_file import parse_fields, read_fields, to_toml
from resnet_bench.config.vary import Setting
from resnet_bench.errors import UsageError
from resnet_bench.networks import CIFAR, OWN, NetworkName
from resnet_bench.schema import Invalid, Rule, settle
from resnet_bench.text import one_line

__all__ = ["Networks", "Protocol", "Study", "family_for", "twins"]

MOST_RUNS = 10_000
NAME = Rule(pattern=r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", wanted="a name for a folder (letters, digits, and ._+-)")
DATA = Rule(pattern=r"[^\x00-\x1f\x7f]+", wanted="a dataset's name, a folder, or package.module:function")
MEANING = Rule(pattern=r"[^\x00-\x1f\x7f]*", wanted="one line")
SEED = Rule(0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A named set of runs: every network with every seed in every setting of what is varied.

    Raises:
        UsageError: a value that its field must not hold, or values that do not go together; it begins with the place
            that the value has in a study file, as in `protocol.steps`.
    """

    name: str = field(metadata={"rule": NAME})  # the folder's under results/
    meaning: str = field(default="", metadata={"rule": MEANING})  # in a line
    dataset: str = field(metadata={"rule": DATA})  # name of the data, a folder, package.module:function; in files: data
    networks: Networks
    protocol: Protocol
    seeds: tuple[int, ...] = field(metadata={"rule": SEED})
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # field of Protocol, say -> values
    text: str = field(default="", compare=False, repr=False)  # of the file that it was read from, if it was

    def __post_init__(self) -> None:
        with told_at():
            settle(self)
            check_list(self.seeds, "seeds")
            object.__setattr__(self, "vary", vary.checked(self.vary))
            networks = max(1, len(self.networks.depths)) * len(self.networks.arms)
            if math.prod(map(len, self.vary.values())) * networks * len(self.seeds) > MOST_RUNS:
                raise Invalid(f"these are more than {MOST_RUNS:,} runs", "vary" if self.vary else "networks")
        self._check_settings()

    def _check_settings(self) -> None:
        """Raise UsageError unless every setting can be trained, and no two are the same for any network."""
        found: dict[str, Setting] = {}
        for setting in self.settings:
            with _told_with(setting):
                self._check_meaning(setting)
                replace(self.networks, family=setting.get("family", self.networks.family))
                runs = self._runs_of(setting, _Fit(self.dataset), None, self.seeds[:1])
            for run in runs:
                other = found.setdefault(run.run_id, setting)
                if other is not setting:
                    raise UsageError(_no_difference(run, other, setting))

    def _check_meaning(self, setting: Setting) -> None:
        """Raise UsageError for what is varied without any meaning."""
        idle = self._protocol(setting).idle()
        for name in filter(idle.get, setting):
            raise UsageError(f"vary.{name}: has no meaning {idle[name]}; leave it out")

    @functools.cached_property
    def settings(self) -> list[Setting]:
        """Every combination of the values of what is varied; one, which is empty, where nothing is."""
        return vary.settings_of(self.vary)

    @property
    def protocol_name(self) -> str:
        """Name and version of the rules, which every run bears."""
        return self.protocol.name or f"{self.name}/1"

    def runs(
        self,
        dataset: str | None = None,
        depths: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        *,
        augmentation: str | None = None,
        image_side: int = 32,
    ) -> list[RunConfig]:
        """The runs of the study: by setting, in each by depth and seed, twins together.

        Args:
            dataset: name of the data (the study's own).
            depths: only these, also if they are not the study's (all).
            seeds: only these, also if they are not the study's (all).
            augmentation: what fits the data, where the study does not say (by the data's name).
            image_side: pixels of the shorter side of the images, by which ImageNet-style networks get their stem.

        Raises:
            UsageError: there is no network of such a depth; the source of a builder is not found.
        """
        fit = _Fit(dataset or self.dataset, augmentation, image_side)
        chosen = sorted(self.seeds if seeds is None else seeds)
        runs = [run for setting in self.settings for run in self._runs_of(setting, fit, depths or None, chosen)]
        digests = {builder: source_digest(builder) for builder in {run.builder for run in runs} if builder}
        return [replace(run, builder_digest=digests[run.builder]) if run.builder else run for run in runs]

    def _runs_of(
        self, setting: Setting, fit: _Fit, depths: Sequence[int] | None, seeds: Sequence[int]
    ) -> list[RunConfig]:
        networks = list(self.networks.names(depths, self._family(setting, fit)))
        rules = [self._rules(setting, network, fit.fitting) for network in networks]
        runs = [
            RunConfig(dataset=fit.dataset, seed=seed, **network._asdict(), **rule)
            for seed in seeds
            for network, rule in zip(networks, rules, strict=True)
        ]
        return sorted(runs, key=lambda run: (run.depth, run.seed))

    def _family(self, setting: Setting, fit: _Fit) -> str:
        if "family" in setting or self.networks.family == CIFAR:
            return str(setting.get("family", CIFAR))
        return family_for(self._protocol(setting).image_side or fit.image_side)

    def _protocol(self, setting: Setting) -> Protocol:
        changed = {name: value for name, value in setting.items() if name in vary.OF_PROTOCOL}
        if changed.get("schedule") == "cosine":
            changed.setdefault("lr_drops", ())
        return replace(self.protocol, **changed) if changed else self.protocol

    def _rules(self, setting: Setting, network: NetworkName, fitting: str) -> dict[str, Any]:
        """What the study says of a run of a network, by fields of RunConfig; `fitting` is the data's augmentation."""
        rules = self._protocol(setting).run_fields(network.depth)
        builder = self.networks.builder_of(network)
        return rules | {
            "protocol": self.protocol_name,
            "augmentation": rules["augmentation"] or fitting,
            "zero_init_residual": rules["zero_init_residual"] and network.arch != "plain" and not builder,
            "builder": builder,
            **{name: setting.get(name) for name in vary.BESIDE},
        }

    def alike(self, run: RunConfig, network: NetworkName | None = None, seed: int | None = None) -> list[RunConfig]:
        """For each setting the run on the data of another, which may be of another study.

        Args:
            run: the other.
            network: what is trained (that of the other).
            seed: its seed (that of the other).
        """
        network = network or run.network
        told = network._asdict() | {"seed": run.seed if seed is None else seed}
        own = {"builder_digest": run.builder_digest if self.networks.builder_of(network) else ""}
        return [
            replace(run, **told | own | {"family": family} | self._rules(setting, network, run.augmentation))
            for setting in self.settings
            for family in [network.family if network.family == OWN else setting.get("family", network.family)]
        ]

    def setting_of(self, run: RunConfig) -> str:
        """What is varied, as the run has it: `steps=400, lr=0.1`; empty where nothing is.

        Raises:
            UsageError: it is no run by the rules of this study.
        """
        for setting, other in zip(self.settings, self.alike(run), strict=True):
            if other == run:
                return vary.words(setting)
        raise UsageError(f"run {run.run_id} is not by the rules of study {self.name}")

    def folder_name(self, dataset: str) -> str:
        """The results folder: it carries the name of the data really used (`cifar10-jpeg-short`)."""
        if dataset == self.dataset or (is_function(self.dataset) and dataset == data_name(self.dataset)):
            return self.name
        if self.name.startswith(f"{self.dataset}-"):
            return dataset + self.name.removeprefix(self.dataset)
        return f"{self.name}-{dataset}"

    def on(self, dataset: str) -> Study:
        """The same on other data: it has another folder, so another name; the protocol keeps its own."""
        if dataset == self.dataset:
            return self
        protocol = replace(self.protocol, name=self.protocol_name)
        return replace(self, name=self.folder_name(dataset), dataset=dataset, protocol=protocol)

    def varied(self, variation: Variation) -> Study:
        """The same with the changes of a command line, which folder and protocol bear in their names.

        Raises:
            UsageError: the study varies that itself.
        """
        if not variation.label:
            return self
        usual = asdict(Variation())
        for name in (name for name, value in asdict(variation).items() if value != usual[name] and name in self.vary):
            raise UsageError(f"--{name.replace('_', '-')}: the study varies that itself; leave it out")
        protocol = self.protocol.varied(variation, self.protocol_name)
        return replace(self, name=self.name + variation.label, protocol=protocol)

    @classmethod
    def load(cls, path: str | Path, *, follow: bool = True) -> Study:
        """Read a study file (TOML); `follow` a link to it, or refuse that.

        Raises:
            UsageError: it cannot be read, or is none: file and line, or file and place (`my.toml: protocol.steps`).
        """
        try:
            return cls(**read_fields(Path(path), follow=follow))
        except UsageError as error:
            raise UsageError(one_line(f"{path}: {error}")) from None

    @classmethod
    def parse(cls, content: bytes) -> Study:
        """The study that the content of a file says. Raises UsageError, which does not name the file."""
        return cls(**parse_fields(content))

    def to_toml(self) -> str:
        """The study as a file; what has its default is left out. Reading that gives an equal study."""
        head = {"name": self.name, "meaning": self.meaning, "data": self.dataset, "seeds": self.seeds}
        if not self.meaning:
            del head["meaning"]
        return to_toml(head, self.networks, self.protocol, self.vary)

    def file_text(self) -> str:
        """The text to keep the study by: that of the file it was read from, unless it was changed since."""
        return self.text if self.text and self.parse(self.text.encode()) == self else self.to_toml()


@dataclass(frozen=True)
class _Fit:
    """Data, and what fits them."""

    dataset: str
    augmentation: str | None = None
    image_side: int = 32

    @property
    def fitting(self) -> str:
        return self.augmentation or AUGMENTATION_OF.get(self.dataset, "crop-flip")


@contextmanager
def _told_with(setting: Setting) -> Iterator[None]:
    """What is wrong is told with the setting that it is wrong in."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{error} (with {vary.words(setting)})" if setting else str(error)) from None


def _no_difference(run: RunConfig, one: Setting, other: Setting) -> str:
    name = next(name for name in one if one[name] != other[name])
    network = run.network.title
    return (
        f"vary.{name}: makes no difference to {network}, which would be trained twice ({vary.words(one)} and "
        f"{vary.words(other)}); leave it out of the study"
    )
