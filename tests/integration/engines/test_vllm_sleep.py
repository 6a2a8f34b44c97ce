"""In which order the vLLM engine sleeps, is filled and wakes, with a stand-in for vLLM that notes what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engines import vllm as module
from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.engine_settings import VllmSettings
from harness.engines.vllm import EngineError, VllmEngine
from harness.policy.tiny import new_model

MODEL = new_model(97, hidden=32, layers=1, heads=2)
SETTINGS = VllmSettings(max_model_len=64, dtype="float32")
REQUEST = GenerationRequest(0, [1, 2], 0, 4)


class StandIn:
    """vLLM's `LLM`, as far as the engine's life goes."""

    def __init__(self, said: list[Any], can_sleep: bool = True) -> None:
        self.said, self.resets = said, True
        self.llm_engine = SimpleNamespace(
            vllm_config=SimpleNamespace(model_config=SimpleNamespace(enable_sleep_mode=can_sleep))
        )

    def sleep(self, level: int) -> None:
        self.said.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        self.said.append(f"wake {' '.join(tags)}")

    def apply_model(self, take: Callable[[Any], set[str]]) -> list[set[str]]:
        self.said.append("fill")
        return [take(self)]

    def load_weights(self, weights: Any) -> set[str]:
        return {name for name, _ in weights}

    def modules(self) -> list[Any]:
        return []

    def named_parameters(self) -> list[tuple[str, Any]]:
        return list(MODEL.named_parameters())

    def reset_prefix_cache(self) -> bool:
        self.said.append("forget")
        return self.resets


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens, in order; torch is told that it has a GPU."""
    noted: list[Any] = []
    monkeypatch.setattr(module, "_import_vllm", lambda: SimpleNamespace(SamplingParams=dict))
    monkeypatch.setattr(module, "_build", lambda *a: (noted.append("build"), StandIn(noted))[1])
    monkeypatch.setattr(module, "_shut_down", lambda *a: None)
    monkeypatch.setattr(module, "process_state_kept", module.nullcontext)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: noted.append("give back"))
    return noted


def test_an_engine_is_filled_as_soon_as_it_is_built_and_torch_gives_back_first(said: list[Any]) -> None:
    VllmEngine(MODEL, SETTINGS)
    assert said == ["give back", "build", "fill", "forget"]


def test_a_sleeping_engine_wakes_for_its_weights_then_for_its_cache(said: list[Any]) -> None:
    """What torch has freed goes back before each: vLLM's pool could not take it."""
    engine = VllmEngine(MODEL, SETTINGS)
    said.clear()
    engine.sleep()
    engine.sleep()  # it sleeps already
    assert said == ["sleep 2"]
    with pytest.raises(EngineError, match="sleeps"):
        engine.generate([REQUEST], SamplingParams(1.0, 4, 3))
    said.clear()
    engine.load_weights(MODEL)
    assert said == ["give back", "wake weights", "fill", "give back", "wake kv_cache", "forget"]
    said.clear()
    engine.load_weights(MODEL)  # awake: nothing to wake
    assert said == ["fill", "forget"]


def test_an_engine_that_cannot_sleep_stays_as_it_is(said: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_build", lambda *a: StandIn(said, can_sleep=False))
    engine = VllmEngine(MODEL, SETTINGS)
    said.clear()
    engine.sleep()
    engine.load_weights(MODEL)
    assert said == ["fill", "forget"]


def test_a_prefix_cache_that_is_not_reset_is_an_error(said: list[Any]) -> None:
    engine = VllmEngine(MODEL, SETTINGS)
    engine._llm.resets = False
    with pytest.raises(EngineError, match="prefix cache"):
        engine.load_weights(MODEL)
