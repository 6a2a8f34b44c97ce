"""Programs mean what Python means: the same programs run by Python itself print the same and fail the same way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.env.interfaces import Limits
from harness.env.interfaces.code.evaluator import Evaluator
from harness.env.interfaces.code.limits import CodeError, Meter
from harness.env.interfaces.code.program import read_program
from tests.support.examples import examples

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")
LIMITS = Limits()


def by_ours(source: str) -> tuple[str, str | None]:
    evaluator = Evaluator({}, {}, Meter(LIMITS, lambda: 0.0))
    try:
        evaluator.run(read_program(source, LIMITS)).send(None)
    except StopIteration:
        return "".join(evaluator.output), None
    except CodeError as error:
        return "".join(evaluator.output), error.kind
    raise AssertionError("it waited")


def by_python(source: str) -> tuple[str, str | None]:
    printed: list[str] = []

    def show(*values: Any, sep: str = " ", end: str = "\n") -> None:
        printed.append(sep.join(map(str, values)) + end)

    def as_list(function: Any) -> Any:
        return lambda *args: list(function(*args))

    eager = (abs, all, any, bool, dict, float, int, len, list, max, min, repr, round, sorted, str, sum, tuple)
    lazy = {f.__name__: as_list(f) for f in (range, enumerate, zip, reversed)}
    try:
        exec(source, {"__builtins__": {}, "print": show, **{f.__name__: f for f in eager}, **lazy})
    except Exception as error:
        kind = type(error).__name__
        return "".join(printed), "NameError" if kind == "UnboundLocalError" else kind
    return "".join(printed), None


def assert_same(source: str) -> None:
    ours = by_ours(source)
    assume(ours[1] not in ("SizeLimit", "StepLimit"))
    assert ours == by_python(source)


PROGRAMS = [
    "x = [1, 2]\ny = x\ny += [3]\nprint(x is None, x, y)",
    "x = [1, 2]\ny = x\ny = y + [3]\nprint(x, y)",
    "x = [0] * 3\nx[1] = 'a'\nx[-1] += 2\nprint(x)",
    "x = [1]\nx *= 3\nprint(x)",
    "x = [1]\nx.append(x)\nprint(x)",
    "d = {'a': 1, 2: [3], (1, 'b'): None}\nd['a'] += 1\nfor k, v in d.items():\n    print(k, v)\nprint(d)",
    "for i in range(5):\n    if i == 1:\n        continue\n    if i > 2:\n        break\n    print(i)\nelse:\n    1",
    "for i in []:\n    pass\nelse:\n    print('else')",
    "for a, (b, c) in [(1, (2, 3)), (4, (5, 6))]:\n    print(a + b * c)",
    "x = [1, 2, 3]\nfor i in x:\n    if i < 3:\n        x.append(i + 2)\nprint(x)",
    "d = {1: 1}\nfor k in d:\n    d[k + 1] = 1",
    "x = 5\nprint([x for x in range(3)], x)",
    "x = [1, 2]\nprint([x for x in x], x)",
    "print([(i, j) for i in range(3) for j in range(i) if i + j > 1])",
    "print(sum(i * i for i in range(4)), any(i > 2 for i in [1, 2]), all(i for i in []))",
    "print('-'.join(s.upper() for s in 'a b'.split()))",
    "print(1 < 2 < 3, 1 < 3 < 2, 1 == 1.0 == True, not [], '' or 'x', 0 and 1 / 0)",
    "print(7 // 2, -7 // 2, -7 % 3, 2 ** 10, 2 ** -1, 1e3, 10 / 4, True + 1)",
    "s = 'hello world'\nprint(s[1:5], s[::-1], s[-3:], s.find('o'), s.replace('o', '0', 1), s.split('o', 1))",
    'print(f\'{1 + 1} {"a"!r:>5} {3.14159:.2f} {1000000:,} {0.5:.0%} {"x":^3}|\')',
    "print(f'{[1, \"a\"]} {None} {(1,)} {{}} {True}')",
    "x = 3\nprint(f'{x=}')",
    "print(sorted([3, 1, 2]), sorted(['b', 'a'], reverse=True), sorted([(2, 'b'), (1, 'z'), (2, 'a')]))",
    "x = [3, 1, 2]\nx.sort(reverse=True)\nprint(x, max(x), min(4, 2), max('b', 'a'), max([[1, 2], [1, 3]]))",
    "print(1, 'a', sep='-', end='!')",
    "a, b = 1, 2\na, b = b, a\nprint(a, b)",
    "a = b = [1]\nb.append(2)\nprint(a)",
    "print([1, 2] == [1, 2.0], (1,) == [1], {'a': 1} == {'a': True}, [1, [2]] < [1, [3]], 'a' in 'abc', 3 not in [1])",
    "print(int('12'), int(' -3 '), int(3.9), float('1e2'), str(None), bool([]), list('ab'), tuple([1]), repr('a'))",
    "print(round(2.5), round(3.14159, 2), round(1234, -2), abs(-3))",
    "if 0:\n    print(1)\nelif 1:\n    print(2)\nelse:\n    print(3)",
    "if 0:\n    print(1)\nelif 0:\n    print(2)\nelse:\n    if 1:\n        print(3)\n    print(4)",
    "print('a' 'b', \"it's\", 'x\\ny', '''m''')",
    "x = 1 if [] else 'no'\nprint(x)",
    "print(float('nan') == float('nan'), [1.5, 1e100, 1e-7, -0.0, float('inf')])",
    "x = float('nan')\nprint(x in [x], [x] == [x], sorted([2, x, 1]))",
    "print('ß'.upper(), 'İ'.lower(), 'a\\tb'.split(), 'x'.isalpha(), 'Ab c'.title(), 'pre-x'.removeprefix('pre-'))",
    "print({1: 'a', True: 'b', 1.0: 'c'}, {}.get('x', 3), {'a': 1}.pop('a'), {'a': 1}.pop('b', 2))",
    "print([1, 2, 1].count(1), [1, 2].index(2), (1, 2).index(2), 'banana'.count('an'))",
    "x = [1, 2, 3]\nx.insert(0, 0)\nx.remove(2)\nx.extend('ab')\nx.reverse()\nprint(x.pop(), x.pop(0), x)",
    # errors
    "print(1)\n1 / 0",
    "print(undefined)",
    "[][0]",
    "{}['a']",
    "'a' + 1",
    "1 + 'a'",
    "[1].remove(2)",
    "int('x')",
    "x = {}\nx[[1]] = 2",
    "a, b = 1, 2, 3",
    "a, b = 5",
    "'a'[1.5]",
    "[1][None]",
    "None[0]",
    "len(5)",
    "sorted([1, 'a'])",
    "'a' < 1",
    "'a'.find(1)",
    "','.join([1])",
    "range(1, 2, 0)",
    "max([])",
    "'abc'.split('')",
    "[1, 2].pop(5)",
    "{}.pop('a')",
    "(1, 2)[0] = 3",
    "x += 1",
    "5()",
    "for i in 5:\n    pass",
    "2.0 ** 100000",
    "1 in 5",
    "-'a'",
    "0 ** -1",
    "[y for x in [1] for y in y]",
    "float('x')",
    "round('a')",
    "x = 1\nx.append(2)",
]


@pytest.mark.parametrize("source", PROGRAMS)
def test_a_program_prints_and_fails_as_in_python(source: str) -> None:
    ours = by_ours(source)
    assert ours[1] not in ("SizeLimit", "StepLimit")
    printed, error = by_python(source)
    if error is None and not source.rsplit("\n", 1)[-1].lstrip().startswith("print("):
        return  # a last bare expression is shown here, not in a script
    assert ours == (printed, error)


# --- generated programs ---------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]
numbers = st.sampled_from(["0", "1", "2", "-3", "7", "2.5", "True"])
texts = st.sampled_from(["''", "'ab'", "'b a'", "'x,y'", "'Zoë'"])
others = st.sampled_from(["None", "[]", "{}", "()", "[1, 2]", "{'a': 1}"])
atoms = st.one_of(numbers, texts, others, st.sampled_from(NAMES))


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def of(template: str) -> st.SearchStrategy[str]:
        return st.tuples(*[inner] * template.count("{}")).map(lambda parts: template.format(*parts))

    return st.one_of(
        *map(of, ["({} + {})", "({} - {})", "({} * {})", "({} == {})", "({} < {})", "({} >= {})", "({} in {})"]),
        *map(of, ["({} and {})", "({} or {})", "(not {})", "(-{})", "({} if {} else {})", "({} != {} != {})"]),
        *map(of, ["[{}, {}]", "({}, {})", "({},)", "{}[{}]", "{}[{}:{}]", "{}[::{}]", "({} is None)"]),
        *map(of, ["len({})", "str({})", "sorted({})", "max({}, {})", "min({})", "sum({})", "list({})", "repr({})"]),
        *map(of, ["bool({})", "reversed({})", "abs({})", "tuple({})", "zip({}, {})", "enumerate({})", "any({})"]),
        *map(of, ["str({}).upper()", "str({}).split({})", "','.join({})", "str({}).replace({}, 'q')"]),
        *map(of, ["[v for v in {}]", "[v + {} for v in {} if v]", "all(v for v in {})", "int({})", "float({})"]),
        st.tuples(inner, inner).map(lambda p: "f'{{{}}}-{{{}!r}}'".format(*(x.replace("'", '"') for x in p))),
    )


expressions = st.recursive(atoms, deeper, max_leaves=6).filter(lambda e: len(e) < 300 and "\\" not in e)


@st.composite
def blocks(draw: st.DrawFn, indent: str = "", depth: int = 0) -> str:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        form = draw(st.sampled_from(["assign", "assign", "aug", "print", "item", "call", "unpack", "if", "for"]))
        name, value = draw(st.sampled_from(NAMES)), draw(expressions)
        if form == "assign":
            lines.append(f"{indent}{name} = {value}")
        elif form == "aug":
            lines.append(f"{indent}{name} {draw(st.sampled_from(['+=', '-=', '*=']))} {value}")
        elif form == "print":
            lines.append(f"{indent}print({value}, {name})")
        elif form == "item":
            lines.append(f"{indent}{name}[{draw(atoms)}] = {value}")
        elif form == "call":
            method = draw(st.sampled_from(["append", "extend", "index", "count", "pop", "get", "strip", "sort"]))
            lines.append(f"{indent}{name}.{method}({value})" if method != "sort" else f"{indent}{name}.sort()")
        elif form == "unpack":
            lines.append(f"{indent}{name}, v = {value}")
        elif depth < 2:
            body = draw(blocks(indent + "    ", depth + 1))
            if form == "if":
                lines.append(f"{indent}if {value}:\n{body}\n{indent}else:\n{draw(blocks(indent + '    ', depth + 1))}")
            else:
                stop = draw(st.sampled_from(["pass", "break", "continue"]))
                lines.append(f"{indent}for {name} in {value}:\n{body}\n{indent}    if {name}:\n{indent}        {stop}")
    return "\n".join(lines) or f"{indent}pass"


@settings(
    max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None
)
@given(blocks(), st.lists(expressions, min_size=3, max_size=3))
def test_generated_programs_print_and_fail_as_in_python(block: str, starts: list[str]) -> None:
    start = "a, b, c = [1, 'x'], 2, {'a': 'b'}\n" + "\n".join(
        f"{name} = {value}" for name, value in zip(NAMES, starts, strict=True)
    )
    assert_same(f"{start}\n{block}\nprint(a, b, c)")


@settings(max_examples=examples(300), deadline=None)
@given(expressions)
def test_generated_expressions_print_and_fail_as_in_python(expression: str) -> None:
    assert_same(f"a, b, c = [1, 'x'], 2, {{'a': 'b'}}\nprint({expression})")
