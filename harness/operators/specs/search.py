"""Search: titles and snippets of the best passages, from any Retriever."""

from __future__ import annotations

from dataclasses import replace

from harness.operators.base import CallContext, Hit, Inputs, LLMResponse, Services, Style
from harness.operators.formatting import result
from harness.operators.operator_settings import SearchSettings
from harness.operators.roles import Role
from harness.operators.spec import OperatorSpec
from harness.types import OperatorFailure, OperatorResult


def snippet(text: str, limit: int) -> str:
    """`text` on one line, cut at a word's end to at most `limit` characters."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    return (cut[: cut.rfind(" ")] if " " in cut else cut).rstrip() + "…"


def format_hits(hits: tuple[Hit, ...], settings: SearchSettings, style: Style) -> str:
    """`[1] Title: snippet`, one passage a line (full) or all on one line (compact)."""
    lines = [
        f"[{i}] {hit.passage.title}: {snippet(hit.passage.text, settings.snippet_chars)}"
        for i, hit in enumerate(hits, 1)
    ]
    return (" " if style == "compact" else "\n").join(lines)


async def _run(spec: OperatorSpec, inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    assert services.retriever is not None, "Toolbox refuses a retrieving operator without a retriever"
    (query,) = inputs["text"]
    (found,) = await services.retriever.retrieve([query], services.search.top_k)
    costs = LLMResponse(text="", failure=found.failure, latency_s=found.latency_s, retries=found.retries)
    if found.failure is None and not found.hits:
        return OperatorResult(spec.name, "No results.", OperatorFailure.EMPTY, latency_s=found.latency_s)
    shown = result(spec.name, format_hits(found.hits, services.search, services.style), costs)
    return replace(shown, passages=tuple(hit.passage.id for hit in found.hits))


SPEC = OperatorSpec(
    name="Search",
    role=Role.RETRIEVES,
    summary="finds passages about a query: titles and snippets, best first",
    input_format="query",
    example="Search: capital of Chad",
    run=_run,
    needs_retriever=True,
    demonstration=(
        "The Glass Orchard author",
        "[1] The Glass Orchard: The Glass Orchard is a novel by Mira Halvorsen.",
    ),
)
