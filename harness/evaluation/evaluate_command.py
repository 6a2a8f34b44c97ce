"""Evaluate policies and baselines on questions: EM, F1, lenient match by suite and hops, with intervals.

    python -m harness.evaluate tiny                                       # a profile's start policy
    python -m harness.evaluate runs/granularity/trials/gsspo_seed0-…      # the policy a trial kept
    python -m harness.evaluate runs/granularity method=[agent,cot]        # all of a sweep, against a baseline
    python -m harness.evaluate Qwen/Qwen2.5-7B-Instruct profile=qwen7b data.path=FOLDER data.eval_suites=[musique]

A target is a profile's name, a trial, a sweep's folder, an exported policy or a model. Settings are `key=value`: the
evaluation's own and those of a trial. Exit status: 0 done, 1 a policy or a service failed, 2 a configuration that
cannot run, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import ConfigError, Problem
from harness.config.evaluation import EvaluationSettings, read_settings
from harness.config.settings_help import evaluation_help
from harness.config.tree import parse_overrides
from harness.config.unused_settings import repeated
from harness.config.yaml_source import Location, Source
from harness.evaluation.refusals import refusals
from harness.evaluation.targets import Target, find_targets
from harness.paths import command

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("evaluate", "harness.evaluate"),
        description=__doc__,
        epilog=evaluation_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="+", metavar="target | key=value", help="what to evaluate; settings")
    parser.add_argument("--out", type=Path, help="folder of results and of MLflow (default: the target's, or runs)")
    add_trust(parser)
    options = parser.parse_intermixed_args(arguments)
    try:
        settings, targets = load_evaluation(options.words, options.trust)
    except ConfigError as error:
        print(error.render(), file=sys.stderr)
        return 2
    for line in repeated(options.words):
        print(line, file=sys.stderr)
    from harness.evaluation.run import run_evaluation  # heavy: after the configuration was validated

    try:
        return run_evaluation(settings, targets, options.out, wide_console())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def wide_console() -> Console:
    """The terminal, or a console wide enough that no table is truncated in a file."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=220)


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="use services, keys and paths that the target's own configuration names"
    )


def load_evaluation(
    words: Sequence[str], trust: bool = False, *, one_question: bool = False
) -> tuple[EvaluationSettings, list[Target]]:
    """Settings and targets from the command line. Raises ConfigError with all problems: of either, of methods that
    cannot answer, and of settings without an effect (`one_question`: on `ask`)."""
    names = [word for word in words if "=" not in word]
    given = [word for word in words if "=" in word]
    settings, overrides, problems = read_settings(given)
    sound = not problems
    if not names:
        at = Location(Source("command line", " ".join(words)), 1, 1)
        problems.append(Problem(at, "no target", "name a profile, a trial, a sweep's folder or a model"))
    targets: list[Target] = []
    try:
        targets = find_targets(names, settings, overrides, trust)
    except ConfigError as error:
        problems += error.problems
    problems += refusals(names, parse_overrides(given), settings, targets, one_question=one_question, sound=sound)
    if problems:
        raise ConfigError(problems)
    return settings, targets
