"""The methods a program may call on its values. One explicit table; what is not in it does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.env.interfaces.code.limits import CodeError, Meter
from harness.env.interfaces.code.values import Value, in_order, items_of, key_of, same, type_name

_OF_PAIRS = frozenset({"strip", "lstrip", "rstrip", "rfind", "rindex", "rsplit"})
"""Methods of str that Python runs in time of both lengths multiplied; its search from the left takes their sum."""


def _plain_str_method(name: str) -> Callable[..., Value]:
    """A method of str whose result is no longer than a small multiple of its subject; arguments are texts and ints."""
    method = getattr(str, name)

    def run(meter: Meter, subject: str, *args: Value) -> Value:
        meter.text(len(subject) + sum(len(a) for a in args if isinstance(a, str)))
        if not all(a is None or isinstance(a, str | int) for a in args):
            raise CodeError("TypeError", f"{name}() takes texts and whole numbers")
        if name in _OF_PAIRS and args and isinstance(args[0], str):
            meter.pairs(len(subject), len(args[0]))
        result = method(subject, *args)
        if isinstance(result, str):
            meter.text(len(result))
        elif isinstance(result, list):
            meter.items(len(result))
        return result

    return run


def _join(meter: Meter, separator: str, parts: Value) -> str:
    texts = items_of(parts, meter)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise CodeError("TypeError", f"sequence item {i}: expected str instance, {type_name(text)} found")
    meter.text(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def _replace(meter: Meter, subject: str, old: Value, new: Value, count: Value = -1) -> str:
    if not (isinstance(old, str) and isinstance(new, str) and isinstance(count, int)):
        raise CodeError("TypeError", "replace() takes two texts and a whole number")
    meter.text(len(subject))
    found = subject.count(old)
    times = found if count < 0 else min(found, count)
    meter.text(max(0, len(subject) + times * (len(new) - len(old))))
    return subject.replace(old, new, count)


def _append(meter: Meter, subject: list[Value], item: Value) -> None:
    _room(meter, subject, 1)
    subject.append(item)


def _extend(meter: Meter, subject: list[Value], items: Value) -> None:
    more = items_of(items, meter)
    _room(meter, subject, len(more))
    subject.extend(more)


def _insert(meter: Meter, subject: list[Value], index: Value, item: Value) -> None:
    if not isinstance(index, int):
        raise CodeError("TypeError", "insert() takes a whole number and an item")
    _room(meter, subject, 1)
    meter.spend(1 + len(subject) // 16)
    subject.insert(index, item)


def _room(meter: Meter, subject: list[Value], more: int) -> None:
    meter.spend(1 + more)
    if len(subject) + more > meter.limits.items:
        raise CodeError("SizeLimit", f"a list may have at most {meter.limits.items} items")


def _list_pop(meter: Meter, subject: list[Value], index: Value = -1) -> Value:
    if not isinstance(index, int):
        raise CodeError("TypeError", "pop() takes a whole number")
    meter.spend(1 + len(subject) // 16)
    return subject.pop(index)


def _index(meter: Meter, subject: Sequence[Value], item: Value) -> int:
    for i, other in enumerate(subject):
        if same(other, item, meter):
            return i
    raise CodeError("ValueError", "the item is not in the list")


def _count(meter: Meter, subject: Sequence[Value], item: Value) -> int:
    return sum(same(other, item, meter) for other in subject)


def _remove(meter: Meter, subject: list[Value], item: Value) -> None:
    del subject[_index(meter, subject, item)]


def _reverse(meter: Meter, subject: list[Value]) -> None:
    meter.items(len(subject))
    subject.reverse()


def _sort(meter: Meter, subject: list[Value], *, reverse: Value = False) -> None:
    subject[:] = in_order(items_of(subject, meter), bool(reverse), meter)


def _get(meter: Meter, subject: dict[Any, Value], key: Value, default: Value = None) -> Value:
    return subject.get(key_of(key, meter), default)


def _dict_pop(meter: Meter, subject: dict[Any, Value], key: Value, *default: Value) -> Value:
    return subject.pop(key_of(key, meter), *default)


def _keys(meter: Meter, subject: dict[Any, Value]) -> list[Value]:
    return items_of(subject, meter)


def _values(meter: Meter, subject: dict[Any, Value]) -> list[Value]:
    meter.items(len(subject))
    return list(subject.values())


def _items(meter: Meter, subject: dict[Any, Value]) -> list[tuple[Value, Value]]:
    meter.items(len(subject))
    return list(subject.items())


_STR_METHODS = (
    "capitalize count endswith find index isalpha isdigit islower isspace isupper lower lstrip removeprefix "
    "removesuffix rfind rindex rsplit rstrip split splitlines startswith strip title upper"
)
_SEQUENCE_METHODS: dict[str, Callable[..., Value]] = {"index": _index, "count": _count}

METHODS: Mapping[type, Mapping[str, Callable[..., Value]]] = {
    str: {name: _plain_str_method(name) for name in _STR_METHODS.split()} | {"join": _join, "replace": _replace},
    list: {
        **_SEQUENCE_METHODS,
        "append": _append,
        "extend": _extend,
        "insert": _insert,
        "pop": _list_pop,
        "remove": _remove,
        "reverse": _reverse,
        "sort": _sort,
    },
    tuple: _SEQUENCE_METHODS,
    dict: {"get": _get, "items": _items, "keys": _keys, "pop": _dict_pop, "values": _values},
}
"""Each takes the meter and the subject first."""
