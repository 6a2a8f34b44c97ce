"""Tags, description and datasets of runs: everything about a run that is no result."""

from __future__ import annotations

import getpass
from typing import Any

from harness.config import canonical_json, digest, flatten
from harness.runs.records import TrialInfo
from harness.tracking.client import as_text, code_tags

SWEEP = "sweep_id"
"""Tag of every run of a sweep: the identity of its folder."""
_COMMON = {"mlflow.source.name": "harness.sweep", "mlflow.source.type": "LOCAL"}


def sweep_tags(manifest: dict[str, Any], key: str, identity: str) -> dict[str, Any]:
    """Tags of a sweep's run; settings that no trial varies are `c.…`."""
    # a swept section, or a preset, sets more than its own name
    varied = {"seed", *manifest["parameters"], *manifest.get("varied", ())}
    return {
        **_COMMON,
        **_user(),
        "mlflow.runName": manifest["name"],
        "mlflow.note.content": sweep_description(manifest),
        "sweep_key": key,
        SWEEP: identity,
        "hypothesis": manifest["hypothesis"],
        "preregistration": manifest["preregistration"],
        "analysis": manifest["analysis"],
        **code_tags(),
        **{f"c.{name}": value for name, value in flatten(manifest["base"]).items() if name not in varied},
    }


def trial_tags(info: TrialInfo, manifest: dict[str, Any], identity: str) -> dict[str, Any]:
    """Tags of a trial's run."""
    return {
        **_COMMON,
        **_user(),
        "mlflow.runName": info.name,
        "trial_key": info.key,
        SWEEP: identity,
        "arm": info.arm,
        "seed": info.seed,
        "code_version": info.code,
        "config_hash": digest({k: v for k, v in info.settings.items() if k != "seed"}),
        "hypothesis": manifest["hypothesis"],
        "preregistration": info.preregistration or manifest["preregistration"],
        **code_tags(),
    }


def _user() -> dict[str, str]:
    """The user's name; empty where the system has none, as in some containers."""
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):
        return {}


def sweep_description(manifest: dict[str, Any]) -> str:
    """Hypothesis, registered analysis and seeds, shown on the sweep's page (Markdown)."""
    lines = [f"**Hypothesis.** {manifest['hypothesis']}", ""]
    analysis = manifest["analysis"]
    if analysis:
        p = analysis["primary"]
        against = f"{as_text(p['contrast'][0])} against {as_text(p['contrast'][1])}"
        limits = f"margin {analysis['margin']:g}, α = {analysis['alpha']:g}, correction {analysis['correction']}"
        lines += [f"**Registered analysis.** `{p['metric']}` of {against} (`{p['axis']}`), {limits}.", ""]
    seeds = ", ".join(str(seed) for seed in manifest["seeds"])
    return "\n".join([*lines, f"Seeds {seeds}. Pre-registration `{manifest['preregistration'][:12]}`."])


def datasets(info: TrialInfo) -> list[Any]:
    """Training and evaluation data of a trial. The offline world is part of the code: its version is the code's."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = info.settings["data"]
    source, split = data["source"], data["eval_split"]
    uses: dict[str, tuple[str, dict[str, Any]]] = {
        "training": ("train", {"suites": data["train_suites"]}),
        "evaluation": (split, {"suites": data["eval_suites"], "questions_per_suite": data["eval_questions"]}),
    }
    return [
        DatasetInput(
            Dataset(
                name=f"{source}/{part}",
                digest=digest([data, use, info.code])[:16],
                source_type="code" if source == "world" else "local",
                source=canonical_json({"source": source, "path": data["path"]}),
                profile=canonical_json({"split": part, **more}),
            ),
            tags=[InputTag("mlflow.data.context", use)],
        )
        for use, (part, more) in uses.items()
    ]
