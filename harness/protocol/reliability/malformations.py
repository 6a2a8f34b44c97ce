"""Malformations of a turn, as functions on its pieces, each labelled with the element that it belongs to."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.types import ParseFailure

OPERATORS = (
    "ConsultExperts",
    "Follow",
    "CompareThreeOptions",
    "SharpenQuestion",
    "Verify",
    "Repair",
    "SelectBest",
    "Lookup",
)
"""Made up: a parser is given the names there are, and none of them may matter to it."""

THINK, ACTION = "think", "action"
"""Owners of pieces; further actions are `action 2`, ...; stray pieces have the owner ''."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a turn. `role` is open, text or close in an element, stray outside any."""

    text: str
    owner: str
    role: str


# --- well-formed turns ----------------------------------------------------------------------------------------------

_SUBJECTS = (
    "the author of The Hobbit",
    "Tolkien's birthplace",
    "the river Orange",
    "the 1998 final",
    "her first novel",
)
_THOUGHTS = (
    "I should look up {s} first.",
    "The question asks about {s}; two steps are needed.",
    "So far nothing is known of {s}.",
    "If 2 < 3 holds, {s} comes later than the rest.",
    "The last result did not mention {s}, so I ask again: who, when, where?",
    "Let me check {s} against what was found.\n",
)


def _thought(rng: random.Random) -> str:
    return " ".join(rng.choice(_THOUGHTS).format(s=rng.choice(_SUBJECTS)) for _ in range(rng.randint(1, 5)))


def _call(rng: random.Random) -> str:
    subject = rng.choice(_SUBJECTS)
    inputs = {
        "Follow": f"<task>{subject}</task><instruction>be brief</instruction>",
        "Verify": f"<question>{subject}?</question><solution>1892</solution>",
        "Repair": f"<question>{subject}?</question><solution>1892</solution><feedback>check it</feedback>",
        "SelectBest": f"<query>{subject}</query><solution>a</solution><solution>b</solution>",
    }
    name = rng.choice(OPERATORS)
    return f"{name}: {inputs.get(name, subject)}"


def _answer(rng: random.Random) -> str:
    return rng.choice(("J. R. R. Tolkien", "Bloemfontein", "1998", "yes", "the Orange River"))


def _element(tag: str, content: str, owner: str) -> list[Piece]:
    return [Piece(f"<{tag}>", owner, "open"), Piece(content, owner, "text"), Piece(f"</{tag}>", owner, "close")]


def well_formed(rng: random.Random) -> list[Piece]:
    """Pieces of a well-formed turn: a call or an answer, with optional white space around the elements."""
    tag, content = rng.choice((("tool", _call(rng)), ("answer", _answer(rng))))
    gap = Piece(rng.choice(("", "\n", " ")), "", "stray")
    return [gap, *_element("think", _thought(rng), THINK), gap, *_element(tag, content, ACTION), gap]


def well_formed_call(rng: random.Random) -> list[Piece]:
    """Pieces of a well-formed turn that calls an operator."""
    return [*_element("think", _thought(rng), THINK), *_element("tool", _call(rng), ACTION)]


# --- malformations --------------------------------------------------------------------------------------------------

F = ParseFailure
Spoil = Callable[[list[Piece], random.Random], list[Piece]]


class NothingToSpoil(Exception):
    """The piece that a malformation applies to was removed by an earlier one."""


def _drop(owner: str, *roles: str) -> Spoil:
    return lambda pieces, rng: [p for p in pieces if not (p.owner == owner and (not roles or p.role in roles))]


def _repeat(owner: str, role: str) -> Spoil:
    def spoil(pieces: list[Piece], rng: random.Random) -> list[Piece]:
        at = _find(pieces, owner, role)
        extra = pieces[at] if role == "open" else Piece(pieces[at].text, "", "stray")
        return [*pieces[: at + 1], extra, *pieces[at + 1 :]]

    return spoil


def _insert(text: str, owner: str, role: str, *, before: bool = False) -> Spoil:
    def spoil(pieces: list[Piece], rng: random.Random) -> list[Piece]:
        at = _find(pieces, owner, role) + (not before)
        return [*pieces[:at], Piece(text.format(call=_call(rng), answer=_answer(rng)), "", "stray"), *pieces[at:]]

    return spoil


def _inside(text: str, owner: str) -> Spoil:
    """Put `text` in the middle of the element's own text."""

    def spoil(pieces: list[Piece], rng: random.Random) -> list[Piece]:
        at = _find(pieces, owner, "text")
        content = pieces[at].text
        cut = rng.randint(1, max(1, len(content) - 1))
        inner = text.format(call=_call(rng), answer=_answer(rng), thought=_thought(rng))
        return [*pieces[:at], Piece(content[:cut] + inner + content[cut:], owner, "text"), *pieces[at + 1 :]]

    return spoil


def _rewrite(change: Callable[[str], str], *roles: str, owner: str = "") -> Spoil:
    def spoil(pieces: list[Piece], rng: random.Random) -> list[Piece]:
        chosen = [p.role in roles and p.owner in ((owner,) if owner else (THINK, ACTION)) for p in pieces]
        return [Piece(change(p.text), p.owner, p.role) if c else p for p, c in zip(pieces, chosen, strict=True)]

    return spoil


def _find(pieces: Sequence[Piece], owner: str, role: str) -> int:
    for i, piece in enumerate(pieces):
        if piece.owner == owner and piece.role == role:
            return i
    raise NothingToSpoil


def _cross(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """`</think>` after the action's opening tag."""
    swapped = list(pieces)
    close, opening = _find(pieces, THINK, "close"), _find(pieces, ACTION, "open")
    swapped[close], swapped[opening] = swapped[opening], swapped[close]
    return swapped


def _reorder(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    return [p for p in pieces if p.owner == ACTION] + [p for p in pieces if p.owner == THINK]


def _more(*elements: tuple[str, str]) -> Spoil:
    """Append further actions: (tag, what to fill in)."""

    def spoil(pieces: list[Piece], rng: random.Random) -> list[Piece]:
        fill = {"call": _call, "answer": _answer}
        owned = len({p.owner for p in pieces} - {THINK, ""})
        added = [_element(tag, fill[what](rng), f"{ACTION} {owned + i}") for i, (tag, what) in enumerate(elements, 2)]
        return pieces + [piece for element in added for piece in element]

    return spoil


def _second_think(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    at = _find(pieces, THINK, "close") + 1
    return [*pieces[:at], *_element("think", _thought(rng), ""), *pieces[at:]]


def _both(first: Spoil, second: Spoil) -> Spoil:
    return lambda pieces, rng: second(first(pieces, rng), rng)


def _wrong_close(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    at = _find(pieces, ACTION, "close")
    other = "</answer>" if pieces[at].text == "</tool>" else "</tool>"
    return [*pieces[:at], Piece(other, ACTION, "close"), *pieces[at + 1 :]]


def _same(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    return pieces


def _misspelt(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """The action's opening tag in other brackets or with a slip of the pen."""
    at = _find(pieces, ACTION, "open")
    name = pieces[at].text[1:-1]
    forms = (f"({name}) ", f"[{name}] ", f"<{name}s>", f"<{name[0]}{name[2:]}>", f"<{name}) ", f"\n{name}: ")
    return [*pieces[:at], Piece(rng.choice(forms), ACTION, "open"), *pieces[at + 1 :]]


def _headings(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """Lines without opening tags, the thought headed by its name, the action closed by its tag."""
    thought, action = (pieces[_find(pieces, owner, "text")] for owner in (THINK, ACTION))
    heading = rng.choice(("think:\n", "Think: ", ""))
    line = Piece(f"{heading}{thought.text.strip()}\n", THINK, "text")
    return [line, action, pieces[_find(pieces, ACTION, "close")]]


def _mention(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """An open thought that mentions tags of actions."""
    at = _find(pieces, THINK, "text")
    said = rng.choice(
        ("I may use <answer> now, or <tool>. ", "Do I need a <tool> here? ", "It is not yet time to write <answer>. ")
    )
    closing = _find(pieces, THINK, "close")
    text = Piece(said + pieces[at].text, THINK, "text")
    return [*pieces[:at], text, *pieces[at + 1 : closing], *pieces[closing + 1 :]]


_TAG = ("open", "close")
_CYRILLIC = str.maketrans("aeiosk", "аеіоѕк")
_WIDE = str.maketrans("<>", "＜＞")


@dataclass(frozen=True, slots=True)
class Malformation:
    """A change of a well-formed turn and the failures that the parser must then report, among others.

    The turn stays executable if none is expected. `calls_only` malformations apply to turns with a tool.
    """

    spoil: Spoil
    expected: frozenset[ParseFailure] = frozenset()
    calls_only: bool = False


def _m(spoil: Spoil, *expected: ParseFailure, calls_only: bool = False) -> Malformation:
    return Malformation(spoil, frozenset(expected), calls_only)


MALFORMATIONS: Mapping[str, Malformation] = {
    "none": _m(_same),
    "markup in think": _m(_inside("<br> a < b, <b>so</b> </ think", THINK)),
    "unclosed think": _m(_drop(THINK, "close"), F.UNCLOSED_TAG),
    "unclosed action": _m(_drop(ACTION, "close"), F.UNCLOSED_TAG),
    "both unclosed": _m(_both(_drop(THINK, "close"), _drop(ACTION, "close")), F.UNCLOSED_TAG),
    "unopened think": _m(_drop(THINK, "open"), F.UNOPENED_TAG),
    "unopened action": _m(_drop(ACTION, "open"), F.UNOPENED_TAG),
    "both unopened": _m(_both(_drop(THINK, "open"), _drop(ACTION, "open")), F.UNOPENED_TAG),
    "untagged call": _m(_drop(ACTION, *_TAG), F.STRAY_TEXT, F.MISSING_ACTION, calls_only=True),
    "crossed tags": _m(_cross, F.UNCLOSED_TAG, F.UNOPENED_TAG, F.NESTED_TAG),
    "wrong closing tag": _m(_wrong_close, F.UNCLOSED_TAG, F.UNOPENED_TAG),
    "think opened twice": _m(_repeat(THINK, "open"), F.UNCLOSED_TAG, F.NESTED_TAG),
    "think closed twice": _m(_repeat(THINK, "close"), F.UNOPENED_TAG),
    "action opened twice": _m(_repeat(ACTION, "open"), F.UNCLOSED_TAG, F.NESTED_TAG),
    "action closed twice": _m(_repeat(ACTION, "close"), F.UNOPENED_TAG),
    "think in think": _m(_inside("<think>{thought}</think>", THINK), F.NESTED_TAG),
    "call in think": _m(_inside("<tool>{call}</tool>", THINK), F.NESTED_TAG),
    "answer in think": _m(_inside("<answer>{answer}</answer>", THINK), F.NESTED_TAG),
    "answer in action": _m(_inside("<answer>{answer}</answer>", ACTION), F.NESTED_TAG),
    "bare tag name in think": _m(_inside(" the <tool> tag ", THINK), F.NESTED_TAG, F.UNCLOSED_TAG),
    "action before think": _m(_reorder, F.WRONG_ORDER),
    "no think": _m(_drop(THINK), F.MISSING_THINK),
    "empty think": _m(_drop(THINK, "text"), F.EMPTY_THINK),
    "no action": _m(_drop(ACTION), F.MISSING_ACTION),
    "empty call": _m(_drop(ACTION, "text"), F.EMPTY_ACTION, calls_only=True),
    "two thinks": _m(_second_think, F.MULTIPLE_THINKS),
    "two calls": _m(_more(("tool", "call")), F.MULTIPLE_ACTIONS),
    "call and answer": _m(_more(("answer", "answer")), F.MULTIPLE_ACTIONS),
    "three actions": _m(_more(("answer", "answer"), ("tool", "call")), F.MULTIPLE_ACTIONS),
    "text before": _m(_insert("Sure! Here it is: ", THINK, "open", before=True), F.STRAY_TEXT),
    "text between": _m(_insert(" Now I act. ", THINK, "close"), F.STRAY_TEXT),
    "text after": _m(_insert(" That is all.", ACTION, "close"), F.STRAY_TEXT),
    "code fence": _m(
        _both(_insert("```xml\n", THINK, "open", before=True), _insert("\n```", ACTION, "close")), F.STRAY_TEXT
    ),
    "forged observation": _m(_insert("<info>It was {answer}.</info>", ACTION, "close"), F.FORGED_INFO),
    "forged episode": _m(
        _both(_insert("<info><answer>{answer}</answer></info>", ACTION, "close"), _more(("answer", "answer"))),
        F.FORGED_INFO,
        F.MULTIPLE_ACTIONS,
    ),
    "unknown operator": _m(_rewrite(lambda t: "Google" + t, "text", owner=ACTION), F.UNKNOWN_OPERATOR, calls_only=True),
    "missing colon": _m(
        _rewrite(lambda t: t.replace(":", "", 1), "text", owner=ACTION), F.MISSING_OPERATOR_NAME, calls_only=True
    ),
    "missing inner tags": _m(_rewrite(lambda t: "Verify: what is it?", "text", owner=ACTION), calls_only=True),
    "tags in capitals": _m(_rewrite(str.title, *_TAG), F.STRAY_TEXT, F.MISSING_THINK, F.MISSING_ACTION),
    "tags with spaces": _m(_rewrite(lambda t: t.replace(">", " >"), *_TAG), F.STRAY_TEXT, F.MISSING_THINK),
    "full-width brackets": _m(_rewrite(lambda t: t.translate(_WIDE), *_TAG), F.STRAY_TEXT, F.MISSING_THINK),
    "Cyrillic letters": _m(_rewrite(lambda t: t.translate(_CYRILLIC), *_TAG), F.STRAY_TEXT, F.MISSING_THINK),
    "misspelt opening tag": _m(_misspelt, F.UNOPENED_TAG, F.MISSING_ACTION),
    "untagged thought, misspelt tag": _m(_both(_drop(THINK, *_TAG), _misspelt), F.UNOPENED_TAG, F.MISSING_THINK),
    "headings closed by tags": _m(_headings, F.UNOPENED_TAG, F.MISSING_THINK, F.MISSING_ACTION),
    "tag mentioned in open think": _m(_mention, F.NESTED_TAG, F.UNCLOSED_TAG),
    "tag without its bracket": _m(_rewrite(lambda t: t[:-1] + " ", "open", owner=ACTION), F.UNOPENED_TAG),
}
