"""The vocabulary of the harness: question, action, turn, trajectory, and the ways in which each can fail.

The invariant that matters most, enforced here by construction: *the policy tokens of a trajectory are exactly the
tokens that were sampled; each belongs to exactly one Think-Action unit; observation tokens belong to none; text is only
ever a view of tokens* (sampled tokens are never decoded and re-encoded).
"""

from harness.types.constraints import (
    Constraint,
    Count,
    Fraction,
    Names,
    NaturalNumber,
    NonEmptyText,
    NonNegative,
    Positive,
    Seconds,
    SmallCount,
    SuiteNames,
    Tokens,
)
from harness.types.episode import (
    NO_UNIT,
    Action,
    Fault,
    Group,
    OperatorResult,
    ParsedTurn,
    Passage,
    Question,
    Reward,
    Span,
    Step,
    Trajectory,
    Turn,
)
from harness.types.outcomes import ActionKind, Diverged, OperatorFailure, ParseFailure, StopReason

__all__ = [
    "NO_UNIT",
    "Action",
    "ActionKind",
    "Constraint",
    "Count",
    "Diverged",
    "Fault",
    "Fraction",
    "Group",
    "Names",
    "NaturalNumber",
    "NonEmptyText",
    "NonNegative",
    "OperatorFailure",
    "OperatorResult",
    "ParseFailure",
    "ParsedTurn",
    "Passage",
    "Positive",
    "Question",
    "Reward",
    "Seconds",
    "SmallCount",
    "Span",
    "Step",
    "StopReason",
    "SuiteNames",
    "Tokens",
    "Trajectory",
    "Turn",
]
