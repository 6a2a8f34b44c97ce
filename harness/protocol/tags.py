"""Tag grammars: elements between literal tags, found in one left-to-right pass.

Tags are literals (`<think>`, `</tool>`, ...); everything else is text, so a stray `<` or `<br>` means nothing. The
text is split once by an alternation of those literals (never `<tag>(.*?)</tag>`, which is quadratic on unclosed tags),
and each tag then costs amortised constant time. At most MAX_TAGS tags are read. Nothing here raises on any text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import accumulate

from harness.protocol.grammar import MAX_TAGS, Element, Kind, Reading, forms_of, rule_of
from harness.protocol.pairing import pair_tags
from harness.protocol.recovery import fold_look_alikes, recover_elements

_THINK, _TOOL, _ANSWER = Kind.THINK, Kind.TOOL, Kind.ANSWER
_NATURAL = (Kind.THINK, Kind.TOOL, Kind.ANSWER, Kind.INFO)


@dataclass(frozen=True)
class TagGrammar:
    """Elements between tags such as `<think>` and `</think>`.

    `brackets` are a tag's first and last character; `harmless` are the look-alikes that replace them in an observation.
    `kinds` are the elements that exist; tags of other kinds are text.
    """

    name: str
    brackets: str
    harmless: str
    kinds: tuple[Kind, ...] = _NATURAL
    actions: frozenset[Kind] = frozenset({Kind.TOOL, Kind.ANSWER})
    tags: dict[Kind, tuple[str, str]] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _meaning: dict[str, tuple[Kind, bool]] = field(init=False, repr=False, compare=False)
    _loose: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _think: tuple[str, str] = field(init=False, repr=False, compare=False)
    _action_of: dict[tuple[str, str], Kind] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        first, last = self.brackets[0], self.brackets[1]
        tags = {kind: (f"{first}{kind}{last}", f"{first}/{kind}{last}") for kind in self.kinds}
        meaning = {pair_of[closing]: (kind, closing == 0) for kind, pair_of in tags.items() for closing in (0, 1)}
        literal = "|".join(map(re.escape, meaning))
        loose = rf"{re.escape(first)}\s{{0,3}}(/?)\s{{0,3}}({'|'.join(self.kinds)})\s{{0,3}}{re.escape(last)}"
        derived = {
            "tags": tags,
            "_pattern": re.compile(f"({literal})"),
            "_meaning": meaning,
            "_loose": re.compile(loose, re.IGNORECASE | re.ASCII),
            "_think": tags[_THINK],
            "_action_of": {tags[kind]: kind for kind in self.actions},
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def neutralise(self, text: str) -> str:
        """Neutralise tags, also in other case, spacing or width, which a model might take for tags."""
        pieces, at = [], 0
        for match in self._loose.finditer(fold_look_alikes(text)):
            tag = text[match.start() : match.end()]
            pieces += [text[at : match.start()], self.harmless[0], tag[1:-1], self.harmless[1]]
            at = match.end()
        return "".join([*pieces, text[at:]])

    def recover(self, text: str, reading: Reading, operators: Collection[str]) -> list[Element]:
        return recover_elements(text, reading, self._loose, self.tags, self.actions, operators)

    def wrap(self, kind: Kind, content: str) -> str:
        opening, closing = self.tags[kind]
        return f"{opening}{content}{closing}"

    def wrap_info(self, text: str) -> str:
        return self.wrap(Kind.INFO, text)

    def element(self, kind: Kind, content: str, operator: str = "") -> str:
        return self.wrap(kind, f"{operator}: {content}" if kind is _TOOL else content)

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        return self.wrap(_THINK, think) + self.element(kind, content, operator)

    def forms(self) -> list[str]:
        return forms_of(self)

    def rule(self) -> str:
        return rule_of(self)

    def read(self, text: str) -> Reading:
        """Strict reading: split `text` at its tags and pair them. Linear in time and memory."""
        parts = self._pattern.split(text, MAX_TAGS)  # gap, tag, gap, tag, ..., gap
        if len(parts) == 9 and (parts[1], parts[3]) == self._think:
            kind = self._action_of.get((parts[5], parts[7]))
            if kind is not None and not (parts[0].strip() or parts[4].strip() or parts[8].strip()):
                return _plain_reading(kind, parts)
        ends = list(accumulate(map(len, parts)))
        meaning = self._meaning
        tags = [(*meaning[parts[i]], ends[i - 1], ends[i]) for i in range(1, len(parts), 2)]
        return pair_tags(text, tags)


def _plain_reading(kind: Kind, parts: list[str]) -> Reading:
    """Fast path for the well-formed turn, equal to `pair_tags` (a test compares them)."""
    a, b, c, d, e, f, g, h = accumulate(map(len, parts[:8]))
    think = Element(_THINK, a, b, c, d, True, parts[2])
    action = Element(kind, e, f, g, h, True, parts[6])
    return Reading([think, action], {}, parts[6] if kind is _ANSWER else None)


XML = TagGrammar("xml", "<>", "‹›")
"""The paper's grammar: a think element, then a tool or an answer element."""

BRACKETS = TagGrammar("brackets", "[]", "⟦⟧")
"""`[think]…[/think][tool]Name: input[/tool]`."""

XML_CODE = TagGrammar("xml_code", "<>", "‹›", (Kind.THINK, Kind.CODE, Kind.INFO), frozenset({Kind.CODE}))
"""The code interface: a think element, then a code element. Tool and answer tags are ordinary text here."""
