"""Trained policies in MLflow's model registry: a model an arm, a version a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

POLICY = "policy"
"""Artifact folder of the run that holds the policy (see `harness.policy.export`)."""


def register_policy(client: Any, run: str, policies: Sequence[Path], name: str, seed: int, em: float | None) -> None:
    """Keep the newest of a trial's `policies` with its run, as a version of the model `name`. Idempotent.

    Does nothing for a trial that kept none (`save.when: none`).
    """
    if not policies or client.search_model_versions(f"run_id = '{run}'"):
        return
    client.log_artifacts(run, str(policies[-1]), POLICY)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Trained policies: one version a trial, see its run.")
    source = f"{client.get_run(run).info.artifact_uri}/{POLICY}"
    tags = {"seed": str(seed), "step": policies[-1].name.removeprefix("step-").lstrip("0") or "0"}
    tags |= {"final_em": f"{em:.4f}"} if em is not None else {}
    client.create_model_version(name, source, run, tags=tags)


def unregister_policies(client: Any, run: str) -> None:
    """Delete the model versions that a run registered."""
    for version in client.search_model_versions(f"run_id = '{run}'"):
        client.delete_model_version(version.name, version.version)
