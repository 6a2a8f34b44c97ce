"""Vocabulary of operator calls: their context, requests and responses of the LLM, hits of the retriever.

Services never raise for a failing endpoint: they return a response whose `failure` names the cause, so that an operator
failure always becomes a visible, typed observation.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from harness.operators.operator_settings import FIVE_PASSAGES, SearchSettings
from harness.operators.roles import Role
from harness.types import OperatorFailure, OperatorResult, Passage, Question

Style = Literal["full", "compact"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PastCall:
    """An earlier operator call of the episode: the input as the policy wrote it, and the result as it was read."""

    role: Role
    text: str
    result: OperatorResult


@dataclass(frozen=True, slots=True)
class CallContext:
    """All that a call's result may depend on beside its input.

    `call_index` counts the episode's operator calls from 0; `earlier` are the calls before this one, in order.
    `forked`: one of many continuations of a state, whose injected faults are drawn by its seed.
    """

    question: Question
    seed: int = 0
    call_index: int = 0
    earlier: tuple[PastCall, ...] = ()
    forked: bool = False


def uniform(*keys: object) -> float:
    """A number in [0, 1) that depends on `keys` alone (their repr), on every machine and in every process."""
    digest = hashlib.blake2b("\x1f".join(map(repr, keys)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def pick(options: Sequence[T], *keys: object) -> T:
    """One of `options`, uniformly, as a function of `keys`."""
    return options[int(uniform(*keys) * len(options))]


def spelling_hint(name: str, options: Sequence[str]) -> str:
    """`; did you mean 'X'?` for the nearest of `options`, or an empty string."""
    folded = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(name[:100].casefold(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """One completion requested from the operator LLM.

    `messages` is what a real model reads. `operator`, `inputs` (the parsed operator input), `context` and `simulate`
    serve the simulated LLM, whose reply is `simulate(simulated_llm, request)`; real models ignore them.
    `seed` is None at temperature 0, where equal messages must give equal text (and one cache entry).
    """

    operator: str
    messages: tuple[Mapping[str, str], ...]
    required_tags: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]]
    context: CallContext
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None
    simulate: Callable[[Any, LLMRequest], str] | None = None


@dataclass(frozen=True, slots=True)
class LLMResponse:
    """A completion, or the reason there is none. Latency in seconds, cost in US dollars.

    `attempt_failures` has one entry for each attempt that failed, retried or not.
    """

    text: str
    failure: OperatorFailure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    cost_usd: float = 0.0
    cached: bool = False
    retries: int = 0
    attempt_failures: tuple[OperatorFailure, ...] = ()


class LLMBackend(Protocol):
    """The model behind the LLM operators: simulated, local, or an OpenAI-compatible endpoint."""

    async def complete(self, request: LLMRequest) -> LLMResponse: ...


@dataclass(frozen=True, slots=True)
class Hit:
    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Hits of one query, best first, or the reason there are none (no hit at all is not a failure here)."""

    hits: tuple[Hit, ...]
    failure: OperatorFailure | None = None
    latency_s: float = 0.0
    retries: int = 0


class Retriever(Protocol):
    """Passage search: BM25 in process, a Search-R1 server, or a web-search API."""

    async def retrieve(self, queries: Sequence[str], top_k: int) -> list[Retrieval]: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Services an operator may use, and the style of its observation.

    `max_tokens` bounds the operator LLM's output; `sample_temperature` is used where diversity is the point;
    `tag_retries` bounds the retries of a completion without its required tags.
    """

    llm: LLMBackend | None
    retriever: Retriever | None
    style: Style = "full"
    search: SearchSettings = FIVE_PASSAGES
    max_tokens: int = 1024
    sample_temperature: float = 1.0
    tag_retries: int = 3


Inputs = Mapping[str, tuple[str, ...]]
"""An operator's input as parsed: each inner tag's contents in order; without tags, the whole text under `text`."""


_LABEL = re.compile(r"\[Answer \d+\] ")


def labelled(text: str) -> tuple[str, ...]:
    """The answers in a result that labels them (`[Answer 1] …`), in order, blank ones left out."""
    return tuple(answer for part in _LABEL.split(text)[1:] if (answer := part.strip()))


def elements(text: str, tag: str) -> tuple[str, ...]:
    """Contents of every closed `<tag>…</tag>` in `text`, stripped, in order. Linear in the text's length."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    found: list[str] = []
    start = text.find(opening)
    while start >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            break
        found.append(text[start:end].strip())
        start = text.find(opening, end + len(closing))
    return tuple(found)
