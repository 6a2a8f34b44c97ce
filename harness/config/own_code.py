"""One's own code that settings name: whether it can be imported, and its part in a trial's identity."""

from __future__ import annotations

from harness.config.schema import TrialConfig
from harness.config.tree import find
from harness.config.yaml_source import Node, Problem
from harness.env.prompts.own_perturbations import own_parts
from harness.types.own_code import OwnCodeError, names_function, own_function, source_digest

_FUNCTIONS = ("objective.surrogate", "objective.advantage", "objective.credit.source")


def own_code(config: TrialConfig) -> dict[str, str]:
    """SHA-256 of each source file of one's own that the configuration names, by setting. Raises OwnCodeError."""
    o = config.objective
    named = {"objective.surrogate": o.surrogate, "objective.advantage": o.advantage}
    named |= {} if o.credit is None else {"objective.credit.source": o.credit.source}
    files = {setting: name for setting, name in named.items() if names_function(name)}
    files |= {} if config.data.task is None else {"data.task": config.data.task}
    perturbed = config.environment.perturbations
    files |= {f"environment.perturbations {name}": name for name in own_parts((*perturbed.train, *perturbed.eval))}
    return {setting: source_digest(name) for setting, name in files.items()}


def own_functions_exist(tree: Node) -> list[Problem]:
    """One's own surrogate, advantage estimator and turn reward can be imported."""
    problems = []
    for name in _FUNCTIONS:
        node = find(tree, name)
        if node is None or not isinstance(node.value, str) or not names_function(node.value):
            continue
        try:
            own_function(node.value)
        except OwnCodeError as error:
            problems.append(Problem(node.at, f"{name}: {error}"))
    return problems


def own_task_loads(tree: Node) -> list[Problem]:
    """A task of one's own can be imported, and has questions of the suites that are trained on and evaluated."""
    from harness.tasks.benchmarks.errors import DataError
    from harness.tasks.own_task import OwnTask

    named, source, split = (find(tree, f"data.{key}") for key in ("task", "source", "eval_split"))
    if named is None or not isinstance(named.value, str) or source is None or source.value != "task":
        return []
    task = OwnTask(named.value)
    problems = []
    try:
        for field, wanted in (("train_suites", "train"), ("eval_suites", split.value if split is not None else "test")):
            listed = find(tree, f"data.{field}")
            for node in listed.value if listed is not None and isinstance(listed.value, list) else []:
                if isinstance(node.value, str) and isinstance(wanted, str) and not task.holds(wanted, node.value):
                    message = f"{named.value} has no {wanted} questions of suite {node.value!r}"
                    problems.append(Problem(node.at, message, f"it has {', '.join(task.suites(wanted)) or 'none'}"))
    except (OwnCodeError, DataError) as error:
        problems.append(Problem(named.at, f"data.task: {error}"))
    return problems
