"""ChatML as tokens: prompts and observations are encoded here, the policy's own tokens never are.

One format for all tiers: Qwen2.5, SmolLM2 and the tiny policy all speak ChatML, where `<|im_end|>` ends a turn. Text
that comes from outside (a question, an observation) is encoded with special tokens split, so that it cannot forge
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

START, END = "<|im_start|>", "<|im_end|>"


class ChatFormat:
    """ChatML over a transformers fast tokenizer. Raises ValueError if the tokenizer lacks the ChatML tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        vocab = tokenizer.get_vocab()
        if START not in vocab or END not in vocab:
            raise ValueError(f"the tokenizer has no {START} / {END}: use a model with the ChatML format")
        self._start, self.end_of_turn = vocab[START], vocab[END]
        self._newline = self._encode("\n")

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _message(self, role: str, content: str) -> list[int]:
        return [self._start, *self._encode(f"{role}\n{content}"), self.end_of_turn, *self._newline]

    def _open_assistant(self) -> list[int]:
        return [self._start, *self._encode("assistant\n")]

    def prompt(self, system: str, user: str) -> tuple[int, ...]:
        """Tokens of the opening: system and user message, then the head of the first assistant turn."""
        return (*self._message("system", system), *self._message("user", user), *self._open_assistant())

    def observation(self, text: str, *, turn_ended: bool) -> tuple[int, ...]:
        """Tokens between two assistant turns. `turn_ended`: the policy sampled its end-of-turn token itself."""
        close = () if turn_ended else (self.end_of_turn,)
        return (*close, *self._newline, *self._message("user", text), *self._open_assistant())

    def turn(self, text: str) -> tuple[int, ...]:
        """Tokens of a scripted assistant turn. For imitation only: what a policy sampled is never re-encoded."""
        return (*self._encode(text), self.end_of_turn)

    def text(self, tokens: Sequence[int]) -> str:
        """The text view of sampled tokens; the end-of-turn token is not shown."""
        body = tokens[:-1] if tokens and tokens[-1] == self.end_of_turn else tokens
        return self.tokenizer.decode(body, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def token_at(self, tokens: Sequence[int], char: int) -> int:
        """Index of the token in which character `char` of `text(tokens)` begins (binary search on prefix lengths)."""
        low, high = 0, len(tokens)
        while low < high:
            middle = (low + high) // 2
            if len(self.text(tokens[: middle + 1])) > char:
                high = middle
            else:
                low = middle + 1
        return low
