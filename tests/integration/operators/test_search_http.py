"""Search over HTTP: the Search-R1 protocol with our own server, a web-search API, and servers that misbehave."""

from __future__ import annotations

import gzip
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.operators import CallContext, Retriever, Toolbox
from harness.operators.base import Retrieval
from harness.operators.operator_settings import HttpSettings
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.operators.retrieval.http_retrievers import (
    RequestForm,
    SearchR1Retriever,
    WebSearchRetriever,
    contents,
    read_contents,
)
from harness.operators.retrieval.server import main
from harness.types import OperatorFailure, OperatorResult, Passage
from tests.support.hostile_server import endless, ends_early, garbage, hostile, reply, silence
from tests.support.small_world import ONE_HOP, PASSAGES, run

# Generous where time is not the point: the tests must hold on a busy machine.
FAST = HttpSettings(deadline_s=60, attempt_s=30, max_attempts=2, backoff_s=0.01)
HURRIED = replace(FAST, attempt_s=0.5)
CORPUS = PASSAGES[:50] + PASSAGES[2000:2050]
QUERIES = ["Land7 capital", "zzz", "Town12", ""]


def search(retriever: Retriever, query: str = "Land7 capital") -> OperatorResult:
    return run(Toolbox("search_only", None, retriever).call("Search", query, CallContext(ONE_HOP[0])))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Our server as its users start it."""
    folder = tmp_path_factory.mktemp("corpus")
    corpus = folder / "corpus.jsonl.gz"
    half = len(CORPUS) // 2
    rows: list[dict[str, Any]] = [{"id": p.id, "title": p.title, "text": p.text} for p in CORPUS[:half]]
    rows += [{"id": p.id, "contents": contents(p)} for p in CORPUS[half:]]
    corpus.write_bytes(gzip.compress(("\n".join(map(json.dumps, rows)) + "\n\n").encode()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", "harness.operators.retrieval.server", "--corpus", str(corpus), "--port", str(port)]
    server = subprocess.Popen(
        [*program, "--index", str(folder / "index")], cwd=Path(__file__).parents[3], env=dict(os.environ)
    )
    try:
        for _ in range(200):
            assert server.poll() is None, "the server ended"
            try:
                health = httpx.get(f"http://127.0.0.1:{port}/health", timeout=1, trust_env=False)
                assert health.json() == {"status": "ok", "passages": len(CORPUS)}
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/retrieve"
    finally:
        server.terminate()
        server.wait(10)


def post(address: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(address, content=content, timeout=10, trust_env=False)


@pytest.mark.parametrize("form", ["queries", "query"])
def test_over_http_the_same_passages_are_found_as_in_process(address: str, form: RequestForm) -> None:
    local = BM25Retriever(CORPUS)
    remote = run(SearchR1Retriever(address, form).retrieve(QUERIES, 3))
    assert [[(h.passage, pytest.approx(h.score)) for h in r.hits] for r in remote] == [
        [(h.passage, h.score) for h in local.search(q, 3)] for q in QUERIES
    ]
    assert [bool(r.hits) for r in remote] == [True, False, True, False]
    assert all(r.failure is None and r.latency_s > 0 for r in remote)


def test_the_operator_reads_the_same_from_either_retriever(address: str) -> None:
    assert search(SearchR1Retriever(address)).text == search(BM25Retriever(CORPUS)).text
    assert search(SearchR1Retriever(address), "zzz").failure is OperatorFailure.EMPTY


def test_the_wire_format_is_search_r1s(address: str) -> None:
    both = post(address, {"queries": ["Land7 capital", "zzz"], "topk": 1, "return_scores": True}).json()
    ((hit,), nothing) = both["result"]
    assert nothing == []
    assert hit["document"] == {"id": "l7", "contents": '"Land7"\nLand7 is a country. Capital: Capital7.'}
    assert hit["score"] > 0
    bare = post(address, {"queries": ["Land7 capital"]}).json()["result"][0]
    assert len(bare) == 3
    assert bare[0] == hit["document"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[1]", b"[" * 100_000, b"5", {}, {"queries": "q"}, {"queries": [1]}, {"query": None},
        {"query": "q", "topk": -1},
        {"query": "q", "topk": "x"}, {"query": "q", "topk": 10**9}, {"queries": ["q"] * 2000},
    ],
)  # fmt: skip
def test_a_bad_request_is_told_so(address: str, body: Any) -> None:
    response = post(address, body)
    assert response.status_code == 400
    assert response.json()["error"].startswith("bad request")


def test_a_request_without_end_is_cut_off(address: str) -> None:
    assert post(address, b" " * (9 << 20)).status_code == 413
    assert post(address, {"query": "Land7"}).status_code == 200


@pytest.mark.parametrize(
    "passage", [Passage("1", "Chad", "a country"), Passage("2", 'The "Quoted"', "x\n\ny"), Passage("3", "", "text")]
)
def test_contents_are_read_as_they_were_written(passage: Passage) -> None:
    assert read_contents(passage.id, contents(passage)) == passage


def test_contents_without_quotes_still_have_a_title() -> None:
    assert read_contents("1", "Chad\na country") == Passage("1", "Chad", "a country")


TIMEOUT, ERROR = OperatorFailure.TIMEOUT, OperatorFailure.SERVER_ERROR
LIMIT, BAD = OperatorFailure.RATE_LIMITED, OperatorFailure.BAD_RESPONSE
HOSTILE = {
    "silence": (silence(), TIMEOUT, 1),
    "slow drip": (endless(b"x", 0.05), TIMEOUT, 1),
    "endless body": (endless(), BAD, 0),
    "500": (reply(500, {}), ERROR, 1),
    "429": (reply(429, {}), LIMIT, 1),
    "garbage": (garbage(), BAD, 1),
    "half a body": (ends_early(b'{"result": ['), BAD, 1),
    "wrong JSON": (reply(200, [1, 2]), BAD, 1),
    "one result too many": (reply(200, {"result": [[], []]}), BAD, 1),
    "hits of no shape": (reply(200, {"result": [[{"score": 1}]], "organic": [{"link": "x"}]}), BAD, 1),
    "scores beyond all numbers": (
        reply(200, {"result": [[{"document": {"title": "", "text": ""}, "score": 10**400}]]}),
        BAD,
        1,
    ),
    "hits that are no list": (reply(200, {"result": ["abc"], "organic": "abc"}), BAD, 1),
}


NOT_WRONG = {
    ("one result too many", "query"),
    ("one result too many", "web"),
    ("scores beyond all numbers", "web"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["queries", "query", "web"])
def test_a_misbehaving_server_is_a_typed_visible_observation(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, failure, retries = HOSTILE[name]
    if (name, kind) in NOT_WRONG:
        pytest.skip("not wrong in this protocol")
    monkeypatch.setenv("SEARCH_API_KEY", "key")
    http = HURRIED if failure is TIMEOUT else FAST
    with hostile(behaviour) as server:
        retriever: Retriever = (
            WebSearchRetriever(server.url, http=http) if kind == "web" else SearchR1Retriever(server.url, kind, http)  # type: ignore[arg-type]
        )
        start = time.perf_counter()
        result = search(retriever)
        assert time.perf_counter() - start < 2 * HURRIED.attempt_s + 30
    assert (result.failure, result.retries) == (failure, retries)
    assert result.text.startswith("Search ")


def test_the_single_form_is_read_with_and_without_the_outer_list() -> None:
    hit = {"document": {"id": "1", "title": "Chad", "text": "a country"}, "score": 0.5}
    for result in ([[hit]], [hit]):
        with hostile(reply(200, {"result": result})) as server:
            (found,) = run(SearchR1Retriever(server.url, "query", FAST).retrieve(["q"], 3))
        assert [h.passage.title for h in found.hits] == ["Chad"]
        assert server.seen[0].body == {"query": "q", "topk": 3, "return_scores": True}
    for result in ([], [[]]):
        with hostile(reply(200, {"result": result})) as server:
            assert run(SearchR1Retriever(server.url, "query", FAST).retrieve(["q"], 3))[0].hits == ()


def test_halves_of_surrogate_pairs_in_hits_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_API_KEY", "the key")
    hit = {
        "id": "1\ud83d",
        "title": "Ch\udc00ad",
        "text": "a \ud83d country",
        "link": "1\ud83d",
        "snippet": "a \ud83d country",
    }
    for kind in ("search_r1", "web"):
        with hostile(reply(200, {"result": [[{"document": hit, "score": 0.5}]], "organic": [hit]})) as server:
            retriever = (
                SearchR1Retriever(server.url, http=FAST) if kind == "search_r1" else WebSearchRetriever(server.url)
            )
            (found,) = run(retriever.retrieve(["q"], 3))
        assert [h.passage for h in found.hits] == [Passage("1\ufffd", "Ch\ufffdad", "a \ufffd country")]


def test_a_failed_batch_fails_for_each_of_its_queries() -> None:
    with hostile(reply(404, {})) as server:
        found = run(SearchR1Retriever(server.url, "queries", FAST).retrieve(["a", "b"], 3))
    assert [r.failure for r in found] == [ERROR, ERROR]
    assert all(isinstance(r, Retrieval) and not r.hits for r in found)


# --- web search ------------------------------------------------------------------------------------------------------

PAGES = {"organic": [{"title": f"Page {i}", "snippet": f"About {i}.", "link": f"http://p/{i}"} for i in range(9)]}


def test_web_results_become_hits_and_the_key_stays_hidden(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-web-key")
    caplog.set_level(logging.DEBUG)
    with hostile(reply(200, PAGES), reply(500, {})) as server:
        retriever = WebSearchRetriever(server.url, "MY_KEY", FAST)
        assert search(retriever).text.splitlines() == [f"[{i}] Page {i - 1}: About {i - 1}." for i in range(1, 6)]
        assert server.seen[0].headers["x-api-key"] == "secret-web-key"
        assert server.seen[0].body == {"q": "Land7 capital", "num": 5}
        assert search(retriever).failure is ERROR
    assert "secret-web-key" not in repr(vars(retriever)) + caplog.text


def test_no_organic_results_is_empty_and_a_list_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_API_KEY", "key")
    for data, failure in (({}, OperatorFailure.EMPTY), ({"organic": []}, OperatorFailure.EMPTY), ([1], BAD)):
        with hostile(reply(200, data)) as server:
            assert search(WebSearchRetriever(server.url, http=FAST)).failure is failure


@pytest.mark.parametrize("value", ["", "a\nb"])
def test_web_search_without_a_usable_key_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ValueError, match="MY_KEY"):
        WebSearchRetriever("http://127.0.0.1:1", "MY_KEY")


# --- the corpus file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["{", "5", '{"id": 1}', '{"title": "x", "text": "y"}', '["id"]'])
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "1", "title": "Chad", "text": "a country"}\n' + row + "\n")
    assert main(["--corpus", str(path), "--index", str(tmp_path / "index")]) == 2
    assert "corpus.jsonl:2" in capsys.readouterr().err


def test_a_missing_or_empty_corpus_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("none.jsonl", "empty.jsonl"):
        assert main(["--corpus", str(tmp_path / name), "--index", str(tmp_path / "index")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
