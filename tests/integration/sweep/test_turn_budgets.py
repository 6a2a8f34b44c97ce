"""A sweep whose operators cannot be executed within its limits is refused when it is loaded, at the limit's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import ConfigError, load_sweep, load_trial
from harness.config.validation import CHECKS
from harness.sweep.turn_budgets import lengths, turns_fit

SWEEP = """name: budgets
hypothesis: none
profile: tiny
fixed: {{{fixed}}}
parameters: {{environment.pool: {{values: [minimal, full]}}}}
seeds: 1
analysis: {{primary: {{metric: eval/em, contrast: [minimal, full], axis: environment.pool}}, margin: 0.03, alpha: 0.05}}
"""


def problems(folder: Path, fixed: str) -> list[str]:
    file = folder / "budgets.yaml"
    file.write_text(SWEEP.format(fixed=fixed))
    try:
        load_sweep(file, (), (*CHECKS, turns_fit))
    except ConfigError as error:
        return [f"{p.at}: {p.message}".removeprefix(f"{folder}/") for p in error.problems]
    return []


def test_the_shipped_limits_fit_every_pool(tmp_path: Path) -> None:
    assert problems(tmp_path, "steps: 3") == []


@pytest.mark.parametrize("interface", ["natural", "code"])
def test_an_operator_that_does_not_fit_is_named_with_what_it_needs(tmp_path: Path, interface: str) -> None:
    found = problems(tmp_path, f"environment.interface: {interface}, environment.max_turn_tokens: 30")
    assert all(p.startswith("budgets.yaml:4:") and p.endswith("max_turn_tokens is 30") for p in found)
    needs = {p.split(": ")[1].split(" needs")[0] for p in found}
    assert {"Search", "Review"} <= needs


def test_an_episode_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "environment.max_response_tokens: 500")
    assert len(found) == 2  # one a pool: the larger one needs more
    assert all("an episode needs up to" in p and p.endswith("max_response_tokens is 500") for p in found)


def test_a_turn_of_exactly_the_length_needed_is_executed_and_one_token_less_is_not() -> None:
    config = load_trial("tiny", ["environment.pool=revise"])
    longest = max(lengths(config).turns.values())
    for limit, fits in ((longest, True), (longest - 1, False)):
        tree = load_trial("tiny", ["environment.pool=revise", f"environment.max_turn_tokens={limit}"])
        assert (max(lengths(tree).turns.values()) <= tree.environment.max_turn_tokens) is fits
