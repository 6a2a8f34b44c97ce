"""Loader of frames from an MLflow experiment, equal to those of its journals, for sweeps without a local folder.

Runs are read as `harness.tracking` writes them: a parent run a sweep (tag `sweep_key`, artifact sweep.yaml), a child
run a trial (tag `trial_key`, artifacts config.yaml and episodes/). Journals are authoritative: prefer them where
available.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from analysis.frames import Frames, arms_of, metrics_frame, setting, trials_frame
from analysis.load import LoadError, count_questions, ordered_arms, varying_axes
from harness.config.assay import HANDICAP, PLACEBO

PARENT_RUN_TAG = "mlflow.parentRunId"
DERIVED_METRIC_PREFIXES = ("final/", "best/", "signature/", "failure/", "system/")
"""Prefixes of metrics that the tracker derives or adds."""
_STATUS = {"FINISHED": "done", "FAILED": "failed"}


def load_experiment(experiment: str, uri: str | None = None, cache: str | Path | None = None) -> Frames:
    """The newest sweep of an experiment. `uri`: a store (sqlite:///…) or server (http://…); default the local store.

    With `cache`, episodes are downloaded there (once) and the frames can be used for episodes too.
    Raises LoadError when there is no such experiment or it holds no sweep.
    """
    client = _client(uri or "sqlite:///runs/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise LoadError(f"no MLflow experiment named {experiment!r} at {uri or 'sqlite:///runs/mlflow.db'}")
    runs = _search(client, found.experiment_id)
    parents = [r for r in runs if "sweep_key" in r.data.tags]
    if not parents:
        raise LoadError(f"experiment {experiment!r} holds no sweep")
    parent = max(parents, key=lambda r: (r.info.start_time or 0, r.info.run_id))
    children = sorted(
        (r for r in runs if r.data.tags.get(PARENT_RUN_TAG) == parent.info.run_id and "trial_key" in r.data.tags),
        key=_folder_name,
    )
    if not children:
        raise LoadError(f"the newest sweep of experiment {experiment!r} has no trial")
    root = Path(cache) if cache is not None else None
    sweep = _yaml_artifact(client, parent.info.run_id, "sweep.yaml")
    configs = {_folder_name(r): _yaml_artifact(client, r.info.run_id, "config.yaml") for r in children}
    children = [r for r in children if not configs[_folder_name(r)].get("keep_state")]  # trunks are no arm's
    configs = {_folder_name(r): configs[_folder_name(r)] for r in children}
    axes = varying_axes(sweep, configs)
    declared = {_folder_name(r): _declared(sweep, configs[_folder_name(r)], r) for r in children}
    arms = arms_of(configs, axes, declared, sweep.get("labels"))
    trials, metrics = [], []
    for run in children:
        name, arm = _folder_name(run), arms[_folder_name(run)]
        diverged = run.data.tags.get("diverged", "")
        status = "diverged" if diverged else _STATUS.get(run.info.status, "unfinished")
        known = {"done": "", "diverged": diverged, "failed": _last_line(run.data.tags.get("error", ""))}
        reason = known.get(status, "no result")
        rows = _history(client, run) if not reason else []
        if not reason and not rows:
            reason = "no metrics"
        seed = int(configs[name]["seed"])
        trials.append(
            {
                "trial": name,
                "arm": arm.label,
                "seed": seed,
                "status": status,
                "included": not reason,
                "reason": reason,
                "steps": configs[name].get("steps", 0),
                "config_hash": arm.config_hash,
            }
        )
        metrics += [{"trial": name, "arm": arm.label, "seed": seed, **row} for row in rows]
        if root is not None and not reason:
            _fetch_episodes(client, run.info.run_id, root / "trials" / name)
    frame = trials_frame(trials)
    return Frames(
        name=str(sweep.get("name", experiment)),
        config=sweep,
        trials=frame,
        metrics=metrics_frame(metrics),
        arms=ordered_arms(arms.values(), sweep),
        questions=count_questions(root, list(frame.loc[frame["included"], "trial"])) if root else {},
        path=root,
        promises=frozenset(r.data.tags["preregistration"] for r in children if "preregistration" in r.data.tags),
        codes=frozenset(r.data.tags["code_version"] for r in children if "code_version" in r.data.tags),
    )


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _search(client: Any, experiment: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=500, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _folder_name(run: Any) -> str:
    """Name of the trial's folder: `<name>-<key8>`. Raises LoadError where a run's tags would lead out of a folder."""
    tags = run.data.tags  # runs of earlier versions have the name alone
    name = f"{tags.get('trial') or tags.get('mlflow.runName', run.info.run_id)}-{tags['trial_key'][:8]}"
    if Path(name).name != name:
        raise LoadError(f"run {run.info.run_id}: {name!r} is no folder's name")
    return name


def _yaml_artifact(client: Any, run_id: str, name: str) -> dict[str, Any]:
    try:
        path = client.download_artifacts(run_id, name)
    except Exception as error:  # every store has its own
        raise LoadError(f"run {run_id}: artifact {name} is missing ({error})") from error
    value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise LoadError(f"run {run_id}: {name} is no mapping")
    return value


def _declared(sweep: dict[str, Any], config: dict[str, Any], run: Any) -> dict[str, Any]:
    """Values of the axes as the sweep file wrote them, matched against the resolved configuration; of a planted arm
    its name, which is in the run's parameters alone."""
    from analysis.registered_plan import read_analysis_plan, same_setting

    out = {}
    for axis, spec in (sweep.get("parameters") or {}).items():
        actual = setting(config, axis)
        values = spec.get("values", [])
        named = values.items() if isinstance(values, dict) else zip(values, values, strict=True)
        out[axis] = next((shown for shown, value in named if same_setting(value, actual)), actual)
    planted = {HANDICAP, PLACEBO} & set(run.data.params.values())
    return out | dict.fromkeys([read_analysis_plan(sweep.get("analysis")).axis], *planted) if planted else out


def _history(client: Any, run: Any) -> list[dict[str, Any]]:
    """Every metric of a run's journal, one value a step (the latest, where a step was written twice)."""
    rows = []
    for key in sorted(run.data.metrics):
        if key.startswith(DERIVED_METRIC_PREFIXES):
            continue
        steps: dict[int, tuple[int, float]] = {}
        for point in client.get_metric_history(run.info.run_id, key):
            if point.step not in steps or steps[point.step][0] <= point.timestamp:
                steps[point.step] = (point.timestamp, point.value)
        rows += [{"step": step, "metric": key, "value": value} for step, (_, value) in sorted(steps.items())]
    return rows


def _fetch_episodes(client: Any, run_id: str, folder: Path) -> None:
    if (folder / "episodes").is_dir():
        return
    if any(item.path == "episodes" for item in client.list_artifacts(run_id)):
        folder.mkdir(parents=True, exist_ok=True)
        client.download_artifacts(run_id, "episodes", str(folder))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed without a message"
