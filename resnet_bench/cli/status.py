"""The table of a study's runs: what is done, what is not, with errors and time. Needs no torch."""

from __future__ import annotations

from resnet_bench.busy import busy
from resnet_bench.networks import display_name
from resnet_bench.results.rows import PlanRow, RunRow
from resnet_bench.results.tables import CURVES
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import format_seconds
from resnet_bench.terminal import columns
from resnet_bench.text import one_line


@busy("reading the runs")
def status_table(study: StudyFolder) -> str:
    """Every planned run of the study, as text for a terminal of the present width."""
    results = study.results(check_files=False)
    planned = {row.run_id: row for row in study.read_plan()}
    varied = any(row.setting for row in planned.values())
    header = ("run", "seed", *(["setting"] if varied else []), "status", "step", "train %", "test %", "time")
    rows: list[tuple[str, ...]] = []
    counts: dict[str, int] = {}
    for run_id, row in planned.items():
        state, cells = _describe(study, row, results.get(run_id))
        counts[state] = counts.get(state, 0) + 1
        network, setting = display_name(row.arch, row.depth, row.shortcut), [row.setting] if varied else []
        rows.append((network, str(row.seed), *setting, state, *cells))
    total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no runs planned yet"
    return columns(header, rows, texts=4 if varied else 3) + f"\n{one_line(str(study.path))}: {total}\n"


def _describe(study: StudyFolder, planned: PlanRow, result: RunRow | None) -> tuple[str, tuple[str, str, str, str]]:
    if result is not None:
        seconds = format_seconds(result.train_seconds + result.eval_seconds)
        errors = _percent(result.final_train_clean_top1_err), _percent(result.final_test_top1_err)
        return ("done" if result.status == "ok" else result.status), (str(result.steps), *errors, seconds)
    folder = study.run(planned.run_id)
    if not folder.config.exists():
        return "to do", ("", "", "", "")
    steps = folder.read_identity().config.steps
    rows = folder.read_table(CURVES)
    state = "running" if folder.is_locked() else "failed" if folder.failure.exists() else "interrupted"
    if state != "running" and (finished := folder.read_result(check_files=False)) is not None:  # since it was looked at
        return _describe(study, planned, finished)
    if not rows:
        return state, (f"0/{steps}", "", "", "")
    last = rows[-1]
    seconds = format_seconds(last.train_seconds + last.eval_seconds)
    return state, (f"{last.step}/{steps}", _percent(last.train_clean_top1_err), _percent(last.test_top1_err), seconds)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
