"""Search over the whole offline world: it finds the passages of questions, and faults apply to what it finds."""

from __future__ import annotations

import numpy as np

from harness.env.fault_injection import FaultInjector, FaultPlan
from harness.operators import CallContext, Toolbox
from harness.operators.llm.world_knowledge import WorldKnowledge
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.tasks.world import load_world
from tests.support.small_world import run


def test_search_finds_the_passages_of_the_world() -> None:
    world = load_world()
    index = BM25Retriever(world.passages)
    for suite, least in (("world_single", 0.9), ("world_alias", 0.9), ("world_longtail", 0.9), ("world_compose", 0.95)):
        questions = world.split("test", suite)
        found = [any(h.passage.id == q.plan[0].passage_id for h in index.search(q.text, 3)) for q in questions]
        assert np.mean(found) > least, suite


def test_on_the_real_world_most_first_searches_can_be_made_stale() -> None:
    world = load_world()
    box = Toolbox("search_only", None, BM25Retriever(world.passages), style="compact")
    stale = FaultInjector(box, FaultPlan(("stale_fact",), 1.0), WorldKnowledge(world))
    questions = world.split("test", "world_compose")[:100]
    results = [run(stale.call("Search", f"{q.plan[0].subject} Country", CallContext(q))) for q in questions]
    faulted = [(q, r) for q, r in zip(questions, results, strict=True) if r.fault]
    assert len(faulted) > 90
    for question, result in faulted:
        step = question.plan[0]
        assert f"Country: {step.value}." in result.fault.true_text  # type: ignore[union-attr]
        own = next(h for h in result.text.split("[") if f"] {step.subject}:" in h)
        assert f"Country: {step.value}." not in own
