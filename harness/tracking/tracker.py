"""Runs in MLflow from journals.

A sweep is a parent run, a trial a child run. Runs are found by tag (`sweep_key`, `trial_key`) before they are made, and
only among those with the identity of the sweep's folder (`sweep_id`): runs of the same sweep from another folder may be
in the store too, and are left alone. Metrics carry the journal's time stamps and traces are named by where they come
from, so writing the same journal twice changes nothing. A trial that goes on after a kill keeps its run: the journal
repeats to the byte what it had said, so no point is there twice. One that failed and is started again writes its
journal anew: its old run is deleted (recoverably) and a new one made, so that no curve is split.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.config import digest, short_names
from harness.redact import redact, variables_in
from harness.runs.episode_store import episode_files
from harness.runs.journal import EPISODES, METRICS, POLICIES, SYSTEM, decode, read_result
from harness.runs.jsonl import read_lines
from harness.runs.layout import (
    ATTEMPTS,
    CONFIG,
    INFO,
    OUTPUT,
    RunFolder,
    TrialInfo,
    attempts,
    identity,
    origin,
    read_info,
)
from harness.runs.trace_sampling import Sampler, starts_anew
from harness.tracking import run_tags, traces, trial_summary
from harness.tracking.client import (
    PARAM_CHARS,
    PARENT,
    TAG_CHARS,
    TAGS_A_BATCH,
    connect,
    delete_run,
    log_metrics,
    may_be_gone,
    search_runs,
    text,
)
from harness.tracking.registry import register
from harness.tracking.ui_view import TAG as VIEW
from harness.tracking.ui_view import encode, view

VIEWS = "view"
DESCRIBED = "described"
"""Tag of a run that has everything it is made with: a store may fail, or a kill come, between two requests for that."""
TRACED = "traced_lines"
"""Tag of a run: how many of its journal's lines have their traces, if not more."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED"}

TrialViews = Callable[[Path, Path], None]
"""Writes what people look at (figures, pages) of the trial in the first folder into the second."""


class Tracker:
    """Writes one sweep's journals into MLflow. Not for use by two threads or processes at once.

    Every method raises what MLflow raises when the store is not reachable; call again later, nothing is lost.
    """

    def __init__(self, folder: RunFolder, uri: str, experiment: str, views: TrialViews | None = None) -> None:
        self.folder, self.uri = folder, uri
        self.manifest: dict[str, Any] = yaml.safe_load(folder.manifest.read_text(encoding="utf-8"))
        self._identity = identity(folder)
        self._views = views
        self._traces_per_step = int(self.manifest["tracking"].get("traces_per_step", 1))
        self._client = connect(uri)
        self._experiment = self._find_experiment(experiment)
        trials = self._trials()
        self._parent = self._find_parent(trials)
        self._known: dict[tuple[str, int], str] = {}  # (trial key, origin of its journal) -> run id
        self._earlier: dict[str, list[Any]] = {}  # trial key -> its runs of before; a search a trial would take longer
        for run in trials:
            self._earlier.setdefault(run.data.tags["trial_key"], []).append(run)
        self._asked: set[str] = set()  # trial keys that `_earlier` may no longer know everything about
        self._sent: dict[tuple[str, str], int] = {}  # (run id, file) -> journal lines written
        self._traced: dict[str, int] = {}  # run id -> journal lines whose episodes are written
        self._samplers: dict[str, Sampler] = {}  # run id -> what chose the traces of those
        self._closed: set[str] = set()

    @property
    def address(self) -> str:
        """Path of the sweep's trials in MLflow's pages, with their axes and results as columns."""
        return f"/#/experiments/{self._experiment}/runs?viewStateShareKey={self._parent[:12]}"

    def sync(self, trial: Path) -> bool:
        """Bring a trial's run up to its journal. Does nothing for a trial that has not begun.

        True if the trial has finished: its run is complete and will not change. Where MLflow refuses the run, because
        somebody deleted it for instance, the next call looks for it anew and makes one if it is not there.
        """
        if not (trial / INFO).exists():
            return False
        if not attempts(trial):
            return False
        info, first = read_info(trial), origin(trial)
        try:
            return self._write(info, trial, first)
        except Exception as error:
            if may_be_gone(error):
                self._forget(self._known.pop((info.key, first), ""))
            raise

    def _write(self, info: TrialInfo, trial: Path, first: int) -> bool:
        result = read_result(trial)  # before the metrics: what it ends is then complete
        lines = [(r["step"], decode(r["values"]), r["ts"]) for r in read_lines(trial / METRICS).records]
        begun = min([first, *(ts for *_, ts in lines[:1])])  # lines that came out as before a failure kept their time
        run = self._find_trial(info, trial, first, begun)
        if run in self._closed:
            return result is not None and result["status"] == "finished"
        measured = [(r["n"], decode(r["values"]), r["ts"]) for r in read_lines(trial / SYSTEM).records]
        self._log_new(run, {METRICS: lines, SYSTEM: measured})
        self._trace_new(run, trial, info, first, lines)
        if result is not None and result["key"] == info.key:
            self._close(run, trial, result, lines)
            return result["status"] == "finished"
        return False

    def forget_others(self) -> None:
        """Delete the runs (recoverably) of trials that are no longer part of the sweep."""
        keys = {read_info(path.parent).key for path in self.folder.trials.glob(f"*/{INFO}")}
        for run in self._trials():
            if run.data.tags["trial_key"] not in keys:
                delete_run(self._client, self._experiment, run.info.run_id)

    def finish(self, status: str, reports: list[Path] | None = None) -> None:
        """End the sweep's run: FINISHED, FAILED or KILLED; trials still open were killed, or could not be written."""
        trials = self._trials()
        self._parent = self._find_parent(trials)  # it may have been deleted by hand, or have got a double
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
        # so that the UI opens the experiment as training runs, not as an application's traces
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, None if self.uri.startswith("http") else local, kind))

    def _find_parent(self, trials: list[Any]) -> str:
        """The sweep's run, found or made, with the runs of `trials` under it and a view of them.

        There are several where the store made one and its answer never came: the one that has trials stays, or else
        the oldest.
        """
        m = self.manifest
        key = digest({k: v for k, v in m.items() if k not in ("tracking", "resources", "overrides")})
        tags = run_tags.sweep_tags(m, key, self._identity)
        above = {run.data.tags.get(PARENT) for run in trials}
        found = self._search(f"tags.sweep_key = '{key}'")
        found.sort(key=lambda run: (run.info.run_id not in above, run.info.start_time))
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
        for double in found[1:]:
            delete_run(self._client, self._experiment, double.info.run_id)
        axes = list(short_names(list(m["parameters"])).values())
        shown = view(parent, axes, m["base"]["data"]["eval_suites"])
        self._client.set_experiment_tag(self._experiment, VIEW + parent[:12], encode(shown))
        return parent

    def _find_trial(self, info: TrialInfo, trial: Path, attempt: int, begun: int) -> str:
        known = self._known.get((info.key, attempt))
        if known is not None:
            return known
        if info.key in self._asked:
            found = self._search(f"tags.trial_key = '{info.key}'")
        else:
            found = self._earlier.pop(info.key, [])
        self._asked.add(info.key)  # what is made now may be there even if the store's answer never comes
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
            known = self._create(self._trial_tags(info, attempt), begun)
            self._describe_trial(known, info, trial, attempt)
        self._known[info.key, attempt] = known
        return known

    def _trial_tags(self, info: TrialInfo, attempt: int) -> dict[str, Any]:
        return run_tags.trial_tags(info, self.manifest, self._identity) | {PARENT: self._parent, "attempt": attempt}

    def _describe_trial(self, run: str, info: TrialInfo, trial: Path, attempt: int) -> None:
        from mlflow.entities import Param

        axes = {info.labels[name]: value for name, value in info.axes.items()} | {"seed": info.seed}
        params = [Param(name, text(value)[:PARAM_CHARS]) for name, value in axes.items()]
        self._client.log_inputs(run, datasets=run_tags.datasets(info))
        self._client.log_artifact(run, str(trial / CONFIG))
        self._describe(run, self._trial_tags(info, attempt), params)

    def _create(self, tags: dict[str, Any], start: int | None) -> str:
        """A run with as many of its tags as go into a request; `_describe` is to follow."""
        first = dict(_shown(tags)[:TAGS_A_BATCH])
        return str(self._client.create_run(self._experiment, start_time=start, tags=first).info.run_id)

    def _describe(self, run: str, tags: dict[str, Any], params: Sequence[Any] = ()) -> None:
        """The rest of what a run is made with, and the word that this was all. May be said twice."""
        from mlflow.entities import RunTag

        rest = [RunTag(name, value) for name, value in [*_shown(tags)[TAGS_A_BATCH:], (DESCRIBED, "yes")]]
        for i in range(0, len(rest), TAGS_A_BATCH):
            self._client.log_batch(run, params=params if i == 0 else (), tags=rest[i : i + TAGS_A_BATCH])

    def _forget(self, run: str) -> None:
        """Take it that nothing of a run is written."""
        self._sent = {(other, file): n for (other, file), n in self._sent.items() if other != run}
        self._traced.pop(run, None)
        self._samplers.pop(run, None)

    def _log_new(self, run: str, files: dict[str, list[trial_summary.Line]]) -> None:
        new = [line for file, lines in files.items() for line in lines[self._sent.get((run, file), 0) :]]
        self._log(run, new)
        self._sent |= {(run, file): len(lines) for file, lines in files.items()}

    def _log(self, run: str, lines: list[trial_summary.Line]) -> None:
        """Lines, with how many had their traces before: written again they change nothing, a request more costs."""
        log_metrics(self._client, run, lines, {TRACED: str(self._traced[run])} if run in self._traced else {})

    def _trace_new(self, run: str, trial: Path, info: TrialInfo, attempt: int, lines: list[trial_summary.Line]) -> None:
        """Episodes of the steps that were recorded since the last time."""
        done = self._traced.get(run, 0)
        if not self._traces_per_step or len(lines) <= done:
            return
        origin = traces.Origin(self._experiment, run, info.key, attempt, info.name, run_tags.arm(info), info.seed)
        sampler = self._samplers.pop(run, None)  # put back when what it chose is written
        first = done
        if sampler is None:  # it has to know what was shown before
            sampler, anew = Sampler(self._traces_per_step), starts_anew(lines[done][0])
            first = next(i for i, (step, *_) in enumerate(lines) if step >= anew)
        made: list[tuple[Any, list[Any]]] = []
        for number, (step, _, ts) in enumerate(lines[first:], first):
            rows = traces.sample(episode_files(trial / EPISODES, step), step, sampler)
            made += [traces.make(origin, row, ts) for row in rows if number >= done]
        traces.send(self.uri, self._experiment, made)
        self._traced[run], self._samplers[run] = len(lines), sampler

    def _close(self, run: str, trial: Path, result: dict[str, Any], lines: list[trial_summary.Line]) -> None:
        ts = result["ts"]
        told = trial_summary.signatures(lines) | trial_summary.failures(trial / EPISODES)
        if result["status"] == "finished":
            told |= trial_summary.evaluation("final", result["final"])
        else:
            self._client.set_tag(run, "error", result["error"][-TAG_CHARS:])
        best = trial_summary.best(lines)
        self._log(run, [(trial_summary.ONCE, told, ts), *([best] if best else [])])
        if (trial / ATTEMPTS).exists():
            self._client.log_artifact(run, str(trial / ATTEMPTS))
        if (trial / OUTPUT).exists():  # cleaned by the trial's process at its very end, which a kill keeps it from
            written = (trial / OUTPUT).read_text(encoding="utf-8", errors="replace")
            self._client.log_text(run, redact(written, variables_in(read_info(trial).settings)), OUTPUT)
        if (trial / EPISODES).is_dir():
            self._client.log_artifacts(run, str(trial / EPISODES), EPISODES)
        if self._views is not None:
            with tempfile.TemporaryDirectory() as out:
                try:
                    self._views(trial, Path(out))
                except Exception as error:  # a picture that cannot be drawn keeps nothing else from being written
                    self._client.set_tag(run, "view_error", f"{type(error).__name__}: {error}"[:TAG_CHARS])
                self._client.log_artifacts(run, out, VIEWS)
        if self.manifest["tracking"].get("register_policies", False) and result["status"] == "finished":
            name = f"{self.manifest['name']}-{run_tags.arm(read_info(trial))}"
            register(self._client, run, trial / POLICIES, name, read_info(trial).seed, told.get("final/em"))
        self._client.set_terminated(run, _STATUS[result["status"]], end_time=ts)
        self._closed.add(run)

    def _trials(self) -> list[Any]:
        """The runs of this folder's trials, of those that are gone too."""
        return self._search("tags.trial_key LIKE '%'")

    def _search(self, query: str) -> list[Any]:
        """Runs of this folder that fit."""
        own = f"tags.{run_tags.SWEEP} = '{self._identity}'"
        return search_runs(self._client, self._experiment, f"{query} AND {own}")


def _shown(tags: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, text(value)[:TAG_CHARS]) for name, value in tags.items()]
