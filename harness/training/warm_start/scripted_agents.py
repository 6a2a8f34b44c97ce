"""Scripted episodes: scripts, their spelling in every interface, and the engine that plays them.

A script is a generator: it yields the text of a turn and is sent the text of the observation. `ScriptedEngine` speaks
these texts through the ordinary rollout, so that scripted episodes meet the real operators, parser and reward.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence

import numpy as np

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.env.interfaces import ActionInterface
from harness.env.prompts.chat import ChatFormat
from harness.operators import OPERATORS
from harness.operators.specs import search
from harness.protocol import Grammar, parse_turn
from harness.types import Question

Script = Generator[str, str, None]

_SEARCH = search.SPEC


def turn(think: str, *, tool: str | None = None, answer: str | None = None) -> str:
    """A well-formed turn."""
    action = f"<tool>{tool}</tool>" if tool is not None else f"<answer>{answer}</answer>"
    return f"<think>{think}</think>{action}"


def look_up(question: Question, titles: Mapping[str, str]) -> Script:
    """A real question without a plan: search for it, then for each supporting title until an answer is in sight.

    `titles` maps the ids of supporting passages to their titles. The gold answer is given at the end in any case:
    what is imitated is the protocol and the looking up, and short answers in the benchmark's form.
    """
    gold = question.answers[0]
    seen = yield turn("I should look this up.", tool=_SEARCH.call(question.text))
    for title in dict.fromkeys(titles[i] for i in question.supporting):
        if gold.lower() in seen.lower():
            break
        seen = yield turn(f"Not there yet. I need to know about {title}.", tool=_SEARCH.call(title))
    yield turn(f"The answer is {gold}.", answer=gold)


def spoken(script: Script, interface: ActionInterface) -> Script:
    """The script in another interface or syntax: the same thoughts, calls and answers, its turns spelt by `interface`.

    Scripts themselves are in the natural interface's XML, and read observations in it. An operator's input becomes a
    function's arguments where turns are programs.
    """
    names = [*OPERATORS]
    text = next(script, None)
    while text is not None:
        parsed = parse_turn(text, names, bare=names)
        if parsed.action is None or parsed.think is None:  # a warning (such as of a turn too long) taken for an answer
            yield interface.answer("Done.", " unknown")
            return
        think = text[parsed.think.start : parsed.think.end].removeprefix("<think>").removesuffix("</think>")
        action = parsed.action
        if action.operator is None:
            seen = yield interface.answer(think, f" {action.text}")  # after a blank, as words stand in all other text
        else:
            seen = yield interface.turn(think, f"{action.operator}: {action.text}")
        try:
            text = script.send(f"<info>{_unwrapped(seen, interface.grammar)}</info>")
        except StopIteration:
            return


def _unwrapped(seen: str, grammar: Grammar) -> str:
    """The text of an observation; the inverse of `wrap_info`, for the one text that is at hand."""
    start, _, end = grammar.wrap_info("\0").partition(json.dumps("\0")[1:-1] if grammar.name == "json" else "\0")
    inner = seen.removeprefix(start).removesuffix(end)
    return str(json.loads(f'"{inner}"', strict=False)) if grammar.name == "json" else inner


def malformed(script: Script, rate: float, rng: np.random.Generator) -> Script:
    """The script with a share `rate` of its turns malformed: think left out, a tag unclosed, or the order reversed."""
    text = next(script, None)
    while text is not None:
        if rng.random() < rate:
            proper = text
            think, _, action = text.partition("</think>")
            if not action:  # no XML: half of it is wrong in every syntax
                action, think = text[len(text) // 2 :], text[: len(text) // 2]
            text = (action, think + action, f"{action}{think}</think>")[int(rng.integers(3))]
            seen = yield text
            # the environment warned instead of acting: repeat the turn well-formed
            seen = yield proper
        else:
            seen = yield text
        try:
            text = script.send(seen)
        except StopIteration:
            return


_OPENS, _CLOSES = "user\n", "\nassistant\n"
"""What stands around an observation in the chat format, special tokens left out."""


class ScriptedEngine:
    """Inference engine that plays scripts: sequence i follows `scripts[i]`. Log-probs are 0 (probability one)."""

    def __init__(self, chat: ChatFormat, scripts: Sequence[Script]) -> None:
        self._chat, self._scripts = chat, scripts
        self._read: dict[int, int] = {}

    def sleep(self) -> None: ...

    def load_weights(self, model: object) -> None:
        """A script has no weights."""

    def release(self, sequence_ids: Sequence[int]) -> None:
        for sid in sequence_ids:
            self._read.pop(sid, None)

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        return [self._speak(r, params) for r in requests]

    def _speak(self, request: GenerationRequest, params: SamplingParams) -> Generation:
        script, start = self._scripts[request.sequence_id], self._read.get(request.sequence_id)
        if start is None:
            text: str = next(script)
        else:
            message = self._chat.tokenizer.decode(request.context[start:], skip_special_tokens=True)
            begin, end = message.index(_OPENS) + len(_OPENS), message.rindex(_CLOSES)
            try:
                text = script.send(message[begin:end])
            except StopIteration:  # a malformed last turn was refused and the script is at its end
                text = turn("Done.", answer="unknown")
        tokens = self._chat.turn(text)[: min(request.max_tokens, params.max_tokens)]
        self._read[request.sequence_id] = len(request.context) + len(tokens)
        return Generation(tokens, (0.0,) * len(tokens), tokens[-1] == params.stop_token)
