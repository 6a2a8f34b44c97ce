"""A branched arm continues its trunk exactly: weights, optimizer, questions and random streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.config import TrialConfig, expand, load_sweep
from harness.training.train import run_trial
from tests.support.memory_sink import Memory
from tests.support.small_trials import SMALL

SWEEP = """\
name: t
hypothesis: none
profile: tiny
parameters: {objective.preset: {values: [grpo, gsspo]}}
branch: {after: 2, arm: {objective.preset: grpo}}
seeds: [0]
"""


class Keeping(Memory):
    """Keeps the last checkpoint and events; resumes from a given state."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.state, self.events, self.saved = state, [], {}

    def event(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields))

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        import copy

        self.saved[step] = copy.deepcopy(dict(state))

    def resume(self) -> Mapping[str, Any] | None:
        return self.state


@pytest.fixture(scope="module")
def trials(tmp_path_factory) -> dict[str, TrialConfig]:
    path = tmp_path_factory.mktemp("branch") / "sweep.yaml"
    path.write_text(SWEEP)
    changes = [*SMALL, "steps=4", "eval_every=4", "checkpoint_every=1", "data.eval_questions=2"]
    return {t.name.split("_")[0]: t.config for t in expand(load_sweep(path, changes))}


@pytest.fixture(scope="module")
def trunk(trials) -> Keeping:
    sink = Keeping()
    run_trial(trials["trunk"], sink)
    return sink


def run(config: TrialConfig, state: Mapping[str, Any] | None) -> Keeping:
    sink = Keeping(state)
    run_trial(config, sink)
    return sink


def test_the_trunk_s_own_arm_is_the_run_without_a_branch(trials, trunk):
    whole = run(trials["grpo"].model_copy(update={"branch": None}), None)
    branched = run(trials["grpo"], trunk.saved[2])
    assert [v["step"] for v in branched.values] == [2, 3, 4]
    assert branched.values[1:] == whole.values[3:]
    assert branched.values[0]["eval/em"] == trunk.values[-1]["eval/em"]
    assert "train/em" not in branched.values[0]
    assert ("branched", {"step": 2, "trunk": trials["grpo"].branch.trunk}) in branched.events


def test_another_arm_starts_from_the_same_policy_with_its_own_optimizer_settings(trials, trunk):
    slower = trials["gsspo"].update.model_copy(update={"learning_rate": 1e-9})
    arm, still = (
        run(c, trunk.saved[2]) for c in (trials["gsspo"], trials["gsspo"].model_copy(update={"update": slower}))
    )
    assert arm.values[0]["eval/em"] == trunk.values[-1]["eval/em"]
    assert [t.question.id for t in arm.played[3, "train"]] == [t.question.id for t in still.played[3, "train"]]
    moved = {
        name: float((sink.saved[3]["weights"][key] - trunk.saved[2]["weights"][key]).abs().max())
        for name, sink in (("arm", arm), ("still", still))
        for key in list(trunk.saved[2]["weights"])[:1]
    }
    assert moved["arm"] > 1e-4
    assert moved["still"] < 1e-6


def test_a_killed_branch_resumes_from_its_own_checkpoint(trials, trunk):
    whole = run(trials["gsspo"], trunk.saved[2])
    resumed = run(trials["gsspo"], whole.saved[3])
    assert resumed.values == whole.values[2:]
    assert not any(kind == "branched" for kind, _ in resumed.events)


def test_a_branch_without_its_trunk_s_state_is_refused(trials, trunk):
    with pytest.raises(ValueError, match="no training state of step 2"):
        run(trials["gsspo"], None)
    with pytest.raises(ValueError, match="no training state of step 2"):
        run(trials["gsspo"], trunk.saved[1])
