"""What the scripted agents' thoughts hold: what was read, the place in the plan, where a comparison stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from harness.training.warm_start.reading import comparison_of, people, side_by_side
from harness.types import Question


@dataclass(slots=True)
class FoundFacts:
    """What search has found so far: `facts` as (subject, noun, value), and whether the last stood in a passage."""

    facts: list[tuple[str, str, str]] = field(default_factory=list)
    found: bool = False


def progress_note(question: Question, state: FoundFacts, i: int, long: bool) -> str:
    """What a thought holds once `i` hops are done: what was read last, the place in the plan; if `long`, all that was
    found or the question again."""
    n, again = len(question.plan), f"{question.text} " if long else ""
    if question.suite == "world_tour":
        return f"{again}{last_read(state)}{i} of {n}. "
    if not state.facts:
        return f"{again}Compare. " if side_by_side(question.plan) else again
    if not side_by_side(question.plan):
        return "".join(f"{noun}: {v}. " for _, noun, v in (state.facts if long else state.facts[-1:]))
    return f"{again}{last_read(state)}{where_it_stands(question, state)}{rest_of_list(question, i)}"


def rest_of_list(question: Question, i: int) -> str:
    """The question's own words from the entity just looked up to the next, or to the end of the list."""
    here = re.escape(question.plan[i - 1].subject)
    after = rf"(,| or)( the)? {re.escape(question.plan[i].subject)}" if i < len(question.plan) else r"\?"
    found = re.search(here + after, question.text)
    return f"{found[0]}{'' if found[0].endswith('?') else '.'} " if found else ""


def last_read(state: FoundFacts) -> str:
    """The last value read, in the words of passages: to repeat what followed them is the least that reading takes."""
    if not state.facts:
        return ""
    _, noun, value = state.facts[-1]
    return f"{noun}: {value}. "


def where_it_stands(question: Question, state: FoundFacts) -> str:
    """Where a comparison stands, a blank after it."""
    kind, value = comparison_of(question)
    if kind == "count":
        return f"{tally_of(question, state)} in {value} so far. "
    if kind == "which":
        return f"So far {next((s for s, _, v in state.facts if v == value), 'none')}. "
    best = tally_of(question, state)
    figure = next(v for s, _, v in state.facts if s == best)
    return f"{'Most' if kind == 'most' else 'Fewest'} so far {best} {figure}. "


def tally_of(question: Question, state: FoundFacts) -> str:
    """The answer of a comparison over the facts found so far."""
    kind, wanted = comparison_of(question)
    if not state.facts:
        return "unknown"
    if kind == "count":
        return str(sum(v == wanted for _, _, v in state.facts))
    if kind == "which":
        return next((s for s, _, v in state.facts if v == wanted), state.facts[-1][0])
    ordered = sorted(state.facts, key=lambda f: people(f[2]), reverse=kind == "most")
    return ordered[0][0]
