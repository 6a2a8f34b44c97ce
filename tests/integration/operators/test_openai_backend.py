"""The OpenAI-compatible backend against a server that misbehaves in every way: nothing raises, all is counted."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from harness.operators import OPERATORS, CallContext, LLMRequest, LLMResponse, Toolbox
from harness.operators.base import LLMBackend
from harness.operators.completions import render
from harness.operators.http import MAX_BODY_BYTES, retry_after
from harness.operators.llm.cache import ResponseCache, request_key
from harness.operators.llm.openai import OpenAIBackend
from harness.operators.operator_settings import EndpointBackend, HttpSettings
from harness.types import OperatorFailure, OperatorResult
from tests.benchmarks import chaos
from tests.support.hostile_server import (
    GOOD,
    Behaviour,
    completion,
    endless,
    ends_early,
    garbage,
    hang_up,
    hostile,
    reply,
    silence,
)
from tests.support.recorded_llm import RecordedLLM
from tests.support.small_world import ONE_HOP, run

Q = ONE_HOP[0]
# Generous where time is not the point: the tests must hold on a busy machine.
FAST = HttpSettings(deadline_s=60, attempt_s=30, max_attempts=3, backoff_s=0.01, backoff_max_s=0.05)
HURRIED = replace(FAST, attempt_s=1.0)
SLACK_S = 30.0  # a broken bound shows as a minute (silence) or as no end at all
KEY = "sk-very-secret-0123456789"


def request(text: str = Q.text, seed: int | None = None) -> LLMRequest:
    inputs = {"text": (text,)}
    completion_ = OPERATORS["AnswerGenerate"].completion
    assert completion_ is not None
    temperature, messages = 0.0 if seed is None else 1.0, render(completion_, inputs)
    return LLMRequest("AnswerGenerate", messages, completion_.required, inputs, CallContext(Q), temperature, 64, seed)


def settings(url: str, http: HttpSettings = FAST, **more: Any) -> EndpointBackend:
    return EndpointBackend(url, "some-model", key_variable="TEST_LLM_KEY", http=http, **more)


def complete(backend: LLMBackend, *requests: LLMRequest) -> list[LLMResponse]:
    async def work() -> list[LLMResponse]:
        return list(await asyncio.gather(*(backend.complete(r) for r in requests)))

    return run(work())


def call(box: Toolbox, name: str = "AnswerGenerate", text: str = Q.text) -> OperatorResult:
    return run(box.call(name, text, CallContext(Q)))


TIMEOUT, ERROR = OperatorFailure.TIMEOUT, OperatorFailure.SERVER_ERROR
LIMIT, BAD = OperatorFailure.RATE_LIMITED, OperatorFailure.BAD_RESPONSE

RETRIED = {
    "silence": (silence(), TIMEOUT),
    "slow drip": (endless(b"x", 0.05), TIMEOUT),
    "500": (reply(500, {}), ERROR),
    "503": (reply(503, b"<html>busy</html>"), ERROR),
    "408": (reply(408, {}), ERROR),
    "429": (reply(429, {}), LIMIT),
    "429 at once": (reply(429, {}, {"retry-after": "0"}), LIMIT),
    "hang-up": (hang_up(), BAD),
    "garbage": (garbage(), BAD),
    "half a body": (ends_early(b'{"choices": [{"mess'), BAD),
    "half a JSON": (reply(200, b'{"choices": [{"message"'), BAD),
    "wrong JSON": (reply(200, {"error": "no"}), BAD),
    "a list": (reply(200, []), BAD),
    "no choices": (reply(200, {"choices": []}), BAD),
    "null text": (reply(200, completion(None)), BAD),  # type: ignore[arg-type]
    "number text": (reply(200, completion(5)), BAD),  # type: ignore[arg-type]
    "nested JSON": (reply(200, b"[" * 200_000), BAD),
    "not UTF-8": (reply(200, b"\xff\xfe\xfa"), BAD),
    "empty": (reply(200, b""), BAD),
    "compressed": (reply(200, b"\x1f\x8b", {"content-encoding": "gzip"}), BAD),
}
FINAL = {
    "401": (reply(401, {}), ERROR),
    "404": (reply(404, {}), ERROR),
    "redirect": (reply(302, {}, {"location": "http://127.0.0.1:1/"}), ERROR),
    "endless body": (endless(), BAD),
    "huge body": (reply(200, b"x" * (MAX_BODY_BYTES + 1)), BAD),
}


@pytest.mark.parametrize("name", RETRIED)
def test_a_passing_fault_is_retried_and_counted(name: str) -> None:
    behaviour, kind = RETRIED[name]
    with hostile(behaviour, behaviour, reply()) as server:
        llm = RecordedLLM(OpenAIBackend(settings(server.url, HURRIED if kind is TIMEOUT else FAST)))
        result = call(Toolbox(["AnswerGenerate"], llm))
    assert (result.text, result.failure, result.retries) == ("Thought: t\nAnswer: Paris", None, 2)
    assert (llm.attempt_failures, llm.failures) == (Counter({kind: 2}), {})
    assert [(r.prompt_tokens, r.completion_tokens) for r in llm.responses] == [(100, 20)]
    assert len(server.seen) == 3


@pytest.mark.parametrize("name", RETRIED)
def test_a_lasting_fault_ends_as_a_typed_visible_observation(name: str) -> None:
    behaviour, kind = RETRIED[name]
    with hostile(behaviour) as server:
        llm = RecordedLLM(OpenAIBackend(settings(server.url, HURRIED if kind is TIMEOUT else FAST)))
        start = time.perf_counter()
        result = call(Toolbox(["AnswerGenerate"], llm))
        assert time.perf_counter() - start < 3 * HURRIED.attempt_s + SLACK_S
    assert (result.failure, result.retries) == (kind, 2)
    assert result.text.startswith("AnswerGenerate ")
    assert (llm.attempt_failures, llm.failures) == (Counter({kind: 3}), Counter({kind: 1}))


@pytest.mark.parametrize("name", FINAL)
def test_what_cannot_pass_is_not_retried(name: str) -> None:
    behaviour, kind = FINAL[name]
    with hostile(behaviour, reply()) as server:
        (response,) = complete(OpenAIBackend(settings(server.url)), request())
        assert len(server.seen) == 1
    assert (response.failure, response.retries, response.attempt_failures) == (kind, 0, (kind,))


def test_nobody_listening_is_a_server_error() -> None:
    with hostile(reply()) as server:
        url = server.url
    (response,) = complete(OpenAIBackend(settings(url)), request())
    assert response.attempt_failures == (ERROR,) * 3


@pytest.mark.parametrize("behaviour", [silence(), endless(b"x", 0.02), reply(500, {})])
def test_the_deadline_holds_for_the_whole_call(behaviour: Behaviour) -> None:
    http = HttpSettings(deadline_s=0.6, attempt_s=10, max_attempts=1000, backoff_s=0.05, backoff_max_s=0.1)
    with hostile(behaviour) as server:
        start = time.perf_counter()
        (response,) = complete(OpenAIBackend(settings(server.url, http)), request())
        assert time.perf_counter() - start < 0.6 + SLACK_S
    assert response.failure in (TIMEOUT, ERROR)
    assert len(response.attempt_failures) == response.retries + 1 <= len(server.seen) + 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    value = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with hostile(reply(429, {}, {"retry-after": value}), reply()) as server:
        (response,) = complete(OpenAIBackend(settings(server.url)), request())
    assert response.failure is None
    assert server.seen[1].at - server.seen[0].at > 0.9


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    with hostile(reply(429, {}, {"retry-after": "3600"})) as server:
        start = time.perf_counter()
        (response,) = complete(OpenAIBackend(settings(server.url)), request())
        assert time.perf_counter() - start < SLACK_S
    assert response.attempt_failures == (LIMIT,)


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), ("soon", None), ("-1", None), ("²", None), ("7", 7.0), ("", None)]
)
def test_retry_after_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_waits_between_attempts_grow() -> None:
    http = replace(FAST, max_attempts=5, backoff_s=0.1, backoff_max_s=10)
    with hostile(reply(500, {})) as server:
        complete(OpenAIBackend(settings(server.url, http)), request())
    waits = [b.at - a.at for a, b in zip(server.seen, server.seen[1:], strict=False)]
    assert len(waits) == 4
    for i, wait in enumerate(waits):
        assert 0.05 * 2**i <= wait < 0.1 * 2**i + SLACK_S


def test_missing_tags_are_asked_for_again_with_a_hint() -> None:
    with hostile(reply(200, completion("Paris!")), reply()) as server:
        result = call(Toolbox(["AnswerGenerate"], OpenAIBackend(settings(server.url))))
    assert (result.failure, result.retries, result.prompt_tokens) == (None, 1, 200)
    first, second = (seen.body["messages"] for seen in server.seen)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": "Paris!"}
    assert "<answer>" in second[-1]["content"]


def test_the_request_is_what_the_protocol_says() -> None:
    with hostile(reply()) as server:
        box = Toolbox(["AnswerGenerate", "MultiAnswerGenerate"], OpenAIBackend(settings(server.url)), max_tokens=77)
        call(box)
        call(box, "MultiAnswerGenerate")
    single, *samples = server.seen
    assert single.path == "/v1/chat/completions"
    assert {k: single.body[k] for k in ("model", "temperature", "max_tokens")} == {
        "model": "some-model",
        "temperature": 0.0,
        "max_tokens": 77,
    }
    assert "seed" not in single.body
    assert len({s.body["seed"] for s in samples}) == 3
    assert all(s.body["temperature"] == 1.0 for s in samples)
    assert "authorization" not in single.headers


def test_one_connection_pool_outlives_the_callers_event_loops_and_respects_the_cap() -> None:
    with hostile(reply(delay=0.2)) as server:
        backend = OpenAIBackend(settings(server.url, replace(FAST, concurrency=3)))
        for _ in range(2):  # each `run` is an event loop of its own
            responses = complete(backend, *(request(f"question {i}") for i in range(9)))
            assert all(r.failure is None for r in responses)
        assert 1 < server.most_open <= 3
        assert server.connections <= 3
        run(backend.aclose())


def test_the_deadline_of_a_call_does_not_run_while_it_waits_for_its_turn() -> None:
    http = HttpSettings(concurrency=1, deadline_s=2, attempt_s=2, max_attempts=1)
    with hostile(reply(delay=0.5)) as server:
        responses = complete(OpenAIBackend(settings(server.url, http)), *(request(str(i)) for i in range(5)))
    assert all(r.failure is None and r.latency_s < 2 for r in responses)


def test_costs_follow_the_prices_and_missing_counts_are_estimated() -> None:
    for usage, expected in (
        ({"prompt_tokens": 1000, "completion_tokens": 10}, (1000, 10)),
        ("nonsense", None),
        ({"prompt_tokens": -5}, None),
        ({"prompt_tokens": 10_000_000_000, "completion_tokens": 2**22 + 1}, None),
        ({"prompt_tokens": True, "completion_tokens": 1e3}, None),
        ({"prompt_tokens": 2**22, "completion_tokens": 0}, (2**22, 0)),
    ):
        with hostile(reply(200, completion(GOOD, usage))) as server:
            backend = OpenAIBackend(settings(server.url, prompt_price=2.0, completion_price=8.0))
            (r,) = complete(backend, request())
        chars = sum(len(m["content"]) for m in request().messages)
        assert (r.prompt_tokens, r.completion_tokens) == (expected or (-(-chars // 4), -(-len(GOOD) // 4)))
        assert r.cost_usd == pytest.approx((r.prompt_tokens * 2 + r.completion_tokens * 8) / 1e6)


def test_halves_of_surrogate_pairs_in_an_answer_are_replaced() -> None:
    body = json.dumps(completion("<thought>a</thought><answer>x\ud83d 😀\udc00</answer>")).encode()
    for raw in (body, body.replace(rb"\udc00", b"\xed\xb0\x80")):  # escaped, and as bytes that are not UTF-8
        with hostile(reply(200, raw)) as server:
            (r,) = complete(OpenAIBackend(settings(server.url)), request())
        assert r.failure is None
        assert r.text == "<thought>a</thought><answer>x\ufffd 😀\ufffd</answer>"


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    echo = reply(200, completion(f"<thought>your key is {KEY}</thought><answer>{KEY}</answer>"))
    shown: list[object] = []
    for behaviour in (echo, reply(401, {"error": f"bad key {KEY}"}), reply(500, {}), garbage()):
        with hostile(behaviour) as server:
            backend = OpenAIBackend(settings(server.url))
            shown += [backend, backend.settings, backend._client, call(Toolbox(["AnswerGenerate"], backend))]
            assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(shown)
    assert KEY not in caplog.text


@pytest.mark.parametrize("bad", ["sk-\nx: y", "sk-ü"])
def test_a_key_that_cannot_be_sent_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", bad)
    with pytest.raises(ValueError, match="TEST_LLM_KEY") as error:
        OpenAIBackend(settings("http://127.0.0.1:1/v1"))
    assert bad not in str(error.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x/v1", "http://", "http://user:pw@host/v1"])
def test_bad_addresses_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match=r"http\(s\)|user or password") as error:
        settings(url)
    assert "pw" not in str(error.value)


# --- the cache -------------------------------------------------------------------------------------------------------


def test_kept_responses_survive_the_process_and_cost_nothing(tmp_path: Path) -> None:
    with hostile(reply()) as server:
        first, second = (
            OpenAIBackend(settings(server.url, cache=str(tmp_path / "c.db"), prompt_price=1)) for _ in range(2)
        )
        (paid,) = complete(first, request())
        (kept,) = complete(second, request())
        assert len(server.seen) == 1
    assert (kept.text, kept.prompt_tokens, kept.completion_tokens) == (
        paid.text,
        paid.prompt_tokens,
        paid.completion_tokens,
    )
    assert (paid.cached, kept.cached) == (False, True)
    assert (kept.cost_usd, kept.latency_s, kept.retries) == (0.0, 0.0, 0)


def test_equal_requests_at_the_same_time_are_asked_once(tmp_path: Path) -> None:
    with hostile(reply(delay=0.1)) as server:
        backend = OpenAIBackend(settings(server.url, cache=str(tmp_path / "c.db")))
        responses = complete(backend, *([request()] * 8), request(seed=1), request(seed=2), request("other"))
    assert len(server.seen) == 4
    assert sorted(r.cached for r in responses) == [False] * 4 + [True] * 7


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with hostile(reply(401, {}), reply()) as server:
        backend = OpenAIBackend(settings(server.url, cache=str(tmp_path / "c.db")))
        assert complete(backend, request())[0].failure is ERROR
        (second,) = complete(backend, request())
        assert (second.failure, second.text, second.cached) == (None, GOOD, False)


def test_the_key_of_a_request_depends_on_everything_that_matters(tmp_path: Path) -> None:
    backend = OpenAIBackend(settings("http://127.0.0.1:1/v1"))
    variants = [
        request(),
        request("other"),
        request(seed=1),
        request(seed=2),
        replace(request(), temperature=0.5),
        replace(request(), max_tokens=5),
    ]
    keys = [request_key(backend.payload(r)) for r in variants]
    other = OpenAIBackend(replace(backend.settings, model="another"))
    keys.append(request_key(other.payload(request())))
    assert len(set(keys)) == len(keys)
    assert request_key({"a": 1, "b": 2}) == request_key({"b": 2, "a": 1})
    # Who asks, and when in the episode, does not matter at temperature 0.
    assert request_key(backend.payload(replace(request(), context=CallContext(Q, 9, 9)))) == keys[0]


def test_a_damaged_cache_is_moved_aside_and_a_damaged_value_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    ResponseCache(path).close()
    path.write_bytes(path.read_bytes()[:100] + b"this is no database" * 100)
    cache = ResponseCache(path)
    cache.put("k", {"text": "Paris"})
    assert cache.get("k") == {"text": "Paris"}
    assert (tmp_path / "c.db.damaged").exists()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE responses SET value = replace(value, 'Paris', 'Parma')")
    assert cache.get("k") is None


def _database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE cookies (name TEXT)")


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_text("my thesis"), lambda path: path.write_bytes(b"SQLite format 3\0" * 20), _database],
)
def test_a_file_that_no_cache_made_is_never_touched(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "c.db"
    make(path)
    before = path.read_bytes()
    cache = ResponseCache(path)
    cache.put("k", {"text": "x"})
    assert cache.get("k") is None
    assert [p.name for p in tmp_path.iterdir()] == ["c.db"]
    assert path.read_bytes() == before


def test_a_cache_of_an_earlier_version_is_known_by_its_table(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE responses (key TEXT PRIMARY KEY, value TEXT, checksum TEXT)")
    cache = ResponseCache(path)
    cache.put("k", {"text": "x"})
    assert cache.get("k") == {"text": "x"}


def test_a_cache_that_cannot_be_written_only_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ResponseCache(tmp_path / "file" / "c.db")
    cache.put("k", {"text": "x"})
    assert cache.get("k") is None


def test_opening_a_cache_waits_while_another_process_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")  # its file is empty, and locked
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(ResponseCache, path)
        time.sleep(0.3)
        assert not opened.done()
        other.execute("COMMIT")
        cache = opened.result(timeout=60)
    cache.put("k", {"text": "v"})
    assert cache.get("k") == {"text": "v"}


def test_many_writers_share_one_cache_file(tmp_path: Path) -> None:
    path = tmp_path / "c.db"

    def write(worker: int) -> None:
        cache = ResponseCache(path)
        for i in range(40):
            cache.put(f"{i % 20}", {"text": f"{worker} {i}"})
            assert cache.get(f"{i % 20}") is not None
        cache.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    reader = ResponseCache(path)
    assert all(reader.get(str(i)) is not None for i in range(20))


def test_every_fault_of_a_chaotic_server_is_accounted_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["chaos", "--calls", "60"])
    with pytest.raises(SystemExit) as ended:
        chaos.main()
    shown = capsys.readouterr().out
    assert ended.value.code == 0, shown
    injected, counted = re.search(r"(\d+) server faults injected, (\d+) counted", shown).groups()  # type: ignore[union-attr]
    assert injected == counted
    assert int(counted) > 10
