"""Operators and subscripts of the language: Python's, on values of bounded size, each paid for before it is done."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from harness.env.interfaces.code.limits import CodeError, Meter
from harness.env.interfaces.code.values import (
    NUMBERS,
    PYTHON_ERRORS,
    Value,
    as_code_error,
    contains,
    equal,
    key_of,
    less,
    type_name,
)

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def binary(op: ast.operator, a: Value, b: Value, meter: Meter) -> Value:
    """`a op b` for numbers; `+` and `*` also for texts, lists and tuples."""
    function = _ARITHMETIC.get(type(op))
    if function is None:
        raise CodeError("SyntaxError", f"the operator {type(op).__name__} is not available")
    if isinstance(a, NUMBERS) and isinstance(b, NUMBERS):
        return _arithmetic(op, function, a, b, meter)
    if isinstance(op, ast.Add) and type(a) is type(b) and isinstance(a, str | list | tuple):
        _pay(a, len(a) + len(b), meter)
        return a + b  # type: ignore[operator]
    if isinstance(op, ast.Mult):
        if isinstance(a, NUMBERS):
            a, b = b, a
        if isinstance(a, str | list | tuple) and isinstance(b, int):
            _pay(a, len(a) * max(b, 0), meter)
            return a * b
    raise CodeError(
        "TypeError", f"{type_name(a)!r} and {type_name(b)!r} cannot be combined by {type(op).__name__.lower()}"
    )


def _pay(like: Value, length: int, meter: Meter) -> None:
    if isinstance(like, str):
        meter.text(length)
    else:
        meter.items(length)


def _arithmetic(op: ast.operator, function: Callable[[Any, Any], Any], a: Any, b: Any, meter: Meter) -> Value:
    limit = meter.limits.int_bits
    if isinstance(a, int) and isinstance(b, int):
        bits = max(a.bit_length(), b.bit_length())
        if isinstance(op, ast.Mult):
            bits = a.bit_length() + b.bit_length()
        elif isinstance(op, ast.Pow) and b > 0 and abs(a) > 1:
            bits = a.bit_length() * b if b <= limit else limit + 1
        if bits > limit:
            raise CodeError("SizeLimit", f"a whole number may have at most {limit} bits")
    try:
        result = function(a, b)
    except PYTHON_ERRORS as error:
        raise as_code_error(error) from None
    if isinstance(result, complex):
        raise CodeError("ValueError", "a root of a negative number is no number here")
    return result


def unary(op: ast.unaryop, value: Value) -> Value:
    if isinstance(value, NUMBERS) and isinstance(op, ast.USub | ast.UAdd):
        return -value if isinstance(op, ast.USub) else +value
    raise CodeError("TypeError", f"bad operand type for a sign: {type_name(value)!r}")


def compare(op: ast.cmpop, a: Value, b: Value, meter: Meter) -> bool:
    """One comparison. `is` asks only for None, True and False: identity of other values is an accident."""
    match op:
        case ast.Eq():
            return equal(a, b, meter)
        case ast.NotEq():
            return not equal(a, b, meter)
        case ast.Lt():
            return less(a, b, meter)
        case ast.Gt():
            return less(b, a, meter)
        case ast.LtE():
            return less(a, b, meter) or equal(a, b, meter)
        case ast.GtE():
            return less(b, a, meter) or equal(a, b, meter)
        case ast.In():
            return contains(b, a, meter)
        case ast.NotIn():
            return not contains(b, a, meter)
    if not any(x is None or isinstance(x, bool) for x in (a, b)):
        raise CodeError("SyntaxError", "'is' compares with None, True and False only; use ==")
    return (a is b) is isinstance(op, ast.Is)


def get_item(container: Value, index: Value, meter: Meter) -> Value:
    """`container[index]`; a slice is a `slice` of None and ints."""
    try:
        if isinstance(container, dict):
            return container[key_of(index, meter)]
        if not isinstance(container, str | list | tuple):
            raise CodeError("TypeError", f"{type_name(container)!r} object is not subscriptable")
        if isinstance(index, slice):
            _pay(container, len(range(*index.indices(len(container)))), meter)
            return container[index]
        return container[_position(index)]
    except PYTHON_ERRORS as error:
        raise as_code_error(error) from None


def set_item(container: Value, index: Value, value: Value, meter: Meter) -> None:
    try:
        if isinstance(container, dict):
            key = key_of(index, meter)
            if key not in container:
                meter.spend()
                if len(container) >= meter.limits.items:
                    raise CodeError("SizeLimit", f"a dict may have at most {meter.limits.items} items")
            container[key] = value
        elif isinstance(container, list):
            container[_position(index)] = value
        else:
            raise CodeError("TypeError", f"{type_name(container)!r} object does not support item assignment")
    except PYTHON_ERRORS as error:
        raise as_code_error(error) from None


def _position(index: Value) -> int:
    if not isinstance(index, int):
        raise CodeError("TypeError", f"an index must be a whole number or a slice, not {type_name(index)}")
    return index


# --- constants and formats ------------------------------------------------------------------------------------------

_FORMAT_SPEC = re.compile(r"[<>^]?0?\d{0,2},?(?:\.\d{1,2})?[dfegsx%]?")


def constant(node: ast.Constant, meter: Meter) -> Value:
    """The value of a literal: None, a bool, a number or a text."""
    value = node.value
    if isinstance(value, str):
        meter.text(len(value))
        return value.encode("utf-8", "replace").decode()  # an escaped lone surrogate is no text
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        if value.bit_length() > meter.limits.int_bits:
            raise CodeError("SizeLimit", f"a whole number may have at most {meter.limits.int_bits} bits")
        return value
    raise CodeError("SyntaxError", f"a {type(value).__name__} constant is not available here", node.lineno)


def formatted(value: Value, spec: str, meter: Meter) -> str:
    """`format(value, spec)` for texts and numbers, widths and precisions below 100."""
    if not _FORMAT_SPEC.fullmatch(spec):
        raise CodeError("ValueError", "this format is not available in f-strings")
    if not isinstance(value, (str, *NUMBERS)):
        raise CodeError("TypeError", f"unsupported format string for {type_name(value)}")
    try:
        text = format(value, spec)
    except PYTHON_ERRORS as error:
        raise as_code_error(error) from None
    meter.text(len(text))
    return text
