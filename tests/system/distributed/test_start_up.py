"""Nothing that several workers share is ever whole on one of their GPUs (simulated: torch is told that it has one)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import load_trial
from harness.distributed.collective import ALONE
from harness.engines.base import Engine
from harness.policy.export import export_policy
from harness.policy.load import Policy, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.policy.sharding import _hollow
from harness.policy.tiny import new_model
from harness.training import factory, train
from harness.training.warm_start.start_policy import base_policy
from tests.support.episodes import chat
from tests.support.memory_sink import Memory


class Two:
    rank, size = 0, 2

    def gather(self, value: Any) -> list[Any]:
        return [value, value]


def test_what_workers_share_is_loaded_into_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = load_trial("tiny")
    assert {p.device.type for p in base_policy(config, Two()).model.parameters()} == {"cpu"}
    with pytest.raises((AssertionError, RuntimeError)):  # it goes to the GPU, and there is none
        base_policy(config, ALONE)


def test_the_references_copy_holds_no_weights_before_it_is_sharded() -> None:
    model = new_model(97, hidden=32, layers=2, heads=2)
    hollow = _hollow(model)
    assert all(p.is_meta and not p.requires_grad for p in hollow.parameters())
    assert hollow.lm_head.weight is hollow.model.embed_tokens.weight  # type: ignore[union-attr]
    for (name, own), (_, others) in zip(hollow.named_buffers(), model.named_buffers(), strict=True):
        assert torch.equal(own, others), name


class Watched:
    """An engine that notes when it sleeps and wakes, in a list."""

    def __init__(self, engine: Engine, said: list[str]) -> None:
        self._engine, self._said = engine, said

    def __getattr__(self, name: str) -> Any:
        if name in ("sleep", "load_weights"):
            self._said.append(name)
        return getattr(self._engine, name)


def test_the_engine_sleeps_while_a_policy_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    made, update, kept = factory.engine, train.policy_update, Memory()
    monkeypatch.setattr(factory, "engine", lambda *a: (said.append("engine"), Watched(made(*a), said))[1])
    monkeypatch.setattr(train, "policy_update", lambda *a: (said.append("update"), update(*a))[1])
    monkeypatch.setattr(train, "restore_training", lambda *a: said.append("restore"))
    monkeypatch.setattr(kept, "policy", lambda *a: said.append("keep"))
    changes = ("steps=1", "eval_every=1", "data.eval_questions=1", "data.eval_suites=[world_single]", "save.when=every",
               "data.eval_samples=0", "rollout.prompts_per_step=2", "rollout.group_size=2",
               "update.updates_per_batch=1")  # fmt: skip
    train.run_trial(load_trial("tiny", changes), kept)
    assert said == [
        "restore", "engine", "sleep", "keep", "load_weights", "sleep", "update", "load_weights", "sleep", "keep",
    ]  # fmt: skip


def test_merged_weights_leave_the_device_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by where they are: a weight is moved before the next one is merged."""
    import harness.policy.export as export

    said: list[str] = []

    class Weight(torch.Tensor):
        def cpu(self, *a: Any, **k: Any) -> torch.Tensor:
            said.append("moved")
            return self.as_subclass(torch.Tensor)

    def merged(model: torch.nn.Module) -> Any:
        for name, weight in plain(model):
            said.append("merged")
            yield name, weight.as_subclass(Weight)

    plain = export.plain_weights
    monkeypatch.setattr(export, "plain_weights", merged)
    policy = with_lora(
        Policy(new_model(len(chat().tokenizer), hidden=32, layers=1, heads=2), chat()), LoraSettings(2, 4.0), 0
    )
    export_policy(policy, tmp_path / "kept", merged=True, base="somewhere", bases=tmp_path, provenance={})
    assert said[:4] == ["merged", "moved"] * 2
