"""From configuration to parts: environment, data, engine. The only place that knows which part a setting means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from harness.operators import SearchSettings, Toolbox
from harness.operators.backends.simulated import SimulatedLLM
from harness.operators.bm25 import BM25Retriever
from harness.operators.knowledge import FactIndex, KnownFact
from harness.world import load_world


@cache
def world_retriever() -> BM25Retriever:
    return BM25Retriever(load_world().passages)


@cache
def world_knowledge() -> FactIndex:
    world = load_world()
    return FactIndex(
        KnownFact(e.title, key, fact.accepted, world.facts.wrong(e.title, key), e.obscurity)
        for e in world.entities.values()
        for key, fact in e.facts.items()
    )


def world_toolbox(pool: str | Sequence[str], *, top_k: int, snippet_chars: int) -> Toolbox:
    return Toolbox(
        pool,
        SimulatedLLM(world_knowledge()),
        world_retriever(),
        style="compact",
        search=SearchSettings(top_k=top_k, snippet_chars=snippet_chars),
        observation_chars=600,
    )
