"""Stop strings: the token that completes one of them in the decoded text ends a generation.

Text is a view here too: tokens are decoded to look at, and what was sampled is neither cut nor encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

SPARE = 4
"""Tokens decoded beyond the longest string: what stands at a beginning may be decoded otherwise than within a text."""


class StopStrings:
    """Finds the token of a generation that completes one of `strings`; `text` decodes tokens.

    A token is at least a byte, so as many last tokens as the longest string has bytes hold it. These are decoded only
    after a token that has the last character of a string in it.
    """

    def __init__(self, strings: Sequence[str], text: Callable[[Sequence[int]], str]) -> None:
        self._strings, self._text = tuple(strings), text
        self._tail = max(len(s.encode()) for s in strings) + SPARE
        # parts of a character, and blanks at a beginning, may be decoded otherwise alone: any token may hold these
        plain = all(s[-1].isascii() and not s[-1].isspace() for s in strings)
        self._last = frozenset(s[-1] for s in strings) if plain else None
        self._ends: dict[int, bool] = {}

    def end(self, tokens: Sequence[int], since: int = 0) -> int | None:
        """How many of `tokens` there are up to the first that completes a string, the first `since` known not to."""
        for n in range(since + 1, len(tokens) + 1):
            if self._may_end(tokens[n - 1]):
                text = self._text(tokens[max(0, n - self._tail) : n])
                if any(s in text for s in self._strings):
                    return n
        return None

    def _may_end(self, token: int) -> bool:
        if self._last is None:
            return True
        if token not in self._ends:
            self._ends[token] = not self._last.isdisjoint(self._text([token]))
        return self._ends[token]
