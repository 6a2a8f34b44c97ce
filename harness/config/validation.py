"""From a located tree to a typed model, or to located problems.

Checks that need other parts of the harness or the file system (operator names, files) are here too; the operators
are imported only when a configuration is otherwise sound.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.config.data_checks import questions_exist, training_questions_exist, with_source
from harness.config.key_names import did_you_mean, fields_at, hint_for_key, key_names
from harness.config.schema import TrialConfig
from harness.config.tree import find, locate, plain
from harness.config.trust import variables_are_keys
from harness.config.unused_settings import overrides_take_effect
from harness.config.yaml_source import ConfigError, Node, Problem

Model = TypeVar("Model", bound=BaseModel)
Check = Callable[[Node], list[Problem]]

_WORDS = {
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "dataclass_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "too_short": "needs at least {min_length} entry",
    "string_too_short": "must not be empty",
    "union_tag_invalid": "kind must be one of {expected_tags}",
    "union_tag_not_found": "needs a kind",
    "string_pattern_mismatch": "must match {pattern}",
}


def build(model: type[Model], tree: Node, prefix: str = "") -> Model:
    """Validate a tree against a pydantic model. Raises ConfigError with every problem."""
    try:
        # as JSON: there the strict mode of pydantic builds dataclasses from mappings and tuples from lists
        return model.model_validate_json(json.dumps(plain(tree)))
    except ValidationError as error:
        problems = [_problem(model, tree, dict(entry), prefix) for entry in error.errors() if not _follows(entry)]
        raise ConfigError(problems) from None


def check_trial(tree: Node, checks: Iterable[Check]) -> TrialConfig:
    """A trial configuration that its own types and every further check accept. Raises ConfigError."""
    problems: list[Problem] = []
    config = None
    tree = with_source(tree)
    try:
        config = build(TrialConfig, tree)
    except ConfigError as error:
        problems += error.problems
    for check in checks:
        problems += check(tree)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def unknown_override(name: str, node: Node, own: type[BaseModel], hidden: Collection[str] = ()) -> Problem:
    """The problem of an override whose first part is a key neither of `own` nor of a trial; `hidden` keys are not
    suggested."""
    names = [key for model in (own, TrialConfig) for key in key_names(model) if key not in hidden]
    heads = list(dict.fromkeys(key.partition(".")[0] for key in names))
    head, dot, rest = name.partition(".")
    hint = hint_for_key(head, heads, heads if dot else list(dict.fromkeys(names)))
    whole = next((f"{h}.{rest}" for h in heads if dot and hint == f"did you mean {h!r}?"), None)
    if whole in names:
        hint = f"did you mean {whole!r}?"
    return Problem(node.key_at or node.at, f"unknown key {name!r}", hint)


def files_exist(tree: Node) -> list[Problem]:
    """Paths that the configuration names exist (relative ones from the working directory)."""
    kind = find(tree, "policy.kind")
    wanted = ["data.path", *(["policy.path"] if kind is not None and kind.value == "gguf" else [])]
    nodes = [(name, find(tree, name)) for name in wanted]
    return [
        Problem(node.at, f"{name}: there is no {node.value!r}")
        for name, node in nodes
        if node is not None and isinstance(node.value, str) and not Path(node.value).exists()
    ]


def cache_is_free(tree: Node) -> list[Problem]:
    """The response cache's file is one, or not there yet."""
    from harness.operators.llm.cache import is_foreign

    node = find(tree, "environment.backend.cache")
    if node is None or not isinstance(node.value, str) or "\0" in node.value or not is_foreign(Path(node.value)):
        return []
    return [Problem(node.at, f"environment.backend.cache: {node.value!r} is there and is no response cache")]


def operators_exist(tree: Node) -> list[Problem]:
    """The pool names operators that may be called, or a pool."""
    from harness.operators import CALLABLE, POOLS

    pool = find(tree, "environment.pool")
    if pool is None:
        return []
    if isinstance(pool.value, str) and pool.value not in POOLS:
        return [Problem(pool.at, f"unknown pool {pool.value!r}", did_you_mean(pool.value, POOLS))]
    return [
        Problem(node.at, f"unknown operator {node.value!r}", did_you_mean(node.value, CALLABLE))
        for node in (pool.value if isinstance(pool.value, list) else [])
        if isinstance(node.value, str) and node.value not in CALLABLE
    ]


def suites_exist(tree: Node) -> list[Problem]:
    """Suites of the offline world exist, and have questions to train on where they are trained on."""
    from harness.tasks.world import SUITES

    source = find(tree, "data.source")
    if source is None or source.value != "world":
        return []
    problems = []
    for field in ("train_suites", "eval_suites"):
        listed = find(tree, f"data.{field}")
        for node in listed.value if listed is not None and isinstance(listed.value, list) else []:
            if isinstance(node.value, str) and node.value not in SUITES:
                problems.append(Problem(node.at, f"unknown suite {node.value!r}", did_you_mean(node.value, SUITES)))
            elif field == "train_suites" and node.value == "world_combo":
                problems.append(Problem(node.at, "world_combo is for evaluation only: it has no training questions"))
    return problems


def rates_exist(tree: Node) -> list[Problem]:
    """The simulated backend has the rates that are set."""
    from harness.operators.llm.simulated import SimulatedRates

    backend = find(tree, "environment.backend")
    if backend is None or not backend.is_mapping or plain(backend).get("kind") != "simulated":
        return []
    known = [field.name for field in dataclasses.fields(SimulatedRates)]
    return [
        Problem(node.key_at or node.at, f"unknown rate {name!r}", did_you_mean(name, known))
        for name, node in backend.value.items()
        if name != "kind" and name not in known
    ]


def perturbations_apply(tree: Node) -> list[Problem]:
    """Perturbations exist, and can be applied together to the prompt that the trial has."""
    from harness.env.interfaces import INTERFACES
    from harness.env.prompts.perturbations import parts_of, problem_of, split_of
    from harness.env.prompts.system import standard_prompt

    nodes = {field: find(tree, f"environment.perturbations.{field}") for field in ("train", "eval")}
    listed = {field: node.value for field, node in nodes.items() if node is not None and isinstance(node.value, list)}
    interface, pool, style = (find(tree, f"environment.{name}") for name in ("interface", "pool", "style"))
    if interface is None or pool is None or style is None or interface.value not in tuple(INTERFACES):
        return []
    try:
        prompt = standard_prompt(plain(pool), plain(style), INTERFACES[interface.value]())
    except (ValueError, TypeError):  # the pool is wrong, reported by another check
        return []
    problems = []
    train = [node for node in listed.get("train", []) if isinstance(node.value, str)]
    names = [name for node in train for name in parts_of(node.value)]
    message = problem_of(names, prompt)
    if message is not None:
        at = next((node for node in train if set(parts_of(node.value)) & set(message.split())), train[0])
        problems.append(Problem(at.at, message))
    seen: set[str] = set()
    for node in listed.get("eval", []):
        if not isinstance(node.value, str):
            continue
        message = problem_of(parts_of(node.value), prompt)
        if message is None and split_of(node.value) in seen:
            message = f"{node.value} is evaluated twice"
        if message is not None:
            problems.append(Problem(node.at, message))
        seen.add(split_of(node.value))
    return problems


def faults_exist(tree: Node) -> list[Problem]:
    """Kinds of fault exist, and can strike an operator of the pool."""
    from harness.env.fault_injection import FAULTS
    from harness.operators import resolve_pool

    kinds, pool = find(tree, "environment.faults.kinds"), find(tree, "environment.pool")
    if kinds is None or not isinstance(kinds.value, list) or pool is None:
        return []
    try:
        operators = set(resolve_pool(plain(pool)))
    except (ValueError, TypeError):
        return []
    problems = []
    for node in kinds.value:
        if not isinstance(node.value, str):
            continue
        if node.value not in FAULTS:
            hint = did_you_mean(node.value, FAULTS)
            problems.append(Problem(node.at, f"unknown kind of fault {node.value!r}", hint))
        elif not operators & set(FAULTS[node.value].operators):
            strikes = ", ".join(FAULTS[node.value].operators)
            problems.append(Problem(node.at, f"{node.value} strikes {strikes}, and the pool has none of them"))
    return problems


CHECKS: tuple[Check, ...] = (
    files_exist,
    operators_exist,
    suites_exist,
    rates_exist,
    perturbations_apply,
    faults_exist,
    questions_exist,
    overrides_take_effect,
    variables_are_keys,
    cache_is_free,
)
TRAINING_CHECKS = (*CHECKS, training_questions_exist)


def _follows(entry: Any) -> bool:
    """Whether a list is called too short for entries that are refused themselves."""
    value = entry["input"]
    return entry["type"] == "too_short" and isinstance(value, list) and len(value) >= entry["ctx"]["min_length"]


def _problem(model: type[BaseModel], tree: Node, entry: dict[str, Any], prefix: str) -> Problem:
    path, kind, value = entry["loc"], entry["type"], entry.get("input")
    dotted = prefix + ".".join(str(part) for part in _without_tags(tree, path))
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        hint = hint_for_key(dotted, fields_at(model, path[:-1]), key_names(model))
        if model is not TrialConfig and len(path) == 1 and dotted.partition(".")[0] in TrialConfig.model_fields:
            hint = "a trial's setting: write it under fixed (or parameters)"
        return Problem(locate(tree, path, key=True), f"unknown key {dotted!r}", hint)
    if kind == "missing":
        return Problem(locate(tree, path[:-1], key=True), f"{dotted} is required")
    words = _WORDS.get(kind)
    if words is None:  # a message of our own validators, complete as it is
        text = entry["msg"].removeprefix("Value error, ")
        message = text if text.startswith(dotted) else f"{dotted}: {text}"
        return Problem(locate(tree, path), message)
    context = dict(entry.get("ctx", {}))
    value = context.get("tag", value)
    hint = None
    if kind == "literal_error":
        context["expected"] = context["expected"].replace("' or '", "', '").replace("', '", "' or '")
        hint = did_you_mean(value, _words_of(context["expected"])) if isinstance(value, str) else None
        hint = hint if hint and hint.startswith("did") else None
    shown = repr(value) if not isinstance(value, dict) else "a mapping"
    return Problem(locate(tree, path), f"{dotted} {words.format(**context)}, not {shown[:60]}", hint)


def _words_of(expected: str) -> list[str]:
    return [word.strip("'") for word in expected.split(" or ")]


def _without_tags(tree: Node, path: Iterable[Any]) -> list[Any]:
    """The path without the tags of unions, which are in no file."""
    parts = list(path)
    kept, node = [], tree
    for i, part in enumerate(parts):
        if isinstance(node.value, list):
            known = isinstance(part, int) and part < len(node.value)
        else:
            known = node.is_mapping and part in node.value
        if known:
            node = node.value[part]
        if known or i == len(parts) - 1:
            kept.append(part)
    return kept
