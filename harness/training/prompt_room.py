"""Check that prompts fit the engine's context, before anything is sampled."""

from __future__ import annotations

from collections.abc import Iterable

from harness.config import TrialConfig
from harness.engines.engine_settings import VllmSettings
from harness.env.rollout import Environment
from harness.tasks.benchmarks import DataError
from harness.types import Question

PROMPT_TOKENS = 1280
"""Room for the prompt in the engine's cache, as in the paper's set-up."""
_REWORDING = 512
"""Tokens that a perturbation adds to one question and not to another, at most."""


def engine_capacity(config: TrialConfig) -> int:
    """Tokens of a sequence, prompt and response, that the engine has room for."""
    capacity = PROMPT_TOKENS + config.environment.max_response_tokens
    given = config.engine.max_model_len if isinstance(config.engine, VllmSettings) else None
    return capacity if given is None else min(capacity, given)


def check_prompts(config: TrialConfig, environment: Environment, questions: Iterable[Question]) -> None:
    """Raises DataError naming the first question whose prompt leaves less than a turn's tokens to respond."""
    most = engine_capacity(config) - config.environment.max_turn_tokens
    listed = list(questions)
    around = len(environment.prompt(min(listed, key=lambda q: len(q.text)))) + _REWORDING if listed else 0
    for question in listed:
        if len(question.text.encode()) + around <= most:  # a token is at least a byte: most questions are not encoded
            continue
        if (n := len(environment.prompt(question))) > most:
            raise DataError(
                f"question {question.id!r} of {question.suite}: its prompt has {n} tokens; at most {most} leave room"
                " for a turn; shorten or remove the question"
            )
