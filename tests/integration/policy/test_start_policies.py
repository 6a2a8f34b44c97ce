"""Start policies of the tiny tier: which weights a configuration starts from, and what to do where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.config import ConfigError, load_trial
from harness.policy.load import PolicyError, load_policy, start_file
from harness.training.warm_start.start_policy import base_policy


def loaded(start: str, cache: Path) -> dict[str, torch.Tensor]:
    policy = load_policy("tiny", None, init="start", dtype=torch.float32, seed=0, cache=cache, start=start)
    return policy.model.state_dict()


def test_a_start_policy_from_the_cache_takes_the_place_of_the_shipped_weights(tmp_path: Path) -> None:
    shipped = loaded("natural-0", tmp_path)
    other = {name: torch.full_like(p, 0.5) for name, p in shipped.items() if "lm_head" not in name}
    file = start_file("natural-7", tmp_path)
    file.parent.mkdir()
    save_file(other, file)
    found = loaded("natural-7", tmp_path)
    assert all(torch.equal(found[name], p) for name, p in other.items())
    assert not torch.equal(shipped["model.norm.weight"], found["model.norm.weight"])


def test_a_start_policy_that_is_not_made_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="tiny_recipe code-5"):
        loaded("code-5", tmp_path)


def test_the_default_is_the_interfaces_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harness.training.warm_start.start_policy.cache_folder", lambda: tmp_path)
    with pytest.raises(PolicyError, match="start policy code-0 is not made"):
        base_policy(load_trial("tiny", ["environment.interface=code"]))
    base_policy(load_trial("tiny", ["environment.interface=code", "policy.start=natural-0"]))
    base_policy(load_trial("tiny", []))


@pytest.mark.parametrize("name", ["natural", "natural-x", "../natural-0", "json-0"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.start"):
        load_trial("tiny", [f"policy.start={name}"])
