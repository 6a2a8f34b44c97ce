"""Toolbox: the operators of one pool, ready to be called. The environment's only way to run an operator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from harness.operators import formatting
from harness.operators.base import CallContext, LLMBackend, Retriever, Services, Style, spelling_hint
from harness.operators.operator_settings import FIVE_PASSAGES, SearchSettings
from harness.operators.registry import OPERATORS, resolve_pool
from harness.operators.specs.warning import warning
from harness.types import OperatorFailure, OperatorResult

log = logging.getLogger(__name__)

MAX_INPUT_CHARS = 40_000
"""Operator inputs are cut to this length: longer than any turn, short enough to bound the time of parsing."""


class Caller(Protocol):
    """The rollout's view of a toolbox, with or without injected faults."""

    @property
    def pool(self) -> tuple[str, ...]: ...

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult: ...


class Toolbox:
    """Runs operators. Stateless but for its services: equal calls in equal contexts give equal results.

    `pool` is a named pool or operator names. Raises ValueError at construction for a bad pool, and for an operator
    whose service (`llm`, `retriever`) is not given; never raises afterwards for bad input or a failing service.
    `observation_chars` is the length to which results are cut, in the middle.
    """

    def __init__(
        self,
        pool: str | Sequence[str],
        llm: LLMBackend | None = None,
        retriever: Retriever | None = None,
        *,
        style: Style = "full",
        search: SearchSettings = FIVE_PASSAGES,
        observation_chars: int = 2048,
        max_tokens: int = 1024,
        sample_temperature: float = 1.0,
    ) -> None:
        self._pool = resolve_pool(pool)
        for name in self._pool:
            if OPERATORS[name].needs_llm and llm is None:
                raise ValueError(f"operator {name} needs an LLM backend")
            if OPERATORS[name].needs_retriever and retriever is None:
                raise ValueError(f"operator {name} needs a retriever")
        if sample_temperature <= 0:
            raise ValueError(
                f"sample_temperature must be positive, not {sample_temperature}: equal samples are no samples"
            )
        self._chars = observation_chars
        self._services = Services(
            llm=llm,
            retriever=retriever,
            style=style,
            search=search,
            max_tokens=max_tokens,
            sample_temperature=sample_temperature,
        )

    @property
    def pool(self) -> tuple[str, ...]:
        return self._pool

    @property
    def style(self) -> Style:
        return self._services.style

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        """The observation of `<tool>name: text</tool>`."""
        if name not in self._pool:
            names = ", ".join(self._pool)
            message = f"There is no operator {name[:40]!r}{spelling_hint(name, self._pool)} (operators: {names})"
            return self._cut(warning(message, OperatorFailure.UNKNOWN_OPERATOR))
        spec = OPERATORS[name]
        inputs, missing = spec.read_inputs(text[:MAX_INPUT_CHARS], context if self.style == "compact" else None)
        if missing:
            return self._cut(formatting.corrective(spec, missing))
        assert spec.run is not None  # resolve_pool admits callable operators only
        try:
            return self._cut(await spec.run(spec, inputs, context, self._services))
        except Exception:  # a service raised against its contract: the episode continues and shows the failure
            log.exception("operator %s failed on question %s", name, context.question.id)
            return OperatorResult(
                name, formatting.failure_text(name, OperatorFailure.SERVER_ERROR), OperatorFailure.SERVER_ERROR
            )

    def _cut(self, result: OperatorResult) -> OperatorResult:
        return replace(result, text=formatting.cut_middle(result.text, self._chars))
