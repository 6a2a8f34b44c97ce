"""What operator calls cost, by operator: a backend wrapped around any other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.operators.base import LLMBackend, LLMRequest, LLMResponse


@dataclass
class Account:
    """Sums over the completions one operator asked for. `failures` counts what was reported, `attempt_failures` what
    happened on the way (an attempt that failed and was repeated)."""

    completions: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    cost_usd: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    attempt_failures: Counter[str] = field(default_factory=Counter)

    def add(self, response: LLMResponse) -> None:
        self.completions += 1
        self.cached += response.cached
        self.retries += response.retries
        self.prompt_tokens += response.prompt_tokens
        self.completion_tokens += response.completion_tokens
        self.latency_s += response.latency_s
        self.cost_usd += response.cost_usd
        self.failures.update([response.failure] if response.failure else [])
        self.attempt_failures.update(response.attempt_failures)


@dataclass
class Ledger:
    """LLMBackend that passes requests on to `llm` and keeps an account for each operator."""

    llm: LLMBackend
    accounts: dict[str, Account] = field(default_factory=dict)

    async def complete(self, request: LLMRequest) -> LLMResponse:
        response = await self.llm.complete(request)
        self.accounts.setdefault(request.operator, Account()).add(response)
        return response
