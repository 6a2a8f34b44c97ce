"""Knowledge of the simulated LLM: facts, and a reader of free-worded questions about them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_WORD = re.compile(r"\w+")
_MAX_READ_CHARS = 2000  # no question is longer; an adversarial input must not cost more


def words(text: str) -> tuple[str, ...]:
    """Lower-case words with accents folded and apostrophes dropped (N'Djamena → ndjamena). Linear in the text."""
    folded = unicodedata.normalize("NFKD", text.casefold().replace("'", "").replace("’", ""))
    return tuple(_WORD.findall("".join(c for c in folded if not unicodedata.combining(c))))


FUNCTION_WORDS = frozenset(
    words("a an and are at by for from has how in is it its name of on or than that the to what which who")
)


@dataclass(frozen=True, slots=True)
class KnownFact:
    """`subject` --relation--> any of `values`. `wrong`: values an expert who does not know would plausibly give.

    `obscurity` is in [0, 1]: 0 for common knowledge.
    """

    subject: str
    relation: str
    values: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    obscurity: float = 0.5


class KnowledgeBase(Protocol):
    def fact(self, subject: str, relation: str) -> KnownFact | None: ...

    def read(self, text: str) -> tuple[KnownFact, ...]:
        """The chain of facts a question in free words asks for, first hop first; empty if it cannot be understood."""
        ...


def phrase(fact: KnownFact) -> str:
    """A fact as a short query: `capital of Chad`."""
    return f"{fact.relation.replace('_', ' ')} of {fact.subject}"


class Reader:
    """Reader of free-worded questions: the subject, the relations, their order.

    `names` gives the subject of every wording of a name, `wordings` the relations of every wording of a relation (a
    wording may stand for several: the first that the subject has counts), `lookup` the fact.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        wordings: Mapping[str, Sequence[str]],
        lookup: Callable[[str, str], KnownFact | None],
    ) -> None:
        self._relations = {words(wording): tuple(relations) for wording, relations in wordings.items()}
        taken = {word for wording in self._relations for word in wording} | FUNCTION_WORDS
        # A place called Of or Capital is not what a question's "of" and "capital" mean.
        self._names = {key: subject for name, subject in names.items() if not taken.issuperset(key := words(name))}
        self._lookup = lookup
        self._longest = max((len(k) for k in (*self._names, *self._relations)), default=0)

    def read(self, text: str) -> tuple[KnownFact, ...]:
        """The chain of facts in question; empty without a subject that has one of the relations.

        Longest mentions win. Relations apply from the subject outwards: in "capital of the country of X" the last one
        named first.
        """
        asked = words(text[:_MAX_READ_CHARS])
        for start, end in sorted(self._mentions(asked, self._names), key=lambda span: (span[0] - span[1], span[0])):
            rest = (*asked[:start], "", *asked[end:])  # the gap keeps mentions from spanning the subject
            relations = [self._relations[rest[a:b]] for a, b in sorted(self._mentions(rest, self._relations))]
            chain = self._follow(self._names[asked[start:end]], relations[::-1])
            if chain:
                return chain
        return ()

    def _mentions(self, text: tuple[str, ...], known: Container[tuple[str, ...]]) -> list[tuple[int, int]]:
        """Spans of `text` that are in `known`, none inside another."""
        found: list[tuple[int, int]] = []
        taken = [False] * len(text)
        for length in range(min(self._longest, len(text)), 0, -1):
            for start in range(len(text) - length + 1):
                end = start + length
                if text[start:end] in known and not any(taken[start:end]):
                    found.append((start, end))
                    taken[start:end] = [True] * length
        return found

    def _follow(self, subject: str, relations: Sequence[Sequence[str]]) -> tuple[KnownFact, ...]:
        chain: list[KnownFact] = []
        for readings in relations:
            fact = next((f for r in readings if (f := self._lookup(subject, r))), None)
            if fact is not None and fact not in chain:
                chain.append(fact)
                subject = fact.values[0]
        return tuple(chain)
