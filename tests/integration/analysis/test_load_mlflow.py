"""A sweep read back from MLflow gives the frames its journals give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.episode_frames import load_episodes
from analysis.load import LoadError, load_frames
from analysis.load_mlflow import load_experiment
from analysis.preregistration import check_registration
from analysis.summary import summarise
from harness.config import expand
from harness.config import load_sweep as load_file
from harness.runs.journal import Journal
from harness.runs.jsonl import LineLog
from harness.runs.layout import ATTEMPTS
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tracking import Tracker
from tests.support.mlflow_pages import server
from tests.support.synthetic_episodes import random_episodes, write

SWEEP = """
name: small
hypothesis: Units beat tokens.
profile: tiny
fixed: {steps: 10, eval_every: 5}
parameters:
  objective.preset: {values: [gsspo, grpo]}
seeds: [0, 1]
analysis:
  {primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}, margin: 0.03, alpha: 0.05,
   assay: {effect: -0.05, handicap: {objective.credit_shuffle: 0.5}, seeds: 1}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A sweep of six trials, two of them planted and one failed, in its folder and in an MLflow store."""
    out = tmp_path_factory.mktemp("runs")
    (out / "small.yaml").write_text(SWEEP)
    spec = load_file(out / "small.yaml")
    folder = SweepFolder(out / "small")
    folder.write_manifest(spec)
    trials = expand(spec, code="c" * 64)
    for i, trial in enumerate(trials):
        path = folder.trial(trial).folder
        TrialRun(path).prepare(trial, "c" * 64, spec.labels)
        ticks = iter(range(1_700_000_000_000 + i * 1000, 1_800_000_000_000))
        with LineLog(path / ATTEMPTS, clock=lambda ticks=ticks: next(ticks)) as log:
            log.append({"event": "start", "code": "c" * 64})
        journal = Journal(path, clock=lambda ticks=ticks: next(ticks))
        for step in (0, 5, 10):
            journal.metrics(step, {"eval/em": 0.1 * i + step / 100, "eval/em/world_single": 0.1 * i + step / 100})
        if i == len(trials) - 1:
            journal.fail(trial.key, "Traceback …\nMemoryError: none left")
        else:
            write(out / "small", path.name, 10, "eval", random_episodes(np.random.default_rng(i), 4))
            journal.finish(trial.key, {"eval/em": 0.1 * i + 0.1})
    uri = f"sqlite:///{out / 'mlflow.db'}"
    track(out, uri)
    return out, uri


def track(out: Path, uri: str) -> None:
    folder = SweepFolder(out / "small")
    tracker = Tracker(folder, uri, "small")
    for trial in expand(load_file(out / "small.yaml"), code="c" * 64):
        tracker.sync(folder.trial(trial))
    tracker.finish("FINISHED")


@pytest.mark.parametrize("where", ["a local store", "a server"])
def test_mlflow_gives_the_frames_of_the_journals(store, tmp_path, where):
    out, uri = store
    if where == "a local store":
        same_frames(out, uri, tmp_path)
        return
    # a server with a store of its own, to which metrics, artifacts and episodes go over HTTP
    with server(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "server.log") as address:
        track(out, address)
        same_frames(out, address, tmp_path / "cache")
        theirs = load_episodes(load_experiment("small", address, tmp_path / "cache")).episodes
        assert theirs.equals(load_episodes(load_frames(out / "small")).episodes)


def same_frames(out: Path, uri: str, cache: Path) -> None:
    ours, theirs = load_frames(out / "small"), load_experiment("small", uri, cache)
    assert theirs.trials.drop(columns="reason").equals(ours.trials.drop(columns="reason"))
    assert theirs.trials["reason"].tolist() == ours.trials["reason"].tolist()
    order = ["trial", "metric", "step"]
    left, right = (f.metrics.sort_values(order, ignore_index=True)[[*order, "value"]] for f in (ours, theirs))
    assert left.equals(right)
    assert theirs.config_hash == ours.config_hash
    assert theirs.questions == ours.questions
    assert list(theirs.arms) == list(ours.arms) == ["gsspo", "grpo", "handicap", "placebo"]
    assert summarise(theirs).text() == summarise(ours).text()


def test_episodes_come_along(store, tmp_path):
    out, uri = store
    ours = load_episodes(load_frames(out / "small"))
    theirs = load_episodes(load_experiment("small", uri, tmp_path))
    assert theirs.episodes.equals(ours.episodes)
    assert theirs.turns.equals(ours.turns)


def test_the_registered_plan_is_checked_against_the_runs(store, tmp_path):
    found = check_registration(load_experiment("small", store[1]))
    assert found.kept
    assert not load_experiment("small", store[1]).path
    assert found.plan.treatment == "gsspo"


def test_an_unknown_experiment_is_named(store):
    with pytest.raises(LoadError, match="'other'"):
        load_experiment("other", store[1])
