"""Gold answers as files hold them: a list, one string, or a list written as text (`"[\\"Paris\\", …]"`)."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Sequence
from typing import Any

from harness.tasks.benchmarks.errors import DataError
from harness.tasks.boundary import MAX_ANSWERS, MAX_TEXT_CHARS, is_visible

_LIST_TEXT = re.compile(
    r"""\[.*\]|\[\s*['"].*|[({]\s*['"].*[)}]  # a list, the beginning of one, a tuple or a set
    |[({]\s*[)}]
    |(?:array|list|tuple|set|frozenset)\(.*\)|[A-Za-z_][\w.]*\(\s*[\[({]\s*['"].*\)  # as a call: pd.Index(['a'])
    |(['"])\s*[\[({]\s*\\*['"].*\1  # written as text twice: "[\"a\"]"
    """,
    re.DOTALL | re.VERBOSE,
)
_INVISIBLE_ENDS = " \t\n\r\f\v\u00a0\u200b\u200c\u200d\u2060\ufeff"
_QUOTED_PHRASE = re.compile(r"""\((['"])[^'"]*\1\)""")
_LIST_FIX = "write a list of strings"


def read_golds(value: Any, field: str, where: str) -> tuple[str, ...]:
    """The distinct non-blank answers of a field, in order. The text of a list counts as that list.

    Raises DataError naming `where` and `field` for anything else, and for the text of a list that can be read in more
    than one way.
    """
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or not listed:
        raise DataError(f"{where}: `{field}` is {value!r:.40}; it has to be a non-empty list of strings")
    strange = [answer for answer in listed if not isinstance(answer, str)]
    if strange:
        raise DataError(f"{where}: `{field}` holds {strange[0]!r:.40}: strings only")
    alone = isinstance(value, str)
    answers = tuple(
        dict.fromkeys(
            gold for text in listed for gold in _golds_of(text.strip().strip(_INVISIBLE_ENDS), alone, field, where)
        )
    )
    if not answers:
        raise DataError(f"{where}: every answer in `{field}` is empty; drop the row")
    if len(answers) > MAX_ANSWERS or max(map(len, answers)) > MAX_TEXT_CHARS:
        raise DataError(
            f"{where}: `{field}` holds more than {MAX_ANSWERS} answers, or one of over {MAX_TEXT_CHARS} characters"
        )
    return answers


def _golds_of(text: str, alone: bool, field: str, where: str) -> list[str]:
    """`alone`: the field holds this string instead of a list, so that brackets around commas are not an answer's."""
    if alone and len(text.splitlines()) > 1:
        raise DataError(f"{where}: `{field}` holds {text!r:.40}, a text of several lines; {_LIST_FIX}")
    if len(text) > MAX_TEXT_CHARS or not _LIST_TEXT.fullmatch(text):
        return [text] if is_visible(text) else []
    items = _list_items(text)
    if items is None:
        unquoted = text[0] == "[" and not re.search("['\"\u2018-\u201f]", text)
        if _QUOTED_PHRASE.fullmatch(text) or (unquoted and not (alone and "," in text)):
            return [text]  # "[sic]", ("Heroes"): an answer that stands in brackets
        raise DataError(f"{where}: `{field}` holds {text!r:.40}, which looks like the text of a list; {_LIST_FIX}")
    if not all(isinstance(item, str) for item in items):
        raise DataError(f"{where}: `{field}` holds {text!r:.40}, the text of a list of other than strings; {_LIST_FIX}")
    return [stripped for item in items if is_visible(stripped := item.strip())]


def _list_items(text: str) -> list[Any] | None:
    """The items of a list's text in JSON or Python; None where it is neither, or joins adjacent strings ('a' 'b')."""
    try:
        parsed = json.loads(text)
        return parsed if isinstance(parsed, list) else None
    except (ValueError, RecursionError):
        pass
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            return None
        items = [ast.literal_eval(element) for element in node.elts]
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        strings = sum(token.type == tokenize.STRING for token in tokens)
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    return items if strings in (0, len(items)) else None
