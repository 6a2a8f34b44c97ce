"""Trunks of a sweep with `branch`: the trials that its arms branch from, one a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.branch import Branch
from harness.config.grid import Cell
from harness.config.identity import digest
from harness.config.key_names import did_you_mean
from harness.config.schema import BranchPoint, Save
from harness.config.sweep_checks import Axes
from harness.config.sweep_file import Resources
from harness.config.tree import find, locate
from harness.config.yaml_source import Node, Problem

TRUNK = "trunk"
"""Name of trunks, as that of an arm."""


def branch_cells(
    root: Node, axes: Axes, cells: Sequence[Cell], branch: Branch, resources: Resources, problems: list[Problem]
) -> tuple[list[Cell], list[Cell]]:
    """(trunks, the cells as branches of them). Lists what makes that impossible in `problems`."""
    at = locate(root, ("branch",), key=True)
    if resources.workers > 1:
        problems.append(Problem(at, "branch is for trials of one worker", "set resources.workers=1"))
    for name in branch.arm.keys() - axes.keys():
        place = locate(root, ("branch", "arm", name), key=True)
        problems.append(Problem(place, f"branch.arm names {name!r}, which is not swept", did_you_mean(name, axes)))
    own = [cell for cell in cells if _matches(cell[0], branch.arm)]
    arms = {digest(shown) for shown, _ in own}
    if len(arms) != 1:
        if cells and branch.arm.keys() <= axes.keys():
            place = locate(root, ("branch", "arm"), key=True)
            hint = "give it the value of every swept setting" if arms else None
            problems.append(Problem(place, f"branch.arm stands for {len(arms)} arms, not one", hint))
        return [], list(cells)
    trunks = {
        config.seed: (
            shown,
            config.model_copy(
                update={"steps": branch.after, "keep_state": True, "save": Save(when="none", merged=config.save.merged)}
            ),
        )
        for shown, config in own
    }
    first = next(iter(trunks.values()))[1]
    point = BranchPoint(after=branch.after, trunk=digest(first.model_dump(mode="json", exclude={"seed"}))[:16])
    for shown, config in cells:
        if config.steps <= branch.after:
            message = f"branch.after {branch.after} leaves nothing of the {config.steps} steps of the arm {shown}"
            problems.append(Problem(locate(root, ("branch", "after")), message))
            break
        if config.policy != first.policy:
            message = f"the arm {shown} has another policy than the trunk, whose weights it would continue from"
            problems.append(Problem(at, message))
            break
    return list(trunks.values()), [(s, c.model_copy(update={"branch": point})) for s, c in cells]


def adjustment_has_checkpoint(root: Node) -> list[Problem]:
    """`analysis.adjusted` needs pairs of runs that start from one checkpoint."""
    node = find(root, "analysis.adjusted")
    if node is None or node.value is not True:
        return []
    pairs, branch, random = (find(root, name) for name in ("analysis.paired", "branch", "analysis.random"))
    problems = []
    if branch is None or branch.value is None:
        problems.append(
            Problem(node.at, "no common checkpoint to adjust for", "add branch: {after: STEPS, arm: {...}}")
        )
    if pairs is None or pairs.value is not True:
        problems.append(Problem(node.at, "runs of a seed share their checkpoint: they are pairs", "set paired: true"))
    if random is not None and random.value:
        problems.append(Problem(node.at, "adjusted is for pairs of seeds, not for the levels of random factors"))
    return problems


def _matches(shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in shown and shown[name] == value for name, value in wanted.items())
