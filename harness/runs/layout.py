"""File names in the folder of a sweep and of a trial.

    runs/<sweep>/sweep.yaml                 the resolved sweep; a different one is refused
    runs/<sweep>/sweep.id                   the folder's identity, which MLflow runs of this folder carry as a tag
    runs/<sweep>/trials/<name>-<key8>/      trials of the present sweep and code version, and no others
    runs/<sweep>/report/                    the sweep's report
    runs/<sweep>/superseded/                trials of an earlier code version, set aside by `--rerun`; never counted

A trial's folder (see `harness.runs.run.TrialRun`):

    config.yaml        the trial's configuration
    trial.json         what identifies the trial (`TrialInfo`)
    output.log         stdout and stderr of its worker
    attempts.jsonl     starts of the trial and why it was restarted (`AttemptEvent`)
    metrics.jsonl      {"n": line, "step": s, "values": {name: number}, "ts": ms, "crc": hex}
    events.jsonl       {"n": line, "kind": k, "fields": {...}, "ts": ms, "crc": hex}
    system.jsonl       {"n": line, "values": {name: number}, "ts": ms, "crc": hex}, see `harness.sweep.resource_monitor`
    episodes/          step-000012-eval.parquet: one file a (step, split), see `harness.runs.episode_store`
    policies/          step-000030: a trained policy as a folder, see `harness.policy.export`
    checkpoints/       of an unfinished trial, see `harness.runs.checkpoint`
    result.json        {"status": "finished" | "failed", "key": …, "final": {…}, "error": …, "ts": ms, "crc": hex}
                       and, of a failed trial that diverged, "diverged": {"step": s, "quantity": text};
                       of one that no attempt could finish, "refused": true
    .lock              held by the one process that works in the folder
"""

from __future__ import annotations

from enum import StrEnum

MANIFEST = "sweep.yaml"
IDENTITY = "sweep.id"
TRIALS = "trials"
REPORT = "report"
SUPERSEDED = "superseded"

CONFIG = "config.yaml"
INFO = "trial.json"
OUTPUT = "output.log"
ATTEMPTS = "attempts.jsonl"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
SYSTEM = "system.jsonl"
RESULT = "result.json"
EPISODES = "episodes"
POLICIES = "policies"
CHECKPOINTS = "checkpoints"


class AttemptEvent(StrEnum):
    """Kinds of records in `attempts.jsonl`. Values are stored: never change them."""

    START = "start"
    DIVERGED = "differs"  # a replayed line differs from the one written before
    RESTARTED = "ended before"  # the trial had a result, and is restarted
    JOURNAL_DAMAGED = "journal damaged"
    CHECKPOINT_REJECTED = "checkpoint not used"
