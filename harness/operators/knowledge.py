"""What the simulated LLM can know: facts of the offline world, and the reading of free-worded questions about them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_WORD = re.compile(r"\w+")
_MAX_READ_CHARS = 2000  # no question is longer; an adversarial input must not cost more


def words(text: str) -> tuple[str, ...]:
    """Lower-case words with accents folded and apostrophes dropped (N'Djamena → ndjamena). Linear in the text."""
    folded = unicodedata.normalize("NFKD", text.casefold().replace("'", "").replace("’", ""))
    return tuple(_WORD.findall("".join(c for c in folded if not unicodedata.combining(c))))


@dataclass(frozen=True, slots=True)
class KnownFact:
    """`subject` --relation--> any of `values`. `wrong`: values an expert who does not know would plausibly give.

    `obscurity` is in [0, 1]: 0 for what everybody knows.
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


class FactIndex:
    """Facts by (subject, relation), and by the words in which subjects and relations are mentioned.

    `mentions` gives further wordings of a relation (`{"capital": ("capital city", "seat of government")}`); a
    relation's own name, with `_` for blanks, always counts.
    """

    def __init__(self, facts: Iterable[KnownFact], mentions: Mapping[str, Sequence[str]] | None = None) -> None:
        self._facts: dict[tuple[tuple[str, ...], str], KnownFact] = {}
        self._subjects: set[tuple[str, ...]] = set()
        self._relations: dict[tuple[str, ...], list[str]] = {}
        for fact in facts:
            key = words(fact.subject)
            self._facts.setdefault((key, fact.relation), fact)
            self._subjects.add(key)
        for relation in dict.fromkeys(relation for _, relation in self._facts):
            for wording in (relation.replace("_", " "), *(mentions or {}).get(relation, ())):
                relations = self._relations.setdefault(words(wording), [])
                if relation not in relations:
                    relations.append(relation)
        self._longest = max((len(k) for k in (*self._subjects, *self._relations)), default=0)

    def __len__(self) -> int:
        return len(self._facts)

    def fact(self, subject: str, relation: str) -> KnownFact | None:
        return self._facts.get((words(subject), relation))

    def read(self, text: str) -> tuple[KnownFact, ...]:
        """Longest mentions win. Relations apply from the subject outwards: in "capital of the country of X" the last
        one named first. Without a subject that has the innermost relation: empty."""
        asked = words(text[:_MAX_READ_CHARS])
        subjects = self._mentions(asked, self._subjects)
        for start, end in sorted(subjects, key=lambda span: (span[0] - span[1], span[0])):
            rest = (*asked[:start], "", *asked[end:])  # the gap keeps mentions from spanning the subject
            relations = [self._relations[rest[a:b]] for a, b in sorted(self._mentions(rest, self._relations))]
            chain = self._follow(asked[start:end], relations[::-1])
            if chain:
                return chain
        return ()

    def _mentions(self, text: Sequence[str], known: Container[tuple[str, ...]]) -> list[tuple[int, int]]:
        """Spans of `text` that are in `known`, none inside another."""
        found: list[tuple[int, int]] = []
        for length in range(min(self._longest, len(text)), 0, -1):
            for start in range(len(text) - length + 1):
                end = start + length
                if tuple(text[start:end]) in known and not any(a < end and start < b for a, b in found):
                    found.append((start, end))
        return found

    def _follow(self, subject: tuple[str, ...], relations: Sequence[Sequence[str]]) -> tuple[KnownFact, ...]:
        chain: list[KnownFact] = []
        for readings in relations:
            fact = next((f for r in readings if (f := self._facts.get((subject, r)))), None)
            if fact is not None and fact not in chain:
                chain.append(fact)
                subject = words(fact.values[0])
        return tuple(chain)
