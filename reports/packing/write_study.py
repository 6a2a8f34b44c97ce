"""Writer of a study's results folder. Files are staged and moved into place at the end."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.episode_frames import Episodes
from analysis.frames import Frames
from analysis.load import load_frames
from harness.config.code_version import code_version
from harness.runs.host_info import machine_kind, packages
from harness.runs.run import TrialRun
from reports.chapters.all_chapters import CHAPTERS
from reports.chapters.chapter import Chapter
from reports.packing.git_revision import working_tree_revision
from reports.packing.results_folder import (
    METRICS_TABLE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    REPORT_PAGE,
    SWEEP_COPY,
    TABLES_FOLDER,
    TRIALS_TABLE,
)
from reports.report_data import ReportData, gather_report_data
from reports.write_report import render_report

KEPT_TRACES = frozenset(
    {
        "train/em",
        "train/parse_ok_rate",
        "train/format_ok",
        "train/reward_mean",
        "train/reward_std",
        "train/reward_variance",
        "train/operator_diversity",
        "train/lazy",
        "update/clip_fraction",
        "update/entropy",
        "update/grad_norm",
        "update/grad_norm_max",
        "update/kl",
        "update/kl_old",
        "time/step_s",
        "time/eval_s",
    }
)
"""Training metrics that are stored; evaluation metrics all are."""
SMALL_SUFFIX = "-small"
"""End of the name of a study that ran with `--small`."""
_QUESTION = ("trial", "suite", "question", "hops", "held_out", "em", "f1", "lenient", "n_turns", "n_ok", "tokens")


def write_study(run_dir: str | Path, out: str | Path, code_revision: str | None = None) -> Path:
    """Write `out`/STUDY from a sweep's folder; returns it. Replaces an existing folder.

    Raises ValueError when no trial of the sweep can be analysed, or where its name is none of a folder: what a sweep's
    manifest holds cannot choose what is replaced.
    """
    frames = load_frames(run_dir)
    if Path(frames.name).name != frames.name or frames.name.startswith("."):
        raise ValueError(f"the sweep's name {frames.name!r} is no folder's name")
    data = gather_report_data(frames)
    chapters = [make(data) for make in CHAPTERS]
    target = Path(out) / frames.name
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    (staging / TABLES_FOLDER).mkdir(parents=True)
    try:
        _write(staging, frames, data, chapters, code_revision)
        shutil.rmtree(target, ignore_errors=True)
        staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _write(folder: Path, frames: Frames, data: ReportData, chapters: list[Chapter], code_revision: str | None) -> None:
    sweep = redact_places(frames.config)
    (folder / SWEEP_COPY).write_text(
        yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8"
    )
    made = study_provenance(frames, data, code_revision)
    (folder / PROVENANCE_FILE).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    frames.trials.to_csv(folder / TRIALS_TABLE, index=False, lineterminator="\n")
    _parquet(kept_metrics(frames), folder / METRICS_TABLE)
    _parquet(question_rows(data.greedy), folder / QUESTIONS_TABLE)
    for chapter in chapters:
        for table in chapter.tables if chapter.from_episodes else ():
            full = table.frame if table.data is None else table.data
            full.to_csv(folder / TABLES_FOLDER / f"{table.name}.csv", index=False, lineterminator="\n")
    (folder / REPORT_PAGE).write_text(render_report(data, chapters), encoding="utf-8")


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd", compression_level=19)


def kept_metrics(frames: Frames) -> pd.DataFrame:
    """trial, step, metric, value: all evaluation metrics, and the training metrics KEPT_TRACES."""
    names = frames.metrics["metric"]
    rows = frames.metrics[names.str.startswith("eval") | names.isin(KEPT_TRACES)]
    out = rows[["trial", "step", "metric", "value"]].astype({"trial": "category", "metric": "category"})
    return out.astype({"step": "int32"}).reset_index(drop=True)


def question_rows(greedy: Episodes) -> pd.DataFrame:
    """One row an episode of the last greedy evaluation. `question` is a number: equal ones are the same question."""
    rows = greedy.episodes[[*_QUESTION, "step"]].copy()
    for name in ("trial", "suite"):
        rows[name] = rows[name].cat.remove_unused_categories()
    return rows


def study_provenance(frames: Frames, data: ReportData, code_revision: str | None) -> dict[str, Any]:
    """Provenance of the numbers. `code_revision` None: that of the working tree, if its code ran the trials."""
    machines, versions = machines_and_packages(frames)
    same = frames.codes == {code_version()}
    used = frames.trials[frames.trials["included"]]
    overrides = [_scrubbed(str(o)) for o in frames.config.get("overrides") or ()]
    study = frames.name.removesuffix(SMALL_SUFFIX)
    small = ["--small"] if frames.name.endswith(SMALL_SUFFIX) else []
    return {
        "study": study,
        "mode": "small" if small else "full",
        "command": " ".join(["python -m harness.sweep", f"ablations/{study}.yaml", *overrides, *small]),
        "configuration": frames.config_hash,
        "preregistration": data.registration.recorded,
        "plan_kept": data.registration.kept,
        "codes": sorted(frames.codes),
        "revision": code_revision or (working_tree_revision() if same else None),
        "machine": machines,
        "packages": versions,
        "trials": {"declared": len(frames.trials), "counted": len(used)},
        "seconds_per_trial": _seconds(frames),
        "questions": dict(frames.questions),
        "arms": [
            {"label": a.label, "settings": redact_places(dict(a.settings)), "config_hash": a.config_hash}
            for a in frames.arms.values()
        ],
    }


def machines_and_packages(frames: Frames) -> tuple[str, dict[str, str]]:
    """The kinds of machine that ran the trials, and the versions of their packages, as recorded by the trials.

    Trials of earlier versions of the code recorded neither: this machine is assumed.
    """
    assert frames.path is not None
    used = frames.trials.loc[frames.trials["included"], "trial"]
    last = [started[-1] for name in used if (started := TrialRun(frames.path / "trials" / name).attempts())]
    kinds = sorted({s["machine"] for s in last if "machine" in s}) or [machine_kind()]
    noted = [s["packages"] for s in last if "packages" in s] or [packages()]
    names = dict.fromkeys(name for found in noted for name in found)
    versions = {name: " and ".join(sorted({f[name] for f in noted if name in f})) for name in names}
    return "; ".join(kinds), versions


def _seconds(frames: Frames) -> float | None:
    """Median over trials of the seconds spent in steps and evaluations."""
    rows = frames.metrics[frames.metrics["metric"].isin(["time/step_s", "time/eval_s"])]
    return round(float(rows.groupby("trial")["value"].sum().median()), 1) if len(rows) else None


PLACEHOLDER = "FOLDER"
"""Replacement of a path of the machine that ran a sweep."""
_PATH = re.compile(r"^(~|\.{0,2}/|[A-Za-z]:\\).*|.*://.*")


def redact_places(tree: Any) -> Any:
    """Plain data with every path or address replaced by PLACEHOLDER; without the tracking store."""
    if isinstance(tree, Mapping):
        return {k: _scrubbed_entry(k, v) for k, v in tree.items() if k not in ("tracking", "cache")}
    if isinstance(tree, list | tuple):
        return [redact_places(v) for v in tree]
    return _scrubbed(tree) if isinstance(tree, str) else tree


def _scrubbed_entry(key: Any, value: Any) -> Any:
    return PLACEHOLDER if isinstance(value, str) and str(key).endswith("path") else redact_places(value)


def _scrubbed(text: str) -> str:
    head, mark, tail = text.partition("=")
    if mark and (_PATH.match(tail) or head.endswith("path")):
        return f"{head}={PLACEHOLDER}"
    return PLACEHOLDER if _PATH.match(text) else text
