"""The vocabulary of the harness: every other module speaks these words.

The invariant that matters most, enforced here by construction: *the policy tokens of a trajectory are
exactly the tokens that were sampled; each belongs to exactly one Think-Action unit; observation tokens
belong to none; text is only ever a view of tokens* (nothing the policy said is decoded and re-encoded).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import numpy as np


class Constraint:
    """Constraint on a setting, as a keyword of pydantic's core schema: `Constraint(gt=0)`.

    Settings are plain frozen dataclasses beside the code that reads them. `harness.config` validates them, and pydantic
    finds constraints by the method below, so a room declares them without importing pydantic.
    """

    def __init__(self, **keywords: Any) -> None:
        self._keywords = keywords

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        return {**handler(source), **self._keywords}


Positive = Annotated[float, Constraint(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Constraint(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Constraint(ge=0, le=1)]
Count = Annotated[int, Constraint(ge=1)]
NaturalNumber = Annotated[int, Constraint(ge=0)]
NonEmptyText = Annotated[str, Constraint(min_length=1)]
Names = Annotated[tuple[str, ...], Constraint(min_length=1)]

NO_UNIT = -1
"""`Trajectory.unit_of_token` of prompt and observation tokens."""


class StopReason(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"  # the policy gave an <answer>
    TURN_BUDGET = "turn_budget"  # the permitted number of assistant turns was used up
    TOKEN_BUDGET = "token_budget"  # the response (observations included) reached its length limit


class ParseFailure(StrEnum):
    """What is wrong with a turn (or, for the last three, with an episode). One turn may show several."""

    MISSING_THINK = "missing_think"  # no <think> element before the action
    EMPTY_THINK = "empty_think"
    MISSING_ACTION = "missing_action"  # neither a <tool> nor an <answer> element
    EMPTY_ACTION = "empty_action"  # <tool></tool> or <answer></answer>
    MULTIPLE_THINKS = "multiple_thinks"
    MULTIPLE_ACTIONS = "multiple_actions"  # parallel calls, call and answer, two answers
    UNCLOSED_TAG = "unclosed_tag"  # opened, not closed
    UNOPENED_TAG = "unopened_tag"  # closed, not opened
    NESTED_TAG = "nested_tag"  # an element inside another
    WRONG_ORDER = "wrong_order"  # action before think
    STRAY_TEXT = "stray_text"  # text outside the two elements
    FORGED_INFO = "forged_info"  # the policy wrote <info> itself
    MISSING_OPERATOR_NAME = "missing_operator_name"  # no `Name:` in a tool call
    UNKNOWN_OPERATOR = "unknown_operator"
    NO_ANSWER = "no_answer"  # the episode ended without an answer
    TRUNCATED_TURN = "truncated_turn"  # the turn hit the token limit before its end-of-turn token
    OVER_BUDGET = "over_budget"  # a call was asked for after the call budget was spent


class ActionKind(StrEnum):
    TOOL = "tool"
    ANSWER = "answer"
    CODE = "code"


class OperatorFailure(StrEnum):
    """Why an operator returned no useful result. Counted apart from parse failures."""

    MISSING_INPUT = "missing_input"  # a required inner tag is absent: corrective message
    UNKNOWN_OPERATOR = "unknown_operator"  # a name outside the pool was called
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    BAD_RESPONSE = "bad_response"  # garbage, truncated or oversized body, wrong JSON
    MISSING_OUTPUT_TAG = "missing_output_tag"  # the operator LLM left out a required tag, retries spent
    EMPTY = "empty"  # e.g. a search without a hit
    PROGRAM_ERROR = "program_error"  # code interface: the policy's program ended in an error


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrievable text. `text` excludes the title."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One hop of the reasoning a question needs: `subject` --relation--> `value`, read in `passage_id`."""

    subject: str
    relation: str
    value: str
    passage_id: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers.

    `suite` is the benchmark it belongs to. `hops` is None where a benchmark does not say. `supporting` holds
    ids of passages that suffice to answer it (empty: not annotated). `plan` is the chain of hops, known for the
    offline world only; nothing the policy sees depends on it.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    suite: str
    hops: int | None = None
    supporting: tuple[str, ...] = ()
    plan: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if not self.answers or not all(a.strip() for a in self.answers):
            raise ValueError(f"question {self.id!r}: needs at least one non-empty gold answer")


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open character range [start, end) in a turn's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Action:
    """What a turn does. `operator` is set for tools; `text` is the operator input, the answer, or the code."""

    kind: ActionKind
    text: str
    span: Span  # the whole element, tags included
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """A turn's text read by a scanner. `action` is None exactly when nothing may be executed.

    `answer_text` is the content of the last <answer> element even of a malformed turn (a malformed right
    answer still counts as right, at a format penalty).
    """

    text: str
    think: Span | None
    action: Action | None
    failures: tuple[ParseFailure, ...] = ()
    answer_text: str | None = None
    action_spans: tuple[Span, ...] = ()  # every action element as recovered, executable or not, in order

    @property
    def well_formed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected fault: what was done to which call, and what the operator would truly have returned."""

    kind: str
    call_index: int
    true_text: str


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """What an operator call (or a warning) gave the policy to read, and what it cost.

    Tokens are the operator LLM's; latency is in seconds; `cached` says the response came from a cache.
    """

    operator: str
    text: str
    failure: OperatorFailure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    cost_usd: float = 0.0
    cached: bool = False
    retries: int = 0
    fault: Fault | None = None
    asked: str = ""  # the input, where the turn does not show it as such (a call that a program made)


@dataclass(frozen=True, slots=True)
class Turn:
    """One Think-Action unit and the observation that followed it.

    `tokens` are exactly the sampled token ids, end-of-turn token included; `logprobs` their log-probabilities under
    the sampling policy (natural log, same length). `action_start` is the index of the first token of the action
    half (`len(tokens)` if there is none). `observation_tokens` is empty after the last turn. `generate_s` is how long
    the engine took for the batch that the turn was sampled in, `operate_s` how long its operator took (seconds);
    neither is part of what makes two turns equal. `program_calls` are the operator calls of a program (code
    interface), of which `result` is the sum; otherwise `result` is the call's.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    parsed: ParsedTurn
    action_start: int
    observation_tokens: tuple[int, ...] = ()
    result: OperatorResult | None = None
    generate_s: float = field(default=0.0, compare=False)
    operate_s: float = field(default=0.0, compare=False)
    program_calls: tuple[OperatorResult, ...] = ()

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("a turn needs at least one sampled token")
        if len(self.tokens) != len(self.logprobs):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.logprobs)} log-probs in a turn")
        if not 0 <= self.action_start <= len(self.tokens):
            raise ValueError(f"action_start {self.action_start} outside a turn of {len(self.tokens)} tokens")
        if any(math.isnan(lp) or lp > 1e-6 for lp in self.logprobs):
            raise ValueError("a log-probability is NaN or positive")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Faults injected into this turn's calls, in order."""
        calls = self.program_calls or ((self.result,) if self.result is not None else ())
        return tuple(call.fault for call in calls if call.fault is not None)


@dataclass(frozen=True, slots=True)
class Reward:
    """Score of an episode. `total = outcome + format`; em, f1, lenient in [0, 1] are logged beside it."""

    total: float
    outcome: float
    format: float
    em: float
    f1: float
    lenient: float
    answer: str | None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One episode: the prompt, then turn after turn. Everything token-shaped is derived, nothing stored twice."""

    question: Question
    prompt_tokens: tuple[int, ...]
    turns: tuple[Turn, ...]
    stop: StopReason
    reward: Reward
    failures: tuple[ParseFailure, ...] = ()  # episode level: the turns' failures in order, then the episode's own
    sample_seed: int = 0

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError(f"trajectory of question {self.question.id!r} has no turn")

    @property
    def token_ids(self) -> np.ndarray:
        """All tokens the model saw, prompt first. int64, shape [N]."""
        parts = [self.prompt_tokens]
        for turn in self.turns:
            parts += [turn.tokens, turn.observation_tokens]
        return np.concatenate([np.asarray(p, dtype=np.int64) for p in parts])

    @property
    def unit_of_token(self) -> np.ndarray:
        """Unit index of each of the N tokens, NO_UNIT for prompt and observations. int64, shape [N]."""
        parts = [np.full(len(self.prompt_tokens), NO_UNIT, dtype=np.int64)]
        for k, turn in enumerate(self.turns):
            parts += [np.full(len(turn.tokens), k, np.int64), np.full(len(turn.observation_tokens), NO_UNIT, np.int64)]
        return np.concatenate(parts)

    @property
    def sampled_logprobs(self) -> np.ndarray:
        """Log-probs of the policy tokens under the sampling policy, in order. float64, shape [n_policy]."""
        return np.concatenate([np.asarray(t.logprobs, dtype=np.float64) for t in self.turns])

    @property
    def n_policy_tokens(self) -> int:
        return sum(len(t.tokens) for t in self.turns)

    @property
    def n_tokens(self) -> int:
        return len(self.prompt_tokens) + sum(len(t.tokens) + len(t.observation_tokens) for t in self.turns)

    @property
    def calls(self) -> Iterator[OperatorResult]:
        """Operator results in order, warnings included."""
        return (t.result for t in self.turns if t.result is not None)


@dataclass(frozen=True, slots=True)
class Group:
    """Rollouts of one question under one policy: what advantages are relative to."""

    question: Question
    trajectories: tuple[Trajectory, ...]

    def __post_init__(self) -> None:
        if not self.trajectories:
            raise ValueError(f"group of question {self.question.id!r} is empty")
        if any(t.question.id != self.question.id for t in self.trajectories):
            raise ValueError(f"group of question {self.question.id!r} holds another question's trajectory")

    @property
    def rewards(self) -> np.ndarray:
        """Total rewards, float64, shape [G]."""
        return np.asarray([t.reward.total for t in self.trajectories], dtype=np.float64)
