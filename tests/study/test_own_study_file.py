"""A study file that names networks and data of the user's own, as he would sweep it."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_bench.analysis.claims import judge_study
from resnet_bench.config.builders import find_source
from resnet_bench.config.study import Study
from resnet_bench.data.sources import find_source as find_data
from resnet_bench.errors import UsageError
from resnet_bench.frames import load
from tests.conftest import WriteModule
from tests.owned import DATA, NETWORKS
from tests.study.test_own_networks import do, edit

FILE = """
name = "mine"
data = "{data}:colours"
seeds = [0, 1]
[networks]
arms = ["plain", "residual-a", "linear"]
depths = [1, 2]
[networks.builders]
plain = "{nets}:plain"
residual-a = "{nets}:residual"
linear = "{nets}:linear"
[protocol]
steps = 6
batch_size = 8
row_every = 3
"""


def test_a_study_file_with_networks_and_data_of_ones_own(write_module: WriteModule, tmp_path: Path) -> None:
    nets, data = write_module(NETWORKS), write_module(DATA)
    (tmp_path / "mine.toml").write_text(FILE.format(nets=nets, data=data))
    study = Study.load(tmp_path / "mine.toml")
    source = find_data(study.dataset)
    assert source.name == "colours" and study.folder_name(source.name) == "mine"
    runs = study.runs(source.name)
    assert {run.family for run in runs} == {"own"} and len({run.run_id for run in runs}) == 12
    assert do(tmp_path / "results", source.load(None), runs).failed == []
    frames = load(tmp_path / "results")
    assert frames.arms == [("plain", "none"), ("residual", "a"), ("linear", "none")] and len(frames.finished) == 12
    claims = {row.claim: row for row in judge_study(frames)}
    assert claims["fair"].verdict == "supported" and claims["twins"].n == 2
    edit(nets, "another source")
    with pytest.raises(UsageError, match=f"another source of {nets}:plain"):
        do(tmp_path / "results", source.load(None), study.runs(source.name))
    find_source(f"{nets}:plain").unlink()
    assert Study.load(tmp_path / "mine.toml") == study  # to look at it nobody needs the source
    with pytest.raises(UsageError, match="was found: neither in the current folder"):
        study.runs(source.name)
