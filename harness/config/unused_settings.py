"""Overrides without an effect are refused: nothing given on the command line is ignored in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from harness.config.tree import find
from harness.config.yaml_source import Node, Problem

COMMAND_LINE = "command line"
GOVERNED: Mapping[str, tuple[str, str]] = {
    "policy.warm_start_episodes": ("policy.warm_start", "none"),
    "policy.warm_start_lr": ("policy.warm_start", "none"),
    "policy.warm_start_tokens": ("policy.warm_start", "none"),
    "save.merged": ("save.when", "none"),
}
"""Setting: the setting that governs it, and the value at which it has no effect."""
TRAINING = (
    "steps",
    "eval_every",
    "checkpoint_every",
    "objective",
    "update",
    "save",
    "rollout.prompts_per_step",
    "rollout.group_size",
    "environment.faults.train_rate",
    "environment.perturbations.train",
    "data.train_questions",
    "data.final_questions",
    "data.curriculum",
)
"""Settings of training alone, and sections of them."""
WARM_START = frozenset({"update", "environment.perturbations.train", "data.train_questions"})
"""Those of them that a start policy's warm start depends on."""
KNOWN_QUESTIONS = frozenset({"data.train_questions"})
"""Those of them that decide which questions `ask` knows."""
ONE_QUESTION = ("level", "name", "tracking")
"""Settings of an evaluation that one question, shown live, has no use for."""
MANY_QUESTIONS = ("data.eval_samples", "data.eval_at_once")
"""Settings of the data that are named, not refused, on one question: an evaluation's words can be used again."""


def overrides_take_effect(tree: Node) -> list[Problem]:
    """No override is of a setting that another one switches off."""
    problems = []
    for name, (governor, off) in GOVERNED.items():
        node, governing = find(tree, name), find(tree, governor)
        if node is None or governing is None or governing.value != off or not _is_override(name, node):
            continue
        problems.append(Problem(node.key_at or node.at, f"{name} has no effect: {governor} is {off}"))
    return problems


def _is_override(name: str, node: Node) -> bool:
    """Whether the command line gives this very setting."""
    source = node.at.source
    return source.name == COMMAND_LINE and source.text.partition("=")[0] == name


def unused(overrides: Iterable[tuple[str, Node]], names: Iterable[str], why: str) -> list[Problem]:
    """A problem for each override of one of `names` or within such a section."""
    listed = tuple(names)
    return [
        Problem(node.key_at or node.at, f"{name} has no effect: {why}")
        for name, node in overrides
        if any(name == known or name.startswith(f"{known}.") for known in listed)
    ]


def repeated(overrides: Iterable[str]) -> list[str]:
    """A line for each setting that several `key=value` words give: the last of them counts."""
    counts = Counter(word.partition("=")[0] for word in overrides if "=" in word)
    return [f"{name} is given {n} times: the last counts" for name, n in counts.items() if n > 1]
