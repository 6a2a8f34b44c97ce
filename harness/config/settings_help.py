"""Settings as text, for the doors' `--help`."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from harness.config.evaluation import EvaluationSettings, Method
from harness.config.key_names import hints_of, sections_in
from harness.config.schema import TrialConfig
from harness.config.sweep_file import SweepFile

WIDTH = 118
METHODS: dict[Method, str] = {
    "agent": "the policy, turn by turn",
    "direct": "one answer of the operator LLM",
    "cot": "one answer of the operator LLM after step-by-step reasoning",
    "self_consistency": "the answer chosen from `votes` sampled ones",
    "one_shot": "a whole workflow, fixed before its first call: see `plan`",
}
TRIAL = "settings of a trial (values: harness/config/profiles/tiny.yaml; meaning: harness/config/schema.py):"


def evaluation_help() -> str:
    """Methods, settings of an evaluation, settings of a trial."""
    width = max(map(len, METHODS))
    lines = ["methods:", *(f"  {name:<{width}}  {text}" for name, text in METHODS.items())]
    lines += ["", "settings of an evaluation:", *describe_settings(EvaluationSettings)]
    return "\n".join([*lines, "", TRIAL, *list_settings(TrialConfig, leave_out={"profile"})])


def sweep_help() -> str:
    """Keys of a sweep file, settings of a trial."""
    lines = ["keys of a sweep file, which key=value may change too:", *list_settings(SweepFile)]
    return "\n".join([*lines, "", TRIAL, *list_settings(TrialConfig, leave_out={"profile", "seed"})])


def describe_settings(model: type[BaseModel]) -> list[str]:
    """A line for each own setting of a model: name, default, description."""
    rows = [
        (f"{name}={_shown(field.default)}", " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
    ]
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {text}".rstrip() for name, text in rows]


def list_settings(model: type[BaseModel], leave_out: Collection[str] = ()) -> list[str]:
    """Lines with the names of all settings of a trial, a section each: `update.{learning_rate, …}`."""
    single: list[str] = []
    lines: list[str] = []
    for name, annotation in hints_of(model).items():
        if name in leave_out:
            continue
        sections = sections_in(annotation)
        inner = {} if name == "parameters" else dict.fromkeys(key for part in sections for key in hints_of(part))
        if inner:
            lines.append(f"{name}.{{{', '.join(inner)}}}")
        else:
            single.append(name)
    folded = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ")
    return [part for line in [", ".join(single), *lines] for part in folded.wrap(line)]


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "null"
    if isinstance(value, BaseModel):
        return "{…}"
    return (
        f"[{', '.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    )
