"""A policy of which every value is known: it searches or answers by chance, over operators that return one text."""

from __future__ import annotations

from harness.env.rollout import Environment
from tests.support.drawn_turns import DrawnTurns
from tests.unit.env.test_rollout import Echo, environment

SEARCHES = "<think>so</think><tool>Search: capital</tool>"
RIGHT, WRONG = "<think>so</think><answer>N'Djamena</answer>", "<think>so</think><answer>Niamey</answer>"
MAX_TURNS = 3


def chance_engine() -> DrawnTurns:
    """Half of the turns search, a quarter answer right, a quarter wrong."""
    return DrawnTurns([SEARCHES, SEARCHES, RIGHT, WRONG])


def chance_environment() -> Environment:
    return environment(Echo("nothing"), max_turns=MAX_TURNS)


def true_value(turns: int) -> float:
    """Value after so many turns: an episode without an answer ends at -1.5."""
    if turns == MAX_TURNS:
        return -1.5
    return 0.25 * 1.0 + 0.25 * 0.0 + 0.5 * true_value(turns + 1)
