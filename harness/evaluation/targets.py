"""Targets of an evaluation: a profile's start policy, a trial, a sweep's trials, an exported policy, any model.

    tiny                                          the start policy of a profile
    runs/granularity/trials/gsspo_seed0-1a2b3c4d  the policy a trial kept last (step=20: the one of that step)
    runs/granularity                              every trial of a sweep that kept one
    …/policies/step-000030, its adapter/          an exported policy, also when moved elsewhere
    FOLDER, Qwen/Qwen2.5-7B-Instruct              any transformers model or adapter; needs a profile=…

A target's configuration is its trial's (or profile's), under the command line's overrides. It may be another person's:
where requests go, which variables are sent and which files are used, it cannot choose (`harness.config.trust`).
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from harness.config import ConfigError, Problem, TrialConfig
from harness.config.base_layers import profile_named_in, read_profile, shipped_profiles
from harness.config.data_checks import questions_exist
from harness.config.evaluation import EvaluationSettings, Overrides, cannot_play
from harness.config.own_code import own_task_loads
from harness.config.tree import merge, nest
from harness.config.trust import review
from harness.config.validation import CHECKS, check_trial, perturbations_apply
from harness.config.yaml_source import Location, Node, Source, read_file, read_text
from harness.policy.folder_checks import folder_fault
from harness.policy.folders import ADAPTER, PROVENANCE, is_model_folder, read_provenance
from harness.policy.policy_settings import PolicySettings
from harness.runs.layout import INFO
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tasks.boundary import printable_line

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class Target:
    """One policy and the configuration it is evaluated in.

    `folder` holds its weights (None: the start policy that `config.policy` describes). `trial_key` and `step` identify
    the training that made it, `home` is that trial's folder if it exists. `confirmed`: lines on what it named itself
    and `--trust` confirmed.
    """

    name: str
    config: TrialConfig
    folder: Path | None = None
    trial_key: str | None = None
    step: int | None = None
    home: Path | None = None
    confirmed: tuple[str, ...] = ()


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


def find_targets(
    words: Sequence[str], settings: EvaluationSettings, overrides: Overrides, trust: bool = False
) -> list[Target]:
    """The policies that `words` name; `trust`: also with the services and paths that they name themselves.

    Raises ConfigError with the problems of all of them.
    """
    problems: list[Problem] = []
    targets: list[Target] = []
    for word in words:
        try:
            targets += [_checked(found, word, settings, overrides, trust) for found in _find(word, settings)]
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
        raise _problem(word, f"{INFO} is not readable: {printable_line(str(error))}") from None
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
    except (OSError, ValueError) as error:
        raise _problem(word, f"{PROVENANCE} is not readable: {printable_line(str(error))}") from None
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


def _checked(found: _Found, word: str, settings: EvaluationSettings, overrides: Overrides, trust: bool) -> Target:
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
    base = read_profile(found.profile or profile_named_in(found.tree), start)
    base = merge(base, Node({"profile": Node(found.profile or "tiny", start), "seed": Node(0, start)}, start))
    # settings newer than the trial have their defaults
    tree = merge(base, found.tree) if found.tree is not None else base
    for name, node in overrides:
        tree = merge(tree, nest(name.split("."), node))
    tree = _with_weights(tree, found, start) if weights else tree
    foreign: list[Problem] = []
    confirmed: list[str] = []
    if found.tree is not None:
        foreign, confirmed = review(tree, found.tree.at.source, base, trust, training=False)
        problems += foreign
    try:
        # its data is read, and code of one's own imported, only where nothing of the target is unconfirmed
        unread = [check for check in CHECKS if check not in (questions_exist, perturbations_apply)]
        config = check_trial(tree, unread if foreign else (*CHECKS, own_task_loads))
    except ConfigError as error:
        known = {problem.at for problem in problems}
        problems += [p for p in error.problems if p.at not in known]
        with contextlib.suppress(ConfigError):  # sound in itself: methods can be judged
            problems += _unplayable(check_trial(tree, ()), settings, start)
        raise ConfigError(problems) from None
    problems += _unplayable(config, settings, start)
    if problems:
        raise ConfigError(problems)
    step, home = found.step, found.home
    return Target(found.name, config, found.folder, found.trial_key, step, home, tuple(confirmed))


def _unplayable(config: TrialConfig, settings: EvaluationSettings, at: Location) -> list[Problem]:
    """The methods that cannot answer in this configuration."""
    reasons = {m: cannot_play(m, config, settings) for m in settings.method if m != "agent"}
    return [Problem(at, f"method {method}: {reason}") for method, reason in reasons.items() if reason is not None]


def _with_weights(tree: Node, found: _Found, at: Location) -> Node:
    """The tree with a policy section that names the weights, instead of how they were made."""
    plain = PolicySettings(
        kind="hub", path=str(found.folder or found.hub), init="start", dtype="float32", lora=None, warm_start="none",
        warm_start_episodes=0, warm_start_lr=1e-3, warm_start_tokens=1,
    )  # fmt: skip
    section = {name: Node(value, at) for name, value in asdict(plain).items() if name != "dtype"}
    return merge(tree, Node({"policy": Node(section, at)}, at))


def _profile(word: str, settings: EvaluationSettings) -> str:
    if settings.profile is None:
        hint = "add a profile: profile=tiny, smollm2 or qwen7b"
        raise _problem(word, "no trial made this model: it needs data and an environment", hint)
    return settings.profile


def _problem(word: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(Location(Source("command line", word), 1, 1), message, hint)])
