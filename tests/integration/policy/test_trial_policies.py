"""What a trial itself keeps, adapter and merged model, in the hands of transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.policy.load import TINY_ASSETS
from harness.runs.run import TrialRun
from tests.support.trained_trials import lora_trial


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_trial(tmp_path_factory.mktemp("trial"))


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(TINY_ASSETS)("What is the capital of Chad?")["input_ids"]
    return model.eval()(input_ids=torch.tensor([ids])).logits


def test_the_adapter_and_the_merged_model_of_a_trial_are_one_policy_and_not_its_start(kept: Path) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    merged = logits(AutoModelForCausalLM.from_pretrained(kept, dtype=torch.float32))
    on_its_base = AutoPeftModelForCausalLM.from_pretrained(kept / "adapter", dtype=torch.float32)
    torch.testing.assert_close(logits(on_its_base), merged, atol=1e-4, rtol=1e-5)
    start = AutoModelForCausalLM.from_pretrained(TINY_ASSETS, dtype=torch.float32)
    untrained = logits(start)
    assert (untrained - merged).abs().max() > 1e-3
    torch.testing.assert_close(logits(PeftModel.from_pretrained(start, kept / "adapter")), merged, atol=1e-4, rtol=1e-5)
    assert TrialRun(kept.parents[1]).result()["status"] == "finished"  # type: ignore[index]
