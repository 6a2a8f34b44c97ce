"""Held-out malformations: ways in which models write turns that no repair of `recovery.py` was written for.

They measure recovery out of sample. Kinds come from other protocols (ReAct, JSON and XML tool calls, special tokens),
from other spellings of the same tags, and from escaping. No repair may be written for a kind listed here; one for
which a repair is written counts as in-sample from then on and moves to `malformations.py`.
"""

from __future__ import annotations

import html
import json
import random
from collections.abc import Callable, Mapping, Sequence

from harness.protocol.reliability.malformations import ACTION, THINK, Piece, well_formed, well_formed_call

Rewrite = Callable[[str], str]
Build = Callable[[str, str, bool], list[Piece]]
"""Thought, content of the action, whether the action is a call (else an answer) → pieces of the turn."""


def _tags(open_think: str, close_think: str, open_action: str, close_action: str, gap: str = "\n") -> Build:
    """Other tags around the same contents; `{kind}` is tool or answer, `{name}` the operator (or `answer`)."""

    def build(thought: str, content: str, call: bool) -> list[Piece]:
        name = content.partition(":")[0] if call else "answer"
        fill = {"kind": "tool" if call else "answer", "name": name}
        return [
            *_element(open_think.format(**fill), thought, close_think.format(**fill), THINK),
            Piece(gap, "", "stray"),
            *_element(open_action.format(**fill), content, close_action.format(**fill), ACTION),
        ]

    return build


def _content(think: Rewrite, call: Rewrite, answer: Rewrite, gap: str = "\n") -> Build:
    """Whole elements written by functions of their contents."""

    def build(thought: str, content: str, is_call: bool) -> list[Piece]:
        return [
            Piece(think(thought), THINK, "text"),
            Piece(gap, "", "stray"),
            Piece((call if is_call else answer)(content), ACTION, "text"),
        ]

    return build


def _element(opening: str, text: str, closing: str, owner: str) -> list[Piece]:
    return [Piece(opening, owner, "open"), Piece(text, owner, "text"), Piece(closing, owner, "close")]


def _call(content: str) -> tuple[str, str]:
    """Operator and input of a call's text."""
    name, _, text = content.partition(":")
    return name.strip(), text.strip()


def _as_json(content: str, name: str, arguments: str) -> str:
    operator, text = _call(content)
    return json.dumps({name: operator, arguments: {"input": text}})


def _think(thought: str) -> str:
    return f"<think>{thought}</think>"


def _answer(content: str) -> str:
    return f"<answer>{content}</answer>"


def _around(before: str, after: str, build: Build) -> Build:
    return lambda thought, content, call: [
        Piece(before, "", "stray"),
        *build(thought, content, call),
        Piece(after, "", "stray"),
    ]


def _rewritten(change: Rewrite, build: Build) -> Build:
    return lambda thought, content, call: [
        Piece(change(p.text), p.owner, p.role) for p in build(thought, content, call)
    ]


def _function_call(content: str) -> str:
    operator, text = _call(content)
    return f"{operator}({json.dumps(text)})"


def _invoke(content: str) -> str:
    operator, text = _call(content)
    return f'<invoke name="{operator}"><parameter name="input">{text}</parameter></invoke>'


_PLAIN = _tags("<think>", "</think>", "<{kind}>", "</{kind}>")

HELD_OUT: Mapping[str, Build] = {
    "tool_call tag": _tags("<think>", "</think>", "<{kind}_call>", "</{kind}_call>"),
    "tool_call with JSON": _content(
        _think, lambda c: f"<tool_call>\n{_as_json(c, 'name', 'arguments')}\n</tool_call>", _answer
    ),
    "bare JSON call": _content(_think, lambda c: _as_json(c, "tool", "args"), lambda c: json.dumps({"answer": c})),
    "fenced JSON call": _content(
        _think,
        lambda c: f"```json\n{_as_json(c, 'action', 'action_input')}\n```",
        lambda c: f"```json\n{json.dumps({'final_answer': c})}\n```",
    ),
    "thinking tag": _tags("<thinking>", "</thinking>", "<{kind}>", "</{kind}>"),
    "thought and action tags": _tags("<thought>", "</thought>", "<action>", "</action>"),
    "reasoning and response tags": _tags("<reasoning>", "</reasoning>", "<response>", "</response>"),
    "ReAct": _content(
        lambda t: f"Thought: {t}",
        lambda c: "Action: {}[{}]".format(*_call(c)),
        lambda c: f"Final Answer: {c}",
    ),
    "ReAct with input line": _content(
        lambda t: f"Thought: {t}",
        lambda c: "Action: {}\nAction Input: {}".format(*_call(c)),
        lambda c: f"Final Answer: {c}",
    ),
    "HTML-escaped tags": _rewritten(lambda text: html.escape(text, quote=False), _PLAIN),
    "doubled brackets": _tags("<<think>>", "<</think>>", "<<{kind}>>", "<</{kind}>>"),
    "square brackets": _tags("[think]", "[/think]", "[{kind}]", "[/{kind}]"),
    "curly brackets": _tags("{{think}}", "{{/think}}", "{{{kind}}}", "{{/{kind}}}"),
    "missing slash": _tags("<think>", "<think>", "<{kind}>", "<{kind}>"),
    "backslash for slash": _tags("<think>", "<\\think>", "<{kind}>", "<\\{kind}>"),
    "special tokens": _tags("<|think|>", "<|/think|>", "<|{kind}|>", "<|/{kind}|>"),
    "begin and end tokens": _tags("<|begin_of_think|>", "<|end_of_think|>", "<|begin_of_{kind}|>", "<|end_of_{kind}|>"),
    "untagged answer": _content(_think, lambda c: f"I will call {c}", lambda c: f"The answer is {c}."),
    "boxed answer": _content(_think, lambda c: f"\\boxed{{{c}}}", lambda c: f"\\boxed{{{c}}}"),
    "operator as attribute": _tags("<think>", "</think>", '<{kind} name="{name}">', "</{kind}>"),
    "operator as tag": _tags("<think>", "</think>", "<{name}>", "</{name}>"),
    "function call": _content(_think, _function_call, lambda c: f"answer({json.dumps(c)})"),
    "function tag": _tags("<think>", "</think>", "<function={name}>", "</function>"),
    "invoke with parameters": _content(_think, _invoke, _answer),
    "bold headings": _tags("**Think:** ", "", "**{kind}:** ", ""),
    "field names": _tags("think: ", "", "{kind}: ", ""),
    "parenthesised names": _tags("(think) ", "", "({kind}) ", ""),
    "misspelt closing tag": _tags("<think>", "</thnik>", "<{kind}>", "</{kind}s>"),
    "German tags": _tags("<denken>", "</denken>", "<werkzeug>", "</werkzeug>"),
    "Chinese tags": _tags("<思考>", "</思考>", "<工具>", "</工具>"),
    "zero-width space in tags": _tags("<th\u200bink>", "</th\u200bink>", "<\u200b{kind}>", "</\u200b{kind}>"),
    "comment tags": _tags("<!-- think -->", "<!-- /think -->", "<!-- {kind} -->", "<!-- /{kind} -->"),
    "whole turn in a root element": _around("<turn>", "</turn>", _PLAIN),
    "whole turn as JSON": _content(
        lambda t: f'{{"think": {json.dumps(t)},',
        lambda c: f'"tool": {json.dumps(c)}}}',
        lambda c: f'"answer": {json.dumps(c)}}}',
        gap=" ",
    ),
    "escaped line breaks": _rewritten(lambda text: text.replace("\n", "\\n"), _PLAIN),
    "role prefix": _around("assistant: ", "<|im_end|>", _tags("<think>", "</think>", "<{kind}>", "")),
    "observation instead of a wait": lambda thought, content, call: [
        *_PLAIN(thought, content, call),
        Piece(f"\nObservation: {thought}\n", "", "stray"),
    ],
}
"""Kinds by name. The true span of an element is all that was written for it, its tags included."""

_CALLS_ONLY = frozenset({"tool_call with JSON", "operator as tag", "invoke with parameters"})
"""Kinds that leave an answer as it is."""


def held_out_pieces(kind: str, rng: random.Random) -> Sequence[Piece]:
    """Pieces of a random turn written in the manner of `kind`, one of HELD_OUT. Raises KeyError for an unknown kind."""
    call_only = kind in _CALLS_ONLY or rng.random() < 0.5
    pieces = well_formed_call(rng) if call_only else [p for p in well_formed(rng) if p.owner]
    texts = {p.owner: p.text for p in pieces if p.role == "text"}
    is_call = any(p.text == "<tool>" for p in pieces)
    return [p for p in HELD_OUT[kind](texts[THINK], texts[ACTION], is_call) if p.text]
