"""Trained networks: the weights of a study's runs, with all that one must know to use them elsewhere."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_bench.config.builders import data_name, is_function
from resnet_bench.config.run import RunConfig
from resnet_bench.errors import Failure, UsageError
from resnet_bench.files import Damaged
from resnet_bench.models.build import Net, structure
from resnet_bench.models.own import OwnNetwork
from resnet_bench.models.state_dict import COUNTERS
from resnet_bench.models.weights import Weights, called
from resnet_bench.networks import NetworkName
from resnet_bench.places import user_path
from resnet_bench.results.rows import RunRow
from resnet_bench.results.tables import RUNS
from resnet_bench.study.folder import RunFolder, StudyFolder
from resnet_bench.study.kept import read_kept
from resnet_bench.study.records import read_json
from resnet_bench.text import command
from resnet_bench.trained.weight_files import read_weights
from resnet_bench.training.checkpoint import Checkpoint, OtherRun, unpack
from resnet_bench.training.expected import Expected, check_stored
from resnet_bench.training.generations import NEWEST, exchanged, read_sealed
from resnet_bench.training.state import own_network

# Columns of runs.csv that go with the weights.
PROVENANCE = (
    "study", "run_id", "dataset", "dataset_digest", "protocol", "seed", "steps", "train_images",
    "final_test_top1_err", "final_test_images", "selected_step", "selected_validation_top1_err",
    "selected_test_top1_err", "weights", "threads", "precision", "torch_version", "git_commit", "started_utc",
)  # fmt: skip


def find_weights(place: str, name: NetworkName | None = None) -> Weights:
    """The weights at `place`: the folder of a finished run, a file, or "default" (see `models.weights`).

    Raises:
        UsageError: there are none, they cannot be read, or they are of another network than `name`.
        Failure: the published ones cannot be had.
    """
    path = user_path(place)
    if path.name == NEWEST:
        path = path.parent
    if not path.is_dir():
        return read_weights(place, name)
    weights = weights_of_run(_only_run(path) if (path / RUNS.file).exists() else path)
    if name is not None and weights.network != name:
        raise UsageError(f"{path}: weights of {called(weights.network)}, not of {called(name)}")
    return weights


def _only_run(study: Path) -> Path:
    """The folder of the only finished run of a study."""
    finished = sorted(StudyFolder(study).results(check_files=False))
    if len(finished) != 1:
        which = "has none"
        if finished:
            one = command(study / "runs" / finished[0])
            which = f"has {len(finished)} finished runs; name one, as in {one}"
        raise UsageError(f"{study}: a study, which {which}")
    return study / "runs" / finished[0]


def weights_of_run(path: Path) -> Weights:
    """The weights of a finished run: of the state that its validation images selected, else of the last step.

    Raises:
        UsageError: no finished run, or its checkpoint is damaged or not here.
    """
    folder = RunFolder(path.resolve())
    row = folder.read_result()
    if row is None:
        raise UsageError(f"{path}: no finished run (results/<study>/runs/<run>; resnet-bench status names them)")
    if row.status != "ok":
        raise UsageError(f"{path}: the run diverged at step {row.diverged_step}; it has no weights")
    stored = checkpoint_of_run(folder, row)
    if stored.about is None:
        raise Failure(f"{path / NEWEST}: of an earlier version, which did not keep what images the network takes")
    tensors = stored.selected.model if stored.selected else stored.model
    config = config_of_run(folder, row)
    return Weights(
        tensors={name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTERS)},
        origin=f"{row.study}, run {row.run_id}",
        network=_network(row),
        classes=stored.about.classes,
        inputs=stored.about.inputs,
        provenance=_provenance(row) | _images_of(folder, config),
        own=_own_network(config, row),
    )


def checkpoint_of_run(folder: RunFolder, row: RunRow) -> Checkpoint:
    """What a finished run ended with; the file stays as it is, whatever it holds.

    Raises:
        UsageError: it is not here, it is damaged, or not the one that belongs to the result.
    """
    path = folder.path / NEWEST
    try:
        sealed = read_sealed(path)
        if row.checkpoint_digest not in ("", sealed.digest):
            raise UsageError(f"{path}: {exchanged(sealed.digest, row.checkpoint_digest)}")
        return _checked(unpack(sealed.payload), folder, row)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file; weights are kept where a run was trained, not in git: train it again"
        ) from None
    except Damaged as error:
        raise UsageError(f"{path}: damaged ({error}); train the run again") from None
    except OtherRun:
        raise UsageError(f"{path}: of another run than {row.run_id}, or of other data; train the run again") from None


def _checked(stored: dict[str, Any], folder: RunFolder, row: RunRow) -> Checkpoint:
    config = config_of_run(folder, row)
    own = _own_network(config, row)
    model = own.build(torch.Generator()) if own else _structure(stored["model"], row)
    found = check_stored(stored, Expected.of_network(model, config, read_json(folder.config), row.num_classes))
    selected = found.selected.step if found.selected else None
    if (found.step, selected) != (row.steps, row.selected_step):
        told = f"of step {row.steps}, selected {row.selected_step}"
        raise Damaged(f"of step {found.step}, selected {selected}, the result is {told}")
    return found


def _structure(state: Any, row: RunRow) -> Net:
    stem = next(iter(state.values()), None) if isinstance(state, dict) else None
    if not isinstance(stem, Tensor) or stem.ndim != 4:  # [out, in, height, width]
        raise Damaged("model is not the state of the run's network, which begins with a convolution")
    return structure(_network(row), stem.shape[1], row.num_classes)


def _own_network(config: RunConfig, row: RunRow) -> OwnNetwork | None:
    """The network of a run that has a builder."""
    return own_network(config, int(row.input_size.rpartition("x")[2]), row.num_classes) if config.builder else None


def config_of_run(folder: RunFolder, row: RunRow) -> RunConfig:
    """The configuration of a finished run.

    Raises:
        UsageError: config.json is not what the result is of.
    """
    config = folder.read_identity().config
    known = {field.name: getattr(row, field.name) for field in fields(config) if hasattr(row, field.name)}
    if config.run_id == row.run_id and all(getattr(config, name) == value for name, value in known.items()):
        return config
    raise UsageError(f"{folder.config}: not the configuration of run {row.run_id}; restore the file")


def _network(row: RunRow) -> NetworkName:
    return NetworkName(row.family, row.arch, row.depth, row.shortcut)


def _images_of(folder: RunFolder, config: RunConfig) -> dict[str, str]:
    """What was taken of the data, where that is not all; and where they are, if a function of the user's gives them."""
    taken: dict[str, int | str | None] = {
        "image_side": config.image_side,
        "images_per_class": config.images_per_class,
    }
    kept = read_kept(StudyFolder(folder.path.parent.parent))
    if kept and is_function(kept.dataset) and data_name(kept.dataset) == config.dataset:
        taken["data"] = kept.dataset
    return {name: str(value) for name, value in taken.items() if value is not None}


def _provenance(row: RunRow) -> dict[str, str]:
    return {name: str(value) for name in PROVENANCE if (value := getattr(row, name)) not in (None, "")}
