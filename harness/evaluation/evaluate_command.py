"""Command line of `python -m harness.evaluate`: policies and baselines on evaluation questions.

    python -m harness.evaluate tiny                                       # a profile's start policy
    python -m harness.evaluate runs/granularity/trials/gsspo_seed0-…      # the policy a trial kept
    python -m harness.evaluate runs/granularity method=[agent,cot]        # all of a sweep, against a baseline
    python -m harness.evaluate Qwen/Qwen2.5-7B-Instruct profile=qwen7b data.path=FOLDER data.eval_suites=[musique]

Settings are `key=value`: those of `harness/config/evaluation.py` (method, votes, plan, step, …), and those of a trial
(`data.eval_questions=100`, `data.eval_samples=8`, `environment.pool=full`, …). Exit status: 0 done, 1 a policy or a
service failed, 2 a configuration that cannot run, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.config import ConfigError, Problem
from harness.config.evaluation import EvaluationSettings, read_settings
from harness.config.yaml_source import Location, Source
from harness.evaluation.targets import Target, find_targets
from harness.paths import command


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("evaluate", "harness.evaluate"), description="Evaluate policies and baselines."
    )
    parser.add_argument("words", nargs="+", metavar="target | key=value", help="what to evaluate; settings")
    parser.add_argument("--out", type=Path, help="folder of results and of MLflow (default: the target's, or runs)")
    options = parser.parse_intermixed_args(arguments)
    try:
        settings, targets = load_evaluation(options.words)
    except ConfigError as error:
        print(error.render(), file=sys.stderr)
        return 2
    from harness.evaluation.run import run_evaluation  # heavy: after the configuration was validated

    try:
        return run_evaluation(settings, targets, options.out, wide_console())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def wide_console() -> Console:
    """The terminal, or a console wide enough that no table is truncated in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=220)


def load_evaluation(words: Sequence[str]) -> tuple[EvaluationSettings, list[Target]]:
    """Settings and targets from the command line. Raises ConfigError with the problems of both."""
    names = [word for word in words if "=" not in word]
    settings, overrides, problems = read_settings([word for word in words if "=" in word])
    if not names:
        at = Location(Source("command line", " ".join(words)), 1, 1)
        problems.append(Problem(at, "no target", "name a profile, a trial, a sweep's folder or a model"))
    targets: list[Target] = []
    try:
        targets = find_targets(names, settings, overrides)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings, targets
