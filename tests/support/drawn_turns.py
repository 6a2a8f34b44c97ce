"""A policy without weights for both interfaces: turns drawn from a list by the request's seed, log-probs alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.env.environment_settings import Budgets
from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.env.interfaces import CodeInterface, NaturalInterface
from harness.env.rollout import Environment
from harness.protocol import PUBLISHED_REWARD
from tests.support.episodes import chat
from tests.support.small_world import KNOWLEDGE, LANDS, TWO_HOP, toolbox

QUESTION = TWO_HOP[7]


def _code(*programs: str) -> list[str]:
    return [f"<think>so</think>\n<code>\n{program}\n</code>" for program in programs]


def _tool(*calls: str) -> list[str]:
    return [f"<think>so</think><tool>{call}</tool>" for call in calls]


TURNS = {
    "natural": [
        *_tool("Search: Town7 country", "Search: Land7 capital", f"AnswerGenerate: {QUESTION.text}"),
        *_tool("Review: <solution>Capital7</solution>", "Revise:", f"MultiAnswerGenerate: {QUESTION.text}"),
        "<think>so</think>",
        "<think>so</think><answer>Capital7</answer>",
        "<think>so</think><answer>Capital9</answer>",
    ],
    "code": [
        *_code("x = search('Land7 capital')", f"x = multi_answer_generate({QUESTION.text!r})", "n = [n, n]"),
        *_code("n = 1\nprint(n)", "print(x[:40])", "print(review(solution='Capital7'))\nn = n + 1", "print(revise())"),
        *_code(f"x = search('Town7')\nx = custom(task={QUESTION.text!r}, instruction='Guess.')", "answer(x[-8:])"),
        "<think>so</think>",
        *_code("answer('Capital7')"),
    ],
}


class DrawnTurns:
    """An engine whose generation is a function of the request's seed. `seeds` are those of all requests so far."""

    def __init__(self, turns: Sequence[str]) -> None:
        self.turns = turns
        self.seeds: list[int] = []

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        return [self._draw(r, params) for r in requests]

    def _draw(self, request: GenerationRequest, params: SamplingParams) -> Generation:
        self.seeds.append(request.seed)
        rng = np.random.default_rng(request.seed)
        tokens = chat().turn(self.turns[int(rng.integers(len(self.turns)))])
        tokens = tokens[: min(request.max_tokens, params.max_tokens)]
        return Generation(tokens, tuple(-rng.random(len(tokens))), tokens[-1] == params.stop_token)

    def release(self, sequence_ids: Sequence[int]) -> None: ...

    def load_weights(self, model: object) -> None: ...

    def sleep(self) -> None: ...


def faulted_environment(interface: str, rate: float = 0.5, **budgets: int) -> Environment:
    """Operators that draw, and are faulted at `rate`."""
    limits = {"max_calls": 6, "max_turns": 8, "max_turn_tokens": 200, "max_response_tokens": 3000} | budgets
    operators = FaultInjector(toolbox(), FaultPlan(tuple(FAULTS), rate), KNOWLEDGE, LANDS)
    spoken = CodeInterface(compact=True) if interface == "code" else NaturalInterface(compact=True)
    return Environment("Operators", chat(), operators, Budgets(**limits), PUBLISHED_REWARD, spoken)
