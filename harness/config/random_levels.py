"""Checks of `analysis.random`: factors are swept, and their levels fit the arms and each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from harness.config.arm_names import settings_key
from harness.config.key_names import did_you_mean
from harness.config.tree import find
from harness.config.yaml_source import Node, Problem

SEED_FACTOR = "seed"
"""The random factor that is the trials' seed, which is crossed with every swept setting."""


def nested_in(levels: Sequence[Hashable], of: Sequence[Hashable]) -> bool:
    """Whether each of `levels` occurs with one level alone of another factor. Both have an entry a run."""
    return len(set(zip(levels, of, strict=True))) == len(set(levels))


def random_factors_fit(
    root: Node, axes: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], whole: bool
) -> list[Problem]:
    """Random factors are swept settings other than the contrast's axis, and their levels allow a test.

    `runs`: settings of each trial of the grid, its seed among them; `whole`: they are all that the file lists. The
    levels of the first factor are either all shared by the arms or all their own. Each further factor is nested in the
    first, or one of them is crossed with it: then every level of one runs with every level of the other.
    """
    listed = find(root, "analysis.random")
    nodes = listed.value if listed is not None and isinstance(listed.value, list) else []
    nodes = [node for node in nodes if isinstance(node.value, str)]
    axis = find(root, "analysis.primary.axis")
    problems = [p for node in nodes if (p := _not_swept(node, axes, axis.value if axis is not None else None))]
    if problems or not nodes or not runs:
        return problems
    if [node.value for node in nodes] == [SEED_FACTOR]:
        return [Problem(nodes[0].at, "seeds are the units of a plan without random factors: leave it out")]
    levels = {node.value: [settings_key(run[node.value]) for run in runs] for node in nodes}
    arms = [settings_key({k: v for k, v in run.items() if k != SEED_FACTOR and k not in levels}) for run in runs]
    first = nodes[0]
    crossed = [node for node in nodes[1:] if not nested_in(levels[node.value], levels[first.value])]
    for node in crossed[1:]:
        text = f"{node.value} is crossed with {first.value}, as {crossed[0].value} is: two crossed factors have a test"
        problems.append(Problem(node.at, text, f"fix {node.value}, or give every level of {first.value} its own"))
    if problems:
        return problems
    factors = [first, *crossed]
    for node in factors:
        problems += _levels_fit(node, levels[node.value], arms, least=2 if crossed and whole else 1)
    if crossed and not problems:
        problems += _grid_is_full(crossed[0], first.value, levels, arms)
        assay = find(root, "analysis.assay")
        if assay is not None and assay.value is not None:
            text = "no detection rate is known for two crossed random factors"
            problems.append(Problem(assay.at, text, "leave the assay out, or fix one of the factors"))
    return problems


def _not_swept(node: Node, axes: Mapping[str, Any], contrasted: Any) -> Problem | None:
    if node.value not in axes and node.value != SEED_FACTOR:
        hint = did_you_mean(node.value, [*axes, SEED_FACTOR])
        return Problem(node.at, f"the random factor {node.value!r} is not swept", hint)
    if node.value == contrasted:
        return Problem(node.at, f"{node.value} is the contrast's axis, which is no random factor")
    return None


def _levels_fit(node: Node, levels: Sequence[str], arms: Sequence[str], least: int) -> list[Problem]:
    """The arms share all levels of a factor or none, and each has at least `least`."""
    own: dict[str, set[str]] = {}
    for arm, level in zip(arms, levels, strict=True):
        own.setdefault(arm, set()).add(level)
    sets = list(own.values())
    kinds = {"shared" if a == b else "partly" if a & b else "own" for i, a in enumerate(sets) for b in sets[:i]}
    if len(kinds) > 1 or "partly" in kinds:
        text = f"some levels of {node.value} are shared by arms and others are not: no permutation of them is exact"
        return [Problem(node.at, text, "give all arms the same levels, or each arm its own")]
    if min(map(len, sets)) < least:
        return [Problem(node.at, f"{node.value} has one level in an arm: its variance has no estimate there")]
    return []


def _grid_is_full(node: Node, first: str, levels: Mapping[str, Sequence[str]], arms: Sequence[str]) -> list[Problem]:
    cells: dict[str, set[tuple[str, str]]] = {}
    for arm, row, column in zip(arms, levels[first], levels[node.value], strict=True):
        cells.setdefault(arm, set()).add((row, column))
    for found in cells.values():
        rows, columns = ({cell[i] for cell in found} for i in (0, 1))
        if len(found) < len(rows) * len(columns):
            total = len(rows) * len(columns)
            text = f"{node.value} is crossed with {first}, but an arm runs {len(found)} of their {total} cells"
            return [Problem(node.at, text, f"run all of them, or nest {node.value} in {first}")]
    return []
