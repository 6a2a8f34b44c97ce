"""Question, turn, trajectory and rollout group. `harness.types` states the invariant that they enforce."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from harness.types.outcomes import ActionKind, Diverged, OperatorFailure, ParseFailure, StopReason

NO_UNIT = -1
"""Unit index of prompt and observation tokens in `Trajectory.unit_of_token`."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrievable text."""

    id: str
    title: str
    text: str  # without the title


@dataclass(frozen=True, slots=True)
class Step:
    """One hop of a question's reasoning: `subject` --relation--> `value`, found in passage `passage_id`."""

    subject: str
    relation: str
    value: str
    passage_id: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers. Raises ValueError if there is none or one is blank.

    `suite` is its benchmark; `hops` is None where not annotated; `supporting` holds ids of passages that suffice to
    answer it (empty: not annotated); `plan` is the chain of hops of a world question, which no prompt depends on.
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
    """The action of a turn. `text` is the operator's input, the answer, or the code; `operator` is set for tools."""

    kind: ActionKind
    text: str
    span: Span  # the whole element, tags included
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """A parsed turn. `action` is None exactly when nothing may be executed.

    `answer_text` is that of the last answer element, also in a malformed turn: a right answer in one is right,
    at a format penalty. `action_spans` are all action elements as recovered, in order.
    """

    text: str
    think: Span | None
    action: Action | None
    failures: tuple[ParseFailure, ...] = ()
    answer_text: str | None = None
    action_spans: tuple[Span, ...] = ()

    @property
    def well_formed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected fault: its kind, the call it struck (0-based in the episode), and the operator's true text."""

    kind: str
    call_index: int
    true_text: str


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """Result of an operator call (or a warning): the text that the policy reads, and its cost.

    Tokens are the operator LLM's; `cached` marks a cache hit; `asked` is the input of a program's call, else empty;
    `passages` are the ids of those retrieved, before a fault.
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
    asked: str = ""
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One Think-Action unit and the observation that followed it. Raises ValueError on inconsistent tokens, Diverged
    where a log-probability is not finite.

    `tokens` are exactly the sampled token ids, end-of-turn token included; `logprobs` their log-probabilities under
    the sampling policy (nats, same length). `action_start` is the index of the first token of the action half
    (`len(tokens)` if there is none). `observation_tokens` is empty after the last turn. `result` is the operator
    call's; for a program (code interface) it sums up `program_calls`. `generate_s` and `operate_s` are the wall times,
    in seconds, of the batch that the turn was sampled in and of its operator; neither counts in equality.
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
        if not all(map(math.isfinite, self.logprobs)):
            raise Diverged("the log-probability of a sampled token")
        if any(lp > 1e-6 for lp in self.logprobs):
            raise ValueError("a log-probability is positive")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Faults injected into this turn's calls, in order."""
        calls = self.program_calls or ((self.result,) if self.result is not None else ())
        return tuple(call.fault for call in calls if call.fault is not None)


@dataclass(frozen=True, slots=True)
class Reward:
    """Score of an episode: total = outcome + format - price of its calls; beside it em, f1, lenient in [0, 1]."""

    total: float
    outcome: float
    format: float
    em: float
    f1: float
    lenient: float
    answer: str | None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One episode: prompt and turns, of which all token arrays are views. Raises ValueError without a turn."""

    question: Question
    prompt_tokens: tuple[int, ...]
    turns: tuple[Turn, ...]
    stop: StopReason
    reward: Reward
    failures: tuple[ParseFailure, ...] = ()  # the turns' in order, then the episode's own
    sample_seed: int = 0

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError(f"trajectory of question {self.question.id!r} has no turn")

    @property
    def token_ids(self) -> np.ndarray:
        """All tokens in the model's context, prompt first. int64 [N]."""
        parts = [self.prompt_tokens, *(part for t in self.turns for part in (t.tokens, t.observation_tokens))]
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])

    @property
    def unit_of_token(self) -> np.ndarray:
        """Unit index of each token, NO_UNIT for prompt and observations. int64 [N]."""
        parts = [np.full(len(self.prompt_tokens), NO_UNIT, dtype=np.int64)]
        for k, turn in enumerate(self.turns):
            parts += [np.full(len(turn.tokens), k, np.int64), np.full(len(turn.observation_tokens), NO_UNIT, np.int64)]
        return np.concatenate(parts)

    @property
    def sampled_logprobs(self) -> np.ndarray:
        """Log-probs of the policy tokens under the sampling policy, in order. float64 [T]."""
        return np.concatenate([np.asarray(turn.logprobs, dtype=np.float64) for turn in self.turns])

    @property
    def n_policy_tokens(self) -> int:
        return sum(len(t.tokens) for t in self.turns)

    @property
    def n_tokens(self) -> int:
        return len(self.prompt_tokens) + sum(len(t.tokens) + len(t.observation_tokens) for t in self.turns)

    @property
    def calls(self) -> tuple[OperatorResult, ...]:
        """Operator results in order, warnings included."""
        return tuple(t.result for t in self.turns if t.result is not None)


@dataclass(frozen=True, slots=True)
class Group:
    """Rollout group: one policy's trajectories of one question. Raises ValueError if empty or if questions differ."""

    question: Question
    trajectories: tuple[Trajectory, ...]

    def __post_init__(self) -> None:
        if not self.trajectories:
            raise ValueError(f"group of question {self.question.id!r} is empty")
        if any(t.question.id != self.question.id for t in self.trajectories):
            raise ValueError(f"group of question {self.question.id!r} has a trajectory of another question")

    @property
    def rewards(self) -> np.ndarray:
        """Total rewards. float64 [G]."""
        return np.asarray([t.reward.total for t in self.trajectories], dtype=np.float64)
