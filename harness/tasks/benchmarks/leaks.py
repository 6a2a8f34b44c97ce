"""Detection of test questions in the training data: by id, by normalised text, or as near copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from harness.protocol.scoring import normalize_answer
from harness.types import Question

NEAR = 0.8
"""Jaccard similarity of the token sets from which two questions are near copies."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A training question too close to a test question. `kind` is id, text or near; `similarity` is Jaccard's."""

    train: str
    test: str
    kind: str
    similarity: float


def find_leaks(
    train: Sequence[Question], test: Sequence[Question], progress: Callable[[int], None] | None = None
) -> tuple[Leak, ...]:
    """The worst leak of every training question that has one. `progress` is called with the number of questions done.

    Near copies are found exactly, by prefix filtering (Chaudhuri et al. 2006): two token sets of Jaccard t share a
    token among the |x| - ceil(t|x|) + 1 rarest of each, so only those are looked up.
    """
    by_id = {q.id for q in test}
    words = [_tokens(q) for q in test]
    by_text = {normalize_answer(q.text): q.id for q in reversed(test)}
    frequency = Counter(word for text in words for word in text)
    index: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(words):
        for word in _prefix(text, frequency):
            index[word].append(i)
    leaks = []
    for done, question in enumerate(train, 1):
        if question.id in by_id:
            leaks.append(Leak(question.id, question.id, "id", 1.0))
        elif (same := by_text.get(normalize_answer(question.text))) is not None:
            leaks.append(Leak(question.id, same, "text", 1.0))
        elif (near := _nearest(_tokens(question), words, index, frequency)) is not None:
            leaks.append(Leak(question.id, test[near[0]].id, "near", near[1]))
        if progress is not None:
            progress(done)
    return tuple(leaks)


def _tokens(question: Question) -> frozenset[str]:
    return frozenset(normalize_answer(question.text).split())


def _prefix(text: Iterable[str], frequency: Counter[str]) -> list[str]:
    ordered = sorted(text, key=lambda word: (frequency[word], word))
    return ordered[: len(ordered) - ceil(NEAR * len(ordered) - 1e-9) + 1]


def _nearest(
    text: frozenset[str], others: Sequence[frozenset[str]], index: dict[str, list[int]], frequency: Counter[str]
) -> tuple[int, float] | None:
    candidates = {i for word in _prefix(text, frequency) for i in index.get(word, ())}
    best: tuple[int, float] | None = None
    for i in sorted(candidates):
        shared = len(text & others[i])
        similarity = shared / (len(text) + len(others[i]) - shared)
        if similarity >= NEAR and (best is None or similarity > best[1]):
            best = (i, similarity)
    return best
