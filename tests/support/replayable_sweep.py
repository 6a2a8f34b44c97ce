"""A sweep's folder without its MLflow runs, and everything a reader of MLflow sees of one."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from mlflow.tracking import MlflowClient

from harness.config import code_version, expand, load_sweep
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.attempts import TrialFailed
from harness.sweep.worker import run_one

SWEEP = """\
name: demo
hypothesis: h
profile: tiny
fixed: {steps: 2, eval_every: 1, data.eval_suites: [world_single]}
parameters: {objective.preset: {values: [gsspo, gspo]}}
seeds: [3]
"""


def make(home: Path, *functions: str) -> SweepFolder:
    """A sweep's folder, its trials run here and now; a trial without a function stays unrun."""
    path = home / "demo.yaml"
    path.write_text(SWEEP)
    spec = load_sweep(path)
    folder = SweepFolder(home / "runs" / "demo")
    folder.write_manifest(spec)
    for trial, function in itertools.zip_longest(expand(spec), functions):
        folder.trial(trial).prepare(trial, code_version(), spec.labels, spec.preregistration)
        if function:
            try:
                run_one(folder.trial(trial), f"tests.support.cheap_trials:{function}")
            except TrialFailed:
                assert function == "gspo_fails"
    return folder


def seen(folder: SweepFolder) -> dict:
    """Everything a reader of MLflow sees of the sweep, without MLflow's own identifiers."""
    client = MlflowClient(f"sqlite:///{folder.root.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo").experiment_id
    shown: dict = {}
    traced = Counter()
    for trace in client.search_traces(locations=[experiment], max_results=500):
        tags = {k: v for k, v in trace.info.tags.items() if not k.startswith("mlflow.")}
        verdicts = sorted(a.name for a in trace.info.assessments)
        mark = (trace.info.request_time, *sorted(tags.items()), *verdicts, *(span.name for span in trace.data.spans))
        traced[trace.info.trace_metadata["mlflow.sourceRun"], mark] += 1
    assert set(traced.values()) <= {1}, "an episode has two traces"
    for run in client.search_runs([experiment]):
        name, counts = run.info.run_name, Counter(r.info.run_name for r in client.search_runs([experiment]))
        assert counts[name] == 1, f"{name} is there {counts[name]} times"
        shown[name] = {
            "status": run.info.status,
            "times": (run.info.start_time if name != "demo" else 0, run.info.end_time if name != "demo" else 0),
            "params": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if k not in ("mlflow.parentRunId", "sweep_id")},
            "traces": sorted(mark for owner, mark in traced if owner == run.info.run_id),
            "inputs": sorted(d.dataset.digest for d in run.inputs.dataset_inputs),
            "artifacts": sorted(a.path for a in client.list_artifacts(run.info.run_id)),
            "metrics": {
                key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
        }
    return shown
