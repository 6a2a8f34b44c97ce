"""Settings of the services behind operators: retriever, operator LLM, HTTP client."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.types import Count, Fraction, NonEmptyText, NonNegative, Seconds, SmallCount
from harness.types.redact import is_secret

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_SEARCH_VARIABLE = "SEARCH_API_KEY"


def check_variable(value: str) -> str:
    """A name of an environment variable. Raises ValueError without the value: it may be the key itself."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        raise ValueError("must be the name of an environment variable in capitals, never a key")
    return value


def check_address(value: str) -> str:
    """A plain http(s) address. Raises ValueError, also for one that holds a password or a key."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http(s)://host[:port]/path")
    if parts.username or parts.password:
        raise ValueError("must hold no user or password: name a variable in key_variable")
    if any(is_secret(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("must hold no key: name a variable in key_variable")
    return value


Variable = Annotated[str, AfterValidator(check_variable)]
Address = Annotated[str, AfterValidator(check_address)]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Bounds of every request to a service; `deadline_s` for a request with all its attempts, `attempt_s` for one.

    Raises ValueError for a value that is not positive.
    """

    concurrency: SmallCount = 16
    deadline_s: Seconds = 120.0
    attempt_s: Seconds = 60.0
    max_attempts: SmallCount = 4
    backoff_s: Seconds = 0.5
    """Waits between attempts double from here, half of each at random, up to `backoff_max_s`."""
    backoff_max_s: Seconds = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be positive, not {getattr(self, field.name)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bm25Settings:
    """BM25 in process, over the passages of the data."""

    kind: Literal["bm25"] = "bm25"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchR1Settings:
    """A server of Search-R1's protocol."""

    kind: Literal["search_r1"] = "search_r1"
    url: Address
    """The whole address, `/retrieve` included."""
    form: Literal["queries", "query"] = "queries"
    """Whether a request holds a list of queries or one."""
    http: HttpSettings = HttpSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchSettings:
    """A JSON web-search API of Serper's form; its results change with time."""

    kind: Literal["web"] = "web"
    url: Address
    key_variable: Variable = DEFAULT_SEARCH_VARIABLE
    """Environment variable that holds the key."""
    http: HttpSettings = HttpSettings()


RetrieverSettings = Annotated[Bm25Settings | SearchR1Settings | WebSearchSettings, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Observation of the operator Search: `top_k` passages a query, each text cut to `snippet_chars` characters."""

    top_k: SmallCount
    snippet_chars: Count


FIVE_PASSAGES = SearchSettings(top_k=5, snippet_chars=300)


@dataclass(frozen=True, slots=True)
class RetrievalSettings(SearchSettings):
    """The operator Search with its retriever."""

    retriever: RetrieverSettings


class SimulatedBackend(BaseModel):
    """A closed-book expert with error rates; takes, beside its kind, any rate of `SimulatedRates`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, Fraction] = Field(init=False)

    kind: Literal["simulated"] = "simulated"

    @property
    def rates(self) -> dict[str, float]:
        """The rates that differ from the simulation's own."""
        return dict(self.__pydantic_extra__)


@dataclass(frozen=True, slots=True)
class EndpointBackend:
    """Any OpenAI-compatible endpoint. The key comes from the environment, never from a file.

    Raises ValueError for an address that is not plain http(s) or holds a password or key, and for an empty model name.
    """

    base_url: Address
    """Ends before `/chat/completions`."""
    model: NonEmptyText
    key_variable: Variable = DEFAULT_KEY_VARIABLE
    """Environment variable that holds the key; none is sent if it is not set."""
    http: HttpSettings = HttpSettings()
    prompt_price: NonNegative = 0.0
    """US dollars for a million tokens, as `completion_price`."""
    completion_price: NonNegative = 0.0
    cache: str | None = None
    """File that keeps responses, null for none."""
    kind: Literal["openai"] = "openai"

    def __post_init__(self) -> None:
        check_address(self.base_url)
        if not self.model:
            raise ValueError("the operator LLM needs a model name")


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """A transformers folder or hub name, run in the trial's own process."""

    model: NonEmptyText
    kind: Literal["local"] = "local"


BackendSettings = Annotated[SimulatedBackend | EndpointBackend | LocalBackend, Field(discriminator="kind")]
