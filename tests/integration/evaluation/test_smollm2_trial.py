"""A trial of the smollm2 profile (SmolLM2-135M, LoRA, real questions), one step long: its policy is evaluated."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from harness.config import code_version, expand, load_sweep
from harness.evaluate import main
from harness.policy.folders import is_adapter
from harness.policy.load import PolicyError, smollm2_gguf
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.worker import run_one

SAMPLE = Path(os.environ.get("HARNESS_QA_DIR", Path(__file__).resolve().parents[4] / "shared" / "data" / "qa"))
SWEEP = """\
name: real
hypothesis: none
profile: smollm2
fixed:
  {{steps: 1, checkpoint_every: 0, threads: 1, policy.warm_start: none, rollout: {{prompts_per_step: 1, group_size: 2}},
   environment: {{max_turns: 2, max_turn_tokens: 12, max_response_tokens: 120, observation_chars: 120}},
   objective.kl_weight: 0.01, update: {{updates_per_batch: 1, learning_rate: 1e-3}},
   data: {{path: {path}, train_suites: [nq], eval_suites: [nq, hotpotqa], eval_questions: 1}}}}
parameters: {{}}
seeds: [0]
"""


def has_smollm2() -> bool:
    try:
        return smollm2_gguf().exists()
    except PolicyError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not (SAMPLE / "nq.test.jsonl.gz").is_file(), reason="no questions: HARNESS_QA_DIR")
@pytest.mark.skipif(not has_smollm2(), reason="SmolLM2 is not installed")
def test_the_adapter_that_a_smollm2_trial_kept_scores_what_the_trial_scored(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(path=SAMPLE.resolve()))
    spec = load_sweep(file)
    folder = SweepFolder(tmp_path / "runs" / "real")
    folder.write_manifest(spec)
    (trial,) = expand(spec)
    home = folder.trial(trial).folder
    TrialRun(home).prepare(trial, code_version(), spec.labels)
    run_one(TrialRun(home), "harness.training.train:run_trial")
    *_, (step, trained, _) = TrialRun(home).metrics()
    assert step == 1
    assert is_adapter(TrialRun(home).policy_path(1))
    words = [str(home), "method=agent", "--out", str(tmp_path), "tracking.uri=http://127.0.0.1:9"]
    words.append(f"data.path={SAMPLE.resolve()}")  # where files are read, a target does not choose
    assert main(words) == 0
    (evaluated,) = (tmp_path / "evaluations").iterdir()
    with (evaluated / "scores.csv").open() as handle:
        scores = {row["name"]: row for row in csv.DictReader(handle)}
    with (evaluated / "episodes.csv").open() as handle:
        assert len(list(csv.DictReader(handle))) == 2
    for suite in ("nq", "hotpotqa"):
        assert float(scores[suite]["em"]) == trained[f"eval/em/{suite}"]
        assert float(scores[suite]["f1"]) == pytest.approx(trained[f"eval/f1/{suite}"])
