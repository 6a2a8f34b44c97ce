"""Tracker: writes a sweep's journals to MLflow as runs, metrics, traces and artifacts.

A sweep is a parent run, a trial a child run. Runs are searched by tag (`sweep_key`, `trial_key`) before they are
created, among those with the identity of the sweep's folder (`sweep_id`): runs of the same sweep from another folder
are left alone. Metrics carry the journal's time stamps and trace ids are hashes of their origin, so writing a journal
again is idempotent. A trial resumed after a kill keeps its run: its committed lines never change, so no point appears
twice. A failed trial that is restarted writes a new journal: its old run is deleted (recoverably) and a new one
created, so that no curve mixes two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from harness.config import digest, short_names
from harness.config.arm_names import slug
from harness.runs.layout import EPISODES, METRICS, OUTPUT, SYSTEM
from harness.runs.records import MetricsLine, TrialInfo
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.runs.trace_sampling import TraceSampler, window_start
from harness.tracking import run_tags, trial_summary
from harness.tracking.client import (
    PARENT,
    TAG_CHARS,
    TAGS_A_BATCH,
    connect,
    delete_run,
    log_metrics,
    log_params_and_tags,
    may_be_gone,
    search_runs,
)
from harness.tracking.registry import register_policy
from harness.tracking.traces import TraceOrigin, build_trace, sample_rows, send_traces
from harness.tracking.ui_view import TAG as VIEW
from harness.tracking.ui_view import encode_view, trials_view
from harness.types.redact import redact, variables_in

VIEWS = "view"
DESCRIBED = "described"
"""Tag of a run that is completely created, which takes several requests: a store may fail between two of them."""
TRACED = "traced_lines"
"""Tag of a run: how many lines of its journal have traces, at least."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED"}

TrialViews = Callable[[TrialRun, Path], None]
"""Writes figures and pages of the trial into the folder."""


class Tracker:
    """Writes one sweep's journals to MLflow. Not for use by two threads or processes at once.

    Every method raises MLflow's exceptions when the store is not reachable, and can then be called again.
    """

    def __init__(self, folder: SweepFolder, uri: str, experiment: str, views: TrialViews | None = None) -> None:
        self.folder, self.uri = folder, uri
        self.manifest: dict[str, Any] = yaml.safe_load(folder.manifest.read_text(encoding="utf-8"))
        self._identity = folder.identity()
        self._views = views
        self._traces_per_step = int(self.manifest["tracking"].get("traces_per_step", 1))
        self._client = connect(uri)
        self._experiment = self._find_experiment(experiment)
        trials = self._trials()
        self._parent = self._find_parent(trials)
        self._known: dict[tuple[str, int], str] = {}  # (trial key, origin of its journal) -> run id
        self._earlier: dict[str, list[Any]] = {}  # trial key -> its existing runs; one search, not one a trial
        for run in trials:
            self._earlier.setdefault(run.data.tags["trial_key"], []).append(run)
        self._searched: set[str] = set()  # trial keys for which `_earlier` may be outdated
        self._sent: dict[tuple[str, str], int] = {}  # (run id, file) -> journal lines written
        self._traced: dict[str, int] = {}  # run id -> journal lines whose episodes are written
        self._samplers: dict[str, TraceSampler] = {}  # run id -> the sampler that chose their traces
        self._closed: set[str] = set()

    @property
    def address(self) -> str:
        """Path of the sweep's trials in MLflow's pages, with their axes and results as columns."""
        return f"/#/experiments/{self._experiment}/runs?viewStateShareKey={self._parent[:12]}"

    def sync(self, trial: TrialRun) -> bool:
        """Bring a trial's run up to its journal. Does nothing for a trial that was not started.

        True if the trial has finished: its run is complete and will not change. Where MLflow refuses the run, because
        it was deleted for instance, the next call searches for it again and creates one if there is none.
        """
        if not trial.exists() or not trial.attempts():
            return False
        info, started = trial.info(), trial.journal_started()
        try:
            return self._write(info, trial, started)
        except Exception as error:
            if may_be_gone(error):
                self._reset(self._known.pop((info.key, started), ""))
            raise

    def _write(self, info: TrialInfo, trial: TrialRun, started: int) -> bool:
        result = trial.result()  # before the metrics, which are then complete
        lines = trial.readable_metrics()
        start = min([started, *(line.ts for line in lines[:1])])  # replayed lines kept the time of an earlier attempt
        run = self._find_trial(info, trial, started, start)
        if run in self._closed:
            return result is not None and result["status"] == "finished"
        self._log_new(run, {METRICS: lines, SYSTEM: trial.system_metrics()})
        self._trace_new(run, trial, info, started, lines)
        if result is not None and result["key"] == info.key:
            self._close(run, trial, result, lines)
            return result["status"] == "finished"
        return False

    def delete_other_trials(self) -> None:
        """Delete the runs (recoverably) of trials that are no longer part of the sweep."""
        keys = {trial.info().key for trial in self.folder.trial_runs()}
        for run in self._trials():
            if run.data.tags["trial_key"] not in keys:
                delete_run(self._client, self._experiment, run.info.run_id)

    def finish(self, status: str, reports: list[Path] | None = None) -> None:
        """End the sweep's run as FINISHED, FAILED or KILLED, and trials still running as KILLED."""
        trials = self._trials()
        self._parent = self._find_parent(trials)  # it may have been deleted, or have a duplicate
        for run in trials:
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        for path in reports or []:
            self._client.log_artifact(self._parent, str(path), "report")
        self._client.set_terminated(self._parent, status)

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        local = (self.folder.root.parent / "mlflow-artifacts").resolve().as_uri()
        # so that MLflow's pages show the experiment as training runs, not as an application's traces
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, None if self.uri.startswith("http") else local, kind))

    def _find_parent(self, trials: list[Any]) -> str:
        """The sweep's run, found or created, with the runs of `trials` as children and a view of them.

        A request that timed out may have created a duplicate: the one with children stays, or else the oldest.
        """
        m = self.manifest
        key = digest({k: v for k, v in m.items() if k not in ("tracking", "resources", "overrides", "labels")})
        tags = run_tags.sweep_tags(m, key, self._identity)
        parents = {run.data.tags.get(PARENT) for run in trials}
        found = self._search(f"tags.sweep_key = '{key}'")
        found.sort(key=lambda run: (run.info.run_id not in parents, run.info.start_time))
        if found:
            parent = str(found[0].info.run_id)
            self._client.update_run(parent, status="RUNNING")
        else:
            parent = self._create(tags, None)
        if not found or DESCRIBED not in found[0].data.tags:
            self._client.log_artifact(parent, str(self.folder.manifest))
            self._describe(parent, tags)
        for run in trials:
            if run.data.tags.get(PARENT) != parent:
                self._client.set_tag(run.info.run_id, PARENT, parent)
        for duplicate in found[1:]:
            delete_run(self._client, self._experiment, duplicate.info.run_id)
        axes = list(short_names(list(m["parameters"])).values())
        view = trials_view(parent, axes, m["base"]["data"]["eval_suites"])
        self._client.set_experiment_tag(self._experiment, VIEW + parent[:12], encode_view(view))
        return parent

    def _find_trial(self, info: TrialInfo, trial: TrialRun, attempt: int, start: int) -> str:
        known = self._known.get((info.key, attempt))
        if known is not None:
            return known
        if info.key in self._searched:
            found = self._search(f"tags.trial_key = '{info.key}'")
        else:
            found = self._earlier.pop(info.key, [])
        self._searched.add(info.key)  # a run may be created by a request that times out
        for run in found:
            if run.data.tags.get("attempt") == str(attempt) and known is None:
                known = str(run.info.run_id)
                self._traced[known] = int(run.data.tags.get(TRACED, 0))
                if DESCRIBED not in run.data.tags:
                    self._describe_trial(known, info, trial, attempt)
                if run.info.status not in _STATUS.values():
                    self._client.update_run(known, status="RUNNING")
            else:
                delete_run(self._client, self._experiment, run.info.run_id)
        if known is None:
            known = self._create(self._trial_tags(info, attempt), start)
            self._describe_trial(known, info, trial, attempt)
        self._known[info.key, attempt] = known
        return known

    def _trial_tags(self, info: TrialInfo, attempt: int) -> dict[str, Any]:
        own = {PARENT: self._parent, "attempt": attempt, run_tags.RUN_COLOUR: self._colours.get(info.arm, "")}
        return run_tags.trial_tags(info, self.manifest, self._identity) | own

    @cached_property
    def _colours(self) -> dict[str, str]:
        return run_tags.arm_colours((trial.info() for trial in self.folder.trial_runs()), self.manifest)

    def _describe_trial(self, run: str, info: TrialInfo, trial: TrialRun, attempt: int) -> None:
        self._client.log_inputs(run, datasets=run_tags.datasets(info))
        self._client.log_artifact(run, str(trial.config_file))
        self._describe(run, self._trial_tags(info, attempt), run_tags.trial_params(info))

    def _create(self, tags: dict[str, Any], start: int | None) -> str:
        """Create a run with as many of its tags as fit into a request; `_describe` must follow."""
        first = dict(run_tags.tag_values(tags)[:TAGS_A_BATCH])
        return str(self._client.create_run(self._experiment, start_time=start, tags=first).info.run_id)

    def _describe(self, run: str, tags: dict[str, Any], params: Sequence[tuple[str, str]] = ()) -> None:
        """Write the rest of a new run's tags and parameters, and mark it as described. Idempotent."""
        log_params_and_tags(self._client, run, params, [*run_tags.tag_values(tags)[TAGS_A_BATCH:], (DESCRIBED, "yes")])

    def _reset(self, run: str) -> None:
        """Treat a run as if nothing of it was written."""
        self._sent = {(other, file): n for (other, file), n in self._sent.items() if other != run}
        self._traced.pop(run, None)
        self._samplers.pop(run, None)

    def _log_new(self, run: str, files: dict[str, list[MetricsLine]]) -> None:
        new = [line for file, lines in files.items() for line in lines[self._sent.get((run, file), 0) :]]
        self._log(run, new)
        self._sent |= {(run, file): len(lines) for file, lines in files.items()}

    def _log(self, run: str, lines: list[MetricsLine]) -> None:
        """Write lines, and in the same requests how many lines have traces."""
        log_metrics(self._client, run, lines, {TRACED: str(self._traced[run])} if run in self._traced else {})

    def _trace_new(self, run: str, trial: TrialRun, info: TrialInfo, attempt: int, lines: list[MetricsLine]) -> None:
        """Write traces of the steps that were recorded since the last call."""
        done = self._traced.get(run, 0)
        if not self._traces_per_step or len(lines) <= done:
            return
        origin = TraceOrigin(self._experiment, run, info.key, attempt, info.name, info.arm, info.seed)
        sampler = self._samplers.pop(run, None)  # put back when its choice is written
        first = done
        if sampler is None:  # it has to choose again from the start of the window
            sampler, window = TraceSampler(self._traces_per_step), window_start(lines[done].step)
            first = next(i for i, line in enumerate(lines) if line.step >= window)
        traces: list[tuple[Any, list[Any]]] = []
        for number, (step, _, ts) in enumerate(lines[first:], first):
            rows = sample_rows(trial.episode_files(step), step, sampler)
            traces += [build_trace(origin, row, ts) for row in rows if number >= done]
        send_traces(self.uri, self._experiment, traces)
        self._traced[run], self._samplers[run] = len(lines), sampler

    def _close(self, run: str, trial: TrialRun, result: dict[str, Any], lines: list[MetricsLine]) -> None:
        """Write summary metrics and artifacts of a trial that has ended, and end its run."""
        info, ts, finished = trial.info(), result["ts"], result["status"] == "finished"
        summary = trial_summary.diagnostics_summary(lines) | trial_summary.failure_rates(trial)
        if finished:
            summary |= trial_summary.evaluation_summary("final", result["final"])
        else:
            self._client.set_tag(run, "error", result["error"][-TAG_CHARS:])
        if (where := trial.diverged(info.key)) is not None:
            self._client.set_tag(run, "diverged", where)
            summary["signature/diverged"] = 1.0
        best = trial_summary.best_evaluation(lines)
        self._log(run, [MetricsLine(trial_summary.SUMMARY_STEP, summary, ts), *([best] if best else [])])
        if trial.attempts_file.exists():
            self._client.log_artifact(run, str(trial.attempts_file))
        if trial.output_file.exists():  # redacted at the end of the trial's process, which a kill prevents
            output = trial.output_file.read_text(encoding="utf-8", errors="replace")
            self._client.log_text(run, redact(output, variables_in(info.settings)), OUTPUT)
        if trial.episodes_folder.is_dir():
            self._client.log_artifacts(run, str(trial.episodes_folder), EPISODES)
        if self._views is not None:
            with tempfile.TemporaryDirectory() as out:
                try:
                    self._views(trial, Path(out))
                except Exception as error:  # a picture that cannot be drawn does not prevent the rest
                    self._client.set_tag(run, "view_error", f"{type(error).__name__}: {error}"[:TAG_CHARS])
                self._client.log_artifacts(run, out, VIEWS)
        if self.manifest["tracking"].get("register_policies", False) and finished:
            name = f"{self.manifest['name']}-{slug(info.arm)}"
            register_policy(self._client, run, trial.policies(), name, info.seed, summary.get("final/em"))
        self._client.set_terminated(run, _STATUS[result["status"]], end_time=ts)
        self._closed.add(run)

    def _trials(self) -> list[Any]:
        """Runs of this folder's trials, those of removed trials included."""
        return self._search("tags.trial_key LIKE '%'")

    def _search(self, query: str) -> list[Any]:
        """Runs of this folder that match."""
        own = f"tags.{run_tags.SWEEP} = '{self._identity}'"
        return search_runs(self._client, self._experiment, f"{query} AND {own}")
