"""The simulated operator LLM: a closed-book expert with documented error rates, for work without any model.

It knows a fact with a probability that falls with the fact's obscurity, once and for all (a repeated question gets the
same answer at temperature 0). What it does not know it confuses with something plausible (a neighbour's capital), and
the mistake carries over to the next hop. It reads the structured request only: the question is found in the operator's
input, by the episode's plan or by free words. Each operator's file defines the reply to its own requests (`simulate`)
by the means given here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

from harness.operators.base import LLMRequest, LLMResponse, pick, spelling_hint, uniform
from harness.operators.llm.knowledge_base import KnowledgeBase, KnownFact, phrase, words
from harness.types import Question

UNKNOWN = "unknown"
_LABEL = re.compile(r"^\s*(?:\[?(?:answer|solution)\s*\d*\]?\s*:?\s*)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SimulatedRates:
    """Probabilities of the simulated LLM. Unknown or out-of-range values raise ValueError."""

    knows_common: float = 0.95  # knows a fact of obscurity 0
    knows_obscure: float = 0.15  # … of obscurity 1; linear in between
    hop_success: float = 0.9  # each hop after the first does not go astray by itself
    abstains: float = 0.1  # "unknown" instead of a plausible wrong value
    sample_slip: float = 0.15  # at temperature > 0: a sample misses a fact it knows
    sample_luck: float = 0.15  # … hits one it does not know
    review_accepts_wrong: float = 0.15  # a review calls a wrong solution correct
    review_rejects_right: float = 0.1  # a review calls a right solution wrong
    revise_fixes: float = 0.6  # a revision repairs a wrong solution, given a passage that states the answer
    revise_fixes_blind: float = 0.15  # … without one; both need negative feedback
    revise_spoils: float = 0.3  # a revision gives up a right solution, given negative feedback
    ensemble_picks_right: float = 0.85  # a choice among solutions finds a right one if there is one
    optimizer_refines: float = 0.9  # a refined query is the first hop's; otherwise the query as given

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"simulated rate {field.name} must be in [0, 1], not {value!r}")

    @classmethod
    def from_mapping(cls, rates: Mapping[str, float]) -> SimulatedRates:
        names = [field.name for field in fields(cls)]
        for name in rates:
            if name not in names:
                raise ValueError(f"unknown simulated rate {name!r}{spelling_hint(name, names)}")
        return cls(**rates)

    def knows(self, obscurity: float) -> float:
        """Probability of knowing a fact of that obscurity."""
        return self.knows_common + (self.knows_obscure - self.knows_common) * min(max(obscurity, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as understood: the facts it takes, the right answers, and plausible mistakes.

    `compared`: the facts stand side by side (which has more people, A or B?) instead of leading one to the next.
    """

    facts: tuple[KnownFact, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    compared: bool = False


class SimulatedLLM:
    """LLMBackend over a knowledge base. `knowledge_seed` decides which facts it knows; everything else is a function
    of (context.seed, question id, call index, sample seed). Token counts are estimates (4 characters a token)."""

    def __init__(self, knowledge: KnowledgeBase, rates: SimulatedRates | None = None, knowledge_seed: int = 0) -> None:
        self._knowledge = knowledge
        self.rates = rates or SimulatedRates()
        self._seed = knowledge_seed

    async def complete(self, request: LLMRequest) -> LLMResponse:
        if request.simulate is None:
            raise ValueError(f"operator {request.operator} defines no reply of the simulated LLM")
        text = request.simulate(self, request)
        prompt_chars = sum(len(message["content"]) for message in request.messages)
        return LLMResponse(text, prompt_tokens=-(-prompt_chars // 4), completion_tokens=-(-len(text) // 4))

    def believes(self, fact: KnownFact) -> bool:
        """Whether the expert knows this fact."""
        return uniform("knows", self._seed, fact.subject, fact.relation) < self.rates.knows(fact.obscurity)

    def understand(self, text: str, question: Question) -> Asked | None:
        """The question in `text`: the episode's own if its words are (nearly) all there, else read in free words; None
        if it cannot be understood."""
        if _covers(words(text[:4000]), question):
            return self._own(question)
        facts = self._knowledge.read(text)
        return Asked(facts, facts[-1].values, facts[-1].wrong) if facts else None

    def _own(self, question: Question) -> Asked:
        facts = tuple(
            self._knowledge.fact(s.subject, s.relation) or KnownFact(s.subject, s.relation, (s.value,))
            for s in question.plan
        )
        if not facts:
            # Without a plan (a real benchmark) the question itself is the one fact, of middling obscurity.
            return Asked((KnownFact(question.text, "answer", question.answers),), question.answers, ())
        chained = all(a.value == b.subject for a, b in pairwise(question.plan))
        if chained:
            return Asked(facts, question.answers, facts[-1].wrong)
        # Compared subjects are named in the question itself: the wrong answer is the other one.
        gold = {words(a) for a in question.answers}
        others = tuple(s.subject for s in question.plan if words(s.subject) not in gold)
        if any(answer.isdigit() for answer in question.answers):  # how many of them
            others = tuple(n for i in range(len(facts) + 1) if words(n := str(i)) not in gold)
        return Asked(facts, question.answers, others, compared=True)

    def answer(self, text: str, request: LLMRequest) -> str:
        """A completion that answers the question in `text` from memory."""
        asked = self.understand(text, request.context.question)
        if asked is None:
            return answer_elements("I cannot tell what is asked.", UNKNOWN)
        value, thoughts = self._recall(asked, request)
        return answer_elements(" ".join(thoughts), value)

    def _recall(self, asked: Asked, request: LLMRequest) -> tuple[str, list[str]]:
        """Walk the chain from memory; a wrong value is followed further if anything is known of it."""
        if asked.compared:
            return self._compare(asked, request)
        thoughts: list[str] = []
        value = UNKNOWN
        for hop, fact in enumerate(asked.facts):
            right = asked.right if hop == len(asked.facts) - 1 else fact.values
            lost = hop > 0 and words(value) not in {words(v) for v in asked.facts[hop - 1].values}
            if lost and (other := self._knowledge.fact(value, fact.relation)) is not None:
                fact, right, lost = other, other.values, False
            value = right[0] if not lost and self._knows(fact, hop, request) else self._confused(fact, right, request)
            if value == UNKNOWN:
                thoughts.append(f"I forgot the {phrase(fact)}.")
                break
            thoughts.append(f"The {phrase(fact)} is {value}.")
        return value, thoughts

    def _compare(self, asked: Asked, request: LLMRequest) -> tuple[str, list[str]]:
        """Right if all compared facts are known, else a guess between the subjects."""
        known = [fact for fact in asked.facts if self._knows(fact, 0, request)]
        thoughts = [f"The {phrase(fact)} is {fact.values[0]}." for fact in known]
        if len(known) == len(asked.facts):
            return asked.right[0], thoughts
        subjects = tuple(fact.subject for fact in asked.facts)
        guess = pick((asked.right[0], *asked.wrong), "guess", self._seed, request.seed, subjects)
        return guess, [*thoughts, "The rest is a guess."]

    def _knows(self, fact: KnownFact, hop: int, request: LLMRequest) -> bool:
        kept = hop == 0 or uniform("hop", self._seed, fact.subject, fact.relation, hop) < self.rates.hop_success
        knows = kept and self.believes(fact)
        if request.temperature == 0:
            return knows
        draw = uniform("sample", request.seed, fact.subject, fact.relation)
        return draw >= self.rates.sample_slip if knows else draw < self.rates.sample_luck

    def _confused(self, fact: KnownFact, right: tuple[str, ...], request: LLMRequest) -> str:
        # At temperature 0 (seed None) a mistaken belief is as fixed as a true one.
        return self.mistake(fact.wrong, right, self._seed, request.seed, fact.subject, fact.relation)

    def mistake(self, wrong: tuple[str, ...], right: tuple[str, ...], *keys: object) -> str:
        """One of `wrong` that is none of `right`, as a function of `keys`; `unknown` at the rate `abstains`."""
        banned = {words(v) for v in right}
        options = [v for v in wrong if words(v) not in banned]
        if not options or uniform("abstain", *keys) < self.rates.abstains:
            return UNKNOWN
        return pick(options, "wrong", *keys)


def answer_elements(thought: str, answer: str) -> str:
    """A completion that answers."""
    return f"<thought>{thought}</thought><answer>{answer}</answer>"


def bare_answer(solution: str) -> str:
    """The answer in a solution: its last `Answer:` line, without labels; `unknown` if nothing is left."""
    tail = re.split(r"(?i)\banswer\s*:", solution)[-1]
    return " ".join(_LABEL.sub("", tail).split())[:500] or UNKNOWN


def states(solution: str, right: tuple[str, ...]) -> bool:
    """Whether a solution gives one of the right values: alone, or within a sentence of at least 3 further words
    (fewer would rather be another name: Guinea in Equatorial Guinea)."""
    given = words(bare_answer(solution))
    for value in map(words, right):
        inside = any(given[i : i + len(value)] == value for i in range(len(given) - len(value) + 1))
        if given == value or (value and inside and len(given) >= len(value) + 3):
            return True
    return False


def _covers(asked: tuple[str, ...], question: Question) -> bool:
    """Whether the words asked are the episode's own question: all its words, or, where the plan shows which names
    matter, those names and 8 in 10 of the words."""
    own = words(question.text)
    shared = Counter(own) & Counter(asked)
    if not question.plan:
        return shared.total() == len(own)
    names = {word for step in question.plan for word in words(step.subject)} & set(own)
    return names <= set(asked) and shared.total() >= 0.8 * len(own)
