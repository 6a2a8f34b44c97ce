"""A tiny policy that has moved away from its start, and its export: shared by the tests of exports."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.policy.export import export_policy
from harness.policy.load import Policy, load_policy, with_lora
from harness.policy.policy_settings import LoraSettings

QUESTION = "What is the capital of Chad?"


def trained(lora: bool, by: float = 0.02) -> Policy:
    """Every trainable weight differs from its start by noise of this deviation."""
    policy = load_policy("tiny", None, init="start", dtype=torch.float32, seed=0, cache=Path("unused"))
    if lora:
        policy = with_lora(policy, LoraSettings(4, 8.0), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter += by * torch.randn_like(parameter)
    return policy


def export(policy: Policy, home: Path, *, merged: bool, base: str | None = None) -> Path:
    folder = home / "export"
    export_policy(policy, folder, merged=merged, base=base, bases=home / "bases", provenance={"step": 3})
    return folder
