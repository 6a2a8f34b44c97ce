"""An operator LLM that keeps what it was asked and what it replied."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.operators import LLMBackend, LLMRequest, LLMResponse
from harness.types import OperatorFailure


@dataclass
class RecordedLLM:
    """LLMBackend that passes requests on to `llm`."""

    llm: LLMBackend
    responses: list[LLMResponse] = field(default_factory=list)

    async def complete(self, request: LLMRequest) -> LLMResponse:
        response = await self.llm.complete(request)
        self.responses.append(response)
        return response

    @property
    def failures(self) -> Counter[OperatorFailure]:
        return Counter(r.failure for r in self.responses if r.failure is not None)

    @property
    def attempt_failures(self) -> Counter[OperatorFailure]:
        return Counter(failure for r in self.responses for failure in r.attempt_failures)
