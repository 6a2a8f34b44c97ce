"""PromptOptimizer: a precise query in place of a vague one."""

from __future__ import annotations

from collections.abc import Mapping

from harness.operators.base import LLMRequest, Style, uniform
from harness.operators.completions import one_completion
from harness.operators.handles import asked_question
from harness.operators.llm.knowledge_base import phrase, words
from harness.operators.llm.simulated import SimulatedLLM
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec


def _show(tags: Mapping[str, str], style: Style) -> str:
    query = f"Query: {tags['query']}"
    return query if style == "compact" else f"Thought: {tags['thought']}\n{query}"


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """The first hop's query, at the rate `optimizer_refines`; otherwise the query as it is."""
    text, context = request.inputs["text"][0], request.context
    asked = llm.understand(text, context.question)
    draw = uniform("optimize", context.seed, context.question.id, words(text))
    if asked is None or draw >= llm.rates.optimizer_refines:
        return f"<thought>The query is kept.</thought><query>{text}</query>"
    return f"<thought>One thing after another.</thought><query>{phrase(asked.facts[0])}</query>"


SPEC = OperatorSpec(
    name="PromptOptimizer",
    role=Role.REFINES,
    summary="rewrites a vague query into a precise one",
    input_format="query",
    example="PromptOptimizer: the place where they govern Chad from",
    run=one_completion(_show),
    handles={"text": asked_question},
    completion=Completion(
        template=(
            "Rewrite the query so that it is precise, self-contained and easy to answer or to search for. "
            "Do not answer it.\nQuery: {text}\n"
            "Write <thought>what was unclear</thought> and then <query>the refined query</query>."
        ),
        required=("thought", "query"),
        simulate=_simulate,
    ),
)
