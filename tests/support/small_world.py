"""A made-up world for the operator tests: facts enough to measure rates on, no other package involved."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TypeVar

from harness.operators import CallContext, Toolbox
from harness.operators.llm.knowledge_base import KnownFact, Reader, words
from harness.operators.llm.simulated import SimulatedLLM, SimulatedRates
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.types import OperatorResult, Passage, Question, Step

T = TypeVar("T")

N = 2000
LANDS = [f"Land{i}" for i in range(N)]
CAPITALS = [f"Capital{i}" for i in range(N)]
TOWNS = [f"Town{i}" for i in range(N)]


def _wrong(names: list[str], i: int) -> tuple[str, ...]:
    return tuple(names[(i + d) % N] for d in (1, 2, 3))


class FactIndex:
    """A KnowledgeBase of given facts. `wordings` gives further wordings of a relation (`{"capital": ("seat",)}`); its
    own name, with `_` for blanks, always counts."""

    def __init__(self, facts: Iterable[KnownFact], wordings: Mapping[str, Sequence[str]] | None = None) -> None:
        self._facts = {(words(fact.subject), fact.relation): fact for fact in facts}
        by_wording: dict[str, list[str]] = {}
        for relation in dict.fromkeys(relation for _, relation in self._facts):
            for wording in (relation.replace("_", " "), *(wordings or {}).get(relation, ())):
                by_wording.setdefault(wording, []).append(relation)
        self._reader = Reader({f.subject: f.subject for f in self._facts.values()}, by_wording, self.fact)

    def __len__(self) -> int:
        return len(self._facts)

    def fact(self, subject: str, relation: str) -> KnownFact | None:
        return self._facts.get((words(subject), relation))

    def read(self, text: str) -> tuple[KnownFact, ...]:
        return self._reader.read(text)


FACTS = [
    *(KnownFact(LANDS[i], "capital", (CAPITALS[i],), _wrong(CAPITALS, i), i / (N - 1)) for i in range(N)),
    *(KnownFact(TOWNS[i], "country", (LANDS[i],), _wrong(LANDS, i), i / (N - 1)) for i in range(N)),
]
KNOWLEDGE = FactIndex(FACTS, {"capital": ("seat of government",), "country": ("land",)})
PASSAGES = [
    *(Passage(f"l{i}", LANDS[i], f"{LANDS[i]} is a country. Capital: {CAPITALS[i]}.") for i in range(N)),
    *(Passage(f"t{i}", TOWNS[i], f"{TOWNS[i]} is a town. Country: {LANDS[i]}.") for i in range(N)),
]
ONE_HOP = [
    Question(
        f"one{i}",
        f"What is the capital of {LANDS[i]}?",
        (CAPITALS[i],),
        "small",
        1,
        (f"l{i}",),
        (Step(LANDS[i], "capital", CAPITALS[i], f"l{i}"),),
    )
    for i in range(N)
]
TWO_HOP = [
    Question(
        f"two{i}",
        f"What is the capital of the country where {TOWNS[i]} lies?",
        (CAPITALS[i],),
        "small",
        2,
        (f"t{i}", f"l{i}"),
        (Step(TOWNS[i], "country", LANDS[i], f"t{i}"), Step(LANDS[i], "capital", CAPITALS[i], f"l{i}")),
    )
    for i in range(N)
]

_RETRIEVER: list[BM25Retriever] = []


def retriever() -> BM25Retriever:
    if not _RETRIEVER:
        _RETRIEVER.append(BM25Retriever(PASSAGES))
    return _RETRIEVER[0]


def toolbox(rates: SimulatedRates | None = None, pool: str = "full", style: str = "compact", seed: int = 0) -> Toolbox:
    llm = SimulatedLLM(KNOWLEDGE, rates, knowledge_seed=seed)
    return Toolbox(pool, llm, retriever(), style=style)  # type: ignore[arg-type]


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


def call(box: Toolbox, name: str, text: str, question: Question, seed: int = 0, index: int = 0) -> OperatorResult:
    return run(box.call(name, text, CallContext(question, seed, index)))


def call_all(box: Toolbox, jobs: list[tuple[str, str, CallContext]]) -> list[OperatorResult]:
    async def work() -> list[OperatorResult]:
        return [await box.call(*job) for job in jobs]

    return run(work())
