"""Parser speed: `python -m tests.benchmarks.parser`.

Ordinary turns in MB of turn text a second; then one turn of about 1 MB for each of a list of hostile patterns, in
milliseconds, each also at half that size (a linear parser takes half the time); then the same patterns for
`<tag>(.*?)</tag>`, at sizes it can bear. Text is counted in characters, one byte each here.

Every figure is the best of several runs: what the machine can do, not what else it was doing.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

from harness.protocol import GRAMMARS, parse_turn
from harness.protocol.reliability.synthetic_turns import KINDS, OPERATORS, make_turn

GOAL_MB_S = 50.0
GOAL_MS = 100.0
MEGABYTE = 1_000_000
ORDINARY_THINK_CHARS = (300, 1500)
"""Lengths of thoughts, uniform: about 75 to 400 tokens, as a 7B policy writes them."""

_TEXT = "the author of this novel was born in a city whose river I should look up first so that next question is"
_REGEXES = [re.compile(f"<{tag}>(.*?)</{tag}>", re.DOTALL) for tag in ("think", "tool", "answer")]


def flood(piece: str) -> Callable[[int], str]:
    return lambda size: (piece * (size // len(piece) + 1))[:size]


HOSTILE: dict[str, Callable[[int], str]] = {
    "unclosed <think>": flood("<think>"),
    "unclosed <tool>": flood("<tool>"),
    "unclosed <answer>": flood("<answer>"),
    "unopened </tool>": flood("</tool>"),
    "<think><tool> crossed": flood("<think><tool></think></tool>"),
    "nested, all closed": lambda n: "<tool>" * (n // 13) + "</tool>" * (n // 13),
    "complete turns": flood("<think>a</think><answer>b</answer>"),
    "answers in thinks": flood("<think><answer>a</answer>"),
    "almost tags": flood("<think </think <tool"),
    "angle brackets": flood("<"),
    "white space": lambda n: "<think>" + " " * n + "</think>",
    "one long thought": lambda n: "<think>" + "a" * n,
    "operator without colon": lambda n: "<think>a</think><tool>" + "a" * n + "</tool>",
    "spaces before colon": lambda n: "<think>a</think><tool>a" + " " * n + "</tool>",
    "non-ASCII": flood("＜think＞"),
    "JSON quotes": flood('{"think": "'),
    "headings": flood("### Think\n"),
}


def ordinary_turns(n: int, seed: int = 0) -> list[str]:
    """Well-formed turns with thoughts of ordinary length."""
    rng = random.Random(seed)
    turns = []
    for _ in range(n):
        words: list[str] = []
        length = rng.randint(*ORDINARY_THINK_CHARS)
        while sum(map(len, words)) + len(words) < length:
            words.append(rng.choice(_TEXT.split()))
        action = rng.choice(("<tool>Search: author of The Hobbit</tool>", "<answer>J. R. R. Tolkien</answer>"))
        turns.append(f"<think>{' '.join(words)}</think>\n{action}")
    return turns


def best_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def rate(turns: list[str]) -> float:
    """MB/s over a list of turns."""
    seconds = best_seconds(lambda: [parse_turn(turn, OPERATORS) for turn in turns])
    return sum(map(len, turns)) / MEGABYTE / seconds


def milliseconds(parse: Callable[[str], object], text: str) -> float:
    return 1e3 * best_seconds(lambda: parse(text), repeats=3)


def by_regex(text: str) -> list[object]:
    return [pattern.findall(text) for pattern in _REGEXES]


def by_parser(name: str) -> Callable[[str], object]:
    """The parser, in the grammar the hostile pattern is aimed at."""
    grammar = GRAMMARS["json" if name.startswith("JSON") else "markdown" if name == "headings" else "xml"]
    return lambda text: parse_turn(text, OPERATORS, grammar=grammar)


def main() -> None:
    ordinary = rate(ordinary_turns(2000))
    rng = random.Random(0)
    spoilt = [make_turn(kind, rng).text for kind in KINDS for _ in range(40)]
    print(f"ordinary turns       {ordinary:8.1f} MB/s")
    print(f"malformed turns      {rate(spoilt):8.1f} MB/s (mean {sum(map(len, spoilt)) / len(spoilt):.0f} characters)")

    print(f"\n{'hostile turn':<26}{'0.5 MB':>10}{'1 MB':>10}   {'regex 10 kB':>12}{'20 kB':>10}")
    worst = 0.0
    for name, make in HOSTILE.items():
        half, whole = (milliseconds(by_parser(name), make(size)) for size in (MEGABYTE // 2, MEGABYTE))
        small, double = (milliseconds(by_regex, make(size)) for size in (10_000, 20_000))
        worst = max(worst, whole)
        print(f"{name:<26}{half:>7.1f} ms{whole:>7.1f} ms   {small:>9.1f} ms{double:>7.1f} ms")
    print(f"\nworst hostile turn of 1 MB: {worst:.1f} ms (goal < {GOAL_MS:g} ms)")
    print(f"parser: {ordinary:.1f} MB/s (goal ≥ {GOAL_MB_S:g} MB/s)")


if __name__ == "__main__":
    main()
