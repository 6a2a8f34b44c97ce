"""An evaluation in MLflow: one run for each answerer, a child of its policy's training run where that is known.

Everything comes from the evaluation's folder, so that runs can be rebuilt from it (`replay`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config import flatten
from harness.runs.layout import CONFIG, EPISODES, IDENTITY
from harness.runs.records import TrialInfo
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tracking.client import PARAM_CHARS, PARENT, as_text, connect, delete_run, log_metrics, search_runs
from harness.tracking.run_tags import SWEEP

EXPERIMENT = "evaluations"
"""Experiment of runs whose policy has no known training run."""
TABLES = ("scores.csv", "contrasts.csv")


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """What an answerer is, as `sweep.yaml` of an evaluation lists it under `targets`."""

    answerer: str
    name: str
    folder: str | None = None
    trial_key: str | None = None
    step: int | None = None
    home: str | None = None
    """Folder of the trial that made the policy."""


def log_evaluation(root: Path, uri: str, experiment: str | None, home: Path) -> Iterator[tuple[str, str]]:
    """Write a run for each answerer of the evaluation stored in `root`: (its name, the run's path in MLflow's pages).

    `home` is the output folder that holds the evaluation: a run replaces an earlier one of the same evaluation from the
    same `home`; those from other folders are left alone. Tags `training_run` and `evaluated_trial_key` link it to the
    training; the training run's tag `evaluations` lists its evaluations. Raises MLflow's exceptions, and KeyError or
    TypeError for a folder of an earlier version.
    """
    manifest = yaml.safe_load((root / "sweep.yaml").read_text(encoding="utf-8"))
    policies = {found["answerer"]: EvaluatedPolicy(**found) for found in manifest["targets"]}
    own = SweepFolder(home).identity()  # an evaluation's own folder is replaced each time
    for run in SweepFolder(root).trial_runs():
        info = run.info()
        yield info.name, _log(run, info, policies[info.name], uri, experiment, home / "mlflow-artifacts", own)


def _log(
    trial: TrialRun,
    info: TrialInfo,
    policy: EvaluatedPolicy,
    uri: str,
    experiment: str | None,
    artifacts: Path,
    own: str,
) -> str:
    from mlflow.entities import Param

    lines = trial.metrics()  # raises where the journal is damaged
    client = connect(uri)
    training = _training_run(client, policy.trial_key, _identity_above(policy.home))
    if training is not None and experiment is None:
        place = training.info.experiment_id
    else:
        place = _experiment(client, experiment or EXPERIMENT, uri, artifacts)
    for old in search_runs(client, place, f"tags.evaluation_key = '{info.key}' AND tags.{SWEEP} = '{own}'"):
        delete_run(client, place, old.info.run_id)
    tags = {
        "mlflow.runName": f"evaluation: {info.name}",
        "mlflow.source.name": "harness.evaluate",
        "evaluation_key": info.key,
        SWEEP: own,
        "method": str(info.axes["method"]),
        "evaluated": policy.name,
        "evaluated_folder": policy.folder or "",
        "evaluated_trial_key": policy.trial_key or "",
        **({"mlflow.source.git.commit": info.revision} if info.revision else {}),
    }
    if training is not None:
        tags |= {"training_run": training.info.run_id}
        if training.info.experiment_id == place:
            tags |= {PARENT: training.info.run_id}
    run = str(client.create_run(place, start_time=lines[0].ts, tags=tags).info.run_id)
    params: dict[str, Any] = {"method": info.axes["method"], "evaluated": info.axes["evaluated"], "seed": info.seed}
    params |= {"evaluated_step": policy.step} if policy.step is not None else {}
    for section in ("data", "environment"):
        params |= flatten(info.settings[section], section)
    client.log_batch(run, params=[Param(name, as_text(value)[:PARAM_CHARS]) for name, value in params.items()])
    log_metrics(client, run, lines)
    root = trial.folder.parents[1]
    for file in (*(root / name for name in TABLES), trial.folder / CONFIG, trial.folder / EPISODES):
        if file.is_dir():
            client.log_artifacts(run, str(file), file.name)
        elif file.exists():
            client.log_artifact(run, str(file))
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


def _identity_above(trial: str | None) -> str:
    """Identity of the sweep's folder that holds a trial's; "" where there is none."""
    try:
        return (
            "" if trial is None else (Path(trial).resolve().parents[1] / IDENTITY).read_text(encoding="utf-8").strip()
        )
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
