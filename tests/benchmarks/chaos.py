"""Every server fault accounted for: `python -m tests.benchmarks.chaos [--calls N] [--seed S]`.

A real server on loopback answers each request well or with one of the hostile behaviours, at random; the operators'
client calls it, many calls at once. The server counts what it did, the client what it saw: the two must
agree kind by kind, each call must end in a result or a typed, visible observation, and nothing may raise.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter

from harness.operators import CallContext, Toolbox
from harness.operators.llm.openai import OpenAIBackend
from harness.operators.operator_settings import EndpointBackend, HttpSettings
from harness.types import OperatorFailure, OperatorResult, Question
from tests.support.hostile_server import (
    Behaviour,
    Seen,
    completion,
    ends_early,
    garbage,
    hang_up,
    hostile,
    reply,
    silence,
)
from tests.support.recorded_llm import RecordedLLM

F = OperatorFailure
FAULTS: dict[str, tuple[Behaviour, OperatorFailure]] = {
    "silence": (silence(), F.TIMEOUT),
    "500": (reply(500, {}), F.SERVER_ERROR),
    "503": (reply(503, b"<html>busy</html>"), F.SERVER_ERROR),
    "429": (reply(429, {}, {"retry-after": "0"}), F.RATE_LIMITED),
    "hang-up": (hang_up(), F.BAD_RESPONSE),
    "garbage": (garbage(), F.BAD_RESPONSE),
    "half a body": (ends_early(b'{"choices": [{"mess'), F.BAD_RESPONSE),
    "wrong JSON": (reply(200, {"error": "no"}), F.BAD_RESPONSE),
    "not UTF-8": (reply(200, b"\xff\xfe\xfa"), F.BAD_RESPONSE),
    "401": (reply(401, {}), F.SERVER_ERROR),
}
NO_TAGS = "no tags"
"""A good answer without the required tags: asked again with a hint, no fault of the server's."""
FAULTY = 0.5
"""Share of the requests that are not answered well."""
# Attempts last long enough that a good answer is never late on a busy machine: that would be a time-out of our own.
BOUNDS = HttpSettings(concurrency=32, deadline_s=60, attempt_s=4, max_attempts=4, backoff_s=0.01, backoff_max_s=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description="A hostile server, and the count of what became of its faults.")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    done: Counter[str] = Counter()
    unclear = reply(200, completion("no element"))

    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        name = rng.choice([*FAULTS, NO_TAGS]) if rng.random() < FAULTY else "good"
        done[name] += 1
        chosen = unclear if name == NO_TAGS else FAULTS[name][0] if name in FAULTS else reply()
        await chosen(writer, seen)
        if chosen.__dict__.get("hang_up"):
            writer.close()

    began = time.perf_counter()
    with hostile(behave) as server:
        llm = RecordedLLM(OpenAIBackend(EndpointBackend(server.url, "some-model", http=BOUNDS)))
        box = Toolbox(["AnswerGenerate"], llm)

        async def everything() -> list[OperatorResult]:
            questions = (Question(f"q{i}", f"Question {i}?", ("x",), "chaos") for i in range(options.calls))
            return await asyncio.gather(*(box.call("AnswerGenerate", q.text, CallContext(q)) for q in questions))

        results = asyncio.run(everything())
    attempt_failures = llm.attempt_failures
    print(f"{'kind of failure':<18}{'injected':>9}{'counted':>9}   by")
    agree = True
    for kind in dict.fromkeys(kind for _, kind in FAULTS.values()):
        names = [name for name, (_, k) in FAULTS.items() if k is kind]
        injected, counted = sum(done[n] for n in names), attempt_failures[kind]
        agree &= injected == counted
        print(f"{kind.value:<18}{injected:>9}{counted:>9}   {', '.join(f'{n} {done[n]}' for n in names)}")
    print(f"{NO_TAGS:<18}{done[NO_TAGS]:>9}")
    ended = Counter(r.failure.value if r.failure else "result" for r in results)
    visible = all(r.text.startswith("Thought" if r.failure is None else "AnswerGenerate ") for r in results)
    print(f"calls ended: {', '.join(f'{k} {n}' for k, n in ended.most_common())}; all visible: {visible}")
    total = sum(n for name, n in done.items() if name in FAULTS)
    print(
        f"chaos: {len(results)} calls, {sum(done.values())} requests, {total} server faults injected, "
        f"{sum(attempt_failures.values())} counted, {time.perf_counter() - began:.1f} s"
    )
    sys.exit(0 if agree and visible and len(results) == options.calls else 1)


if __name__ == "__main__":
    logging.getLogger("harness").setLevel(logging.ERROR)  # else it says of every call that it gave up
    main()
