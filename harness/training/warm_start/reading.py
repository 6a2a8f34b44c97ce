"""What a scripted agent reads: questions with a plan, passages, answers, feedback."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.operators.base import labelled
from harness.types import Question, Step

_HIT = re.compile(r"\[\d+\] ")
_SCALE = {"thousand": 1e3, "million": 1e6, "billion": 1e9}


def side_by_side(plan: Sequence[Step]) -> bool:
    """Whether the hops stand side by side (a comparison) instead of one feeding the next."""
    return len(plan) > 1 and plan[0].value != plan[1].subject


def comparison_of(question: Question) -> tuple[str, str]:
    """(most, fewest, count or which; the value counted or looked for) of a question that compares."""
    words = question.text.split()
    if question.answers[0].isdigit():
        return "count", next((s.value for s in question.plan if s.value in question.text), question.plan[0].value)
    if question.plan[0].relation != "population":
        return "which", next((s.value for s in question.plan if s.value in question.text), "")
    return ("fewest" if {"fewer", "fewest", "smallest", "smaller"} & set(words) else "most"), ""


def read_value(observation: str, subject: str, noun: str) -> str | None:
    """The value after `noun` in the passage titled `subject`, else in one also called so; None without."""
    hits = [hit.partition(": ") for hit in _HIT.split(_body(observation)) if hit.strip()]
    named = [h for h in hits if h[0] == subject] or [h for h in hits if f": {subject}." in h[2].partition(" Co")[0]]
    for _, _, text in named:
        match = re.search(rf"(?<!\w){re.escape(noun)}: (.+?)(?:\. [A-Z]|\.?$|…)", text.strip())
        if match:
            return match.group(1).split(", ")[0].rstrip(".")
    return None


def other_value(observation: str, value: str) -> str:
    """A wrong reading: another capitalised name of the observation."""
    names = [n for n in re.findall(r"[A-Z][\w'-]+(?: [A-Z][\w'-]+)*", observation) if n != value]
    return names[0] if names else "unknown"


def people(text: str) -> float:
    """A population as passages write it (`15.4 million`), as a number; 0 for anything else."""
    match = re.fullmatch(r"([\d.,]+)(?: (thousand|million|billion))?", text.strip())
    return float(match[1].replace(",", "").rstrip(".") or 0) * _SCALE.get(match[2] or "", 1.0) if match else 0.0


def _body(observation: str) -> str:
    """An observation without its tags."""
    return observation.removeprefix("<info>").removesuffix("</info>")


def answer_in(observation: str) -> str:
    """The answer in an operator's result."""
    return _body(observation).rsplit("Answer:", 1)[-1].strip() or "unknown"


def answers_in(observation: str) -> list[str]:
    """The labelled answers in an operator's result, without their reasoning."""
    return [answer.rpartition("Answer:")[2].strip() for answer in labelled(_body(observation))]


def feedback_in(observation: str) -> str:
    """The feedback in a review's result."""
    return _body(observation).removeprefix("Feedback: ").strip()
