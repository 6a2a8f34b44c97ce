"""Load a sweep file and expand it into trials; every problem of every cell comes out at once, located."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.config.arm_names import arm_labels, short_names, trial_names
from harness.config.base_layers import base_layers, read_profile, with_identity
from harness.config.code_version import code_version
from harness.config.grid import MAX_TRIALS, Cell, Grid
from harness.config.identity import canonical_json, registered_hash, trial_key, varied
from harness.config.own_code import own_code, own_functions_exist, own_task_loads
from harness.config.random_levels import SEED_FACTOR, random_factors_fit
from harness.config.schema import TrialConfig
from harness.config.sweep_checks import (
    cells_differ,
    contrast_is_swept,
    engines_have_gpus,
    exclusions_apply,
    labels_name_arms,
    metrics_are_logged,
    names_identify,
    required_operators_exist,
    secrets_stay_outside,
    seeds_differ,
)
from harness.config.sweep_file import SweepFile
from harness.config.tree import find, merge, nest, parse_overrides, plain, within
from harness.config.trunks import TRUNK, adjustment_has_checkpoint, branch_cells
from harness.config.tuning import tuning_fits
from harness.config.validation import TRAINING_CHECKS, Check, build, check_trial, unknown_override
from harness.config.yaml_source import ConfigError, Location, Node, Problem, Source, read_file

SWEEP_CHECKS: tuple[Check, ...] = (*TRAINING_CHECKS, own_functions_exist, own_task_loads)


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """One cell of the grid at one seed. `axes` maps the full name of a swept setting to its value; `arm` is the label
    of the cell."""

    key: str
    name: str
    arm: str
    axes: dict[str, Any]
    seed: int
    config: TrialConfig
    trunk: str = ""
    """Folder name of the trial that this one branches from; empty without a branch."""

    @property
    def directory(self) -> str:
        """Folder name: readable, and unique by the key."""
        return f"{self.name}-{self.key[:8]}"


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A sweep that has been checked whole. `cells` holds (axes, configuration) in running order."""

    path: Path
    file: SweepFile
    overrides: tuple[str, ...]
    labels: dict[str, str]  # short name of each axis
    cells: tuple[Cell, ...] = field(repr=False)
    small: bool = False
    """Whether the file's `small:` is part of it, which `overrides` does not show."""
    trunks: tuple[Cell, ...] = field(default=(), repr=False)
    """Of a sweep with `branch`: a trial a seed that its arms branch from."""

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def arms(self) -> list[str]:
        """Label of each cell, by the axes that vary."""
        axes = [axes for axes, _ in self.cells]
        varying = [name for name in self.labels if len({canonical_json(a[name]) for a in axes}) > 1]
        return arm_labels([{n: a[n] for n in varying or a} for a in axes], self.file.labels)

    @property
    def preregistration(self) -> str:
        """Hash of what was fixed before any result: hypothesis, analysis, seeds; where there are, branch and tuning."""
        return registered_hash(self.file.model_dump(mode="json"))

    def resolved(self) -> dict[str, Any]:
        """The sweep as it runs, plain: the file after overrides, the whole configuration of its first trial, and the
        names of the settings, the seed apart, that some trial has otherwise."""
        data = self.file.model_dump(mode="json")
        base = self.cells[0][1].model_dump(mode="json")
        configs = [c.model_dump(mode="json") for _, c in self.cells if c.seed == base["seed"]]
        whole = {"preregistration": self.preregistration, "base": base, "varied": varied(configs)}
        return {**data, "overrides": list(self.overrides), **whole}


def load_sweep(
    path: str | Path, overrides: Sequence[str] = (), checks: Sequence[Check] = SWEEP_CHECKS, *, small: bool = False
) -> SweepSpec:
    """Read, override and check a sweep file; `small` puts its own `small:` before the overrides.

    Raises ConfigError with every problem.
    """
    problems: list[Problem] = []
    root = read_file(Path(path), problems=problems)
    holes = {problem.at: problem for problem in problems}  # further problems there are left out
    problems += secrets_stay_outside(root)
    if not small:
        problems += _problems_of_small_mode(path, overrides, checks, root)
    given = parse_overrides(overrides, problems)
    problems += [problem for _, node in given for problem in secrets_stay_outside(node)]
    parsed = (_small_mode(root) if small else []) + given
    root, trial_overrides = _apply_to_sweep(root, parsed, problems)
    root = _spread_seeds(root)
    file = None
    try:
        file = build(SweepFile, root)
    except ConfigError as error:
        problems += error.problems
    axes = {name: _values(axis) for name, axis in _axes(root) if _has_values(axis)}
    narrowed = {name.removeprefix("parameters.") for name, _ in parsed}
    problems += names_identify(axes) + required_operators_exist(root)
    problems += seeds_differ(root) + exclusions_apply(root, axes, narrowed) + contrast_is_swept(root, axes, narrowed)
    base = base_layers(root, Path(path).parent, problems)
    kept: list[Cell] = []
    if base is not None:
        grid = Grid(root, axes, base, trial_overrides, checks)
        rules = file.exclude if file is not None else ()
        kept = [cell for cell in grid.cells(problems) if not any(_matches(cell[0], rule) for rule in rules)]
        if file is not None and file.analysis is not None:
            kept += grid.planted(kept, file.analysis, problems)
        problems += random_factors_fit(root, axes, [{**a, SEED_FACTOR: config.seed} for a, config in kept], not parsed)
        kept.sort(key=lambda cell: grid.seeds.index(cell[1].seed))
    trunks: list[Cell] = []
    if file is not None and file.branch is not None:
        trunks, kept = branch_cells(root, axes, kept, file.branch, file.resources, problems)
    if file is not None and file.tuning is not None:
        problems += tuning_fits(root, file.tuning, file.seeds, kept)
    problems += adjustment_has_checkpoint(root)
    problems += metrics_are_logged(root, kept) + labels_name_arms(root, axes, [a for a, _ in kept], narrowed)
    if problems or file is None:
        raise ConfigError(p for p in problems if holes.get(p.at, p) == p)
    if problems := cells_differ(root, kept) + engines_have_gpus(root, file.resources, kept):
        raise ConfigError(problems)
    return SweepSpec(Path(path), file, tuple(overrides), short_names(list(axes)), tuple(kept), small, tuple(trunks))


def _problems_of_small_mode(
    path: str | Path, overrides: Sequence[str], checks: Sequence[Check], root: Node
) -> list[Problem]:
    """What is wrong in the file's `small:`, which would otherwise come out only with `--small`."""
    changes = find(root, "small")
    if changes is None or not changes.is_mapping or not changes.value:
        return []
    own = {place for node in within(changes) for place in (node.at, node.key_at)}
    try:
        load_sweep(path, overrides, checks, small=True)
    except ConfigError as error:
        return [problem for problem in error.problems if problem.at in own]
    return []


def expand(spec: SweepSpec, code: str | None = None) -> list[TrialSpec]:
    """The trials in running order: trunks, then all arms of the first seed, then of the next, so that a part is still
    balanced."""
    version = code or code_version()
    names = trial_names([(axes, config.seed) for axes, config in spec.cells], spec.labels)
    trunks = [_trial(cell, f"{TRUNK}_seed{cell[1].seed}", TRUNK, version) for cell in spec.trunks]
    folder = {trial.seed: trial.directory for trial in trunks}
    arms = [
        _trial(cell, name, arm, version, folder.get(cell[1].seed, ""))
        for cell, name, arm in zip(spec.cells, names, spec.arms, strict=True)
    ]
    return [*trunks, *arms]


def _trial(cell: Cell, name: str, arm: str, version: str, trunk: str = "") -> TrialSpec:
    axes, config = cell
    key = trial_key(config.model_dump(mode="json"), version, own_code(config))
    return TrialSpec(key, name, arm, axes, config.seed, config, trunk)


def load_trial(profile: str, overrides: Sequence[str] = (), seed: int = 0, checks: Sequence[Check] = ()) -> TrialConfig:
    """One configuration from a profile (name or path) and overrides, for doors and tests. Raises ConfigError."""
    tree = read_profile(profile, Location(Source("command line", profile), 1, 1))
    for name, node in parse_overrides(overrides):
        if name == "seed":  # it would be overwritten
            raise ConfigError([Problem(node.at, "the seed is no setting of a configuration", "pass it as `seed`")])
        tree = merge(tree, nest(name.split("."), node))
    return check_trial(with_identity(tree, profile, seed, tree.at), checks)


def _apply_to_sweep(
    root: Node, parsed: list[tuple[str, Node]], problems: list[Problem]
) -> tuple[Node, list[tuple[str, Node]]]:
    """Overrides of the sweep's own fields change the file's tree; a swept axis may be narrowed to one value."""
    rest: list[tuple[str, Node]] = []
    for name, node in parsed:
        head, _, tail = name.partition(".")
        if name == "seed":
            hint = "write seeds=[0], or seeds=5 for 0 … 4"
            problems.append(Problem(node.at, "a sweep has seeds, not a seed", hint))
            continue
        axis = tail if head == "parameters" else name
        if head == "parameters" and tail:
            root = _with_axis(root, axis, node.value if isinstance(node.value, list) else [node], node)
        elif axis in {known for known, _ in _axes(root)}:
            root = _with_axis(root, axis, [node], node)
        elif head in SweepFile.model_fields:
            root = merge(root, nest(name.split("."), node))
        elif head in TrialConfig.model_fields:
            rest.append((name, node))
        else:
            problems.append(unknown_override(name, node, SweepFile, hidden={"seed"}))
    return root, rest


def _small_mode(root: Node) -> list[tuple[str, Node]]:
    """What `--small` changes, as overrides; among them the name, so that its trials stand apart."""
    changes = find(root, "small")
    if changes is None or not changes.is_mapping or not changes.value:
        at = changes.at if changes is not None else root.at
        raise ConfigError([Problem(at, "this study has no small mode", "add small: {seeds: 2, steps: 4}")])
    name = find(root, "name")
    named = [("name", replace(name, value=f"{name.value}-small"))] if name and isinstance(name.value, str) else []
    return named + list(changes.value.items())


def _axes(root: Node) -> list[tuple[str, Node]]:
    parameters = find(root, "parameters")
    return list(parameters.value.items()) if parameters is not None and parameters.is_mapping else []


def _has_values(axis: Node) -> bool:
    values = find(axis, "values")
    return values is not None and isinstance(values.value, list | dict) and bool(values.value)


def _values(axis: Node) -> list[tuple[Any, Node]]:
    values = axis.value["values"].value
    named = values.items() if isinstance(values, dict) else [(plain(node), node) for node in values]
    return [(shown, replace(node, key_at=axis.key_at)) for shown, node in named]


def _with_axis(root: Node, axis: str, chosen: list[Node], at: Node) -> Node:
    """The sweep with an axis of these values alone; a value that the file names may be given by its name."""
    known = dict(_axes(root)).get(axis)
    values = find(known, "values") if known is not None else None
    named = values.value if values is not None and values.is_mapping else {}
    if named and all(isinstance(node.value, str) and node.value in named for node in chosen):
        listed: Any = {node.value: named[node.value] for node in chosen}
    else:
        listed = [named.get(node.value, node) if isinstance(node.value, str) else node for node in chosen]
    bare = merge(root, nest(("parameters", axis, "values"), replace(at, value=None)))  # a mapping would be merged
    return merge(bare, nest(("parameters", axis, "values"), replace(at, value=listed)))


def _spread_seeds(root: Node) -> Node:
    """`seeds: 5` means seeds 0 … 4."""
    seeds = find(root, "seeds")
    if seeds is None or isinstance(seeds.value, bool) or not isinstance(seeds.value, int):
        return root
    listed = [Node(n, seeds.at) for n in range(max(0, min(seeds.value, MAX_TRIALS + 1)))]
    return merge(root, nest(("seeds",), replace(seeds, value=listed)))


def _matches(axes: dict[str, Any], rule: dict[str, Any]) -> bool:
    """A rule names a value of each of some axes, or a list of them, any of which will do."""
    return all(
        name in axes and (axes[name] == value or (isinstance(value, list) and axes[name] in value))
        for name, value in rule.items()
    )
