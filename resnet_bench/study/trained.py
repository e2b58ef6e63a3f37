"""Trained networks: the weights of a study's runs, with all that one must know to use them elsewhere."""

from __future__ import annotations

from pathlib import Path

from resnet_bench.architectures import NetworkName
from resnet_bench.data.inputs import Inputs
from resnet_bench.errors import Failure, UsageError
from resnet_bench.models.weights import Weights, called, read_weights
from resnet_bench.results import RUNS, RunRow
from resnet_bench.sealed import Damaged
from resnet_bench.study.folder import RunFolder, StudyFolder
from resnet_bench.text import command
from resnet_bench.training.checkpoint import NEWEST, decode

# Columns of runs.csv that go with the weights.
PROVENANCE = (
    "study", "run_id", "dataset", "dataset_digest", "protocol", "seed", "steps", "train_images",
    "final_test_top1_err", "final_test_images", "selected_step", "selected_validation_top1_err",
    "selected_test_top1_err", "weights", "torch_version", "git_commit", "started_utc",
)  # fmt: skip


def find_weights(place: str, name: NetworkName | None = None) -> Weights:
    """The weights at `place`: the folder of a finished run, a file, or "default" (see `models.weights`).

    Raises:
        UsageError: there are none, they cannot be read, or they are of another network than `name`.
        Failure: the published ones cannot be had.
    """
    path = Path(place).expanduser()
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
    checkpoint = path / NEWEST
    try:
        stored = decode(checkpoint.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{checkpoint}: no such file; weights are kept where a run was trained, not in git: train it again"
        ) from None
    except Damaged as error:
        raise UsageError(f"{checkpoint}: damaged ({error}); train the run again") from None
    if stored["identity"]["run_id"] != row.run_id:
        raise UsageError(f"{checkpoint}: of run {stored['identity']['run_id']}, not of {row.run_id}")
    if not stored.get("about"):
        raise Failure(f"{checkpoint}: of an earlier version, which did not keep what images the network takes")
    selected, about = stored["selected"], stored["about"]
    return Weights(
        tensors=selected["model"] if selected else stored["model"],
        origin=f"{row.study}, run {row.run_id}",
        network=NetworkName(row.family, row.arch, row.depth, row.shortcut),
        classes=tuple(about["classes"]),
        inputs=Inputs.from_json(about["inputs"], str(checkpoint)),
        provenance=_provenance(row),
    )


def _provenance(row: RunRow) -> dict[str, str]:
    return {name: str(value) for name in PROVENANCE if (value := getattr(row, name)) not in (None, "")}
