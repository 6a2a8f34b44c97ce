"""Values of a program: text, order, containment; each operation is metered.

Values are None, bool, int, float, str, list, tuple and dict, and behave as in Python. Nothing here hands a container to
Python's own recursive operations (`==`, `repr`, `hash`, `sort`): a list of two references to a list of two references
to ... is small, and walking it is not. Everything that walks spends steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from harness.env.interfaces.code.limits import CodeError, Meter

Value: TypeAlias = Any
"""None | bool | int | float | str | list[Value] | tuple[Value, ...] | dict[scalar or flat tuple, Value]"""

Scalar = bool | int | float | str | None
NUMBERS = (bool, int, float)

PYTHON_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What Python's own operations on checked values may raise; shown to the policy under the same name."""


def as_code_error(error: Exception) -> CodeError:
    return CodeError(type(error).__name__, str(error)[:200])


_BRACKETS = {list: ("[", "]"), tuple: ("(", ")"), dict: ("{", "}")}


_HASH_MODULUS = 2**61 - 1
"""Numbers from here on share their hashes with smaller ones: a dict may have to compare a key with all of its keys."""


def type_name(value: Value) -> str:
    return "NoneType" if value is None else type(value).__name__


def text_of(value: Value, meter: Meter) -> str:
    """`str(value)`, metered piece by piece."""
    if isinstance(value, str):
        return value
    pieces: list[str] = []
    _represent(value, meter, pieces, [])
    text = "".join(pieces)
    meter.text(len(text))
    return text


def repr_of(value: Value, meter: Meter) -> str:
    """`repr(value)`, metered piece by piece."""
    return text_of([value], meter)[1:-1] if isinstance(value, str) else text_of(value, meter)


def _represent(value: Value, meter: Meter, pieces: list[str], parents: list[int]) -> None:
    if not isinstance(value, list | tuple | dict):
        if isinstance(value, str):
            meter.text(len(value))
        piece = repr(value)
        meter.text(len(piece))
        pieces.append(piece)
        return
    opening, closing = _BRACKETS[type(value)]
    if id(value) in parents:
        pieces.append(f"{opening}...{closing}")
        return
    if len(parents) >= meter.limits.value_depth:
        raise CodeError("SizeLimit", f"a value nested more than {meter.limits.value_depth} deep cannot be shown")
    parents.append(id(value))
    pieces.append(opening)
    for i, item in enumerate(value):
        meter.spend()
        if i:
            pieces.append(", ")
        _represent(item, meter, pieces, parents)
        if isinstance(value, dict):
            pieces.append(": ")
            _represent(value[item], meter, pieces, parents)
    if isinstance(value, tuple) and len(value) == 1:
        pieces.append(",")
    pieces.append(closing)
    parents.pop()


def equal(a: Value, b: Value, meter: Meter, depth: int = 0) -> bool:
    """`a == b`."""
    meter.spend()
    if isinstance(a, str) and isinstance(b, str):
        meter.text(min(len(a), len(b)))
        return a == b
    for kind in (list, tuple, dict):
        if isinstance(a, kind) or isinstance(b, kind):
            if not (isinstance(a, kind) and isinstance(b, kind)) or len(a) != len(b):
                return False
            _check_depth(depth, meter)
            if kind is dict:
                return all(key_of(k, meter) in b and same(a[k], b[k], meter, depth + 1) for k in a)
            return all(same(x, y, meter, depth + 1) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def same(a: Value, b: Value, meter: Meter, depth: int = 0) -> bool:
    """How containers compare their items: identical, or equal."""
    return a is b or equal(a, b, meter, depth)


def less(a: Value, b: Value, meter: Meter, depth: int = 0) -> bool:
    """`a < b`: numbers, texts, and lists or tuples of such item by item."""
    meter.spend()
    if isinstance(a, NUMBERS) and isinstance(b, NUMBERS):
        return a < b
    if isinstance(a, str) and isinstance(b, str):
        meter.text(min(len(a), len(b)))
        return a < b
    if (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, tuple) and isinstance(b, tuple)):
        _check_depth(depth, meter)
        for x, y in zip(a, b, strict=False):
            if not same(x, y, meter, depth + 1):
                return less(x, y, meter, depth + 1)
        return len(a) < len(b)
    raise CodeError("TypeError", f"'<' not supported between instances of {type_name(a)!r} and {type_name(b)!r}")


def _check_depth(depth: int, meter: Meter) -> None:
    if depth >= meter.limits.value_depth:
        raise CodeError("SizeLimit", f"values nested more than {meter.limits.value_depth} deep cannot be compared")


class SortKey:
    """Lets Python's sort compare by `less`."""

    __slots__ = ("meter", "value")

    def __init__(self, value: Value, meter: Meter) -> None:
        self.value = value
        self.meter = meter

    def __lt__(self, other: SortKey) -> bool:
        return less(self.value, other.value, self.meter)


def in_order(values: Iterable[Value], reverse: bool, meter: Meter) -> list[Value]:
    return sorted(values, key=lambda value: SortKey(value, meter), reverse=reverse)


def contains(container: Value, item: Value, meter: Meter) -> bool:
    """`item in container`."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise CodeError("TypeError", f"'in <string>' requires string as left operand, not {type_name(item)}")
        meter.text(len(container))
        return item in container
    if isinstance(container, dict):
        return key_of(item, meter) in container
    if isinstance(container, list | tuple):
        return any(same(x, item, meter) for x in container)
    raise CodeError("TypeError", f"argument of type {type_name(container)!r} is not iterable")


def key_of(value: Value, meter: Meter) -> Value:
    """`value` as a dict key: a scalar or a tuple of scalars (hashing must not walk deep values)."""
    for part in value if isinstance(value, tuple) else (value,):
        if not isinstance(part, Scalar):
            raise CodeError(
                "TypeError", f"a dict key must be a text, a number or a tuple of those, not {type_name(part)}"
            )
        meter.text(len(part) if isinstance(part, str) else 0)
        if isinstance(part, int | float) and abs(part) >= _HASH_MODULUS:
            meter.spend(meter.limits.items // 16)
    return value


def items_of(value: Value, meter: Meter) -> list[Value]:
    """The items that iterating over `value` gives."""
    if not isinstance(value, str | list | tuple | dict):
        raise CodeError("TypeError", f"{type_name(value)!r} object is not iterable")
    meter.items(len(value))
    return list(value)


def size_of(values: Iterable[Value]) -> int:
    """Characters in `values` and all that they hold, each object once; an item of a list, tuple or dict adds 16."""
    seen: set[int] = set()
    pending = list(values)
    total = 0
    while pending:
        value = pending.pop()
        if not isinstance(value, str | list | tuple | dict) or id(value) in seen:
            continue
        seen.add(id(value))
        total += len(value) if isinstance(value, str) else 16 * len(value)
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif not isinstance(value, str):
            pending += value
    return total
