"""What the configuration says of services reaches them: addresses, keys by name, bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import TrialConfig, expand, load_sweep
from harness.operators.base import LLMBackend
from harness.operators.llm.openai import OpenAIBackend
from harness.operators.operator_services import operator_llm
from harness.operators.operator_settings import EndpointBackend, HttpSettings

URL = "http://127.0.0.1:9/v1"


def config(tmp_path: Path, *overrides: str) -> TrialConfig:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: t\nhypothesis: none\nprofile: tiny\nparameters: {}\nseeds: [0]\n")
    (trial,) = expand(load_sweep(file, overrides))
    return trial.config


def llm_of(made: TrialConfig) -> LLMBackend | None:
    return operator_llm(made.environment.pool, made.environment.backend, made.threads)


def test_an_endpoint_gets_its_key_variable_prices_and_bounds(tmp_path: Path) -> None:
    made = llm_of(
        config(
            tmp_path,
            f'environment.backend={{kind: openai, base_url: "{URL}", model: m, key_variable: MY_KEY, '
            "prompt_price: 2.0, http: {concurrency: 3, deadline_s: 7, attempt_s: 5, max_attempts: 2}}",
        )
    )
    assert isinstance(made, OpenAIBackend)
    assert made.settings == EndpointBackend(
        URL, "m", "MY_KEY", HttpSettings(concurrency=3, deadline_s=7, attempt_s=5, max_attempts=2), prompt_price=2.0
    )


def test_no_key_is_in_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "top-secret")
    text = f'environment.backend={{kind: openai, base_url: "{URL}", model: m, key_variable: MY_KEY}}'
    made = config(tmp_path, text)
    assert "top-secret" not in made.model_dump_json() + repr(llm_of(made))
