"""The services behind the operators, built from their settings: operator LLM and retriever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from harness.operators.base import LLMBackend, Retriever
from harness.operators.llm.simulated import SimulatedLLM, SimulatedRates
from harness.operators.llm.world_knowledge import WorldKnowledge
from harness.operators.operator_settings import (
    BackendSettings,
    Bm25Settings,
    EndpointBackend,
    LocalBackend,
    RetrieverSettings,
    SearchR1Settings,
    SimulatedBackend,
    WebSearchSettings,
)
from harness.operators.registry import OPERATORS, resolve_pool
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.tasks.world import load_world


@cache
def world_retriever() -> BM25Retriever:
    return BM25Retriever(load_world().passages)


@cache
def world_knowledge() -> WorldKnowledge:
    return WorldKnowledge(load_world())


def world_expert(rates: Mapping[str, float] = MappingProxyType({})) -> SimulatedLLM:
    """The simulated operator LLM of the offline world; `rates` differ from its documented defaults."""
    return SimulatedLLM(world_knowledge(), SimulatedRates.from_mapping(rates))


def operator_llm(pool: str | Sequence[str], backend: BackendSettings, threads: int) -> LLMBackend | None:
    """The model behind the operators of `pool`; None where none of them would ask it.

    `threads`: CPU threads of a local model.
    """
    if not any(OPERATORS[name].needs_llm for name in resolve_pool(pool)):
        return None
    match backend:
        case SimulatedBackend():
            return world_expert(backend.rates)
        case EndpointBackend():
            from harness.operators.llm.openai import OpenAIBackend

            return OpenAIBackend(backend)
        case LocalBackend():
            from harness.operators.llm.local import LocalLLM

            return LocalLLM(backend.model, threads=threads)


def remote_retriever(settings: RetrieverSettings) -> Retriever | None:
    """The retriever that is a service; None: BM25 in this process. Raises ValueError where its key is not set."""
    from harness.operators.retrieval.http_retrievers import SearchR1Retriever, WebSearchRetriever

    match settings:
        case Bm25Settings():
            return None
        case SearchR1Settings():
            return SearchR1Retriever(settings.url, settings.form, settings.http)
        case WebSearchSettings():
            return WebSearchRetriever(settings.url, settings.key_variable, settings.http)
