"""How far the runs of a sweep on a cluster are, for the person who waits for them."""

from __future__ import annotations

import time

from resnet_bench.config.run import RunConfig
from resnet_bench.errors import UsageError
from resnet_bench.results.tables import CURVES
from resnet_bench.study.events import Note, RunFinished
from resnet_bench.study.folder import StudyFolder
from resnet_bench.study.plan import Plan, work
from resnet_bench.study.progress import LINE_SECONDS, Progress

BARS_SECONDS = 3.0  # between two looks into the folder, for a terminal


class Board:
    """Shows how far the runs on all nodes are: from what it is told, and what they write into the study's folder."""

    def __init__(self, progress: Progress, study: StudyFolder, plan: Plan) -> None:
        self.progress, self.study, self.shape = progress, study, plan.shape
        self.steps = {run.run_id: 0 for run in plan.todo}
        self.before = {run.run_id: self._step(run) for run in plan.todo}  # what earlier sweeps did
        progress.clock.total = sum(self._work(run, run.steps) for run in plan.todo)
        self.finished = 0
        self.partly: dict[str, float] = {}  # work done of the runs that go on
        self._last = time.monotonic()

    def tell(self, event: Note | RunFinished) -> None:
        """Show what happened."""
        match event:
            case Note(line):
                self.progress.say(line)
            case RunFinished(run, outcome):
                self._over(run, outcome)

    def _over(self, run: RunConfig, outcome: str) -> None:
        self.finished += 1
        self.progress.seen.add(run.run_id)
        self.progress.clock.done += self._work(run, run.steps)
        self.partly.pop(run.run_id, None)
        self._refresh()
        self.progress.say(f"[{self.finished}/{self.progress.num_runs}] {self.progress.title(run)}: {outcome}")

    def show(self, going: list[RunConfig], nodes: int, slots: int) -> None:
        """A line, or the bars, from time to time."""
        now = time.monotonic()
        if now - self._last < (LINE_SECONDS if self.progress.bars is None else BARS_SECONDS):
            return
        self._last = now
        self.partly = {run.run_id: self._work(run, self._step(run)) for run in going}
        self.progress.seen.update(run.run_id for run in going[:slots])
        self._refresh()
        if self.progress.bars is None:
            done = f"{self.finished} of {self.progress.num_runs} done"
            going_on = f"{min(len(going), slots)} going on"
            self.progress.say(f"{done}, {going_on}, {self.progress.left()} left (nodes: {nodes})")

    def _refresh(self) -> None:
        self.progress.lines[0].done = sum(self.partly.values())
        self.progress.refresh()

    def _work(self, run: RunConfig, step: int) -> float:
        """What this sweep has done of the run at this step."""
        return work(run, self.shape) * max(0, step - self.before[run.run_id]) / run.steps

    def _step(self, run: RunConfig) -> int:
        """The last step that the run has written a row of; as it was, while its file cannot be read."""
        try:
            rows = self.study.run(run.run_id).read_table(CURVES)
        except (UsageError, OSError):
            return self.steps[run.run_id]
        self.steps[run.run_id] = int(rows[-1].step) if rows else 0
        return self.steps[run.run_id]
