"""What an inference engine is: token ids in, sampled token ids and their log-probabilities out, weights updated in
place.

Text never passes through an engine (stop strings are looked for in a view of the tokens). A sequence is known by an id
from its first request until `release`; its context only ever grows, so an engine may keep the keys and values of what
it has seen (the built-in engine does; vLLM's prefix cache has the same effect without ids).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """`temperature` 0 is greedy. A generation ends with `stop_token` (kept in the tokens), with the token that
    completes one of the strings `stop` in its text (kept too, with what else is in it), or after `max_tokens`.

    `text` decodes tokens, for `stop` alone. Raises ValueError for strings without it, and for an empty one.
    """

    temperature: float
    max_tokens: int
    stop_token: int
    stop: tuple[str, ...] = ()
    text: Callable[[Sequence[int]], str] | None = None

    def __post_init__(self) -> None:
        if self.stop and (self.text is None or not all(self.stop)):
            raise ValueError(f"stop strings {self.stop} must not be empty, and need `text` to be looked for")
        if self.temperature < 0 or self.max_tokens < 1:
            raise ValueError(f"temperature {self.temperature} must be >= 0 and max_tokens {self.max_tokens} >= 1")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Continue `context` (every token so far, prompt included).

    `seed` fixes the random stream of this generation whatever else is in the batch: twins of an episode share it.
    `max_tokens` caps this one generation below the shared limit.
    """

    sequence_id: int
    context: Sequence[int]
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Generation:
    """Sampled tokens, their log-probs under the (temperature-scaled) model, and whether the stop token or a stop string
    ended it."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


class Engine(Protocol):
    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        """One generation a request, in order."""
        ...

    def release(self, sequence_ids: Sequence[int]) -> None:
        """Forget these sequences; their ids may be used again."""
        ...

    def load_weights(self, model: nn.Module) -> None:
        """Take over the current weights of a transformers (or PEFT) model. Cached keys and values are dropped."""
        ...

    def sleep(self) -> None:
        """Nothing is generated until the next `load_weights`: an engine that shares a GPU with the update frees it."""
        ...
