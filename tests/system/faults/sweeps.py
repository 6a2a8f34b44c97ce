"""Running the small sweep, and everything that must hold of what it leaves on disk and in MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.tracking import MlflowClient

from harness.config import code_version
from harness.runs.jsonl import TIMING, comparable_line, read_lines
from harness.runs.layout import EVENTS, METRICS
from harness.runs.run import TrialRun
from harness.sweep.run import FINISHED
from tests.system.faults.cheap_steps import DONE
from tests.system.faults.sweep_process import NAME
from tests.system.faults.views import check_files, check_nothing_half_written, check_traces

EVERY = 5
"""Steps between checkpoints."""


@dataclass
class Sweep:
    """The small sweep in a home of its own."""

    home: Path
    settings: Sequence[str] = ()
    slots: int = 0
    uri: str | None = None
    step_s: float = 0.03
    file_bytes: int = 0
    name: str = NAME
    code: str = field(default_factory=code_version)

    def start(self, writer: int = 0) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        given = [*self.settings, *([f"tracking.uri={self.uri}"] if self.uri else [])]
        environment = os.environ | {
            "FAULTS_SETTINGS": json.dumps(given),
            "FAULTS_SLOTS": str(self.slots),
            "FAULTS_WRITER": str(writer),
            "FAULTS_STEP_S": str(self.step_s),
            "FAULTS_FILE_BYTES": str(self.file_bytes),
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.system.faults.sweep_process", str(self.home), self.code]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def finish(self, patience_s: float = 600) -> None:
        """The same command, to its end."""
        status = self.start().wait(patience_s)
        assert status == FINISHED, f"exit status {status}:\n{self.printed()[-3000:]}"

    @property
    def log(self) -> Path:
        return self.home.with_name(f"{self.home.name}.log")  # beside the home, which may be a full disk

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def root(self) -> Path:
        return self.home / "runs" / self.name

    @property
    def store(self) -> str:
        return self.uri or f"sqlite:///{self.home / 'runs' / 'mlflow.db'}"

    def trials(self) -> dict[str, Path]:
        """Folders by name and key, which are those of every other home too."""
        return {path.name: path for path in sorted((self.root / "trials").glob("*"))}

    def recorded(self) -> dict[str, int]:
        return {name: len(read_lines(path / METRICS).records) for name, path in self.trials().items()}

    def workers(self) -> list[int]:
        """Processes at work on a trial, as the trials say."""
        found = [
            TrialRun(p).attempts()[-1]["pid"]
            for p in self.trials().values()
            if TrialRun(p).attempts() and not TrialRun(p).result()
        ]
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]


def check_along(sweep: Sweep, whole: Sweep) -> int:
    """What must hold after a kill: nothing that is recorded differs from the undisturbed sweep. Lines compared."""
    compared = 0
    for name, path in sweep.trials().items():
        for file in (METRICS, EVENTS):
            found = read_lines(path / file)
            assert all(d.torn for d in found.damage), found.damage
            ours = [comparable_line(r) for r in found.records]
            reference = [comparable_line(r) for r in read_lines(whole.trials()[name] / file).records]
            assert ours == reference[: len(ours)], f"{name}/{file} differs"
            compared += len(ours)
        check_files(path, whole.trials()[name], so_far=True)
    return compared


def check_end(sweep: Sweep, whole: Sweep) -> None:
    """What must hold when the sweep has ended: equal journals, episodes and policies, nothing half-written, and
    in MLflow what `check_runs` says."""
    assert set(sweep.trials()) == set(whole.trials())
    for name, path in sweep.trials().items():
        assert TrialRun(path).comparable_journal() == TrialRun(whole.trials()[name]).comparable_journal(), (
            f"{name} differs"
        )
        assert (TrialRun(path).result() or {})["final"] == (TrialRun(whole.trials()[name]).result() or {})["final"]
        check_files(path, whole.trials()[name])
    check_nothing_half_written(sweep.root)
    check_runs(sweep)


def check_runs(sweep: Sweep) -> int:
    """One finished run of the sweep, and below it one a trial with the journal's points and traces, each once, and no
    others; none open. How many points those are."""
    client, points = MlflowClient(sweep.store), 0
    experiment = client.get_experiment_by_name(sweep.name).experiment_id
    everything = client.search_runs([experiment], max_results=100)
    runs = [r for r in everything if "trial_key" in r.data.tags]
    [parent] = [r for r in everything if "trial_key" not in r.data.tags]
    assert (parent.info.run_name, parent.info.status) == (sweep.name, "FINISHED")
    assert {r.data.tags["mlflow.parentRunId"] for r in runs} == {parent.info.run_id}
    of_run = {r.data.tags["trial_key"]: r.info.run_id for r in runs}
    shown = {of_run[TrialRun(path).info().key]: path for path in sweep.trials().values()}
    assert len(shown) == len(of_run) == len(runs)
    assert {r.info.status for r in runs} == {"FINISHED"}
    for run, path in shown.items():
        lines = TrialRun(path).metrics()
        for metric in {m for _, values, _ in lines for m in values if not m.startswith(TIMING)}:
            history = [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run, metric)]
            expected = [(step, ts, values[metric]) for step, values, ts in lines if metric in values]
            assert sorted(history) == expected, f"{path.name}: {metric} differs"
            points += len(history)
    assert check_traces(client, experiment, shown) > 0
    return points


def redone(sweep: Sweep) -> int:
    """The most steps that any attempt recorded again."""
    most = 0
    for path in sweep.trials().values():
        reached, last = -1, ""
        for line in (path / DONE).read_text().splitlines() if (path / DONE).exists() else ():
            process, step, *_ = line.split()
            if process != last:
                most = max(most, min(reached, reached - int(step) + 1))  # step 0 is no training step
            reached, last = max(reached, int(step)), process
    assert most <= EVERY, f"{most} steps done again"
    return most
