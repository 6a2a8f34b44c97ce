"""The functions a program may call. One explicit table; what is not in it does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.env.interfaces.code.limits import CodeError, Meter
from harness.env.interfaces.code.values import (
    NUMBERS,
    PYTHON_ERRORS,
    Value,
    as_code_error,
    in_order,
    items_of,
    key_of,
    less,
    repr_of,
    text_of,
    type_name,
)

_LONGEST_NUMBER = 80
_MAX_ROUNDING = 30


def _len(meter: Meter, value: Value) -> int:
    if not isinstance(value, str | list | tuple | dict):
        raise CodeError("TypeError", f"object of type {type_name(value)!r} has no len()")
    return len(value)


def _int(meter: Meter, value: Value = 0) -> int:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        raise CodeError("ValueError", f"a number may have at most {_LONGEST_NUMBER} characters")
    if not isinstance(value, (str, *NUMBERS)):
        raise CodeError("TypeError", f"int() takes a text or a number, not {type_name(value)!r}")
    number = int(value)
    if number.bit_length() > meter.limits.int_bits:
        raise CodeError("SizeLimit", f"a whole number may have at most {meter.limits.int_bits} bits")
    return number


def _float(meter: Meter, value: Value = 0.0) -> float:
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        raise CodeError("ValueError", f"a number may have at most {_LONGEST_NUMBER} characters")
    if not isinstance(value, (str, *NUMBERS)):
        raise CodeError("TypeError", f"float() takes a text or a number, not {type_name(value)!r}")
    return float(value)


def _str(meter: Meter, value: Value = "") -> str:
    return text_of(value, meter)


def _bool(meter: Meter, value: Value = False) -> bool:
    return bool(value)


def _list(meter: Meter, value: Value = ()) -> list[Value]:
    return items_of(value, meter)


def _tuple(meter: Meter, value: Value = ()) -> tuple[Value, ...]:
    return tuple(items_of(value, meter))


def _dict(meter: Meter, value: Value = ()) -> dict[Any, Value]:
    if isinstance(value, dict):
        meter.items(len(value))
        return dict(value)
    pairs = [items_of(pair, meter) for pair in items_of(value, meter)]
    if any(len(pair) != 2 for pair in pairs):
        raise CodeError("ValueError", "dict() takes pairs")
    return {key_of(key, meter): item for key, item in pairs}


def _range(meter: Meter, *bounds: Value) -> list[int]:
    if not all(isinstance(bound, int) for bound in bounds):
        raise CodeError("TypeError", "range() takes whole numbers")
    numbers = range(*bounds)
    meter.items(_range_length(numbers))
    return list(numbers)


def _range_length(numbers: range) -> int:
    """`len(numbers)`, which Python refuses where it is huge."""
    if not numbers:
        return 0
    return (numbers[-1] - numbers[0]) // numbers.step + 1


def _enumerate(meter: Meter, value: Value, start: Value = 0) -> list[tuple[int, Value]]:
    if not isinstance(start, int):
        raise CodeError("TypeError", "enumerate() starts at a whole number")
    return list(enumerate(items_of(value, meter), start))


def _zip(meter: Meter, *values: Value) -> list[tuple[Value, ...]]:
    return list(zip(*(items_of(value, meter) for value in values), strict=False))


def _sorted(meter: Meter, value: Value, *, reverse: Value = False) -> list[Value]:
    return in_order(items_of(value, meter), bool(reverse), meter)


def _reversed(meter: Meter, value: Value) -> list[Value]:
    return items_of(value, meter)[::-1]


def _extreme(meter: Meter, values: Sequence[Value], name: str, better: Callable[[Value, Value], bool]) -> Value:
    if not values:
        raise CodeError("TypeError", f"{name}() takes at least one argument")
    candidates = items_of(values[0], meter) if len(values) == 1 else list(values)
    if not candidates:
        raise CodeError("ValueError", f"{name}() of nothing")
    best = candidates[0]
    for candidate in candidates[1:]:
        if better(candidate, best):
            best = candidate
    return best


def _min(meter: Meter, *values: Value) -> Value:
    return _extreme(meter, values, "min", lambda a, b: less(a, b, meter))


def _max(meter: Meter, *values: Value) -> Value:
    return _extreme(meter, values, "max", lambda a, b: less(b, a, meter))


def _sum(meter: Meter, value: Value, start: Value = 0) -> Value:
    total = start
    for item in [total, *items_of(value, meter)]:
        if not isinstance(item, NUMBERS):
            raise CodeError("TypeError", f"sum() adds numbers, not {type_name(item)!r}")
    for item in items_of(value, meter):
        total += item
    if isinstance(total, int) and total.bit_length() > meter.limits.int_bits:
        raise CodeError("SizeLimit", f"a whole number may have at most {meter.limits.int_bits} bits")
    return total


def _abs(meter: Meter, value: Value) -> Value:
    if not isinstance(value, NUMBERS):
        raise CodeError("TypeError", f"abs() takes a number, not {type_name(value)!r}")
    return abs(value)


def _round(meter: Meter, value: Value, digits: Value = None) -> Value:
    if not isinstance(value, NUMBERS) or not (digits is None or isinstance(digits, int)):
        raise CodeError("TypeError", "round() takes a number and a number of digits")
    if digits is not None and abs(digits) > _MAX_ROUNDING:
        raise CodeError("ValueError", f"round() takes at most {_MAX_ROUNDING} digits")
    return round(value, digits)


def _any(meter: Meter, value: Value) -> bool:
    return any(items_of(value, meter))


def _all(meter: Meter, value: Value) -> bool:
    return all(items_of(value, meter))


def _repr(meter: Meter, value: Value) -> str:
    return repr_of(value, meter)


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "abs": _abs,
    "all": _all,
    "any": _any,
    "bool": _bool,
    "dict": _dict,
    "enumerate": _enumerate,
    "float": _float,
    "int": _int,
    "len": _len,
    "list": _list,
    "max": _max,
    "min": _min,
    "range": _range,
    "repr": _repr,
    "reversed": _reversed,
    "round": _round,
    "sorted": _sorted,
    "str": _str,
    "sum": _sum,
    "tuple": _tuple,
    "zip": _zip,
}
"""Each takes the meter first, then the program's arguments. Iterables come and go as lists."""


def invoke(function: Callable[..., Value], meter: Meter, args: Sequence[Value], named: Mapping[str, Value]) -> Value:
    """Call a function or method of the tables. Python's own complaints become the program's."""
    try:
        return function(meter, *args, **named)
    except PYTHON_ERRORS as error:
        if isinstance(error, TypeError) and "argument" in str(error):
            raise CodeError("TypeError", "wrong number or names of arguments") from None
        raise as_code_error(error) from None
