"""Fault detection: the policy's response to each injected fault, by pure functions over one trajectory.

Faults are injected by `harness.env.fault_injection`; `analysis.self_correction` compares episodes with faults and their
fault-free counterparts; `python -m harness.evaluation.fault_demo` shows a pair of them. Terms, each computed from the
trajectory alone (no model judges anything):

exposed     A fault was injected into a turn's result, the observation was read, and a further turn was sampled.
signal      A turn after the faulted one, at most `window` later, shows one of `Signal`.
detected    An exposed fault with at least one signal.
base rate   Of detected: how often a signal follows the true observation, in the fault-free counterpart
            (`fires_without_fault`). Only what exceeds it is detection of the fault.
accepted    Exposed, no signal, and the policy acted on what it read (see `_acted_on`): blind acceptance.
unaffected  Exposed, no signal, and the policy continued without using it.
recovered   An exposed fault in an episode whose final answer is right (EM).

A next search is no sign of detection by itself: looking up the next hop is progress. What counts is asking for the
*same thing* again: two inputs have the same need if more than half of the content words of the shorter one are in the
other (content words: function words and tags left out).

In the code interface a turn's calls are those its program made; a turn has one reading, of its first fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.env.doubt import doubts, rejects
from harness.operators import OPERATORS, SECOND_LOOKS, Role
from harness.operators.base import elements
from harness.operators.llm.knowledge_base import FUNCTION_WORDS, words
from harness.types import ActionKind, OperatorResult, Trajectory, Turn

WINDOW = 2
FOLLOWS = frozenset({(Role.REVIEWS, Role.REVISES), (Role.SAMPLES, Role.CHOOSES)})
"""(role, later role): the later call carries the first one out. Feedback is there to revise by, candidates to choose
from."""

_TAG = re.compile(r"</?[a-z]+>")


class Signal(StrEnum):
    """Sign in a turn that the policy did not simply continue.

    Examples, after `Search: Chad capital` returned a passage about Niger:
    """

    DOUBT = "doubt"  # "These passages are not about Chad." in the think text
    CHANGED_QUERY = "changed_query"  # Search: capital city of Chad
    RETRY = "retry"  # Search: Chad capital
    OTHER_OPERATOR = "other_operator"  # AnswerGenerate: What is the capital of Chad?
    REVIEW = "review"  # Review: <question>…</question><solution>Niamey</solution>


class Response(StrEnum):
    """Outcome of an exposed fault."""

    DETECTED = "detected"
    ACCEPTED = "accepted"
    UNAFFECTED = "unaffected"


@dataclass(frozen=True, slots=True)
class FaultReading:
    """One injected fault and the policy's response.

    `turn` is the index of the faulted turn; `signals` are (turns after it, signal); `response` is None unless exposed;
    `turns_to_recovery` counts from the faulted turn to the right answer (None: not recovered).
    """

    kind: str
    turn: int
    exposed: bool
    signals: tuple[tuple[int, Signal], ...] = ()
    response: Response | None = None
    recovered: bool = False
    turns_to_recovery: int | None = None


def read_faults(trajectory: Trajectory, window: int = WINDOW) -> tuple[FaultReading, ...]:
    """Every injected fault of an episode, in order. Raises ValueError for a window below 1."""
    if window < 1:
        raise ValueError(f"window must be at least 1 turn, not {window}")
    return tuple(
        _reading(trajectory, i, turn.result, window)
        for i, turn in enumerate(trajectory.turns)
        if turn.result is not None and turn.result.fault is not None
    )


def _reading(trajectory: Trajectory, i: int, result: OperatorResult, window: int) -> FaultReading:
    assert result.fault is not None
    if not trajectory.turns[i].observation_tokens or i + 1 >= len(trajectory.turns):
        return FaultReading(result.fault.kind, i, exposed=False)
    signals = signals_after(trajectory, i, window)
    unseen = Response.ACCEPTED if not signals and _acted_on(trajectory, i) else Response.UNAFFECTED
    response = Response.DETECTED if signals else unseen
    recovered = trajectory.reward.em == 1
    return FaultReading(
        result.fault.kind,
        i,
        exposed=True,
        signals=signals,
        response=response,
        recovered=recovered,
        turns_to_recovery=len(trajectory.turns) - 1 - i if recovered else None,
    )


def signals_after(trajectory: Trajectory, turn: int, window: int = WINDOW) -> tuple[tuple[int, Signal], ...]:
    """(turns later, signal) for every signal in the `window` turns after `turn`, faulted or not.

    `turn` must have called an operator (or been warned: then only doubt can be read).
    """
    return _signals_after(trajectory, turn, asks(trajectory.turns[turn]), window)


def fires_without_fault(twin: Trajectory, faulted: Trajectory, turn: int, window: int = WINDOW) -> bool:
    """Whether the fault-free counterpart, which read the true observation in `turn`, shows a signal too.

    Its rate over exposed faults is the base rate of `detected`: only what exceeds it is detection of the fault.
    Both episodes made the same call in `turn`; False where the twin ended with it.
    """
    made = asks(twin.turns[turn]) if turn < len(twin.turns) else []
    struck = [i for i, call in enumerate(faulted.turns[turn].program_calls) if call.fault]
    if struck:
        made = [made[i] for i in struck if i < len(made)]
    return bool(_signals_after(twin, turn, made, window))


def _signals_after(
    trajectory: Trajectory, turn: int, first: Sequence[Ask], window: int
) -> tuple[tuple[int, Signal], ...]:
    after = trajectory.turns[turn + 1 : turn + 1 + window]
    return tuple((later, signal) for later, t in enumerate(after, 1) for signal in _signals(first, t))


@dataclass(frozen=True, slots=True)
class Ask:
    """One operator call: its input and its result (None if that is not known)."""

    operator: str
    text: str
    result: OperatorResult | None

    @property
    def role(self) -> Role | None:
        return _role(self.operator)


def _role(operator: str) -> Role | None:
    spec = OPERATORS.get(operator)
    return spec.role if spec is not None else None


def asks(turn: Turn) -> list[Ask]:
    """The operator calls of a turn: at most one, or those its program made (only the faulted ones, if there are)."""
    action = turn.parsed.action
    if action is not None and action.kind is ActionKind.TOOL:
        return [Ask(action.operator or "", action.text, turn.result)]
    made = [Ask(call.operator, call.asked, call) for call in turn.program_calls]
    return [ask for ask in made if ask.result and ask.result.fault] or made


def _signals(first: Sequence[Ask], later: Turn) -> list[Signal]:
    reviewed = any(ask.role is Role.REVIEWS for ask in first)
    signals = [Signal.DOUBT] if doubts(think_text(later), of_review=reviewed) else []
    action = later.parsed.action
    program = action is not None and action.kind is ActionKind.CODE
    again = [Ask(c.operator, c.asked, c) for c in later.program_calls] if program else asks(later)
    found = (_signal(one, other) for one in first for other in again)
    return list(dict.fromkeys([*signals, *(signal for signal in found if signal is not None)]))


def _signal(first: Ask, later: Ask) -> Signal | None:
    """The sign, if any, that a later call gives about the first one."""
    if later.operator == first.operator:
        if words(later.text) == words(first.text):
            return Signal.RETRY
        return Signal.CHANGED_QUERY if same_need(later.text, first.text) else None
    if later.role in SECOND_LOOKS:
        return None if (first.role, later.role) in FOLLOWS else Signal.REVIEW
    # Work after a review that rejects the solution follows the review: no doubt of it.
    rejected = first.result is not None and _rejection(first.result)
    return Signal.OTHER_OPERATOR if not rejected and same_need(later.text, first.text) else None


def think_text(turn: Turn) -> str:
    """The think half without its tags; without a think element, everything outside the action."""
    parsed = turn.parsed
    if parsed.think is not None:
        text = parsed.text[parsed.think.start : parsed.think.end]
    elif parsed.action is not None:
        text = parsed.text[: parsed.action.span.start] + " " + parsed.text[parsed.action.span.end :]
    else:
        text = parsed.text
    return _TAG.sub(" ", text).strip()


def content_words(text: str) -> frozenset[str]:
    return frozenset(words(_TAG.sub(" ", text))) - FUNCTION_WORDS


def same_need(a: str, b: str) -> bool:
    """Whether two operator inputs ask for the same thing: `Chad capital`, `What is the capital of Chad?` do; `Chad
    capital`, `Chad population` do not (half of the shorter one is not more than half)."""
    first, second = content_words(a), content_words(b)
    return 2 * len(first & second) > min(len(first), len(second))


def _acted_on(trajectory: Trajectory, i: int) -> bool:
    """Whether the policy used a faulted result without a sign of doubt.

    A review: after a false approval, or no feedback, the next turn answers; after a false rejection the solution is
    given up (the next turn does anything but answer it).
    A result with new content (words that are neither in the true one, nor in the question, nor read before): such a
    word is in a later call or in the answer.
    Nothing new to read (no result, broken off): the next turn answers.
    """
    struck = next(ask for ask in asks(trajectory.turns[i]) if ask.result is not None and ask.result.fault is not None)
    result = struck.result
    assert result is not None
    assert result.fault is not None
    following = trajectory.turns[i + 1]
    answer = _answer_of(following)
    answers = answer is not None
    if _rejection(result):
        solutions = elements(struck.text, "solution")
        kept = answer is not None and words(answer) in [words(s) for s in solutions]
        return following.parsed.action is not None and not kept
    if struck.role is Role.REVIEWS:
        return answers
    known = content_words(trajectory.question.text) | content_words(result.fault.true_text)
    for turn in trajectory.turns[:i]:
        known |= content_words(turn.result.text) if turn.result is not None else frozenset()
    new = content_words(result.text) - known if result.failure is None else frozenset()
    if not new:
        return answers
    done = [t for t in trajectory.turns[i + 1 :] if t.parsed.action is not None]
    used = [t.parsed.action.text for t in done if t.parsed.action is not None] + [_answer_of(t) or "" for t in done]
    used += [call.asked for t in done for call in t.program_calls]
    return any(new & content_words(text) for text in used)


def _answer_of(turn: Turn) -> str | None:
    """The answer that a turn ended its episode with, None if it did not."""
    action = turn.parsed.action
    if action is None or action.kind is ActionKind.TOOL:
        return None
    if action.kind is ActionKind.ANSWER:
        return action.text
    return turn.parsed.answer_text if turn.result is None else None


def _rejection(result: OperatorResult) -> bool:
    return _role(result.operator) is Role.REVIEWS and result.failure is None and rejects(result.text)
