"""Cells of a sweep file: the configuration of every combination of axis values, and of the arms of an assay."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config.assay import HANDICAP, PLACEBO, PLACEBO_STREAM
from harness.config.schema import TrialConfig
from harness.config.sweep_checks import Axes
from harness.config.sweep_file import Analysis
from harness.config.tree import find, locate, merge, nest, undot
from harness.config.validation import Check, check_trial
from harness.config.yaml_source import ConfigError, Node, Problem

MAX_TRIALS = 5000

Cell = tuple[dict[str, Any], TrialConfig]
"""Axis values, by name, and the configuration."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The layers of a sweep's trials: `base` (profile and `fixed`), a value of each axis, `overrides`."""

    root: Node
    axes: Axes
    base: Node
    overrides: Sequence[tuple[str, Node]]
    checks: Sequence[Check]

    @property
    def seeds(self) -> list[int]:
        """The listed seeds that are numbers; [0] where there is none, so that the cells are checked."""
        node = find(self.root, "seeds")
        listed = node.value if node is not None and isinstance(node.value, list) else []
        return [n.value for n in listed if type(n.value) is int] or [0]

    def cells(self, problems: list[Problem]) -> list[Cell]:
        """Every combination at every seed: all of the first seed first."""
        seeds = self.seeds
        count = len(seeds)
        for values in self.axes.values():
            count *= len(values)
        if count > MAX_TRIALS:
            at = locate(self.root, ("parameters",), key=True)
            problems.append(Problem(at, f"the grid has {count} trials (most: {MAX_TRIALS})"))
            return []
        found: list[Cell] = []
        for combination in itertools.product(*self.axes.values()):
            config = self._config([node for _, node in combination], [], problems)
            if config is not None:
                found.append(({name: shown for name, (shown, _) in zip(self.axes, combination, strict=True)}, config))
        return [(shown, config.model_copy(update={"seed": seed})) for seed in seeds for shown, config in found]

    def planted(self, kept: Sequence[Cell], analysis: Analysis, problems: list[Problem]) -> list[Cell]:
        """The assay's arms at its seeds: the baseline of the primary contrast with the handicap, and as a placebo.

        Of several cells with the baseline it is the first of `kept`; without one (on a narrowed axis) there are none.
        """
        assay, axis = analysis.assay, analysis.primary.axis
        node = find(self.root, "analysis.assay.handicap")
        baseline = next((shown for shown, _ in kept if shown.get(axis) == analysis.primary.contrast[1]), None)
        if assay is None or assay.handicap is None or node is None or baseline is None:
            return []
        taken = {shown for shown, _ in self.axes[axis] if shown in (HANDICAP, PLACEBO)}
        if taken:
            message = f"the assay adds arms {HANDICAP!r} and {PLACEBO!r} to {axis}, which has a value of that name"
            problems.append(Problem(node.at, message))
            return []
        nodes = [next(n for shown, n in self.axes[name] if shown == value) for name, value in baseline.items()]
        stream = nest(("rollout", "stream"), replace(node, value=PLACEBO_STREAM))
        found: list[Cell] = []
        for arm, layer in ((HANDICAP, undot(node, problems)), (PLACEBO, stream)):
            config = self._config(nodes, [layer], problems)
            if config is not None:
                found.append((baseline | {axis: arm}, config))
        seeds = self.seeds[: assay.seeds]
        return [(shown, config.model_copy(update={"seed": seed})) for seed in seeds for shown, config in found]

    def _config(self, values: Sequence[Node], layers: Sequence[Node], problems: list[Problem]) -> TrialConfig | None:
        """One value of each axis, then further layers, then the overrides; None where it has problems."""
        tree = self.base
        for name, node in zip(self.axes, values, strict=True):
            tree = merge(tree, nest(name.split("."), undot(node, problems)))
        for layer in layers:
            tree = merge(tree, layer)
        for name, node in self.overrides:
            tree = merge(tree, nest(name.split("."), node))
        try:
            return check_trial(tree, self.checks)
        except ConfigError as error:
            problems += error.problems
            return None
