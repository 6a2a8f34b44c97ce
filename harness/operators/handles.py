"""Short call forms of the compact style: what a call leaves out is taken from the episode.

`Review: <solution>…</solution>` is about the episode's question, `Revise:` about the last solution and its feedback,
`ScEnsemble:` about the labelled answers. What is taken is what the policy has read, faults included.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.operators.base import CallContext, elements, labelled
from harness.operators.roles import ANSWERING, Role

Handle = Callable[[CallContext], tuple[str, ...]]
"""Contents of one inner tag, from the episode; empty if it has none."""


def asked_question(context: CallContext) -> tuple[str, ...]:
    """The episode's question."""
    return (context.question.text,)


def last_solution(context: CallContext) -> tuple[str, ...]:
    """The solution of the last review, or the last answer that an operator gave, whichever came later."""
    for past in reversed(context.earlier):
        if past.role is Role.REVIEWS and (reviewed := elements(past.text, "solution")):
            return reviewed[-1:]
        if past.role in ANSWERING and past.result.failure is None:
            return (past.result.text.rpartition("Answer:")[2].strip(),)
    return ()


def last_feedback(context: CallContext) -> tuple[str, ...]:
    """The feedback of the last review."""
    for past in reversed(context.earlier):
        if past.role is Role.REVIEWS and past.result.failure is None:
            return (past.result.text.removeprefix("Feedback:").strip(),)
    return ()


def labelled_answers(context: CallContext) -> tuple[str, ...]:
    """The labelled answers of the last call that sampled several."""
    for past in reversed(context.earlier):
        if past.role is Role.SAMPLES and past.result.failure is None:
            return labelled(past.result.text)
    return ()
