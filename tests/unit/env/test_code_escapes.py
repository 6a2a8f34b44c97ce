"""Attempts to leave the code interface, or to exhaust it: each ends in an error the policy reads, within its bounds."""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest

from harness.env.interfaces import CodeInterface
from harness.env.interfaces.base import Execution
from harness.env.interfaces.code.program import PROGRAM
from harness.types import Action, ActionKind, OperatorFailure, OperatorResult, ParsedTurn, Span

DUNDERS = [
    "__class__", "__base__", "__bases__", "__mro__", "__subclasses__", "__globals__", "__builtins__", "__import__",
    "__dict__", "__init__", "__getattribute__", "__code__", "__closure__", "__reduce__", "__reduce_ex__", "__doc__",
    "__format__", "__iter__", "__call__", "__self__", "__func__", "__wrapped__", "__loader__", "__spec__",
]  # fmt: skip
INNARDS = [
    "gi_frame", "gi_code", "cr_frame", "ag_frame", "f_back", "f_globals", "f_builtins", "f_locals", "func_globals",
    "tb_frame", "tb_next", "co_code", "mro", "im_func", "format", "format_map", "encode", "translate", "maketrans",
    "ljust", "rjust", "center", "zfill", "expandtabs", "clear", "copy", "update", "setdefault", "from_bytes",
    "to_bytes", "fromkeys", "hex", "as_integer_ratio",
]  # fmt: skip
FORBIDDEN_NAMES = [
    "eval", "exec", "compile", "open", "input", "type", "object", "super", "getattr", "setattr", "delattr", "hasattr",
    "vars", "dir", "globals", "locals", "id", "hash", "help", "breakpoint", "exit", "quit", "memoryview", "bytes",
    "bytearray", "classmethod", "staticmethod", "property", "iter", "next", "map", "filter", "slice", "set",
    "frozenset", "callable", "isinstance", "issubclass", "format", "chr", "ord", "bin", "hex", "pow", "divmod",
    "complex", "ascii", "print_", "os", "sys", "builtins", "self", "__builtins__", "__name__", "__file__", "__loader__",
    "_", "Exception", "BaseException", "KeyboardInterrupt", "NotImplemented", "Ellipsis", "copyright", "credits",
    "license",
]  # fmt: skip

WALKS = [
    *[f"().{name}" for name in DUNDERS],
    *[f"''.{name}()" for name in DUNDERS],
    *[f"print(f'{{[].{name}}}')" for name in DUNDERS[:8]],
    *[f"x = 1\nx.{name}" for name in INNARDS[:8]],
    *[f"'a'.{name}(10)" for name in INNARDS],
    *[f"[].{name}()" for name in INNARDS[-10:]],
    *[f"{name}('1')" for name in FORBIDDEN_NAMES],
    *[f"x = {name}" for name in FORBIDDEN_NAMES],
    "().__class__.__bases__[0].__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()[104].load_module('os').system('true')",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen']",
    "print.__self__",
    "print.__globals__['os']",
    "search.__globals__",
    "search.__closure__[0].cell_contents",
    "len.__self__.__import__('os')",
    "(lambda: 0).__code__",
    "(x for x in [1]).gi_frame.f_back",
    "g = (x for x in [1])",
    "[x for x in [1]].__iter__().__reduce__()",
    "search.__wrapped__('x')",
    "''.join.__self__",
    "str.upper('a')",
    "str.format('{0.__class__}', 1)",
    "dict.fromkeys([1])",
    "int.from_bytes('a')",
    "type('X', (), {})",
    "type(1)(2)",
    "[].append.__call__(1)",
    "'{0.__class__}'.format(1)",
    "'{0.__class__.__init__.__globals__}'.format(print)",
    "'{:>999999999}'.format(1)",
    "'%s' % ().__class__",
    "'%(a).999999999d' % {'a': 1}",
    "'%999999999d' % 1",
    "f'{().__class__}'",
    "f'{1:{1000000000}}'",
    "f'{1:>{10 ** 9}}'",
    "f'{1:999999999}'",
    "f'{1:.999999999f}'",
    "f'{1.5:1000000000.1000000000f}'",
    'f\'{"a":{"{"}}\'',
    "f'{1!a}'",
    "f'{print}'",
    "f'{[1]:>5}'",
    "f'{(lambda: 1)()}'",
    "f'{__import__(\"os\")}'",
    "ｅｖａｌ('1')",
    "().＿＿class＿＿",
    "().__ｃlass__",
    "𝒆𝒙𝒆𝒄('1')",
    "__ｉmport__('os')",
    "x = ﹍﹍builtins﹍﹍",
    "ªbs = eval",
]

SYNTAX = [
    "import os",
    "import os as x",
    "from os import system",
    "from os import *",
    "from __future__ import annotations",
    "def f():\n    return f()\nf()",
    "def search(x):\n    pass",
    "lambda: 1",
    "x = lambda: 0",
    "(lambda f: f(f))(lambda f: f(f))",
    "class X:\n    pass",
    "class X(dict):\n    def __missing__(self, k):\n        return self",
    "while True:\n    pass",
    "while 1: x = 1",
    "try:\n    1 / 0\nexcept Exception as e:\n    print(e.__traceback__)",
    "try:\n    pass\nfinally:\n    pass",
    "with open('x') as f:\n    pass",
    "raise SystemExit",
    "raise",
    "assert 0, eval('1')",
    "del search",
    "x = 1\ndel x",
    "global x",
    "nonlocal x",
    "return 1",
    "yield 1",
    "x = yield",
    "await search('x')",
    "async def f():\n    pass",
    "[x async for x in []]",
    "async for x in y:\n    pass",
    "(x := 5)",
    "print(x := 5)",
    "[y := 1, y ** 2]",
    "match 1:\n    case int():\n        pass",
    "match ():\n    case object(__class__=c):\n        print(c)",
    "print(*[1, 2])",
    "print(**{'sep': ''})",
    "search(*['a'] * 9999)",
    "[*range(3)]",
    "a, *b = [1, 2]",
    "{**{}}",
    "{1, 2}",
    "{x for x in []}",
    "{x: x for x in []}",
    "x: int = 5",
    "x: print('a') = 5",
    "@print\ndef f(): pass",
    "b'abc'",
    "1j",
    "...",
    "1 if 2",
    "x.y = 1",
    "[].x = 1",
    "().__class__ = 1",
    "print.x += 1",
    "search = 1",
    "print = 1",
    "len = eval",
    "for print in [1]:\n    pass",
    "[len for len in [1]]",
    "__x__ = 1",
    "x__y = 1",
    "__builtins__ = {}",
    "for __class__ in [1]: pass",
    "True = 1",
    "None = 1",
    "x = search",
    "[search][0]('x')",
    "{'f': search}['f']('x')",
    "(print)",
    "print(print)",
    "print.__call__('x')",
    "(1)(2)",
    "'a'('b')",
    "search('a')('b')",
    "sorted([1], key=search)",
    "sorted([1, 2], key=lambda x: 1)",
    "max([1], key=len)",
    "[2, 1].sort(key=len)",
    "print('a', file=1)",
    "print('a', flush=True)",
    "int('1', base=2)",
    "1 @ 2",
    "1 << 1000000000",
    "1 >> 1",
    "~1",
    "1 | 2",
    "1 ^ 2",
    "x = []\nx is []",
    "break",
    "continue",
    "for i in [1]: pass\nbreak",
    "answer()",
    "answer([1])",
    "answer(None)",
    "answer(1, 2)",
    "answer(text='a')",
    "search(1, 2, 3)",
    "search(query='a')",
    "search(text='a', **{})",
    "search([[1]])",
    "search(None)",
    "review('q', question='q')",
    "x = 'a' 'b' + ",
    "if",
    "(((",
    ")",
    "  x = 1\n y = 2",
    "'unclosed",
    "'''unclosed",
    "\\",
    "$",
    "x = 1;;",
    "\0",
    "x = '\0'",
    "0777",
    "1__0",
    "print 'a'",
    "exec 'a'",
    "`1`",
    "<> 1",
]

BOMBS = [
    "9**9**9",
    "9**9**9**9",
    "x = 2\nfor i in range(100):\n    x = x * x",
    "x = 2\nfor i in range(100):\n    x **= 2",
    "2 ** 100000000",
    "(-2) ** 1000000001",
    "10 ** 400",
    "-(10 ** 400)",
    "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "1" + "0" * 300,
    "int('9' * 5000)",
    "int('1' + '0' * 79) * int('1' + '0' * 79)",
    "sum([2 ** 255] * 4)",
    "int(1e300)",
    "2.0 ** 5000",
    "float('9' * 5000)",
    "round(1.5, 10 ** 10)",
    "'a' * 10**9",
    "10**9 * 'a'",
    "'a' * 10**40",
    "x = 'a' * 40000\nx + x",
    "x = 'a'\nfor i in range(60):\n    x += x",
    "x = 'a'\nfor i in range(60):\n    x = f'{x}{x}'",
    "x = ['a' * 40000] * 1000\n''.join(x)",
    "('a' * 40000).join(['b'] * 1000)",
    "('a' * 20000).replace('a', 'b' * 20000)",
    "('a' * 40000).replace('', 'b' * 100)",
    "'a'.replace('', 'b' * 40000).replace('b', 'c' * 40000)",
    "print('a' * 40000, 'b' * 40000, sep='c' * 40000)",
    "for i in range(4000):\n    x = 'a' * 50000",
    "for i in range(4000):\n    'a' * 49000 in 'b' + 'a' * 49000",
    "for i in range(4999):\n    for j in range(4999):\n        print('a' * 1000)",
    "[0] * 10**9",
    "[0] * 10**40",
    "([0] * 5000) + [1]",
    "((0,) * 5000) + (1,)",
    "[[0] * 5000] * 5000",
    "x = [0]\nfor i in range(60):\n    x = x + x",
    "x = [0]\nfor i in range(60):\n    x += x",
    "x = [0]\nfor i in range(60):\n    x *= 2",
    "x = [1]\nfor i in x:\n    x.append(i)",
    "x = [1]\nfor i in x:\n    x.extend(x)",
    "x = [1]\nfor i in x:\n    x.insert(0, i)",
    "x = []\nfor i in range(4000):\n    x = [x, x]\nprint(x)",
    "x = []\nfor i in range(100):\n    x = [x, x]\nstr(x)",
    "x = []\nfor i in range(18):\n    x = [x, x, x, x]\nprint(x)",
    "x = [0]\ny = [0]\nfor i in range(18):\n    x = [x, x, x]\n    y = [y, y, y]\nx == y",
    "x = [0]\ny = [0]\nfor i in range(40):\n    x = [x, x]\n    y = [y, y]\nx == y",
    "x = [0]\ny = [0]\nfor i in range(18):\n    x = [x, x, x]\n    y = [y, y, y]\nx < y",
    "x = [0]\ny = [0]\nfor i in range(18):\n    x = [x, x, x]\n    y = [y, y, y]\nx in [y]",
    "x = [0]\ny = [0]\nfor i in range(18):\n    x = [x, x, x]\n    y = [y, y, y]\n[y].index(x)",
    "x = [0]\ny = [0]\nfor i in range(18):\n    x = [x, x, x]\n    y = [y, y, y]\nsorted([x, y, x])",
    "x = {}\ny = {}\nfor i in range(18):\n    x = {0: x, 1: x, 2: x}\n    y = {0: y, 1: y, 2: y}\nx == y",
    "x = ()\nfor i in range(40):\n    x = (x, x)\nd = {x: 1}",
    "x = (1, (2, 3))\n{x: 1}",
    "a = [1]\nb = [1]\na.append(b)\nb.append(a)\na == b",
    "a = [1]\nb = [1]\na.append(a)\nb.append(b)\na == b",
    "a = [1]\nb = [1]\na.append(a)\nb.append(b)\na < b",
    "x = []\nfor i in range(30):\n    x = [x]\nprint(x)",
    "x = {}\nfor i in range(5001):\n    x[i] = i",
    "x = {}\nfor i in range(4999):\n    for j in range(4999):\n        x[(i, j)] = 'a' * 1000",
    "range(10**9)",
    "range(10**40)",
    "list(range(-10**12, 10**12))",
    "range(0, -10**20, -1)",
    "for i in range(10**9): pass",
    "for i in range(5000):\n    for j in range(5000):\n        pass",
    "[i for i in range(5000) for j in range(5000)]",
    "any(i < 0 for i in range(5000) for j in range(5000))",
    "sum(i for i in range(5000) for j in range(5000))",
    "zip(*[[1]] * 1000)",
    "for i in range(4999):\n    sorted(range(4999))",
    "for i in range(4999):\n    x = list(range(4999))",
    "for i in range(4999):\n    x = ('a ' * 2000).split()",
    "list('a' * 49999)",
    "('a ' * 20000).split()",
    "('\\n' * 40000).splitlines()",
    "('a' * 49999)[::-1] + 'b' * 49999",
    "x = [0] * 5000\nfor i in range(4999):\n    y = x[::-1]",
    "x = [0] * 5000\nfor i in range(4999):\n    y = x[:]",
    "x = 'a' * 49999\nfor i in range(4999):\n    y = x[1:]",
    "x = 'a' * 49999\nfor i in range(4999):\n    y = x.upper()",
    "x = 'a' * 49999\nfor i in range(4999):\n    y = x == x[:]",
    "x = ['a' * 49999] * 4999\nprint(x)",
    "x = ['a' * 49999] * 4999\nfor y in x:\n    print(y)",
    "x = ['a' * 49999] * 4999\nrepr(x)",
    "x = [0] * 5000\nfor i in range(4999):\n    x.pop(0)\n    x.append(0)\n    x.reverse()",
    "x = [0] * 5000\nfor i in range(4999):\n    1 in x",
    "x = [0] * 5000\nfor i in range(4999):\n    x.count(1)",
    "x = [0] * 5000\nfor i in range(4999):\n    max(x)",
    "x = [0] * 5000\nfor i in range(4999):\n    x == x[:]",
    "search('a' * 50000 * 2)",
    "search(['a' * 49000] * 100)",
    "review('a' * 40000, 'b' * 40000)",
    "for i in range(100): search('a')",
    "[search(str(i)) for i in range(1000)]",
    "answer('a' * 10**9)",
    "a" * 9000,
    "(" * 1000 + ")" * 1000,
    "(" * 31 + "1" + ")" * 31,
    "[" * 200 + "]" * 200,
    "{1:" * 200 + "1" + "}" * 200,
    "-" * 4000 + "1",
    "not " * 1900 + "1",
    "~" * 7000 + "1",
    "1" + "+1" * 3000,
    "1" + "**1" * 2000,
    "f'{" + "-" * 7000 + "1}'",
    "f'{" + "not " * 1500 + "1}'",
    "f'{" + "1 if 1 else " * 550 + "1}'",
    "f'{" + "(" * 1000 + "1" + ")" * 1000 + "}'",
    "x" + ".a" * 3000,
    "x" + "[0]" * 200,
    "x" + "()" * 200,
    "f" + "(f" * 100 + ")" * 100,
    "1 if 1 else " * 600 + "1",
    "lambda:" * 1000 + "1",
    "a=" * 3000 + "1",
    " and ".join(["1"] * 1500) + " or",
    "1<" * 3000 + "1",
    "\n".join(" " * i + "if 1:" for i in range(100)) + "\n" + " " * 100 + "pass",
    "\n".join(" " * i + "for i in range(9):" for i in range(20)) + "\n" + " " * 20 + "pass",
    "'''" + "\n" * 7990,
    "(" + "\n" * 7990,
    "x = " + "(1," * 60 + ")" * 60,
    "f'" + "{1}" * 2000 + "' + 1",
    "f'{f\"{f'''{1 + 'a'}'''}\"}'",
    "[" + "[" * 25 + "1" + "]" * 25 + " for x in 5]",
    "print(" + "'a' " * 200 + "+ 1)",
]

ATTEMPTS = [*WALKS, *SYNTAX, *BOMBS]
INTERFACE = CodeInterface()
WATCHED = {"exec", "open", "import", "os.system", "subprocess.Popen", "os.fork", "socket.connect", "object.__getattr__"}
_seen: list[str] | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _seen is not None and event in WATCHED and args[:1] != (PROGRAM,):  # the parser's look for a line to quote
        _seen.append(event)


sys.addaudithook(_hook)


class Tagged:
    """An operator's signature."""

    def __init__(self, name: str, *tags: str) -> None:
        self.name, self.summary, self.input_format, self.example = name, "", "", ""
        self.tags = dict.fromkeys(tags, 1)


OPERATORS = [Tagged("Search"), Tagged("Review", "question", "solution")]


async def _call(name: str, text: str) -> OperatorResult:
    assert len(text) <= INTERFACE.limits.text_chars
    return OperatorResult(name, "found")


def execute(source: str) -> Execution:
    action = Action(ActionKind.CODE, source, Span(0, len(source)))
    coroutine = INTERFACE.start(OPERATORS).execute(ParsedTurn(source, Span(0, 0), action), _call, calls_left=20)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


@pytest.fixture(scope="module", autouse=True)
def _warm_up() -> None:
    execute("print(1)")
    execute("(")


def test_there_are_at_least_two_hundred_different_attempts() -> None:
    assert len(set(ATTEMPTS)) == len(ATTEMPTS) >= 200


@pytest.mark.parametrize("source", ATTEMPTS, ids=[repr(a[:40]) for a in ATTEMPTS])
def test_an_attempt_ends_in_an_error_the_policy_reads(source: str) -> None:
    global _seen
    _seen = []
    began = time.perf_counter()
    try:
        execution = execute(source)
    finally:
        seen, _seen = _seen, None
    assert seen == []
    assert execution.result is not None, "it answered"
    assert execution.result.failure is OperatorFailure.PROGRAM_ERROR
    assert "Error" in execution.result.text or "Limit" in execution.result.text
    assert len(execution.result.text) <= INTERFACE.limits.output_chars + 500
    assert len(execution.calls) <= 20
    assert time.perf_counter() - began < 4  # steps bound it far below; generous because machines are shared


def test_no_attempt_overflows_a_small_stack() -> None:
    """Parsing recurses in C on nesting; a thread with a small stack would crash the process, not raise."""
    done: list[str] = []
    size = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=lambda: done.extend(execute(source).parsed.text for source in DEEPEST))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert done == DEEPEST


DEEPEST = [source for source in BOMBS if len(source) > 300]
LARGEST = [b for b in BOMBS if "40000" in b or "5000" in b or "10**9" in b]


@pytest.mark.parametrize("source", LARGEST[::2], ids=range(len(LARGEST[::2])))
def test_a_bomb_takes_little_memory(source: str) -> None:
    tracemalloc.start()
    try:
        execute(source)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
