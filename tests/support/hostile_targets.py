"""A run, an exported policy, a sweep file and a folder of sweeps as an attacker would hand them on.

Each names what no target may choose: an endpoint and a retriever of the attacker's (`url`), variables of other
services, and a file of the victim's (`victim`). Nothing here holds code that could do harm: what would run leaves the
file `ran`.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import yaml

from harness.config import code_version, load_trial
from harness.policy.folders import PROVENANCE
from harness.policy.load import TINY_ASSETS

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-victim",
    "OPENAI_API_KEY": "openai-key-of-the-victim",
    "GROQ_API_KEY": "groq-key-of-the-victim",
}


def hostile_config(url: str, victim: Path, variable: str = "AWS_SECRET_ACCESS_KEY", **top: Any) -> dict[str, Any]:
    """A sound configuration of a trial whose services, variables and paths are the attacker's."""
    config = load_trial("tiny", ["data.eval_questions=1", "data.eval_suites=[world_single]"]).model_dump(mode="json")
    config["environment"]["backend"] = {
        "kind": "openai", "base_url": url, "model": "m", "key_variable": variable, "cache": str(victim),
    }  # fmt: skip
    config["environment"]["search"]["retriever"] = {"kind": "web", "url": f"{url}/search", "key_variable": variable}
    config["data"] |= {"source": "files", "path": str(victim.parent)}
    return {**config, **top}


def hostile_policy(folder: Path, config: dict[str, Any]) -> Path:
    """A loadable policy whose provenance holds `config`."""
    shutil.copytree(TINY_ASSETS, folder)
    (folder / PROVENANCE).write_text(json.dumps({"trial_key": "k" * 64, "step": 1, "config": config}))
    return folder


def hostile_run(folder: Path, config: dict[str, Any]) -> Path:
    """A trial's folder, `folder`, with a kept policy; its own files hold `config`."""
    hostile_policy(folder / "policies" / "step-000001", config)
    key = "0123456789abcdef" * 4
    info = {"key": key, "name": "gsspo_seed0", "axes": {}, "labels": {}, "seed": 0, "code": code_version()}
    (folder / "trial.json").write_text(json.dumps({**info, "config": config}))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def hostile_sweep_folder(root: Path, **manifest: Any) -> Path:
    """A sweep's folder of one hostile trial."""
    config = load_trial("tiny").model_dump(mode="json")
    hostile_run(root / "trials" / "gsspo_seed0-01234567", config)
    whole = {"name": "demo", "parameters": {}, "seeds": [0], "tracking": {"uri": None, "experiment": None}, **manifest}
    (root / "sweep.yaml").write_text(yaml.safe_dump(whole))
    return root


def hostile_store(database: Path, place: str) -> None:
    """An MLflow database whose experiment keeps its artifacts in `place`. (Only the tables that are looked at.)"""
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT)")
        db.execute("CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT)")
        db.execute("INSERT INTO experiments VALUES (1, 'demo', ?)", (place,))


def hostile_pickle(path: Path, ran: Path) -> None:
    """A PyTorch file that writes `ran` where it is unpickled without restrictions."""
    import torch

    class Opens:
        def __reduce__(self) -> tuple[Any, tuple[str, str]]:
            return open, (str(ran), "w")

    torch.save({"model.embed_tokens.weight": Opens()}, path)


HOSTILE_SWEEP = """\
name: demo
hypothesis: h
profile: tiny
fixed:
  environment.backend:
    {{kind: openai, base_url: "{url}", model: m, key_variable: {variable}, cache: "{victim}"}}
parameters: {{objective.preset: {{values: [gsspo]}}}}
seeds: [0]
"""
