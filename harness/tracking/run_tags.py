"""Tags, description and datasets of runs: everything about a run that is no result."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Iterable
from typing import Any

from harness.config import canonical_json, digest, flatten
from harness.runs.records import TrialInfo
from harness.tracking.client import PARAM_CHARS, TAG_CHARS, as_text, code_tags
from reports.markdown import markdown_text
from reports.palette import COLOURS

SWEEP = "sweep_id"
"""Tag of every run of a sweep: the identity of its folder."""
TRIAL_NAME = "trial"
"""Tag of a trial's run: the beginning of its folder's name. The run's own name starts with the arm's label."""
RUN_COLOUR = "mlflow.runColor"
"""Tag of a run: its colour in MLflow's charts."""
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
        "mlflow.runName": f"{info.label}_seed{info.seed}" if info.label else info.name,
        TRIAL_NAME: info.name,
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


def trial_params(info: TrialInfo) -> list[tuple[str, str]]:
    """Every setting of a trial, searchable: swept ones by the short names of their axes, the others by their last word
    (`learning_rate`), or two where they lie deeper (`clip.low`), or whole where those are ambiguous."""
    swept = {info.labels[name]: value for name, value in info.axes.items()} | {"seed": info.seed}
    settings = {
        n: v for n, v in flatten(info.settings).items() if n not in (*info.axes, "seed") and v not in (None, "")
    }
    short = {name: ".".join(name.split(".")[-1 if name.count(".") < 2 else -2 :]) for name in settings}
    counts = Counter([*short.values(), *swept])
    others = {short[n] if counts[short[n]] == 1 else n: v for n, v in settings.items()}
    return [(name, as_text(value)[:PARAM_CHARS]) for name, value in {**others, **swept}.items()]


def arm_colours(infos: Iterable[TrialInfo], manifest: dict[str, Any]) -> dict[str, str]:
    """Arm → the colour it has in the report's figures: by the order in which the file lists the values."""
    listed = {name: list(axis["values"]) for name, axis in manifest["parameters"].items()}

    def rank(info: TrialInfo) -> list[int]:
        return [
            values.index(info.axes[n]) if info.axes.get(n) in values else len(values) for n, values in listed.items()
        ]

    arms = dict.fromkeys(info.arm for info in sorted(infos, key=lambda info: (rank(info), info.arm)))
    return {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(arms)}


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
        against = " against ".join(markdown_text(as_text(value)) for value in p["contrast"])
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


def tag_values(tags: dict[str, Any]) -> list[tuple[str, str]]:
    """Tags as texts of the length that MLflow takes."""
    return [(name, as_text(value)[:TAG_CHARS]) for name, value in tags.items()]
