"""What a sweep file's parts must agree on: seeds, excluded cells, the pre-registered contrast.

Each check reads the located tree, so that it reports even when other parts of the file are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.config.arm_names import LABEL_CHARS, columns_of, settings_key
from harness.config.identity import digest
from harness.config.key_names import did_you_mean
from harness.config.name_checks import name_fault, name_look
from harness.config.schema import TrialConfig
from harness.config.sweep_file import Resources
from harness.config.tree import find, locate, plain, within
from harness.config.yaml_source import Node, Problem
from harness.objectives.reductions import reduction_without_alias
from harness.types.redact import known_secrets

Axes = dict[str, list[tuple[Any, Node]]]
"""The values of each swept setting: what a value is called (itself, where the file gives it no name), and the value."""


def secrets_stay_outside(root: Node) -> list[Problem]:
    """No text holds the value of a variable that is a secret: a sweep file is kept, shown and tagged."""
    known = known_secrets()
    return [
        Problem(node.at, f"holds the value of ${variable}, which is a secret and would be kept")
        for node in (within(root) if known else ())
        for secret, variable in known.items()
        if isinstance(node.value, str) and secret in node.value
    ]


def seeds_differ(root: Node) -> list[Problem]:
    seeds = find(root, "seeds")
    if seeds is None or not isinstance(seeds.value, list):
        return []
    if not seeds.value:
        return [Problem(seeds.at, "no seeds: a sweep needs at least one")]
    values = [plain(node) for node in seeds.value]
    return [
        Problem(node.at, f"seed {node.value} is given twice")
        for i, node in enumerate(seeds.value)
        if values[i] in values[:i]
    ]


def names_identify(axes: Axes) -> list[Problem]:
    """Texts among the values of an axis can stand in tables and figures, and no two of its names look the same."""
    problems: list[Problem] = []
    for name, values in axes.items():
        seen: dict[str, str] = {}
        for shown, node in values:
            if not isinstance(shown, str):
                continue
            if shown == node.value and (fault := name_fault(shown)):
                problems.append(Problem(node.at, f"a value of {name} {fault}"))
            first = seen.setdefault(name_look(shown), shown)
            if first != shown:
                problems.append(Problem(node.at, f"{name} has two values that look the same: {shown!r}"))
    return problems


def exclusions_apply(root: Node, axes: Axes, narrowed: set[str]) -> list[Problem]:
    """Each rule names swept settings and values they take, one or a list; a narrowed axis may have lost some."""
    problems: list[Problem] = []
    rules = find(root, "exclude")
    listed = rules.value if rules is not None and isinstance(rules.value, list) else []
    for rule in (rule for rule in listed if rule.is_mapping):
        for name, node in rule.value.items():
            if name not in axes:
                hint = did_you_mean(name, axes)
                problems.append(Problem(node.key_at or node.at, f"exclude names {name!r}, which is not swept", hint))
            elif name not in narrowed:
                taken = [shown for shown, _ in axes[name]]
                named = [node] if plain(node) in taken or not isinstance(node.value, list) else node.value
                problems += [
                    Problem(one.at, f"{name} never takes the value {plain(one)!r}")
                    for one in named
                    if plain(one) not in taken
                ]
        if not rule.value:
            problems.append(Problem(rule.at, "this rule is empty and would exclude every trial"))
    return problems


def labels_name_arms(root: Node, axes: Axes, cells: Sequence[dict[str, Any]], narrowed: set[str]) -> list[Problem]:
    """Each label is short and its values are those of exactly one arm, which no other label has."""
    listed = find(root, "labels")
    arms = {settings_key(cell): cell for cell in cells}
    named: dict[str, str] = {}
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for label, rule in listed.value.items() if listed is not None and listed.is_mapping else ():
        at = rule.key_at or rule.at
        if columns_of(label) > LABEL_CHARS:
            problems.append(Problem(at, f"a label of {columns_of(label)} columns; the longest is {LABEL_CHARS}"))
        if (first := seen.setdefault(name_look(label), label)) != label:
            problems.append(Problem(at, f"{label!r} looks the same as the label before, {first!r}"))
        unknown = [name for name in (rule.value if rule.is_mapping else ()) if name not in axes]
        problems += [
            Problem(rule.value[n].key_at or at, f"the label names {n!r}, which is not swept", did_you_mean(n, axes))
            for n in unknown
        ]
        if unknown or not rule.is_mapping or not arms:
            continue
        wanted = {name: settings_key(plain(value)) for name, value in rule.value.items()}
        matched = [key for key, arm in arms.items() if all(settings_key(arm[n]) == v for n, v in wanted.items())]
        if len(matched) != 1 and (matched or not narrowed & rule.value.keys()):
            hint = "give it the value of every swept setting" if matched else None
            problems.append(Problem(at, f"the label {label!r} stands for {len(matched)} arms, not one", hint))
        for arm in matched if len(matched) == 1 else ():
            first = named.setdefault(arm, label)
            if first != label:
                problems.append(Problem(at, f"{label!r} is a second label of the arm {first!r}"))
    return problems


def contrast_is_swept(root: Node, axes: Axes, narrowed: set[str]) -> list[Problem]:
    """The registered contrast and those of controls name two values of a swept axis; axes narrowed on the command line
    are the user's choice."""
    primary = find(root, "analysis.primary.axis")
    problems = _contrast_problems(primary, find(root, "analysis.primary.contrast"), axes, narrowed)
    for node in _requirements(root):
        if find(node, "contrast") is not None:
            own = find(node, "axis")
            axis = own if own is not None and own.value is not None else primary
            problems += _contrast_problems(axis, find(node, "contrast"), axes, narrowed)
    return list(dict.fromkeys(problems))


def _requirements(root: Node) -> list[Node]:
    required = find(root, "analysis.requires")
    listed = required.value if required is not None and isinstance(required.value, list) else []
    return [node for node in listed if node.is_mapping]


def _contrast_problems(axis: Node | None, contrast: Node | None, axes: Axes, narrowed: set[str]) -> list[Problem]:
    if axis is None or not isinstance(axis.value, str):
        return []
    if axis.value not in axes:
        hint = did_you_mean(axis.value, axes)
        return [Problem(axis.at, f"the contrast's axis {axis.value!r} is not swept", hint)]
    if contrast is None or not isinstance(contrast.value, list) or axis.value in narrowed:
        return []
    known = [shown for shown, _ in axes[axis.value]]
    problems = [
        Problem(
            node.at, f"{axis.value} never takes the value {plain(node)!r}", did_you_mean(plain(node), map(str, known))
        )
        for node in contrast.value
        if plain(node) not in known
    ]
    values = [plain(node) for node in contrast.value]
    if len(values) == 2 and values[0] == values[1]:
        problems.append(Problem(contrast.at, "the contrast compares a value with itself"))
    return problems


def metrics_are_logged(root: Node, cells: Sequence[tuple[dict[str, Any], TrialConfig]]) -> list[Problem]:
    """Every metric that the plan names is one that every trial logs."""
    from harness.config.metric_names import logged

    nodes = [find(root, "analysis.primary.metric"), *(find(node, "metric") for node in _requirements(root))]
    known = [(axes, frozenset(names), names) for axes, config in cells for names in [logged(config)]]
    problems = []
    for node in nodes:
        if node is None or not isinstance(node.value, str):
            continue
        for axes, names, ordered in known:
            if node.value not in names:
                where = f" of the trial {axes}" if axes else ""
                hint = did_you_mean(node.value, ordered)
                problems.append(Problem(node.at, f"no step or evaluation{where} logs {node.value!r}", hint))
                break
    return problems


def required_operators_exist(root: Node) -> list[Problem]:
    """A check that an operator is called names one of the operators."""
    from harness.operators import CALLABLE

    named = [find(node, "operator") for node in _requirements(root)]
    return [
        Problem(node.at, f"unknown operator {node.value!r}", did_you_mean(node.value, CALLABLE))
        for node in named
        if node is not None and isinstance(node.value, str) and node.value not in CALLABLE
    ]


def cells_differ(root: Node, cells: Sequence[tuple[dict[str, Any], TrialConfig]]) -> list[Problem]:
    """There is at least one cell, and no two resolve to the same configuration, aliases of reductions resolved."""
    at = locate(root, ("parameters",), key=True)
    if not cells:
        return [Problem(at, "every cell of the grid is excluded")]
    seen: dict[str, dict[str, Any]] = {}
    for axes, config in cells:
        resolved = config.model_dump(mode="json")
        resolved["objective"]["reduction"] = reduction_without_alias(config.objective.reduction)
        first = seen.setdefault(digest(resolved), axes)
        if first is not axes:
            return [Problem(at, f"two cells are the same trial: {first} and {axes}", "does an override hide an axis?")]
    return []


def engines_have_gpus(
    root: Node, resources: Resources, cells: Sequence[tuple[dict[str, Any], TrialConfig]]
) -> list[Problem]:
    """Dedicated engines have as many GPUs reserved as they spread over, and are of trials of one worker."""
    at = locate(root, ("resources",), key=True)
    wanted = {
        c.engine.tensor_parallel_size for _, c in cells if c.engine.kind == "vllm" and c.engine.placement == "dedicated"
    }
    if wanted and resources.workers > 1:
        return [Problem(at, "engine.placement is dedicated with several workers", "each worker has its own: colocated")]
    if resources.gpus and wanted - {resources.engine_gpus}:
        needed = " or ".join(str(n) for n in sorted(wanted))
        hint = f"set resources.engine_gpus={needed}, as engine.tensor_parallel_size"
        return [Problem(at, f"engine.placement is dedicated with engine_gpus {resources.engine_gpus}", hint)]
    return []
