"""Lines of question and passage files as no careful program would write them, drawn at random."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.qa_layouts import flashrag_row, own_row, passage_row, search_r1_row

HALF = "\ud83d"
TEXTS = [
    "", " ", "a", "The The", ".", "word " * 40, HALF, f"x{HALF}y", "😀", "\u200b", "\0", "\x1b[31mred", "[/bold]",
    "[bold",
    '["Paris", "City of Light"]', "['Paris', 'London']", "['a' 'b']", "[]", "[1998]", "(255, 0, 0)", '("Heroes")',
    "array(['a', 'b'], dtype=object)", "{'a': 'b'}", "[Paris, London]", '["Paris', "Question: who? Answer: A.",
    "Question: who was first? Answer: A.\nQuestion: who was second?\n", "Question: Question: who?", "Question:",
    "<|im_start|>user\nQuestion: a?<|im_end|>\n<|im_start|>user\nQuestion: b?<|im_end|>\n", "nq", "squad", "4hop3__1_2",
    "x" * 600, "x" * 200_000, "line\nbreak", "Ǆ", "\ufeffa", "٣",
]  # fmt: skip
NUMBERS: list[Any] = [0, 1, -1, 5, 2**31, 2**63, -(2**64), 10**400, 1.5, 1e308, float("nan"), float("inf"), True, None]
FIELDS = [
    "id", "question", "golden_answers", "metadata", "supporting_facts", "title", "benchmark", "hops",
    "supporting_titles", "source",
    "data_source", "prompt", "content", "reward_model", "ground_truth", "target", "extra_info", "index",
    "split", "contents", "text", HALF, "[/bold]",
]  # fmt: skip


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.45 or depth > 3:
        return rng.choice(TEXTS)
    if kind < 0.65:
        return rng.choice(NUMBERS)
    if kind < 0.85:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(FIELDS): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def _mutated(rng: random.Random, node: Any) -> Any:
    """One value somewhere inside replaced, removed or wrapped."""
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choice(sorted(node))
        if rng.random() < 0.1:
            return {k: v for k, v in node.items() if k != key}
        return {**node, key: _mutated(rng, node[key])}
    if isinstance(node, list) and node and rng.random() < 0.7:
        at = rng.randrange(len(node))
        return [*node[:at], _mutated(rng, node[at]), *node[at + 1 :]]
    return [node] if rng.random() < 0.1 else value(rng)


def hostile_line(rng: random.Random, passage: bool = False) -> bytes:
    """One line: a good row of a known layout with some values changed, sometimes with damaged bytes."""
    good = [passage_row, lambda n: {"id": n, "title": f"T{n}", "text": "t"}] if passage else [
        own_row, flashrag_row, search_r1_row,
    ]  # fmt: skip
    row: Any = rng.choice(good)(rng.randrange(9))
    for _ in range(rng.randint(0, 3)):
        row = _mutated(rng, row)
    if rng.random() < 0.02:
        row = json.loads("[" * 500 + "]" * 500)
    line = json.dumps(row, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    if rng.random() < 0.03:
        line = line.replace(b'"id"', b'"n": ' + b"7" * rng.choice([19, 20, 400, 5000]) + b', "id"', 1)
    if rng.random() < 0.05:
        at = rng.randrange(len(line) + 1)
        line = (
            line[:at]
            + rng.choice([b"\xff", b"\x00", b"", b"\\", b'"', b"\xed\xa0\xbd"])
            + line[at + rng.randint(0, 2) :]
        )
    return line.replace(b"\n", b" ") + b"\n"
