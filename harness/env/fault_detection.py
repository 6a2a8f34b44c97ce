"""What the policy did about a fault it read: pure functions over one trajectory.

Words used here, each computed from the trajectory alone (no model judges anything):

exposed     A fault was injected into a turn's result, the observation was read, and a further turn was sampled.
signal      A turn after the faulted one, at most `window` later, shows one of `Signal`.
detected    An exposed fault with at least one signal.
accepted    Exposed, no signal, and the policy acted on what it read (see `_acted_on`): blind acceptance.
unaffected  Exposed, no signal, and the policy went on without using it.
recovered   An exposed fault in an episode whose final answer is right (EM).
loop        A block of one to three calls made at least three times in a row (see `loops`).

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

from harness.operators.base import elements
from harness.operators.llm.knowledge_base import FUNCTION_WORDS, words
from harness.types import ActionKind, OperatorResult, Trajectory, Turn

REVIEWERS = frozenset({"Review", "Revise", "ScEnsemble"})
WINDOW = 2

_TAG = re.compile(r"</?[a-z]+>")


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns))


# Phrases that contain a word of doubt and mean the contrary.
_CERTAIN = _any_of(
    "(?:no|without|beyond|any) doubts?",
    "(?:nothing|not|isn't|is not) (?:is )?(?:wrong|incorrect|strange|odd)",
    "no (?:contradiction|conflict|mistake|error)s?",
    "no need to (?:verify|double-check|try|search|ask)",
)
_DOUBT = _any_of(
    r"wrong|incorrect|mistaken?|error|doubt\w*|suspicious|strange|odd|unlikely|implausible",
    r"contradict\w*|conflict\w*|inconsistent|disagree\w*|mismatch\w*",
    "irrelevant|unrelated|outdated|stale|unreliable|unsure|uncertain|unclear",
    "not (?:right|correct|relevant|related|helpful|useful|found|there|given|sure|certain|plausible|enough|about)",
    "(?:does|did|do|was|is|are|were)(?:n't| not) (?:answer|say|tell|mention|help|work|look|seem|match|make sense|fit)",
    "no (?:results?|answer|feedback|hits?|passages?|information|reply)|nothing (?:found|useful|relevant|here)",
    "fail(?:ed|s)?|tim(?:ed|e)[ -]?out|cut (?:off|short)|br(?:eaks|oke) off|truncated|incomplete|empty|missing",
    r"verify|double-check|(?:try|search|ask|look|call|check)(?: \w+){0,3} again",
)
# About a review, words of doubt usually repeat its verdict ("Wrong. Revise."): doubt must be cast on the review.
_REVIEW = "(?:review|reviewer|feedback|verdict)"
_DOUBT_OF_REVIEW = _any_of(
    r"disagree\w*|still (?:think|believe|sure)|incomplete|cut (?:off|short)|fail(?:ed|s)?|tim(?:ed|e)[ -]?out",
    rf"{_REVIEW}(?: \w+){{0,3}} (?:wrong|mistaken|incorrect|missing|empty|doubtful|unreliable|unclear|not)",
    rf"no feedback|(?:doubt|distrust|contradicts?|despite|ignore)(?: \w+){{0,2}} {_REVIEW}",
    r"(?:review|check|verify)(?: \w+){0,3} again",
)
_REJECTS = re.compile(r"\b(?:wrong|incorrect|not (?:correct|right)|mistaken?|error|false)\b", re.IGNORECASE)


class Signal(StrEnum):
    """How a turn shows that the policy did not simply go on.

    Examples, after `Search: Chad capital` returned a passage about Niger:
    """

    DOUBT = "doubt"  # "These passages are not about Chad." in the think text
    CHANGED_QUERY = "changed_query"  # Search: capital city of Chad
    RETRY = "retry"  # Search: Chad capital
    OTHER_OPERATOR = "other_operator"  # AnswerGenerate: What is the capital of Chad?
    REVIEW = "review"  # Review: <question>…</question><solution>Niamey</solution>


class Response(StrEnum):
    """What became of an exposed fault."""

    DETECTED = "detected"
    ACCEPTED = "accepted"
    UNAFFECTED = "unaffected"


@dataclass(frozen=True, slots=True)
class FaultReading:
    """One injected fault and what the policy did about it.

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


@dataclass(frozen=True, slots=True)
class Loop:
    """`repeats` times the same block of `period` calls, from turn `start` on."""

    start: int
    period: int
    repeats: int


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
    after = trajectory.turns[turn + 1 : turn + 1 + window]
    first = asks(trajectory.turns[turn])
    return tuple((later, signal) for later, t in enumerate(after, 1) for signal in _signals(first, t))


@dataclass(frozen=True, slots=True)
class Ask:
    """One operator call: its input and what came of it (None if that is not known)."""

    operator: str
    text: str
    result: OperatorResult | None


def asks(turn: Turn) -> list[Ask]:
    """The operator calls of a turn: at most one, or those its program made (only the faulted ones, if there are)."""
    action = turn.parsed.action
    if action is not None and action.kind is ActionKind.TOOL:
        return [Ask(action.operator or "", action.text, turn.result)]
    made = [Ask(call.operator, call.asked, call) for call in turn.program_calls]
    return [ask for ask in made if ask.result and ask.result.fault] or made


def _signals(first: Sequence[Ask], later: Turn) -> list[Signal]:
    reviewed = any(ask.operator == "Review" for ask in first)
    signals = [Signal.DOUBT] if doubts(think_text(later), of_review=reviewed) else []
    action = later.parsed.action
    program = action is not None and action.kind is ActionKind.CODE
    again = [Ask(c.operator, c.asked, c) for c in later.program_calls] if program else asks(later)
    found = (_signal(one, other) for one in first for other in again)
    return list(dict.fromkeys([*signals, *(signal for signal in found if signal is not None)]))


def _signal(first: Ask, later: Ask) -> Signal | None:
    """What a later call says of the first one."""
    if later.operator == first.operator:
        if words(later.text) == words(first.text):
            return Signal.RETRY
        return Signal.CHANGED_QUERY if same_need(later.text, first.text) else None
    if later.operator in REVIEWERS:
        # What Review says is for Revise to carry out, and what candidates there are for ScEnsemble to choose from.
        follows = (first.operator, later.operator) in {("Review", "Revise"), ("MultiAnswerGenerate", "ScEnsemble")}
        return None if follows else Signal.REVIEW
    # To work on after a review that found fault is to follow it, not to doubt it.
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


def doubts(text: str, of_review: bool = False) -> bool:
    """Whether a think text voices doubt, e.g. "This is not about Chad", "The search timed out".

    "No doubt it is Paris" does not. With `of_review`, only doubt of the review itself counts: "I disagree with the
    review", but not "The solution is wrong".
    """
    plain = " ".join(text.lower().replace("’", "'").split())
    return bool((_DOUBT_OF_REVIEW if of_review else _DOUBT).search(_CERTAIN.sub(" ", plain)))


def content_words(text: str) -> frozenset[str]:
    return frozenset(words(_TAG.sub(" ", text))) - FUNCTION_WORDS


def same_need(a: str, b: str) -> bool:
    """Whether two operator inputs ask for the same thing: `Chad capital`, `What is the capital of Chad?` do; `Chad
    capital`, `Chad population` do not (half of the shorter one is not more than half)."""
    first, second = content_words(a), content_words(b)
    return 2 * len(first & second) > min(len(first), len(second))


def _acted_on(trajectory: Trajectory, i: int) -> bool:
    """Whether the policy used a faulted result without a sign of doubt.

    Review: after a false approval, or no feedback, the next turn answers; after a false rejection the solution is given
    up (the next turn does anything but answer it).
    A result that says something new (words that are neither in the true one, nor in the question, nor read before):
    such a word is in a later call or in the answer.
    Nothing new to read (no result, broken off): the next turn answers.
    """
    struck = next(ask for ask in asks(trajectory.turns[i]) if ask.result is not None and ask.result.fault is not None)
    result = struck.result
    assert result is not None
    assert result.fault is not None
    following = trajectory.turns[i + 1]
    answer = answer_of(following)
    answers = answer is not None
    if _rejection(result):
        solutions = elements(struck.text, "solution")
        kept = answer is not None and words(answer) in [words(s) for s in solutions]
        return following.parsed.action is not None and not kept
    if result.operator == "Review":
        return answers
    known = content_words(trajectory.question.text) | content_words(result.fault.true_text)
    for turn in trajectory.turns[:i]:
        known |= content_words(turn.result.text) if turn.result is not None else frozenset()
    new = content_words(result.text) - known if result.failure is None else frozenset()
    if not new:
        return answers
    done = [t for t in trajectory.turns[i + 1 :] if t.parsed.action is not None]
    said = [t.parsed.action.text for t in done if t.parsed.action is not None] + [answer_of(t) or "" for t in done]
    said += [call.asked for t in done for call in t.program_calls]
    return any(new & content_words(text) for text in said)


def answer_of(turn: Turn) -> str | None:
    """The answer that a turn ended its episode with, None if it did not."""
    action = turn.parsed.action
    if action is None or action.kind is ActionKind.TOOL:
        return None
    if action.kind is ActionKind.ANSWER:
        return action.text
    return turn.parsed.answer_text if turn.result is None else None


def _rejection(result: OperatorResult) -> bool:
    return result.operator == "Review" and result.failure is None and bool(_REJECTS.search(result.text))


def loops(trajectory: Trajectory, least: int = 3, longest: int = 3) -> tuple[Loop, ...]:
    """Runs in which the same 1 to `longest` calls follow each other at least `least` times; they do not overlap.

    Calls are equal if operator and input words are; a turn without an executable call is equal to its like (the same
    malformed turn again and again is a loop too). `Search: a`, `Search: a`, `Search: a` is one of period 1.
    """
    keys = [_call_key(turn) for turn in trajectory.turns]
    found: list[Loop] = []
    start = 0
    while start < len(keys):
        loop = next((lo for p in range(1, longest + 1) if (lo := _loop_at(keys, start, p)).repeats >= least), None)
        if loop is None:
            start += 1
        else:
            found.append(loop)
            start += loop.period * loop.repeats
    return tuple(found)


def _loop_at(keys: Sequence[object], start: int, period: int) -> Loop:
    block, repeats, at = keys[start : start + period], 0, start
    while len(block) == period and keys[at : at + period] == block:
        repeats, at = repeats + 1, at + period
    return Loop(start, period, repeats)


def _call_key(turn: Turn) -> tuple[str, tuple[str, ...]]:
    action = turn.parsed.action
    if action is None:
        return "", words(turn.parsed.text)
    return action.operator or action.kind.value, words(action.text)
