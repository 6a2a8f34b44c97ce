"""Retrievers over HTTP: the Search-R1 protocol (a de-facto standard for local retrievers) and a JSON web-search API.

Search-R1: `POST /retrieve {"queries": [...], "topk": 3, "return_scores": true}` gives `{"result": [[{"document":
{"id", "contents": "\"Title\"\ntext"}, "score"}, …], …]}`, no hit gives `[]`. Scores are always requested: without
them its own server returns a wrong result. A variant in use takes one query: `{"query": "q"}`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from harness.operators.base import Hit, Retrieval
from harness.operators.http import JsonClient, Reply
from harness.operators.operator_settings import HttpSettings
from harness.types import Passage

RequestForm = Literal["queries", "query"]


def contents(passage: Passage) -> str:
    """A passage as Search-R1 writes it: the title in quotes on the first line, then the text."""
    return f'"{passage.title}"\n{passage.text}'


def read_contents(id_: str, text: str) -> Passage:
    """The inverse of `contents`; a text without a quoted first line has that line as its title."""
    title, _, body = text.partition("\n")
    title = title.strip()
    if len(title) >= 2 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return Passage(id_, title, body.strip())


def read_hits(hits: Any) -> tuple[Hit, ...]:
    """One query's hits, with scores (`{"document": …, "score": …}`) or without (the bare document).

    Raises for another shape.
    """
    if not isinstance(hits, list):
        raise ValueError("hits are not a list")
    found = []
    for hit in hits:
        document = hit.get("document", hit)
        # `contents` is Search-R1's; some servers give title and text apart.
        if "contents" in document:
            passage = read_contents(str(document.get("id", "")), str(document["contents"]))
        else:
            passage = Passage(str(document.get("id", "")), str(document["title"]), str(document["text"]))
        found.append(Hit(passage, float(hit.get("score", 0.0))))
    return tuple(found)


class SearchR1Retriever:
    """Retriever over a Search-R1 server. `url` is the whole address, `/retrieve` included.

    form: `queries` sends all queries at once; `query` sends one request a query.
    """

    def __init__(self, url: str, form: RequestForm = "queries", http: HttpSettings | None = None) -> None:
        self._url, self._form = url, form
        self._client = JsonClient(http or HttpSettings())

    async def retrieve(self, queries: Sequence[str], top_k: int) -> list[Retrieval]:
        if self._form == "queries":
            return await self._ask({"queries": list(queries)}, len(queries), top_k)
        replies = await asyncio.gather(*(self._ask({"query": query}, 1, top_k) for query in queries))
        return [reply for (reply,) in replies]

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, asked: Mapping[str, Any], n: int, top_k: int) -> list[Retrieval]:
        def check(data: Any) -> list[tuple[Hit, ...]]:
            result = data["result"]
            # The single-query variant is served both with and without the outer list.
            if "query" in asked and not (result and isinstance(result[0], list)):
                result = [result]
            if not isinstance(result, list) or len(result) != n:
                raise ValueError("not one result a query")
            return [read_hits(hits)[:top_k] for hits in result]

        reply = await self._client.post(self._url, {**asked, "topk": top_k, "return_scores": True}, check)
        return [_retrieval(hits, reply) for hits in (reply.value or [()] * n)]


class WebSearchRetriever:
    """Retriever over a JSON web-search API: `POST {"q", "num"}` with an X-API-KEY header gives
    `{"organic": [{"title", "snippet", "link"}, …]}`.

    `key_variable` names the environment variable of the key, which is sent, never shown, and struck out of results.
    Raises ValueError if it is unset or cannot be sent. Hits are scored 1, 1/2, 1/3, … by rank.
    """

    def __init__(self, url: str, key_variable: str = "SEARCH_API_KEY", http: HttpSettings | None = None) -> None:
        key = os.environ.get(key_variable, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise ValueError(f"set {key_variable} to the search API's key")
        self._url = url
        self._clean: Callable[[Any], str] = lambda part: str(part).replace(key, "[key]")  # the key is in no attribute
        self._client = JsonClient(http or HttpSettings(), {"x-api-key": key})

    async def retrieve(self, queries: Sequence[str], top_k: int) -> list[Retrieval]:
        return list(await asyncio.gather(*(self._ask(query, top_k) for query in queries)))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, query: str, top_k: int) -> Retrieval:
        def check(data: Any) -> tuple[Hit, ...]:
            results = data.get("organic", []) if isinstance(data, dict) else None
            if not isinstance(results, list):
                raise ValueError("no list of results")
            pages = [
                Passage(self._clean(r.get("link", "")), self._clean(r["title"]), self._clean(r.get("snippet", "")))
                for r in results[:top_k]
            ]
            return tuple(Hit(page, 1 / rank) for rank, page in enumerate(pages, 1))

        reply = await self._client.post(self._url, {"q": query, "num": top_k}, check)
        return _retrieval(reply.value or (), reply)


def _retrieval(hits: tuple[Hit, ...], reply: Reply[Any]) -> Retrieval:
    return Retrieval(hits, reply.failure, reply.latency_s, reply.retries)
