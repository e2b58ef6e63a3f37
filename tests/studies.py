"""Synthetic studies for tests: rows, data frames and CSV folders of any shape, without training anything."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from resnet_bench.analysis.rules import VERSION
from resnet_bench.complexity import complexity
from resnet_bench.config.run import RunConfig
from resnet_bench.execution import EAGER
from resnet_bench.files import to_json
from resnet_bench.frames import StudyFrames, from_rows
from resnet_bench.networks import RESIDUAL_ARMS, TWINS, Arm, NetworkName
from resnet_bench.results.rows import (
    SCHEMA_VERSION,
    ComplexityRow,
    ConfusionRow,
    ConstructionRow,
    ContinuationRow,
    CurveRow,
    LesionRow,
    PlanRow,
    RunRow,
    SignalRow,
    ThroughputRow,
)
from resnet_bench.results.tables import (
    CONFUSION,
    CONSTRUCTION,
    CONTINUATION,
    CURVES,
    LESIONS,
    PLAN,
    RUNS,
    SIGNALS,
    Table,
    to_csv,
    write_csv,
)
from resnet_bench.study.collecting import collect
from resnet_bench.study.folder import EXECUTION, StudyFolder, result_json
from resnet_bench.study.records import COLLECTED


@dataclass
class Rows:
    """The three tables of a study as rows."""

    name: str
    plan: list[PlanRow] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    curves: list[CurveRow] = field(default_factory=list)
    others: dict[Table, list[Any]] = field(default_factory=dict)

    def keep(self, wanted: Iterable[str]) -> Rows:
        """The same study with only these run ids finished; the plan stays."""
        ids = set(wanted)
        runs = [run for run in self.runs if run.run_id in ids]
        return Rows(self.name, self.plan, runs, [row for row in self.curves if row.run_id in ids])

    def change(self, run_id: str, **values: Any) -> Rows:
        """The same study with other values in one run's row."""
        runs = [replace(run, **values) if run.run_id == run_id else run for run in self.runs]
        return Rows(self.name, self.plan, runs, self.curves)

    def change_all(self, **values: Any) -> Rows:
        """The same study with other values in every run's row."""
        return Rows(self.name, self.plan, [replace(run, **values) for run in self.runs], self.curves)

    def diverge(self, run_id: str, step: int) -> Rows:
        """The same study with one run that stopped at `step` because its loss was not finite."""
        changed = self.change(
            run_id,
            status="diverged",
            steps=step,
            diverged_step=step,
            best_step=min(step, 20),
            step_below_80_err=min(step, 20),
            final_train_clean_top1_err=None,
            final_train_clean_images=None,
            final_test_top1_err=None,
            final_test_images=None,
        )
        return replace(changed, curves=[row for row in self.curves if row.run_id != run_id or row.step < step])

    def write(self, folder: Path) -> Path:
        """Write the CSV files to `folder`/<name> and return that."""
        path = folder / self.name
        path.mkdir(parents=True, exist_ok=True)
        write_csv(path / PLAN.file, PLAN, self.plan)
        write_csv(path / RUNS.file, RUNS, self.runs)
        write_csv(path / CURVES.file, CURVES, self.curves)
        for table, rows in self.others.items():
            write_csv(path / table.file, table, rows)
        return path

    def write_runs(self, folder: Path) -> StudyFolder:
        """The same with the folders of its finished runs, as a sweep leaves them, in `folder`/<name>."""
        study = StudyFolder(self.write(folder))
        for row in self.runs:
            run = study.run(row.run_id)
            run.path.mkdir(parents=True)
            config = config_of(row)
            identity = {"run_id": row.run_id, "dataset_digest": row.dataset_digest}
            run.config.write_bytes(to_json({**identity, "config": json.loads(config.canonical_json())}))
            attempt = {"utc": row.started_utc, "from_step": 0, "changed": {}}
            run.environment.write_bytes(to_json({"environment": {"device": row.device}, "attempts": [attempt]}))
            for table in COLLECTED:
                own = [each for each in self.rows_of(table) if each.run_id == row.run_id]
                run.table(table).write_text(to_csv(table, own))
            run.result.write_bytes(result_json(run, row))
        (study.path / EXECUTION).write_bytes(to_json(asdict(EAGER)))
        collect(study)
        return study

    def rows_of(self, table: Table) -> list[Any]:
        """The rows of a table that runs write."""
        return self.curves if table is CURVES else self.others.get(table, [])

    def frames(self) -> StudyFrames:
        """As data frames, without files."""
        return from_rows(self.name, {PLAN: self.plan, RUNS: self.runs, CURVES: self.curves, **self.others})


def run_row(run_id: str, arch: str, depth: int, shortcut: str, seed: int, **values: Any) -> RunRow:
    """A finished run with plausible values, any of which may be given."""
    size = complexity(NetworkName("cifar", arch, depth, shortcut))
    defaults: dict[str, Any] = {
        "run_id": run_id,
        "study": "synthetic",
        "dataset": "digits",
        "dataset_digest": "d" * 64,
        "arch": arch,
        "depth": depth,
        "shortcut": shortcut,
        "seed": seed,
        "protocol": "digits-220/1",
        "status": "ok",
        "steps": 220,
        "diverged_step": None,
        "batch_size": 128,
        "lr": 0.02,
        "lr_warmup_steps": None,
        "params": size.params,
        "macs": size.macs,
        "final_train_clean_top1_err": 1.0,
        "final_train_clean_images": 1437,
        "final_test_top1_err": 2.0,
        "final_test_images": 360,
        "best_test_top1_err": 2.0,
        "best_step": 220,
        "step_below_80_err": 20,
        "init_digest": "1" * 64,
        "batches_digest": "2" * 64,
        "eval_digest": "3" * 64,
        "train_seconds": 10.0,
        "eval_seconds": 1.0,
        "img_per_sec": 2816.0,
        "exclusive": True,
        "device": "Some_CPU @ 2.5GHz",
        "threads": 1,
        "precision": "fp32",
        "compile": "eager",
        "torch_version": "2.10.0+cpu",
        "git_commit": "c0ffee" * 6,
        "git_dirty": False,
        "started_utc": "2026-01-01T00:00:00Z",
        "attempts": 1,
        "bit_exact": True,
        "num_classes": 10,
        "schema_version": SCHEMA_VERSION,
    }
    return RunRow(**{**defaults, **values})


def config_of(row: RunRow) -> RunConfig:
    """A configuration that the run can have had."""
    told = {name: getattr(row, name) for name in ("protocol", "dataset", "steps", "batch_size", "lr")}
    return RunConfig(arch=row.arch, depth=row.depth, shortcut=row.shortcut, seed=row.seed, **told)


def plan_row(row: RunRow) -> PlanRow:
    """What the plan has of a run, as a sweep writes it today."""
    digest = config_of(row).twin_digest
    return PlanRow(
        run_id=row.run_id, arch=row.arch, depth=row.depth, shortcut=row.shortcut, seed=row.seed, rules=VERSION,
        twin_digest=digest,
    )  # fmt: skip


def curve_rows(run: RunRow, every: int, noise: random.Random) -> list[CurveRow]:
    """Errors that fall from chance to the run's final ones, faster after the drops at 1/2 and 3/4 of the steps."""
    rows = []
    for step in range(every, run.steps + 1, every):
        train = _error_at(step / run.steps, run.final_train_clean_top1_err or 0.0, noise)
        test = _error_at(step / run.steps, run.final_test_top1_err or 0.0, noise)
        rows.append(
            CurveRow(
                run_id=run.run_id,
                step=step,
                epoch=step * run.batch_size / 1437,
                lr=run.lr,
                train_loss=train / 40,
                train_top1_err=train,
                train_clean_loss=train / 42,
                train_clean_top1_err=train * 0.95,
                train_clean_images=500,
                test_loss=test / 40,
                test_top1_err=test,
                test_images=run.final_test_images or 360,
                train_seconds=step / 20,
                eval_seconds=step / 200,
            )
        )
    return rows


def _error_at(part: float, final: float, noise: random.Random) -> float:
    plateau = (7.0 if part < 0.5 else 1.5 if part < 0.75 else 0.0) if part < 1 else 0.0
    fall = (86 - final) * math.exp(-22 * part)
    wobble = 1 + (0.25 if part < 0.5 else 0.06) * noise.gauss(0, 1) * (part < 1)
    return min(95.0, max(0.0, final + fall + plateau * wobble))


FINALS = {  # (training, test) error in percent by arm and depth, as digits-like numbers
    "plain": {20: (0.0, 2.5), 32: (4.0, 7.0), 44: (22.0, 26.0), 56: (50.0, 53.0), 110: (78.0, 79.0)},
    "residual": {20: (0.0, 1.9), 32: (0.0, 1.8), 44: (0.0, 1.7), 56: (0.0, 1.7), 110: (0.0, 1.6)},
}
PAPER_FINALS = {
    "plain": {20: (0.8, 9.7), 32: (1.1, 10.2), 44: (2.9, 12.0), 56: (4.6, 13.0), 110: (62.0, 63.0)},
    "residual": {20: (0.5, 8.6), 32: (0.2, 7.7), 44: (0.1, 7.4), 56: (0.05, 7.2), 110: (0.02, 6.6)},
}


def make(
    name: str,
    depths: Sequence[int],
    *,
    arms: Sequence[Arm] = TWINS,
    num_seeds: int = 2,
    finals: dict[str, dict[int, tuple[float, float]]] = FINALS,
    every: int = 20,
    spread: float = 0.3,
    **values: Any,
) -> Rows:
    """A study in which every planned run has finished."""
    noise, study = random.Random(0), Rows(name)
    for arch, shortcut in arms:
        for depth in depths:
            for seed in range(num_seeds):
                train, test = finals[arch][depth]
                train, test = (max(0.0, e + spread * noise.gauss(0, 1)) if e else 0.0 for e in (train, test))
                run_id = f"{arch}-{shortcut}-d{depth}-s{seed}"
                errors = {"final_train_clean_top1_err": train, "final_test_top1_err": test}
                run = run_row(run_id, arch, depth, shortcut, seed, **{"study": name, **errors, **values})
                study.plan.append(plan_row(run))
                study.runs.append(run)
                study.curves.extend(curve_rows(run, every, noise))
    return study


def varied(
    vary: Mapping[str, Sequence[Any]], depths: Sequence[int] = (20, 56), arms: Sequence[Arm] = TWINS, num_seeds: int = 2
) -> Rows:
    """A study that varies fields of its runs, all of them finished: errors fall with each value of each field."""
    study, spread = Rows("varied"), random.Random(0)
    for places in itertools.product(*(range(len(values)) for values in vary.values())):
        at = {name: values[place] for (name, values), place in zip(vary.items(), places, strict=True)}
        better = math.prod(0.75**place for place in places)
        steps, known = int(at.get("steps", 220)), {name: v for name, v in at.items() if name in RUNS.columns}
        finals = {arch: {d: (better * e[0], better * e[1]) for d, e in by.items()} for arch, by in FINALS.items()}
        part = make("varied", depths, arms=arms, num_seeds=num_seeds, finals=finals, every=max(1, steps // 10),
                    spread=spread.uniform(0.2, 1), **{**known, "steps": steps, "best_step": steps})  # fmt: skip
        setting = ", ".join(f"{name}={value}" for name, value in at.items())
        ending = "-" + "-".join(map(str, places))
        study.plan += [replace(row, run_id=row.run_id + ending, setting=setting) for row in part.plan]
        study.runs += [replace(row, run_id=row.run_id + ending) for row in part.runs]
        study.curves += [replace(row, run_id=row.run_id + ending) for row in part.curves]
    return study


def demo() -> Rows:
    """Depth 20 and 56, both arms, 2 seeds, 11 rows each."""
    return make("demo", (20, 56))


def full() -> Rows:
    """All depths of the paper, 5 seeds, a short protocol."""
    return make("digits-full", (20, 32, 44, 56, 110), num_seeds=5)


def paper() -> Rows:
    """The paper's study: 5 depths, both arms, 5 seeds, 160 rows of 64k steps."""
    values: dict[str, Any] = {"dataset": "cifar10", "protocol": "paper-64k/1", "steps": 64_000, "lr": 0.1}
    values |= {"device": "NVIDIA H100 80GB HBM3", "final_train_clean_images": 50_000, "final_test_images": 10_000}
    return make(
        "cifar10-paper", (20, 32, 44, 56, 110), num_seeds=5, finals=PAPER_FINALS, every=400, spread=0.15, **values
    )


def shortcuts() -> Rows:
    """Residual networks with options A, B and C only."""
    return make("digits-shortcuts", (20, 56, 110), arms=RESIDUAL_ARMS, num_seeds=3)


def partial() -> Rows:
    """The demo of which only plain-20 seed 0 has finished."""
    return demo().keep(["plain-none-d20-s0"])


def empty() -> Rows:
    """The demo of which nothing has finished."""
    return demo().keep([])


def diverged() -> Rows:
    """The demo with plain-56 seed 1 diverged at step 120."""
    return demo().diverge("plain-none-d56-s1", 120)


# ---------------------------------------------------------------------------------------------- insides


def with_insides(study: Rows, points: int = 4) -> Rows:
    """The study with signals at that many moments, and with confusions: residual nets respond less, and less deeper."""
    luck = random.Random(0)
    for run in study.runs:
        shrink = 20 / run.depth if run.arch == "residual" else 1.0
        for point in range(points):
            step, age = run.steps * point // (points - 1), point / (points - 1)
            for layer in range(1, run.depth + 1):
                head = layer == run.depth
                study.others.setdefault(SIGNALS, []).append(
                    SignalRow(
                        run_id=run.run_id,
                        step=step,
                        layer="head" if head else f"layer.{layer}",
                        layer_index=layer,
                        response_std=1 - age * (0.5 - 0.4 * shrink) * luck.uniform(0.9, 1.1),
                        grad_norm=0.1 * luck.uniform(0.5, 2) / (1 + point),
                        weight_norm=5.0,
                        dead_fraction=None if head else 0.0,
                    )
                )
        wrong = round(run.final_test_top1_err or 90.0)
        for true, said in itertools.product(range(10), range(10)):
            images = 100 - wrong // 9 * 9 if true == said else wrong // 9
            if images or true == said:
                row = ConfusionRow(run_id=run.run_id, true_class=f"c{true}", predicted_class=f"c{said}", images=images)
                study.others.setdefault(CONFUSION, []).append(row)
    return study


def with_surgery(study: Rows, shallow: int = 20, deep: int = 56) -> Rows:
    """The study with a construction, its further training, and lesions in every seed."""
    pair: dict[str, int] = {"shallow_depth": shallow, "deep_depth": deep}
    runs = {(run.arch, run.depth, run.seed): run for run in study.runs}
    for seed in sorted({run.seed for run in study.runs}):
        from_scratch = runs["plain", deep, seed].final_train_clean_top1_err
        construction = ConstructionRow(
            **pair, seed=seed, test_images=360, max_logit=9.5, max_logit_difference=3e-6, different_predictions=0,
            shallow_test_top1_err=2.5, constructed_test_top1_err=2.5, constructed_train_clean_top1_err=0.0,
            scratch_train_clean_top1_err=from_scratch,
        )  # fmt: skip
        study.others.setdefault(CONSTRUCTION, []).append(construction)
        study.others.setdefault(CONTINUATION, []).extend(
            ContinuationRow(**pair, seed=seed, step=step, train_clean_top1_err=step % 40 / 10, test_top1_err=3.0)
            for step in range(0, 221, 20)
        )
        for arch, rise in (("plain", 60.0), ("residual", 4.0)):
            run = runs[arch, deep, seed]
            for block in range(1, (deep - 2) // 2 + 1):
                changes = block in ((deep - 2) // 6 + 1, (deep - 2) // 3 + 1)
                if arch == "residual" or not changes:
                    lesion = LesionRow(
                        run_id=run.run_id, block=block, stage=1 + 3 * (block - 1) // ((deep - 2) // 2),
                        changes_shape=changes, test_images=360, intact_top1_err=2.0,
                        lesioned_top1_err=min(100.0, 2.0 + rise * (1 + seed) / (1 + block)),
                    )  # fmt: skip
                    study.others.setdefault(LESIONS, []).append(lesion)
    return study


def insides() -> Rows:
    """All depths, 5 seeds, with signals, confusions and surgery."""
    return with_surgery(with_insides(full()))


# ---------------------------------------------------------------------------------------------- cost


def complexity_rows(depths: Sequence[int], arms: Sequence[Arm] = TWINS) -> list[ComplexityRow]:
    """The size of every network on 32x32 images: params and MACs exact, the other counts in plausible proportion."""
    rows = []
    for arch, shortcut in arms:
        for depth in depths:
            size = complexity(NetworkName("cifar", arch, depth, shortcut))
            counts: dict[str, Any] = {"params": size.params, "macs": size.macs, "fvcore_total": size.macs + 500_000}
            counts |= {"flops_forward": 2 * size.macs, "flops_train_step": 6 * size.macs - 1_000_000}
            network: dict[str, Any] = {"arch": arch, "depth": depth, "shortcut": shortcut}
            images: dict[str, Any] = {"input_size": "32x32x3", "num_classes": 10}
            rows.append(ComplexityRow(**network, **images, **counts, activations=10_000 * depth))
    return rows


def throughput_row(arch: str, depth: int, shortcut: str, mode: str, **values: Any) -> ThroughputRow:
    """A measurement with plausible values, any of which may be given: `img_per_sec` decides the other speeds."""
    train, macs = mode == "train_step", complexity(NetworkName("cifar", arch, depth, shortcut)).macs
    batch_size = values.get("batch_size", 128)
    slower = {"none": 1.0, "a": 1.1, "b": 1.12, "c": 1.25}[shortcut]  # time over the plain network's
    img_per_sec = values.get("img_per_sec", (10_000 if train else 32_000) / depth / slower)
    flops_per_step = (6 if train else 2) * macs * batch_size
    achieved_gflops = flops_per_step * img_per_sec / batch_size / 1e9
    defaults: dict[str, Any] = {
        "fingerprint": "0123abcd",
        "arch": arch,
        "depth": depth,
        "shortcut": shortcut,
        "mode": mode,
        "batch_size": batch_size,
        "precision": "fp32",
        "memory_format": "nchw",
        "compile": "eager",
        "input_size": "32x32x3",
        "num_classes": 10,
        "img_per_sec": img_per_sec,
        "img_per_sec_iqr": 0.04 * img_per_sec,
        "rounds": 5,
        "step_ms": 1000 * batch_size / img_per_sec,
        "compile_seconds": 0.0,
        "peak_memory_bytes": int((3e6 if train else 1e6) * depth * (1.05 if arch == "residual" else 1)),
        "macs": macs,
        "flops_per_step": flops_per_step,
        "achieved_gflops": achieved_gflops,
        "peak_gflops": 200.0,
        "peak_gbytes": 12.5,
        "utilisation": 100 * achieved_gflops / values.get("peak_gflops", 200.0),
        "exclusive": True,
        "device": "Some_CPU @ 2.5GHz",
        "threads": 1,
        "gpu_clock_mhz": None,
        "gpu_power_limit_watts": None,
        "gpu_throttled": "",
        "torch_version": "2.10.0+cpu",
        "git_commit": "c0ffee" * 6,
        "measured_utc": "2026-01-01T00:00:00Z",
    }
    return ThroughputRow(**{**defaults, **values})


def throughput_rows(
    depths: Sequence[int],
    arms: Sequence[Arm] = TWINS,
    modes: Sequence[str] = ("train_step", "inference"),
    **values: Any,
) -> list[ThroughputRow]:
    """A measurement of every network in every mode."""
    cells = itertools.product(depths, arms, modes)
    return [throughput_row(arch, depth, shortcut, mode, **values) for depth, (arch, shortcut), mode in cells]
