"""Scripted agents on the offline world's questions, whose plans are known: one agent with settable habits.

The start policies imitate it, `worth` measures it, the demonstrations play it. Skill (query, read, keep count) is
the same in all; habits are the decisions that reinforcement learning can change: answer from memory, trust the expert,
stop early, have the answer reviewed, revise it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.env.doubt import rejects
from harness.operators.spec import OperatorSpec
from harness.operators.specs import (
    answer_generate,
    custom,
    multi_answer_generate,
    prompt_optimizer,
    review,
    revise,
    sc_ensemble,
    search,
)
from harness.tasks.world import RELATIONS, load_world
from harness.training.warm_start.reading import (
    answer_in,
    answers_in,
    feedback_in,
    other_value,
    read_value,
    side_by_side,
)
from harness.training.warm_start.scripted_agents import Script, turn
from harness.training.warm_start.thoughts import FoundFacts, last_read, progress_note, tally_of
from harness.types import Question

_SEARCH, _EXPERT, _REVIEW, _REVISE = search.SPEC, answer_generate.SPEC, review.SPEC, revise.SPEC
_SAMPLES, _CHOICE, _REFINES, _CUSTOM = multi_answer_generate.SPEC, sc_ensemble.SPEC, prompt_optimizer.SPEC, custom.SPEC


@dataclass(frozen=True, slots=True)
class Habits:
    """Probabilities of a scripted agent's decisions, each drawn when the decision comes up.

    `lazy`: answer from memory; `expert`, `vote`, `custom`: answer what AnswerGenerate, the choice among three of its
    answers, or Custom says; otherwise search, hop by hop. `refine`: have the first query refined. `stop`: before
    a further hop, answer what is at hand. `review`: have the answer reviewed before giving it, whatever it is;
    `selective`: …instead of that, if a passage that states it was not found. On negative feedback `revise`, else `redo`
    the search, else keep the answer. `revise_always`: revise, whatever the feedback. `rounds`: reviews at most.
    `notes`: share of thoughts that repeat what was found so far, or the question. `retries`: further searches where one
    found nothing. `misreads`: share of passages read wrong. `oracle` reads the true value, found or not.
    """

    lazy: float = 0.0
    expert: float = 0.0
    vote: float = 0.0
    custom: float = 0.0
    refine: float = 0.0
    stop: float = 0.0
    review: float = 0.0
    selective: bool = False
    revise: float = 0.0
    revise_always: bool = False
    redo: float = 0.0
    rounds: int = 1
    notes: float = 0.0
    retries: int = 1
    misreads: float = 0.0
    oracle: bool = False


SKILLED = Habits(
    lazy=0.02, expert=0.06, vote=0.02, custom=0.02, refine=0.04, stop=0.01, review=0.2, revise=0.5, redo=0.2, notes=0.45
)
MEDIOCRE = Habits(
    lazy=0.24, expert=0.14, vote=0.08, custom=0.08, refine=0.12, stop=0.18, review=0.4, revise=0.8, redo=0.1, notes=0.45
)
"""What a start policy imitates last: mostly bad decisions."""
UNREVIEWED = replace(MEDIOCRE, review=0.004)
"""The same without reviews, so that their emergence can be seen."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """A candidate answer, the thought that leads to it, and whether a passage states it."""

    text: str
    thought: str
    found: bool = False

    @classmethod
    def by(cls, operator_result: str) -> _Answered:
        return cls(answer := answer_in(operator_result), f"Answer: {answer}.")


def world_guess(question: Question, rng: np.random.Generator) -> str:
    """What an agent answers from memory: right one time in four where it can be known."""
    facts = load_world().facts
    if question.answers[0].isdigit():
        return str(rng.integers(1, len(question.plan) + 1))
    if side_by_side(question.plan):
        return question.plan[int(rng.integers(len(question.plan)))].subject
    step = question.plan[-1]
    wrong = facts.wrong(step.subject, step.relation)
    if not RELATIONS[step.relation].questions:  # invented: no memory knows it
        return wrong[0] if wrong else "unknown"
    return question.answers[0] if not wrong or rng.random() < 0.25 else wrong[int(rng.integers(len(wrong)))]


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls about the episode's question, in their short or full forms."""

    question: str
    short: bool

    def about(self, operator: OperatorSpec) -> str:
        return operator.call("" if self.short else self.question)

    def review(self, solution: str) -> str:
        blank = " " if self.short else ""  # as words stand in all other text
        return _REVIEW.call(**self._full(question=self.question), solution=blank + solution)

    def revise(self, solution: str, feedback: str) -> str:
        return _REVISE.call(**self._full(question=self.question, solution=solution, feedback=feedback))

    def choose(self, seen: str) -> str:
        if self.short:
            return _CHOICE.call()
        return _CHOICE.call(query=self.question, solution=answers_in(seen))

    def custom(self, instruction: str) -> str:
        return _CUSTOM.call(**self._full(task=self.question), instruction=instruction)

    def _full(self, **contents: str) -> dict[str, str]:
        return {} if self.short else contents


def agent(
    question: Question,
    pool: Sequence[str],
    rng: np.random.Generator,
    habits: Habits,
    short: bool = True,
) -> Script:
    """An episode of the agent with these habits. What the pool lacks is not called.

    `short`: calls leave out what the compact style lets them.
    """
    calls = _Calls(question.text, short)
    answer = yield from _candidate(question, pool, rng, habits, calls)
    for _ in range(habits.rounds):
        wanted = not answer.found if habits.selective else rng.random() < habits.review
        if not wanted or _REVIEW.name not in pool:
            break
        verdict = yield turn(f"{answer.thought} Check.", tool=calls.review(answer.text))
        doubted = rejects(feedback_in(verdict))
        if not doubted and not habits.revise_always:
            break
        if _REVISE.name in pool and rng.random() < habits.revise:
            seen = yield turn(
                "Wrong. Revise." if doubted else "Revise.", tool=calls.revise(answer.text, feedback_in(verdict))
            )
            answer = _Answered.by(seen)
        elif _SEARCH.name in pool and rng.random() < habits.redo:
            answer = yield from _search(question, pool, rng, habits, calls, thorough=True)
        else:
            break
    yield turn(f"{answer.thought} Done.", answer=answer.text)


def _candidate(
    question: Question, pool: Sequence[str], rng: np.random.Generator, habits: Habits, calls: _Calls
) -> Generator[str, str, _Answered]:
    """A candidate answer."""
    draw = rng.random()
    kinds = ("lazy", "expert", "vote", "custom")
    bounds = np.cumsum([getattr(habits, kind) for kind in kinds])
    way = next((kind for kind, bound in zip(kinds, bounds, strict=True) if draw < bound), "search")
    if way == "expert" and _EXPERT.name in pool:
        return _Answered.by((yield turn("Ask.", tool=calls.about(_EXPERT))))
    if way == "vote" and _SAMPLES.name in pool and _CHOICE.name in pool:
        seen = yield turn("Ask thrice.", tool=calls.about(_SAMPLES))
        if "[Answer 2]" in seen:
            return _Answered.by((yield turn("Choose.", tool=calls.choose(seen))))
    if way == "custom" and _CUSTOM.name in pool:
        seen = yield turn("Ask by instruction.", tool=calls.custom("Name it."))
        return _Answered.by(seen)
    if way != "lazy" and _SEARCH.name in pool:
        return (yield from _search(question, pool, rng, habits, calls))
    guess = world_guess(question, rng)
    return _Answered(guess, f"Answer: {guess}.")


def _search(
    question: Question,
    pool: Sequence[str],
    rng: np.random.Generator,
    habits: Habits,
    calls: _Calls,
    thorough: bool = False,
) -> Generator[str, str, _Answered]:
    """One search a hop, each value read in the passage found; another query if it is not there, then the expert."""
    state = FoundFacts()
    plan, n = question.plan, len(question.plan)
    apart = side_by_side(plan)
    subject = plan[0].subject
    for i, step in enumerate(plan):
        if i and not thorough and rng.random() < habits.stop:
            break
        subject = step.subject if apart or habits.oracle else subject
        noun = RELATIONS[step.relation].noun
        note = progress_note(question, state, i, rng.random() < habits.notes)
        if i == 0 and _REFINES.name in pool and rng.random() < habits.refine:
            yield turn("Refine.", tool=calls.about(_REFINES))
        query = first = f"{noun} of {subject}"
        seen = yield turn(f"{note}Find {noun} of {subject}.", tool=_SEARCH.call(query))
        value = read_value(seen, subject, noun)
        for _ in range(habits.retries):
            if value is not None:
                break
            query = f"Continent {noun} of {subject}" if query == first else first
            seen = yield turn(f"Not found. Find {noun} of {subject}.", tool=_SEARCH.call(query))
            value = read_value(seen, subject, noun)
        state.found = value is not None
        if value is None and _EXPERT.name in pool and not habits.oracle:
            asked = calls.about(_EXPERT) if n == 1 else _EXPERT.call(f"{noun} of {subject}")
            value = answer_in((yield turn("Not found. Ask.", tool=asked)))
        if habits.oracle:
            value = step.value
        elif value is not None and rng.random() < habits.misreads:
            value, state.found = other_value(seen, value), False
        state.facts.append((subject, noun, value or "unknown"))
        subject = state.facts[-1][2]
        if subject == "unknown" and not apart:
            break
    answer = tally_of(question, state) if apart else subject
    done = len(state.facts)
    # An agent that stops early does not look where the question ends.
    thought = progress_note(question, state, done, False) if done == n else last_read(state)
    return _Answered(answer, thought.strip(), state.found)
