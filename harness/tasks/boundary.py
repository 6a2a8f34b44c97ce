"""The boundary for text and numbers from outside: files, command lines, notes of foreign runs and policies, answers of
operators and retrievers.

JSON allows what the rest of the harness cannot store, print or send: halves of surrogate pairs, integers of any length,
values nested without end. Files that hold them are refused where they stand; answers of services are cleaned.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Never

MAX_INTEGER = 2**63 - 1
MAX_TOKENS = 2**22
"""Of one completion. The sum over an episode's calls has to fit the 32 bits it is stored in."""
MAX_HOPS = 1000
MAX_DEPTH = 64
MAX_ID_CHARS, MAX_TEXT_CHARS, MAX_ANSWERS = 500, 100_000, 10_000
"""Of a question: its id, its text and each gold answer, and the number of these."""
_SHOWN_CHARS = 2000
UNSEEN_CHARS = frozenset(
    map(chr, [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0])
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Characters that leave no mark of their own though Python counts them as printable: fillers, joiners, selectors."""


def parse_row(text: str) -> Any:
    """Parse one JSON text. Raises json.JSONDecodeError, or ValueError naming what `value_fault` finds."""
    return json.loads(text, parse_int=_integer)


_KEY = re.compile(r"[\w-]{1,128}", re.ASCII)


def is_key(value: object) -> bool:
    """Whether `value` can be a trial's key: MLflow's filters and folder names hold it unquoted."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse bytes that have to be one JSON object of usable values, such as the notes of a run or a policy.

    Raises ValueError: one line, without the file's name.
    """
    try:
        found = json.loads(data.decode(), parse_int=_integer, parse_float=_finite, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise ValueError("not readable as JSON (not UTF-8)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not readable as JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"values nested more than {MAX_DEPTH} deep; write a flat object") from None
    if not isinstance(found, dict):
        raise ValueError("holds no JSON object")
    fault = value_fault(found)
    if fault is not None:
        raise ValueError(fault)
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(f"{digits[:20]}…")


def _no_number(word: str) -> Never:
    raise ValueError(f"{word}, which is no finite number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"a number of {len(digits.lstrip('-'))} digits; whole numbers have to fit 64 bits")
    return int(digits)


def value_fault(value: Any) -> str | None:
    """What of a parsed value (of JSON, of Parquet) cannot be used and in which field; None if all can."""
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending:
        place, item, depth = pending.pop()
        fault = None
        if isinstance(item, str):
            fault = None if is_scalar_text(item) else "half a surrogate pair; write valid Unicode"
        elif isinstance(item, int):
            fault = None if abs(item) <= MAX_INTEGER else "a whole number that does not fit 64 bits"
        elif isinstance(item, dict | list) and depth == MAX_DEPTH:
            fault = f"values nested more than {MAX_DEPTH} deep; write a flat object"
        elif isinstance(item, dict):
            pending += [(place, key, depth + 1) for key in item]
            pending += [(place or str(key), child, depth + 1) for key, child in item.items()]
        elif isinstance(item, list):
            pending += [(place, child, depth + 1) for child in item]
        if fault is not None:
            return f"`{printable_line(place)[:40]}` holds {fault}" if place else f"a field's name holds {fault}"
    return None


def is_scalar_text(text: str) -> bool:
    """Whether every character is a Unicode scalar value, so that the text has a UTF-8 form."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def scalar_text(text: str) -> str:
    """`text` with U+FFFD in place of every half of a surrogate pair."""
    return text if is_scalar_text(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def scalar_value(value: Any) -> Any:
    """A parsed JSON value with `scalar_text` applied to every string in it, keys included."""
    if isinstance(value, str):
        return scalar_text(value)
    if isinstance(value, list):
        return [scalar_value(item) for item in value]
    if isinstance(value, dict):
        return {scalar_text(key): scalar_value(item) for key, item in value.items()}
    return value


def is_count(value: Any, most: int) -> bool:
    """Whether `value` is a whole number from 0 to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def is_visible(text: str) -> bool:
    """Whether some character leaves a mark: neither white space nor a control, format or zero-width character."""
    return any(c.isprintable() and not c.isspace() and c not in UNSEEN_CHARS for c in text)


def printable_line(text: str) -> str:
    """One line that any terminal shows as it is: what is not printable is escaped, what is too long is cut."""
    kept = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)
