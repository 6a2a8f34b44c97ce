"""Exports are standard folders: transformers and PEFT load them and compute what the trained policy computes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.config import load_trial, trial_key
from harness.policy.export import export_policy, load_export
from harness.policy.folders import is_adapter, read_provenance
from harness.policy.load import TINY_ASSETS, Policy, PolicyError, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.runs.journal import Journal
from harness.runs.run import TrialRun
from harness.training.factory import save_policy
from tests.support.trained_policies import QUESTION, export, trained


@torch.no_grad()
def logits(model: Any, policy: Policy) -> torch.Tensor:
    prompt = policy.chat.prompt("Operators: Search", QUESTION)
    return model.eval()(input_ids=torch.tensor([prompt])).logits


@pytest.mark.parametrize(("lora", "merged"), [(False, True), (False, False), (True, True), (True, False)])
def test_transformers_loads_an_export_and_computes_the_same_logits(tmp_path: Path, lora: bool, merged: bool) -> None:
    policy = trained(lora)
    folder = export(policy, tmp_path, merged=merged)
    assert is_adapter(folder) == (lora and not merged)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.testing.assert_close(logits(loaded, policy), logits(policy.model, policy), atol=1e-4, rtol=1e-5)
    start = AutoModelForCausalLM.from_pretrained(TINY_ASSETS, dtype=torch.float32)
    assert (logits(start, policy) - logits(policy.model, policy)).abs().max() > 0.1  # the comparison can fail


def test_an_adapter_in_peft_format_gives_the_policy_back_on_its_base(tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    policy = trained(lora=True)
    folder = export(policy, tmp_path, merged=True, base=str(TINY_ASSETS)) / "adapter"
    base = AutoModelForCausalLM.from_pretrained(TINY_ASSETS, dtype=torch.float32)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, folder), policy), logits(policy.model, policy))
    alone = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.testing.assert_close(logits(alone, policy), logits(policy.model, policy))


@pytest.mark.parametrize("merged", [True, False])
def test_an_export_read_back_by_the_harness_is_the_policy(tmp_path: Path, merged: bool) -> None:
    policy = trained(lora=True)
    again = load_export(export(policy, tmp_path, merged=merged), torch.float32)
    torch.testing.assert_close(logits(again.model, policy), logits(policy.model, policy), atol=1e-4, rtol=1e-5)
    assert again.chat.prompt("s", "ü <think>") == policy.chat.prompt("s", "ü <think>")


def test_exporting_leaves_the_model_in_memory_as_it_was(tmp_path: Path) -> None:
    policy = trained(lora=True)
    before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
    export(policy, tmp_path, merged=True)
    after = policy.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert len(policy.trainable) == sum(".lora_" in name for name in before)


def test_a_base_is_kept_once_for_equal_weights(tmp_path: Path) -> None:
    first = trained(lora=True)
    export(first, tmp_path / "a", merged=False)
    bases = tmp_path / "bases"
    for place in ("b", "c"):
        export_policy(first, tmp_path / place, merged=False, base=None, bases=bases, provenance={})
    (base,) = bases.iterdir()
    files = [base, base / "model.safetensors", tmp_path / "b" / "adapter_model.safetensors"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in files)  # a server runs under another account
    other = with_lora(trained(lora=False), LoraSettings(4, 8.0), seed=0)  # a base of other weights
    export_policy(other, tmp_path / "d", merged=False, base=None, bases=bases, provenance={})
    assert len(list(bases.iterdir())) == 2


def test_an_adapter_outlives_the_cache_and_moves_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load_trial("tiny", ["steps=5", "policy.lora={rank: 4, alpha: 8.0}", "save.merged=false"])
    policy, run = trained(lora=True), tmp_path / "run"
    for name in ("gsspo_seed0", "grpo_seed0"):
        with Journal(run / "trials" / name) as journal:
            journal.policy(5, lambda folder: save_policy(config, policy, 5, folder))
    assert not (tmp_path / "home").exists()
    (base,) = (run / "bases").iterdir()  # one for both trials, and nothing half-written
    export = TrialRun(run / "trials" / "gsspo_seed0").policy_path(5)
    for place in (run, tmp_path / "elsewhere" / "moved"):
        if place != run:
            place.parent.mkdir()
            run.rename(place)
        again = load_export(place / export.relative_to(run), torch.float32)
        torch.testing.assert_close(logits(again.model, policy), logits(policy.model, policy), atol=1e-4, rtol=1e-5)
    said = (place / export.relative_to(run) / "README.md").read_text(encoding="utf-8")
    assert f"`bases/{base.name}` in the run's folder" in said


def test_an_adapter_whose_base_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    folder = export(trained(lora=True), tmp_path, merged=False, base=str(tmp_path / "gone"))
    with pytest.raises(PolicyError, match=rf"cannot load the policy.*{re.escape(str(tmp_path / 'gone'))}.*not there"):
        load_export(folder, torch.float32)


def test_the_chat_template_and_the_end_of_a_turn_are_those_of_the_policy(tmp_path: Path) -> None:
    policy = trained(lora=False)
    folder = export(policy, tmp_path, merged=True)
    messages = [{"role": "system", "content": "Operators: Search"}, {"role": "user", "content": QUESTION}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert tuple(ids) == policy.chat.prompt("Operators: Search", QUESTION)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    said = loaded.generate(torch.tensor([ids]), max_new_tokens=80, do_sample=False)[0, len(ids) :].tolist()
    assert policy.chat.end_of_turn not in said[:-1]


def test_a_trial_keeps_policies_when_and_only_when_asked_to() -> None:
    for when, kept in (("none", []), ("final", [5]), ("every", [0, 2, 4, 5])):
        config = load_trial("tiny", [f"save.when={when}", "steps=5", "eval_every=2"])
        assert [step for step in range(6) if config.saves_at(step)] == kept


def test_a_journal_replaces_an_export_whole_and_leaves_nothing_of_a_failed_one(tmp_path: Path) -> None:
    config = load_trial("tiny", ["steps=5"])
    with Journal(tmp_path) as journal:
        TrialRun(tmp_path).policy_path(5).mkdir(parents=True)
        (TrialRun(tmp_path).policy_path(5) / "left over").touch()
        journal.policy(5, lambda folder: save_policy(config, trained(lora=False), 5, folder))
        kept = sorted(p.name for p in TrialRun(tmp_path).policy_path(5).iterdir())

        def fails(folder: Path) -> None:
            (folder / "half").touch()
            raise OSError("no space left on device")

        with pytest.raises(OSError, match="no space"):
            journal.policy(5, fails)
    assert sorted(p.name for p in TrialRun(tmp_path).policy_path(5).iterdir()) == kept
    assert "left over" not in kept
    assert {"config.json", "model.safetensors", "tokenizer.json", "provenance.json"} <= set(kept)
    assert [p.name for p in TrialRun(tmp_path).policy_path(5).parent.iterdir()] == ["step-000005"]


def test_provenance_names_the_trial_that_made_the_policy(tmp_path: Path) -> None:
    config = load_trial("tiny", ["steps=7"], seed=3)
    save_policy(config, trained(lora=False), 7, tmp_path)
    noted = read_provenance(tmp_path)
    assert noted is not None
    assert noted["step"] == 7
    assert noted["config"] == config.model_dump(mode="json")
    assert noted["trial_key"] == trial_key(noted["config"], noted["code"])
    assert read_provenance(TINY_ASSETS) is None
