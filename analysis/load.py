"""Journals on disk → frames. Schema in `frames.py`; episodes, read column by column on demand, in `episode_frames.py`.

    <sweep>/sweep.yaml
    <sweep>/trials/<name>-<key8>/{config.yaml, trial.json, metrics.jsonl, events.jsonl, episodes/*.parquet, result.json}

Only finished trials with an intact journal are included. All others stay in `Frames.trials` with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from analysis.frames import Arm, Frames, arms_of, metrics_frame, setting, swept_axes, trials_frame
from harness.runs.episode_store import open_episodes
from harness.runs.records import TrialInfo
from harness.runs.run import TrialRun


class LoadError(ValueError):
    """The folder is no sweep, or has no trial to analyse."""


def load_frames(run_dir: str | Path) -> Frames:
    """Read a sweep's directory. Raises LoadError when it has no trial directory at all."""
    root = Path(run_dir)
    folders = trial_folders(root)
    if not folders:
        raise LoadError(f"{root}: no trials/ with a config.yaml inside; is this a sweep's output folder?")
    sweep = _yaml(root / "sweep.yaml") if (root / "sweep.yaml").exists() else {}
    configs = {f.name: _config(f) for f in folders}
    folders = [f for f in folders if not configs[f.name].get("keep_state")]  # trunks are no arm's
    configs = {f.name: configs[f.name] for f in folders}
    infos = {f.name: info for f in folders if (info := _info(f)) is not None}
    declared = {name: info.axes for name, info in infos.items()}
    arms = arms_of(configs, varying_axes(sweep, configs), declared, sweep.get("labels"))
    trials, metrics = [], []
    for folder in folders:
        arm, config = arms[folder.name], configs[folder.name]
        status, reason = _status(folder, infos[folder.name].key if folder.name in infos else None)
        rows: list[dict[str, Any]] = []
        if not reason:
            try:
                rows = [
                    {"trial": folder.name, "arm": arm.label, "seed": config["seed"]}
                    | {"step": step, "metric": k, "value": v}
                    for step, values, _ in TrialRun(folder).metrics()
                    for k, v in values.items()
                ]
            except ValueError as error:
                reason = str(error).replace(f"{folder}/", "")
            else:
                reason = "" if rows else "no metrics"
        trials.append(
            {
                "trial": folder.name,
                "arm": arm.label,
                "seed": config["seed"],
                "status": status,
                "included": not reason,
                "reason": reason,
                "steps": config.get("steps", 0),
                "config_hash": arm.config_hash,
            }
        )
        metrics += rows if not reason else []
    frame = trials_frame(trials)
    return Frames(
        name=str(sweep.get("name", root.name)),
        config=sweep,
        trials=frame,
        metrics=metrics_frame(metrics).drop_duplicates(["trial", "step", "metric"], keep="last", ignore_index=True),
        arms=ordered_arms(arms.values(), sweep),
        questions=count_questions(root, list(frame.loc[frame["included"], "trial"])),
        path=root,
        promises=frozenset(info.preregistration for info in infos.values() if info.preregistration),
        codes=frozenset(info.code for info in infos.values() if info.code),
    )


def trial_folders(root: Path) -> list[Path]:
    """Trial directories of a sweep, by name."""
    return sorted(p.parent for p in root.glob("trials/*/config.yaml"))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise LoadError(f"{path}: not readable as YAML ({error})") from error
    if not isinstance(value, dict):
        raise LoadError(f"{path}: a mapping is needed")
    return value


def _config(folder: Path) -> dict[str, Any]:
    config = _yaml(folder / "config.yaml")
    if "seed" not in config:
        raise LoadError(f"{folder / 'config.yaml'}: no seed")
    return config


def _info(folder: Path) -> TrialInfo | None:
    """trial.json, None where there is none."""
    try:
        return TrialRun(folder).info()
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LoadError(str(error)) from error


def _status(folder: Path, key: str | None) -> tuple[str, str]:
    """(done | failed | diverged | unfinished, reason for exclusion or "")."""
    run = TrialRun(folder)
    result = run.result()
    if result is None:
        return "unfinished", "no result: still running, or killed"
    if key is not None and result["key"] != key:
        return "unfinished", "its result belongs to another configuration or version of the code"
    if result["status"] == "finished":
        return "done", ""
    if (where := run.diverged(result["key"])) is not None:
        return "diverged", where
    return "failed", run.error_line() or "failed without a message"


def varying_axes(sweep: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The declared axes that do vary (all of them when none does), or every path that differs between trials."""
    declared = list(sweep.get("parameters") or {})
    if not declared:
        return swept_axes(list(configs.values()))
    varying = [a for a in declared if len({repr(setting(c, a)) for c in configs.values()}) > 1]
    return varying or declared


def ordered_arms(arms: Iterable[Arm], sweep: Mapping[str, Any]) -> dict[str, Arm]:
    """Arms by label, in the order in which the sweep file lists the values."""
    from analysis.registered_plan import same_setting

    listed = {path: axis.get("values", []) for path, axis in (sweep.get("parameters") or {}).items()}

    def rank(arm: Arm) -> tuple[int, ...]:
        places = []
        for path, value in arm.settings.items():
            values = listed.get(path, [])
            places.append(next((i for i, v in enumerate(values) if same_setting(v, value)), len(values)))
        return tuple(places)

    unique = {arm.label: arm for arm in arms}
    return {arm.label: arm for arm in sorted(unique.values(), key=lambda a: (rank(a), a.label))}


def count_questions(root: Path, trials: list[str]) -> dict[str, int]:
    """Distinct questions a suite in the last greedy evaluation of the first included trial."""
    for trial in trials:
        files = TrialRun(root / "trials" / trial).episode_files(split="eval")
        if files:
            with contextlib.suppress(OSError, pa.ArrowException):  # the reader of the episodes reports a broken file
                table = open_episodes(files[-1].path).read(columns=["suite", "question_id"]).to_pandas()
                return {str(k): int(v) for k, v in table.groupby("suite")["question_id"].nunique().items()}
    return {}
