"""A million hostile inputs and more, no exception: `python -m tests.benchmarks.fuzz [--cases N] [--seed S]`.

Each case is one text given to one target: a grammar's parser, an action interface (a turn parsed and executed), the
observation renderer, the scorer, or the reader of data files. Besides not raising, each must keep its promise: spans
inside the text, executed exactly if nothing is wrong, no tag in an observation, scores in [0, 1], errors of one line.
Stops at the first broken promise and shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from harness.env.interfaces import CodeInterface, Execution, NaturalInterface
from harness.env.interfaces.base import ActionInterface
from harness.operators import CALLABLE, OPERATORS, CallContext, LLMRequest, LLMResponse, Toolbox
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.protocol import GRAMMARS, XML, exact_match, f1, lenient, parse_turn, render_observation
from harness.protocol.grammar import Grammar
from harness.protocol.reliability.synthetic_turns import KINDS, make_turn
from harness.tasks.benchmarks import DataError, load_corpus, load_questions
from harness.types import OperatorFailure, OperatorResult, ParsedTurn, Passage, Question
from tests.support.hostile_rows import hostile_line

GOAL = 1_000_000
POOL = [OPERATORS[name] for name in CALLABLE]
CODE, NATURAL = CodeInterface(), NaturalInterface()

TAGS = [f"<{slash}{kind}>" for kind in ("think", "tool", "answer", "info", "code") for slash in ("", "/")]
MARKUP = [
    *TAGS, *TAGS, *[tag.replace("<", "[").replace(">", "]") for tag in TAGS], "<Think>", "</ANSWER>", "< tool >",
    "＜think＞", "### Think\n", "\n### Tool\n", "\n### Answer\n", "\n### Info\n", '{"think": "', '", "answer": "', '"}',
    '"tool": "Search"', ', "input": "', "{", "}", "[", "]", '"', "\\", ",", ":", "Search: ", "Review: ", "Nonsense: ",
    "<question>", "</solution>", "<", ">", "</", "<|im_end|>", " ", "\n", "\t", "\0", "\ud800", "İ", "ſ", "😀", "a",
    "word word", "42",
]  # fmt: skip
STATEMENTS = [
    "x = search('a')", "y = [1, 'b', x]", "x = {'a': x, 2: y}", "for i in y:\n    print(i, x)", "x += x", "y = y + y",
    "y *= 3", "if x == y:\n    print(f'{x!r:>5}')\nelse:\n    x = 1", "print(sorted(y)[::-1])", "x, y = y, x",
    "y.append(y)", "x = str(x)", "print([i for i in y if i != x])", "x = any(search(q) for q in ['a', 'b'])",
    "x[0] = y", "x = 7 // len(y)", "x = x ** 9", "for i in range(999):\n    x = [x, i]", "y = ' '.join(y).split('a')",
    "answer(x)", "review(x, solution=y)", "x = x.upper()",
]  # fmt: skip
PROGRAM = [
    "x", "y", "_", " = ", " += ", "(", ")", "[", "]", "{", "}", ":", "\n", "\n    ", "\n        ", "for i in ", "if ",
    "else:", "elif ", "search(", "review(", "print(", "answer(", "range(", "len(", "sorted(", "any(", "'a'", '"b"',
    "f'{x}'", "f'{", "1", "-1", "2.5", "9" * 30, " + ", " * ", " ** ", " // ", " % ", " < ", " == ", " in ", " not ",
    " and ", " or ", ", ", ".", ".append(", ".join(", ".split(", ".get(", ".__class__", "lambda ", "import os",
    "while True:", "def f():", "yield ", "await ", "None", "True", "#", "\\", "'''", "'", "*", "**", ":=", "->", "@",
    ";", " is ", "x = [x, x]\n", "x = 'a' * 9999\n", "İ", "\t",
]  # fmt: skip


async def _reply(name: str, text: str) -> OperatorResult:
    return OperatorResult(name, f"<answer>{text[:50]}</answer>")


def finish(coroutine: Coroutine[Any, Any, Execution]) -> Execution:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited for something")


def soup(parts: list[str], rng: random.Random, longest: int) -> str:
    return "".join(rng.choices(parts, k=rng.randint(0, longest)))


def check_parsed(text: str, parsed: ParsedTurn) -> None:
    assert (parsed.action is None) == bool(parsed.failures)
    assert len(set(parsed.failures)) == len(parsed.failures)
    for span in [*parsed.action_spans, *([parsed.think] if parsed.think else [])]:
        assert 0 <= span.start <= span.end <= len(text)


def parser_of(grammar: Grammar) -> Callable[[random.Random], str]:
    def case(rng: random.Random) -> str:
        text = make_turn(rng.choice(KINDS), rng).text if rng.random() < 0.2 else soup(MARKUP, rng, 20)
        LAST[0] = text
        check_parsed(text, parse_turn(text, CALLABLE, grammar=grammar, truncated=rng.random() < 0.1))
        return text

    return case


def execute(interface: ActionInterface, text: str) -> None:
    parsed = interface.parse(text, CALLABLE)
    check_parsed(text, parsed)
    if parsed.action is None:
        assert interface.warning(parsed)
        return
    execution = finish(interface.start(POOL).execute(parsed, _reply, 3))
    assert len(execution.calls) <= 3
    assert (execution.result is None) == (execution.parsed.answer_text is not None)


def natural(rng: random.Random) -> str:
    LAST[0] = text = make_turn(rng.choice(KINDS), rng).text if rng.random() < 0.5 else soup(MARKUP, rng, 12)
    execute(NATURAL, text)
    return text


def code(rng: random.Random) -> str:
    """Half the programs are noise; the others are made of statements, with now and then a character out of place."""
    program = soup(PROGRAM, rng, 25)
    if rng.random() < 0.5:
        program = "\n".join(rng.choices(STATEMENTS, k=rng.randint(1, 8)))
        if rng.random() < 0.3:
            at = rng.randrange(len(program))
            program = program[:at] + rng.choice(PROGRAM) + program[at + 1 :]
    LAST[0] = program
    execute(CODE, f"<think>a</think><code>{program}</code>")
    return program


def observation(rng: random.Random) -> str:
    LAST[0] = text = soup(MARKUP, rng, 20)
    grammar = rng.choice(list(GRAMMARS.values()))
    shown = render_observation(text, grammar=grammar)
    parsed = parse_turn(shown, CALLABLE, grammar=grammar)
    assert parsed.answer_text is None
    assert not parsed.action_spans
    assert grammar is not XML or not any(tag in shown[6:-7] for tag in TAGS[:8])
    return text


class NoModel:
    """An operator LLM that says the request back, hostile as it is."""

    async def complete(self, request: LLMRequest) -> LLMResponse:
        return LLMResponse(LAST[0] + "".join(f"<{tag}>{LAST[0]}</{tag}>" for tag in request.required_tags))


@cache
def toolbox() -> Toolbox:
    return Toolbox("full", NoModel(), BM25Retriever([Passage("1", "Chad", "N'Djamena is its capital.")]))


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


QUESTION = Question("q", "Who?", ("x",), "s")
INPUT_TAGS = [f"<{slash}{tag}>" for spec in POOL for tag in spec.tags for slash in ("", "/")]


def operator_input(rng: random.Random) -> str:
    """Any operator on any input gives a visible observation; an exception inside would be counted as SERVER_ERROR."""
    LAST[0] = text = soup(INPUT_TAGS + MARKUP, rng, 12)
    name = rng.choice(CALLABLE)
    result = loop().run_until_complete(toolbox().call(name, text, CallContext(QUESTION)))
    assert result.failure is not OperatorFailure.SERVER_ERROR
    assert result.text.strip()
    assert len(result.text) <= 2048
    return text


def scores(rng: random.Random) -> str:
    LAST[0] = text = soup(MARKUP, rng, 6)
    golds = [soup(MARKUP, rng, 4) for _ in range(rng.randint(0, 3))]
    assert 0 <= exact_match(text, golds) <= f1(text, golds) <= 1
    assert 0 <= lenient(text, golds) <= 1
    return text


@cache
def scratch() -> Path:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder)
    return folder


def data_rows(rng: random.Random) -> str:
    """A line of a data file is a question or passage that can be stored and sent, or one printable, located error."""
    passage = rng.random() < 0.4
    line = hostile_line(rng, passage)
    LAST[0] = line.decode("utf-8", "replace")
    path = scratch() / ("corpus.jsonl" if passage else "nq.test.jsonl")
    path.write_bytes(line)
    try:
        for read in load_corpus(path) if passage else load_questions(path):
            repr(read).encode()
        return LAST[0]
    except DataError as error:
        message = str(error)
    assert message.startswith(str(path))
    assert message.isprintable()
    return LAST[0]


LAST = [""]
"""The text of the case under way, for the report of a failure."""

TARGETS: dict[str, tuple[Callable[[random.Random], str], int]] = {
    **{f"grammar {name}": (parser_of(grammar), 4) for name, grammar in GRAMMARS.items()},
    "interface natural": (natural, 3),
    "interface code": (code, 3),
    "operator inputs": (operator_input, 2),
    "observations": (observation, 1),
    "scores": (scores, 1),
    "data rows": (data_rows, 1),
}
"""Each with its weight in the mixture."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Feed hostile text to the parsers and interfaces.")
    parser.add_argument("--cases", type=int, default=GOAL)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    weight = sum(share for _, share in TARGETS.values())
    total = characters = 0
    for name, (case, share) in TARGETS.items():
        cases = -(-options.cases * share // weight)
        began = time.perf_counter()
        for _ in range(cases):
            try:
                characters += len(case(rng))
            except Exception as error:
                print(f"{name} broke on {LAST[0]!r}: {type(error).__name__}: {error}")
                sys.exit(1)
        total += cases
        print(f"{name:<20}{cases:>10} cases {time.perf_counter() - began:>7.1f} s", flush=True)
    print(f"fuzz: {total} cases, 0 exceptions, {characters / 1e6:.0f} MB of text (goal ≥ {GOAL} cases)")


if __name__ == "__main__":
    main()
