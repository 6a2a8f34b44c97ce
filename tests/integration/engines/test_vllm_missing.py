"""Where vLLM is not installed: a sentence that says how to get it, and nothing else of the harness suffers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.engines.engine_settings import VllmSettings
from harness.engines.vllm import EngineError, VllmEngine
from harness.policy.tiny import new_model


def test_asking_for_a_missing_vllm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match="make setup-vllm"):
        VllmEngine(new_model(97, hidden=32, layers=1, heads=2), VllmSettings(max_model_len=64, dtype="float32"))


def test_the_harness_imports_vllm_only_when_an_engine_is_made() -> None:
    program = "import sys; sys.modules['vllm'] = None; import harness.engines.vllm, harness.training.train"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
