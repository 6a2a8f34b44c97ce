"""What a GPU computes is what the processor does: the update's weights, and a trial from end to end."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import TrialConfig
from harness.objectives.clip import FixedClip
from harness.objectives.presets import PRESETS
from harness.training.train import run_trial
from harness.training.update import policy_update
from tests.integration.training.test_trial import config
from tests.integration.training.test_update import SETTINGS, model
from tests.support.devices import NEEDS_GPU
from tests.support.episodes import group
from tests.support.file_trial import prepare
from tests.support.memory_sink import Memory
from tests.support.update_config import changed

pytestmark = NEEDS_GPU


@pytest.mark.parametrize("preset", ["grpo", "gspo", "gsspo"])
def test_an_update_moves_the_weights_as_on_the_processor(preset: str) -> None:
    groups = [group(i) for i in range(3)]
    chosen = PRESETS[preset]
    settings = changed(
        SETTINGS,
        ratio_unit=chosen.ratio_unit,
        reduction=chosen.reduction,
        updates_per_batch=2,
        tokens_per_microbatch=300,
    )
    moved, told = {}, {}
    for device in ("cpu", "cuda"):
        policy = model().to(device)
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
        told[device] = policy_update(policy, optimizer, groups, FixedClip(0.2, 0.2), settings).metrics
        moved[device] = {name: p.detach().cpu() for name, p in policy.named_parameters()}
    for name, weight in moved["cpu"].items():
        torch.testing.assert_close(moved["cuda"][name], weight, atol=1e-9, rtol=1e-7)
    assert told["cuda"] == pytest.approx(told["cpu"], rel=1e-6, abs=1e-9)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    """Two steps over a folder of questions: the packages that the offline world is made of may be missing here."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # the cache of indexes
    return config(tmp_path, 0, *prepare(tmp_path / "qa"))


def test_a_trial_trains_on_the_gpu_and_its_engine_agrees_with_the_trainer(trial: TrialConfig) -> None:
    memory = Memory()
    run_trial(trial, memory)
    assert len(memory.played[0, "eval"]) == 3
    assert 0 < memory.values[1]["sampler/logprob_gap"] < 1e-3
    assert memory.values[1]["update/grad_norm"] > 0


class Killed(Exception):
    pass


class Interrupted(Memory):
    """Keeps the first checkpoint as bytes, as a file would, and ends the trial there; or goes on from one."""

    def __init__(self, kept: bytes | None = None) -> None:
        super().__init__()
        self.saved = kept

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        if self.saved is None and step == 1:
            file = io.BytesIO()
            torch.save(dict(state), file)
            self.saved = file.getvalue()
            raise Killed

    def resume(self) -> Mapping[str, Any] | None:
        return None if self.saved is None else torch.load(io.BytesIO(self.saved), weights_only=True)


def test_a_killed_trial_goes_on_to_the_same_rollouts(trial: TrialConfig) -> None:
    whole, killed = Memory(), Interrupted()
    run_trial(trial, whole)
    with pytest.raises(Killed):
        run_trial(trial, killed)
    resumed = Interrupted(killed.saved)
    run_trial(trial, resumed)
    assert [v["step"] for v in resumed.values] == [2]
    last = [[t.token_ids.tolist() for t in memory.played[2, "train"]] for memory in (whole, resumed)]
    assert last[0] == last[1]
    assert resumed.values[0]["update/grad_norm"] == pytest.approx(whole.values[2]["update/grad_norm"], rel=1e-3)
