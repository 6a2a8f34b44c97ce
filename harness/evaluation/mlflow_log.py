"""An evaluation in MLflow: one run for each answerer, a child of its policy's training run where that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import flatten
from harness.evaluation.storage import Answerer, arm_of
from harness.runs.layout import IDENTITY
from harness.tracking.client import (
    PARAM_CHARS,
    PARENT,
    as_text,
    code_tags,
    connect,
    delete_run,
    log_metrics,
    search_runs,
)
from harness.tracking.run_tags import SWEEP

EXPERIMENT = "evaluations"
"""Experiment of runs whose policy has no known training run."""


def log_answerer(
    uri: str,
    experiment: str | None,
    artifacts: Path,
    answerer: Answerer,
    key: str,
    own: str,
    metrics: Mapping[str, float],
    files: Sequence[Path],
    ts: int,
) -> str:
    """Write a run and return its path in MLflow's pages.

    It replaces an earlier one of the same `key` from the same output folder, whose identity is `own`: runs of the same
    evaluation from other folders are left alone.

    Tags `training_run` and `evaluated_trial_key` link it to the training; the training run's tag `evaluations` lists
    its evaluations. Raises MLflow's exceptions.
    """
    from mlflow.entities import Param

    client, target = connect(uri), answerer.target
    training = _training_run(client, target.trial_key, _identity_above(target.home))
    if training is not None and experiment is None:
        place = training.info.experiment_id
    else:
        place = _experiment(client, experiment or EXPERIMENT, uri, artifacts)
    for old in search_runs(client, place, f"tags.evaluation_key = '{key}' AND tags.{SWEEP} = '{own}'"):
        delete_run(client, place, old.info.run_id)
    tags = {
        "mlflow.runName": f"evaluation: {answerer.label}",
        "mlflow.source.name": "harness.evaluate",
        "evaluation_key": key,
        SWEEP: own,
        "method": answerer.method,
        "evaluated": target.name,
        "evaluated_folder": str(target.folder or ""),
        "evaluated_trial_key": target.trial_key or "",
        **code_tags(),
    }
    if training is not None:
        tags |= {"training_run": training.info.run_id}
        if training.info.experiment_id == place:
            tags |= {PARENT: training.info.run_id}
    run = str(client.create_run(place, start_time=ts, tags=tags).info.run_id)
    config, resolved = target.config, target.config.model_dump(mode="json")
    params: dict[str, Any] = {"method": answerer.method, "evaluated": arm_of(target), "seed": config.seed}
    params |= {"evaluated_step": target.step} if target.step is not None else {}
    for section in ("data", "environment"):
        params |= flatten(resolved[section], section)
    client.log_batch(run, params=[Param(name, as_text(value)[:PARAM_CHARS]) for name, value in params.items()])
    log_metrics(client, run, [(target.step or 0, dict(metrics), ts)])
    for file in files:
        client.log_artifacts(run, str(file), file.name) if file.is_dir() else client.log_artifact(run, str(file))
    client.set_terminated(run, "FINISHED")
    if training is not None:
        known = [name for name in training.data.tags.get("evaluations", "").split(" ") if name]
        client.set_tag(training.info.run_id, "evaluations", " ".join(dict.fromkeys([*known, run])))
    return f"/#/experiments/{place}/runs/{run}"


def _training_run(client: Any, trial_key: str | None, sweep: str) -> Any:
    """A trial's run in any experiment: that of the sweep folder with identity `sweep`, or else the newest; None if the
    store does not have one."""
    if not trial_key:
        return None
    for experiment in client.search_experiments():
        found = search_runs(client, experiment.experiment_id, f"tags.trial_key = '{trial_key}'")
        if found:
            return max(found, key=lambda run: (run.data.tags.get(SWEEP) == sweep, run.info.start_time))
    return None


def _identity_above(trial: Path | None) -> str:
    """Identity of the sweep's folder that holds a trial's; "" where there is none."""
    try:
        return "" if trial is None else (trial.resolve().parents[1] / IDENTITY).read_text(encoding="utf-8").strip()
    except (OSError, IndexError):
        return ""


def _experiment(client: Any, name: str, uri: str, artifacts: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    local = artifacts.resolve().as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, None if uri.startswith("http") else local, kind))
