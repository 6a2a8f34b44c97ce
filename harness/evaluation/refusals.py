"""What an evaluation would ignore, found before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config import Problem
from harness.config.evaluation import EvaluationSettings, Overrides
from harness.config.unused_settings import KNOWN_QUESTIONS, ONE_QUESTION, TRAINING, WARM_START, unused
from harness.evaluation.targets import Target
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder


def refusals(
    words: Sequence[str],
    given: Overrides,
    settings: EvaluationSettings,
    targets: Sequence[Target],
    *,
    one_question: bool,
    sound: bool,
) -> list[Problem]:
    """Settings without an effect among `given`, all overrides of the command line.

    `one_question`: it is that of `ask`; `sound`: whether the evaluation's own settings could all be read.
    """
    warmed = any(t.folder is None and t.config.policy.warm_start != "none" for t in targets)
    used = (WARM_START if warmed else frozenset()) | (KNOWN_QUESTIONS if one_question else frozenset())
    names = tuple(name for name in TRAINING if name not in used)
    problems = unused(given, names, "an evaluation trains nothing")
    if one_question:
        problems += unused(given, ONE_QUESTION, "one question is played, and not stored")
    if not sound:
        return problems
    if "self_consistency" not in settings.method:
        problems += unused(given, ("votes",), "method self_consistency is not evaluated")
    if "one_shot" not in settings.method:
        problems += unused(given, ("plan",), "method one_shot is not evaluated")
    if targets and not any(TrialRun(Path(w)).exists() or SweepFolder(Path(w)).trials.is_dir() for w in words):
        problems += unused(given, ("step",), "no target is a trial or a sweep, which keep policies of several steps")
    if targets and all(t.config.profile != settings.profile for t in targets):
        own = ", ".join(dict.fromkeys(f"{t.name}: {t.config.profile}" for t in targets))
        problems += unused(given, ("profile",), f"the targets have their own ({own})")
    return problems
