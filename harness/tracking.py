"""MLflow as a view of the journals: one process writes it, any time again, and nothing depends on it.

A sweep is a parent run, a trial a child run. Runs are found by tag (`sweep_key`, `trial_key`) before they are made;
metrics carry the journal's time stamps, so writing the same journal twice changes nothing. A trial that was started
again has a new first time stamp: its old run is deleted (recoverably) and a new one made, so that no curve is split.

    python -m harness.tracking replay runs/granularity [--uri sqlite:///…]
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from harness.config import canonical_json, digest
from harness.driver.layout import ATTEMPTS, CONFIG, INFO, OUTPUT, RunFolder, TrialInfo, attempts, flatten, read_info
from harness.journal import EPISODES, METRICS, decode, read_lines, read_result

PARENT = "mlflow.parentRunId"
BATCH = 1000  # metrics a request, MLflow's limit
TAGS_A_BATCH = 100
TAG_CHARS, PARAM_CHARS = 8000, 6000
_STATUS = {"finished": "FINISHED", "failed": "FAILED"}


def default_uri(out: Path) -> str:
    """The store beside the sweeps' folders."""
    return f"sqlite:///{(out / 'mlflow.db').resolve()}"


class Tracker:
    """Writes one sweep's journals into MLflow. Not for use by two threads or processes at once.

    Every method raises what MLflow raises when the store is not reachable; call again later, nothing is lost.
    """

    def __init__(self, folder: RunFolder, uri: str, experiment: str) -> None:
        self.folder, self.uri = folder, uri
        self.manifest: dict[str, Any] = yaml.safe_load(folder.manifest.read_text(encoding="utf-8"))
        self._client = _client(uri)
        self._experiment = self._find_experiment(experiment)
        self._parent = self._find_parent()
        self._known: dict[tuple[str, int], str] = {}  # (trial key, attempt) -> run id
        self._sent: dict[str, int] = {}  # run id -> journal lines written
        self._closed: set[str] = set()

    @property
    def address(self) -> str:
        """Path of the sweep's run in MLflow's pages."""
        return f"/#/experiments/{self._experiment}/runs/{self._parent}"

    def sync(self, trial: Path) -> None:
        """Bring a trial's run up to its journal. Does nothing for a trial that has not begun."""
        if not (trial / INFO).exists():
            return
        started = [a["ts"] for a in attempts(trial)]
        if not started:
            return
        info = read_info(trial)
        run = self._find_trial(info, trial, started[-1])
        if run in self._closed:
            return
        result = read_result(trial)  # before the metrics: what it ends is then complete
        records = read_lines(trial / METRICS).records
        self._log_metrics(run, [(r["step"], decode(r["values"]), r["ts"]) for r in records[self._sent.get(run, 0) :]])
        self._sent[run] = len(records)
        if result is not None and result["key"] == info.key:
            self._close(run, trial, result, records[-1]["step"] if records else 0)

    def forget_others(self) -> None:
        """Delete the runs (recoverably) of trials that are no longer part of the sweep."""
        keys = {read_info(path.parent).key for path in self.folder.trials.glob(f"*/{INFO}")}
        for run in self._search(f"tags.`{PARENT}` = '{self._parent}'"):
            if run.data.tags.get("trial_key") not in keys:
                self._client.delete_run(run.info.run_id)

    def finish(self, status: str, reports: list[Path] | None = None) -> None:
        """End the sweep's run: FINISHED, FAILED or KILLED; trials that are still open were killed."""
        for run in self._search(f"tags.`{PARENT}` = '{self._parent}'"):
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

    def _find_parent(self) -> str:
        m = self.manifest
        key = digest({k: v for k, v in m.items() if k not in ("tracking", "resources", "overrides")})
        found = self._search(f"tags.sweep_key = '{key}'")
        if found:
            run = str(found[0].info.run_id)
            self._client.update_run(run, status="RUNNING")
            return run
        constants = {f"c.{k}": v for k, v in flatten(m["base"]).items() if k not in {"seed", *m["parameters"]}}
        tags = {
            "mlflow.runName": m["name"],
            "mlflow.note.content": m["hypothesis"],
            "sweep_key": key,
            "hypothesis": m["hypothesis"],
            "preregistration": m["preregistration"],
            "analysis": m["analysis"],
            **_code_tags(),
            **constants,
        }
        run = self._create(tags, None)
        self._client.log_artifact(run, str(self.folder.manifest))
        return run

    def _find_trial(self, info: TrialInfo, trial: Path, attempt: int) -> str:
        known = self._known.get((info.key, attempt))
        if known is not None:
            return known
        for run in self._search(f"tags.trial_key = '{info.key}' AND tags.`{PARENT}` = '{self._parent}'"):
            if run.data.tags.get("attempt") == str(attempt) and known is None:
                known = str(run.info.run_id)
                if run.info.status not in _STATUS.values():
                    self._client.update_run(known, status="RUNNING")
            else:
                self._client.delete_run(run.info.run_id)
        if known is None:
            known = self._create_trial(info, trial, attempt)
        self._known[info.key, attempt] = known
        return known

    def _create_trial(self, info: TrialInfo, trial: Path, attempt: int) -> str:
        from mlflow.entities import Param

        config = info.config.model_dump(mode="json")
        tags = {
            "mlflow.runName": info.name,
            PARENT: self._parent,
            "trial_key": info.key,
            "attempt": attempt,
            "seed": info.seed,
            "code_version": info.code,
            "config_hash": digest({k: v for k, v in config.items() if k != "seed"}),
            "preregistration": self.manifest["preregistration"],
            **_code_tags(),
        }
        run = self._create(tags, attempt)
        axes = {info.labels[name]: value for name, value in info.axes.items()} | {"seed": info.seed}
        params = [Param(name, _text(value)[:PARAM_CHARS]) for name, value in axes.items()]
        self._client.log_batch(run, params=params)
        self._client.log_inputs(run, datasets=_datasets(info))
        self._client.log_artifact(run, str(trial / CONFIG))
        return run

    def _create(self, tags: dict[str, Any], start: int | None) -> str:
        from mlflow.entities import RunTag

        shown = [(name, _text(value)[:TAG_CHARS]) for name, value in tags.items()]
        first, rest = dict(shown[:TAGS_A_BATCH]), shown[TAGS_A_BATCH:]
        run = self._client.create_run(self._experiment, start_time=start, tags=first).info.run_id
        for i in range(0, len(rest), TAGS_A_BATCH):
            self._client.log_batch(run, tags=[RunTag(n, v) for n, v in rest[i : i + TAGS_A_BATCH]])
        return str(run)

    def _log_metrics(self, run: str, lines: list[tuple[int, dict[str, float], int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, ts, step) for step, values, ts in lines for name, value in values.items()]
        for i in range(0, len(metrics), BATCH):
            self._client.log_batch(run, metrics=metrics[i : i + BATCH])

    def _close(self, run: str, trial: Path, result: dict[str, Any], step: int) -> None:
        if result["status"] == "finished":
            final = {f"final/{name.removeprefix('eval/')}": value for name, value in result["final"].items()}
            self._log_metrics(run, [(step, final, result["ts"])])
        else:
            self._client.set_tag(run, "error", result["error"][-TAG_CHARS:])
        for name in (OUTPUT, ATTEMPTS):
            if (trial / name).exists():
                self._client.log_artifact(run, str(trial / name))
        if (trial / EPISODES).is_dir():
            self._client.log_artifacts(run, str(trial / EPISODES), EPISODES)
        self._client.set_terminated(run, _STATUS[result["status"]], end_time=result["ts"])
        self._closed.add(run)

    def _search(self, query: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=500, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _client(uri: str) -> Any:
    """A client that gives up on a dead server in seconds and tells nobody about itself."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri)


@functools.cache
def _code_tags() -> dict[str, str]:
    """Where the sources stand; empty outside a git checkout."""
    root = Path(__file__).resolve().parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": head.stdout.strip(), "git_dirty": str(bool(dirty.stdout.strip())).lower()}


def _datasets(info: TrialInfo) -> list[Any]:
    """What the trial trains and is evaluated on. The offline world is part of the code: its version is the code's."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = info.config.data
    uses = {"training": data.train_suites, "evaluation": data.eval_suites}
    return [
        DatasetInput(
            Dataset(
                name=f"{data.source}:{'+'.join(suites)}"[:500],
                digest=digest([data.model_dump(mode="json"), use, info.code])[:16],
                source_type="code" if data.source == "world" else "local",
                source=canonical_json({"source": data.source, "path": data.path}),
            ),
            tags=[InputTag("mlflow.data.context", use)],
        )
        for use, suites in uses.items()
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def replay(root: Path, uri: str | None = None) -> Tracker:
    """Rebuild a sweep's runs from its journals. Raises OSError when the folder is no sweep's."""
    folder = RunFolder(root)
    manifest = yaml.safe_load(folder.manifest.read_text(encoding="utf-8"))
    wanted = manifest["tracking"]
    store = uri or wanted["uri"] or default_uri(root.parent)
    tracker = Tracker(folder, store, wanted["experiment"] or manifest["name"])
    tracker.forget_others()
    for path in sorted(folder.trials.glob(f"*/{INFO}")):
        tracker.sync(path.parent)
    ended = [read_result(path.parent) for path in folder.trials.glob(f"*/{INFO}")]
    open_trials = any(result is None for result in ended)
    failed = any(result is not None and result["status"] == "failed" for result in ended)
    tracker.finish("KILLED" if open_trials else "FAILED" if failed else "FINISHED")
    return tracker


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.tracking", description="MLflow from journals.")
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("replay", help="rebuild a sweep's MLflow runs from its journals")
    again.add_argument("run_dir", type=Path, help="a sweep's folder, such as runs/granularity")
    again.add_argument("--uri", help="MLflow store (default: the one the sweep was run with)")
    options = parser.parse_args(arguments)
    try:
        tracker = replay(options.run_dir, options.uri)
    except OSError as error:
        print(f"{options.run_dir} is not a sweep's folder: {error}", file=sys.stderr)
        return 2
    print(f"{options.run_dir}: rebuilt in {tracker.uri}, run {tracker.address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
