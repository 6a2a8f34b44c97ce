"""What an evaluation is asked for beside a trial's own settings: which answerers, how many votes, where it is logged.

On the command line both are `key=value`: the keys below are the evaluation's own, every other is a trial's
(`data.eval_suites=[nq]`, `data.eval_samples=8`, `environment.pool=full`, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from harness.config.schema import MAX_STEPS, Section, TrialConfig
from harness.config.sweep_file import Tracking
from harness.config.tree import merge, nest, parse_overrides
from harness.config.validation import build, unknown_override
from harness.config.yaml_source import ConfigError, Location, Node, Problem, Source
from harness.types import NonEmptyText, SmallCount

Method = Literal["agent", "direct", "cot", "self_consistency", "one_shot"]
Plan = Literal["revise", "ensemble", "search", "written"]


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and len({repr(v) for v in value}) < len(value):
        raise PydanticCustomError("repeated", "names a method twice")
    return tuple(value) if isinstance(value, list) else value


class EvaluationSettings(Section):
    """The evaluation's own keys."""

    method: Annotated[tuple[Method, ...], BeforeValidator(_listed), Field(min_length=1)] = ("agent",)
    """agent: the policy, turn by turn; the others are baselines answered by the operator LLM. One, or a list."""
    votes: SmallCount = 5
    """Samples of self_consistency."""
    plan: Plan = "revise"
    """Workflow of one_shot; written: the operator LLM writes one for each question."""
    profile: NonEmptyText | None = None
    """Data and environment for a model that no trial made."""
    step: Annotated[int, Field(ge=0, le=MAX_STEPS)] | None = None
    """Which of a trial's kept policies; null: the last."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the intervals."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Of the folder and in MLflow; null: made from the targets' names."""
    tracking: Tracking = Tracking()
    """uri, experiment, traces_per_step, register_policies."""


Overrides = list[tuple[str, Node]]


def read_settings(arguments: Sequence[str]) -> tuple[EvaluationSettings, Overrides, list[Problem]]:
    """The evaluation's own settings and the overrides of trials' settings among `key=value` arguments.

    With problems of own settings, the others stand: what they apply to can still be checked. Raises ConfigError when an
    argument cannot be read at all.
    """
    nothing = Node({}, Location(Source("command line", ""), 1, 1))
    own: dict[str, Node] = {}
    rest: Overrides = []
    problems: list[Problem] = []
    for name, node in parse_overrides(arguments):
        head = name.partition(".")[0]
        if head in EvaluationSettings.model_fields:
            own[head] = merge(own.get(head, nothing), nest(name.split("."), node))
        elif head in TrialConfig.model_fields:
            rest.append((name, node))
        else:
            problems.append(unknown_override(name, node, EvaluationSettings))
    sound = nothing
    for tree in own.values():
        try:
            build(EvaluationSettings, tree)
            sound = merge(sound, tree)
        except ConfigError as error:
            problems += error.problems
    return build(EvaluationSettings, sound), rest, problems


def cannot_play(method: Method, config: TrialConfig, settings: EvaluationSettings) -> str | None:
    """Why a baseline is meaningless with these operators, None if it is not."""
    if config.environment.backend.kind != "simulated":
        return None
    if config.data.source != "world":
        return "the simulated expert knows only the answers of real questions: give environment.backend a model"
    if method != "one_shot":
        return None
    if settings.plan == "written":
        return "the simulated expert recalls facts and cannot write a plan: give environment.backend a model"
    if settings.plan == "search":
        return "the simulated expert reads no passages: give environment.backend a model, or plan=revise or ensemble"
    return None
