"""Ask a policy or a baseline one question: one episode, shown live.

    python -m harness.ask "What is the capital of Chad?"                       # the tiny start policy
    python -m harness.ask "…" --policy runs/granularity/trials/gsspo_seed0-…   # a trained one
    python -m harness.ask "…" --gold "N'Djamena" environment.pool=revise       # with a reward, other operators
    python -m harness.ask "…" --seed 3                                         # sampled instead of greedy
    python -m harness.ask "…" --under prompt_typos environment.perturbations.eval=[typos]
    python -m harness.ask "…" --seed 3 --values --page staircase.html          # what each turn was worth, by forks
    python -m harness.ask "…" method=one_shot                                  # a baseline instead of the policy

Exit status: 0 done, 1 the policy or a service failed, 2 a configuration that cannot run, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.config import ConfigError
from harness.config.settings_help import evaluation_help
from harness.config.tree import parse_overrides
from harness.config.unused_settings import MANY_QUESTIONS, repeated, unused
from harness.evaluation.evaluate_command import add_trust, load_evaluation
from harness.paths import command
from harness.tasks.boundary import is_scalar_text
from harness.types import Diverged

MOST_FORKS = 4096


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("ask", "harness.ask"),
        description=__doc__,
        epilog=evaluation_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("question")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="a trial's or an evaluation's settings")
    parser.add_argument("--policy", default="tiny", help="profile, trial, exported policy or model (default: tiny)")
    parser.add_argument("--gold", action="append", default=[], help="a right answer (may be given several times)")
    parser.add_argument("--seed", type=int, help="sample with this seed instead of greedily")
    parser.add_argument("--under", metavar="CONDITION", help="fault, or prompt_NAME, of those in the configuration")
    parser.add_argument(
        "--values",
        nargs="?",
        type=_forks,
        const=32,
        metavar="FORKS",
        help="the value after every turn, by continuing each state so many times (default: 32)",
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="with --values: the episode as an HTML value staircase"
    )
    add_trust(parser)
    options = parser.parse_intermixed_args(arguments)
    if not options.question.strip():
        parser.error("the question is empty")
    if any(not answer.strip() for answer in options.gold):
        parser.error("--gold is empty")
    if not all(map(is_scalar_text, (options.question, *options.gold))):
        parser.error("the question and --gold have to be valid Unicode (is the terminal's encoding UTF-8?)")
    if options.page is not None and options.values is None:
        parser.error("--page draws values: give --values too")
    stray = [word for word in options.settings if "=" not in word]
    if stray:
        parser.error(f"a setting is written key=value, not {stray[0]!r} (is the question in quotes?)")
    try:
        words = [options.policy, *options.settings]
        settings, (target, *others) = load_evaluation(words, options.trust, one_question=True)
    except ConfigError as error:
        print(error.render(), file=sys.stderr)
        return 2
    if others:
        parser.error(f"{options.policy} holds {1 + len(others)} trials: name one of them")
    if len(settings.method) > 1:
        parser.error("give one method: a question is answered by one")
    if options.values is not None and settings.method[0] != "agent":
        parser.error("--values continues the policy's own episode: a baseline has none")
    for problem in unused(parse_overrides(options.settings), MANY_QUESTIONS, "one question is played, once"):
        print(problem.message, file=sys.stderr)
    for line in repeated(options.settings):
        print(line, file=sys.stderr)
    from rich.console import Console

    from harness.evaluation.single_question import (
        ValueRequest,
        ask_question,
    )  # heavy: after the configuration was validated

    try:
        gold = tuple(options.gold)
        values = None if options.values is None else ValueRequest(options.values, options.page)
        return ask_question(
            options.question.strip(), gold, settings, target, options.seed, options.under, Console(), values
        )
    except Diverged as error:
        print(f"cannot ask: {error}; are all weights of the policy finite?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _forks(text: str) -> int:
    """A number of forks that two passes can divide. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) % 4 or not 8 <= int(text) <= MOST_FORKS:
        raise argparse.ArgumentTypeError(f"a multiple of 4 from 8 to {MOST_FORKS}, not {text!r}")
    return int(text)
