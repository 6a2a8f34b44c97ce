"""Targets of an evaluation: a profile's start policy, a trial, a sweep's trials, an exported policy, any model.

    tiny                                          the start policy of a profile
    runs/granularity/trials/gsspo_seed0-1a2b3c4d  the policy a trial kept last (step=20: the one of that step)
    runs/granularity                              every trial of a sweep that kept one
    …/policies/step-000030, its adapter/          an exported policy, also when moved elsewhere
    FOLDER, Qwen/Qwen2.5-7B-Instruct              any transformers model or adapter; needs a profile=…

A target's configuration is its trial's (or profile's), under the command line's overrides.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from harness.config import ConfigError, Problem, TrialConfig
from harness.config.base_layers import read_profile, shipped_profiles
from harness.config.evaluation import EvaluationSettings, Overrides
from harness.config.tree import merge, nest
from harness.config.validation import CHECKS, check_trial
from harness.config.yaml_source import Location, Node, Source, read_file, read_text
from harness.policy.folder_checks import folder_fault
from harness.policy.folders import ADAPTER, is_model_folder, read_provenance
from harness.policy.policy_settings import PolicySettings
from harness.runs.layout import INFO
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class Target:
    """One policy and the configuration it is evaluated in.

    `folder` holds its weights (None: the start policy that `config.policy` describes). `trial_key` and `step` identify
    the training that made it, `home` is that trial's folder if it exists.
    """

    name: str
    config: TrialConfig
    folder: Path | None = None
    trial_key: str | None = None
    step: int | None = None
    home: Path | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """A target before validation: `tree` is its trial's configuration, None for a model without a trial."""

    name: str
    tree: Node | None
    profile: str | None
    folder: Path | None = None
    hub: str | None = None
    trial_key: str | None = None
    step: int | None = None
    home: Path | None = None


def find_targets(words: Sequence[str], settings: EvaluationSettings, overrides: Overrides) -> list[Target]:
    """The policies that `words` name. Raises ConfigError with the problems of all of them."""
    problems: list[Problem] = []
    targets: list[Target] = []
    for word in words:
        try:
            targets += [_checked(found, word, settings, overrides) for found in _find(word, settings)]
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return targets


def _find(word: str, settings: EvaluationSettings) -> list[_Found]:
    path = Path(word)
    profiles = shipped_profiles()
    if word in profiles:
        return [_Found(word, None, word)]
    if TrialRun(path).exists():
        return [_trial(TrialRun(path), settings.step, word)]
    sweep = SweepFolder(path)
    if sweep.trials.is_dir():
        kept = [run for run in sweep.trial_runs() if run.policies()]
        if not kept:
            raise _problem(word, "none of this sweep's trials kept its policy", "train with save.when=final")
        return [_trial(run, settings.step, word) for run in kept]
    if path.is_dir():
        if not is_model_folder(path):
            raise _problem(word, "this folder holds neither a trial nor a model (no trial.json, no config.json)")
        return [_exported(path, settings, word)]
    if _HUB_NAME.match(word) and not path.exists():
        if settings.profile is None:
            hint = "a model of that name on the hub needs a profile: profile=tiny, smollm2 or qwen7b"
            raise _problem(word, f"there is no folder {word!r}", hint)
        return [_Found(word.split("/")[-1], None, settings.profile, hub=word)]
    close = difflib.get_close_matches(word, profiles, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"a folder, a model's hub name, or one of {', '.join(profiles)}"
    raise _problem(word, f"there is no {word!r}", hint)


def _trial(run: TrialRun, step: int | None, word: str) -> _Found:
    try:
        info = run.info()
    except (OSError, ValueError) as error:
        raise _problem(word, f"{run.folder / INFO} is not readable: {' '.join(str(error).split())[:200]}") from None
    kept = [folder for folder in run.policies() if is_model_folder(folder)]
    if not kept:
        raise _problem(word, "this trial kept no policy", "train with save.when=final (or every)")
    chosen = kept[-1] if step is None else run.policy_path(step)
    if chosen not in kept:
        steps = ", ".join(str(int(p.name.removeprefix("step-"))) for p in kept)
        raise _problem(word, f"this trial kept no policy of step {step}", f"it kept those of {steps}")
    number = int(chosen.name.removeprefix("step-"))
    return _Found(info.name, read_file(run.config_file), None, chosen, None, info.key, number, run.folder)


def _exported(folder: Path, settings: EvaluationSettings, word: str) -> _Found:
    try:
        noted = read_provenance(folder)
    except ValueError as error:
        raise _problem(word, f"its provenance.json is not readable: {error}") from None
    if noted is None or "config" not in noted:
        return _Found(folder.name, None, _profile(word, settings), folder)
    text = yaml.safe_dump(noted["config"], sort_keys=False, allow_unicode=True)
    tree = read_text(Source(f"{folder}/provenance.json: config", text))
    export = folder.absolute().parent if folder.name == ADAPTER else folder.absolute()
    run = TrialRun(export.parent.parent)
    home = run.folder if run.exists() else None
    try:
        name = run.info().name if home else export.name
    except (OSError, ValueError):  # the export is complete without its trial's folder
        home, name = None, export.name
    return _Found(name, tree, None, folder, None, noted.get("trial_key"), noted.get("step"), home)


def _checked(found: _Found, word: str, settings: EvaluationSettings, overrides: Overrides) -> Target:
    weights = found.folder is not None or found.hub is not None
    fault = folder_fault(found.folder) if found.folder is not None else None
    if fault is not None:
        raise _problem(word, fault)
    problems = [
        Problem(
            node.key_at or node.at, f"{name} cannot be changed: {word} is a trained policy", "only policy.dtype can"
        )
        for name, node in overrides
        if weights and name.partition(".")[0] == "policy" and name != "policy.dtype"
    ]
    start = Location(Source("command line", word), 1, 1)
    tree = found.tree
    profile = found.profile or _named_profile(tree)
    base = read_profile(profile, start)
    base = merge(base, Node({"profile": Node(profile, start), "seed": Node(0, start)}, start))
    tree = merge(base, tree) if tree is not None else base  # settings newer than the trial have their defaults
    for name, node in overrides:
        tree = merge(tree, nest(name.split("."), node))
    try:
        config = check_trial(_with_weights(tree, found, start) if weights else tree, CHECKS)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return Target(found.name, config, found.folder, found.trial_key, found.step, found.home)


def _with_weights(tree: Node, found: _Found, at: Location) -> Node:
    """The tree with a policy section that names the weights, instead of how they were made."""
    plain = PolicySettings(
        kind="hub", path=str(found.folder or found.hub), init="start", dtype="float32", lora=None, warm_start="none",
        warm_start_episodes=0, warm_start_lr=1e-3, warm_start_tokens=1,
    )  # fmt: skip
    section = {name: Node(value, at) for name, value in asdict(plain).items() if name != "dtype"}
    return merge(tree, Node({"policy": Node(section, at)}, at))


def _named_profile(tree: Node | None) -> str:
    value = tree.value.get("profile") if tree is not None and tree.is_mapping else None
    name = value.value if isinstance(value, Node) else None
    return name if name in shipped_profiles() or (isinstance(name, str) and Path(name).is_file()) else "tiny"


def _profile(word: str, settings: EvaluationSettings) -> str:
    if settings.profile is None:
        hint = "add a profile: profile=tiny, smollm2 or qwen7b"
        raise _problem(word, "no trial made this model: it needs data and an environment", hint)
    return settings.profile


def _problem(word: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(Location(Source("command line", word), 1, 1), message, hint)])
