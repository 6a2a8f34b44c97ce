"""Evaluation of expressions over the syntax tree. It reaches values, the function tables and operators, nothing else.

There is no attribute access but to call a listed method, functions are not values, and names are looked up in one
dictionary: what is not listed here cannot be reached.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from harness.env.interfaces.code.library import FUNCTIONS, invoke
from harness.env.interfaces.code.limits import Answered, CodeError, Meter
from harness.env.interfaces.code.methods import METHODS
from harness.env.interfaces.code.operations import binary, compare, constant, formatted, get_item, set_item, unary
from harness.env.interfaces.code.program import check_name
from harness.env.interfaces.code.values import NUMBERS, Value, items_of, key_of, repr_of, text_of, type_name

Operator = Callable[[Sequence[Value], Mapping[str, Value], Meter], Awaitable[str]]
"""An operator as a program sees it: positional and named arguments in, its text out."""

_SHORT_CIRCUIT = ("any", "all")


class Expressions:
    """Evaluator of expressions over `variables`, which it changes. `output` collects what it prints.

    `operators` are the operators by the name a program calls them. `line` is the line being executed.
    """

    def __init__(self, variables: dict[str, Value], operators: Mapping[str, Operator], meter: Meter) -> None:
        self.variables = variables
        self.operators = operators
        self.meter = meter
        self.output: list[str] = []
        self.room = meter.limits.output_chars
        self.line = 1
        self.functions = frozenset({*FUNCTIONS, *operators, "print", "answer"})

    def print(self, text: str) -> None:
        """Keep `text` as far as there is room."""
        if self.room < 0:
            return
        self.output.append(text[: self.room])
        self.room -= len(text)
        if self.room < 0:
            self.output.append("... [output cut]\n")

    async def assign(self, target: ast.expr, value: Value) -> None:
        self.meter.spend()
        match target:
            case ast.Name():
                check_name(target.id, self.functions, target.lineno)
                self.variables[target.id] = value
            case ast.Tuple() | ast.List():
                items = items_of(value, self.meter)
                if len(items) != len(target.elts):
                    raise CodeError("ValueError", f"{len(target.elts)} names but {len(items)} values to unpack")
                for element, item in zip(target.elts, items, strict=True):
                    await self.assign(element, item)
            case ast.Subscript():
                container = await self.value(target.value)
                set_item(container, await self.index(target.slice), value, self.meter)
            case _:
                raise CodeError("SyntaxError", f"cannot assign to {node_words(target)}")

    async def value(self, node: ast.expr) -> Value:
        self.meter.spend()
        match node:
            case ast.Constant():
                return constant(node, self.meter)
            case ast.Name():
                return self.lookup(node)
            case ast.Call():
                return await self.call(node)
            case ast.BinOp():
                left = await self.value(node.left)
                return binary(node.op, left, await self.value(node.right), self.meter)
            case ast.Compare():
                return await self.comparison(node)
            case ast.BoolOp():
                for part in node.values:
                    value = await self.value(part)
                    if bool(value) is isinstance(node.op, ast.Or):
                        break
                return value
            case ast.UnaryOp():
                value = await self.value(node.operand)
                return not value if isinstance(node.op, ast.Not) else unary(node.op, value)
            case ast.IfExp():
                return await self.value(node.body if await self.value(node.test) else node.orelse)
            case ast.JoinedStr():
                return await self.joined(node)
            case ast.List():
                return [await self.value(element) for element in node.elts]
            case ast.Tuple():
                return tuple([await self.value(element) for element in node.elts])
            case ast.Dict():
                return await self.dictionary(node)
            case ast.Subscript():
                container = await self.value(node.value)
                return get_item(container, await self.index(node.slice), self.meter)
            case ast.ListComp():
                return await self.collected(node)
        raise CodeError("SyntaxError", f"{node_words(node)} is not available here", node.lineno)

    def lookup(self, node: ast.Name) -> Value:
        if node.id in self.variables:
            return self.variables[node.id]
        if node.id in self.functions:
            raise CodeError("SyntaxError", f"{node.id} can only be called: {node.id}(...)", node.lineno)
        raise CodeError("NameError", f"name {node.id[:80]!r} is not defined", node.lineno)

    async def comparison(self, node: ast.Compare) -> bool:
        left = await self.value(node.left)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = await self.value(right_node)
            if not compare(op, left, right, self.meter):
                return False
            left = right
        return True

    async def index(self, node: ast.expr) -> Value:
        if not isinstance(node, ast.Slice):
            return await self.value(node)
        bounds = [None if part is None else await self.value(part) for part in (node.lower, node.upper, node.step)]
        if not all(bound is None or isinstance(bound, int) for bound in bounds):
            raise CodeError("TypeError", "slice bounds must be whole numbers", node.lineno)
        return slice(*bounds)

    async def dictionary(self, node: ast.Dict) -> Value:
        result = {}
        for key, item in zip(node.keys, node.values, strict=True):
            if key is None:
                raise CodeError("SyntaxError", "** is not available here", node.lineno)
            name = key_of(await self.value(key), self.meter)
            result[name] = await self.value(item)
        return result

    async def joined(self, node: ast.JoinedStr) -> str:
        pieces: list[str] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                pieces.append(await self.field(part))
            else:
                pieces.append(await self.value(part))
            self.meter.text(sum(map(len, pieces)))
        return "".join(pieces)

    async def field(self, node: ast.FormattedValue) -> str:
        value = await self.value(node.value)
        if node.conversion == ord("a"):
            raise CodeError("SyntaxError", "!a is not available here", node.lineno)
        if node.conversion == ord("r"):
            value = repr_of(value, self.meter)
        if node.format_spec is None:
            return text_of(value, self.meter)
        parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
        spec = "".join(str(p.value) for p in parts if isinstance(p, ast.Constant))
        if not all(isinstance(p, ast.Constant) for p in parts):
            raise CodeError("ValueError", "a format must be written out in f-strings", node.lineno)
        return formatted(value, spec, self.meter)

    async def collected(self, node: ast.ListComp | ast.GeneratorExp) -> list[Value]:
        result: list[Value] = []

        def visit(item: Value) -> bool:
            if len(result) >= self.meter.limits.items:
                self.meter.items(len(result) + 1)
            result.append(item)
            return False

        await self.comprehend(node, visit)
        return result

    async def comprehend(self, node: ast.ListComp | ast.GeneratorExp, visit: Callable[[Value], bool]) -> None:
        """Give `visit` the items one by one until it returns True.

        A comprehension's names are its own: bindings of the same names outside come back at the end.
        """
        first = items_of(await self.value(node.generators[0].iter), self.meter)
        names = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        outside = {name: self.variables.pop(name) for name in names if name in self.variables}
        try:
            await self.generate(node, 0, first, visit)
        finally:
            for name in names:
                self.variables.pop(name, None)
            self.variables.update(outside)

    async def generate(
        self, node: ast.ListComp | ast.GeneratorExp, i: int, items: list[Value], visit: Callable[[Value], bool]
    ) -> bool:
        """The `i`-th `for` of a comprehension and those after it. True as soon as `visit` returns True."""
        generator = node.generators[i]
        if generator.is_async:
            raise CodeError("SyntaxError", "async is not available here", node.lineno)
        for item in items:
            self.meter.spend()
            await self.assign(generator.target, item)
            if not await self.all_true(generator.ifs):
                continue
            if i + 1 == len(node.generators):
                stop = visit(await self.value(node.elt))
            else:
                inner = items_of(await self.value(node.generators[i + 1].iter), self.meter)
                stop = await self.generate(node, i + 1, inner, visit)
            if stop:
                return True
        return False

    async def all_true(self, conditions: Sequence[ast.expr]) -> bool:
        for condition in conditions:
            if not await self.value(condition):
                return False
        return True

    async def call(self, node: ast.Call) -> Value:
        if isinstance(node.func, ast.Attribute):
            return await self.method(node, node.func)
        if not isinstance(node.func, ast.Name):
            raise CodeError("TypeError", "only named functions and methods can be called", node.lineno)
        name = node.func.id
        if name not in self.functions:
            known = name in self.variables
            message = f"{name[:80]!r} is a value, not a function" if known else f"name {name[:80]!r} is not defined"
            raise CodeError("TypeError" if known else "NameError", message, node.lineno)
        if name in _SHORT_CIRCUIT and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            return await self.quantified(node, node.args[0], name == "any")
        args, named = await self.arguments(node)
        self.line = node.lineno
        if name == "answer":
            raise Answered(_answer_text(args, named, self.meter))
        if name == "print":
            return self.printed(args, named)
        if name in self.operators:
            return await self.operators[name](args, named, self.meter)
        return invoke(FUNCTIONS[name], self.meter, args, named)

    async def quantified(self, node: ast.Call, items: ast.GeneratorExp, sought: bool) -> bool:
        """`any` and `all` of a generator stop at the first item that decides, which may save operator calls."""
        if node.keywords:
            raise CodeError("TypeError", "wrong number or names of arguments", node.lineno)
        decided = False

        def visit(item: Value) -> bool:
            nonlocal decided
            decided = bool(item) is sought
            return decided

        await self.comprehend(items, visit)
        return sought if decided else not sought

    async def method(self, node: ast.Call, function: ast.Attribute) -> Value:
        subject = await self.value(function.value)
        method = METHODS.get(type(subject), {}).get(function.attr)
        if method is None:
            message = f"{type_name(subject)!r} object has no method {function.attr[:80]!r} here"
            raise CodeError("AttributeError", message, node.lineno)
        args, named = await self.arguments(node)
        return invoke(method, self.meter, (subject, *args), named)

    async def arguments(self, node: ast.Call) -> tuple[list[Value], dict[str, Value]]:
        args: list[Value] = []
        for argument in node.args:
            is_generator = isinstance(argument, ast.GeneratorExp)
            args.append(await self.collected(argument) if is_generator else await self.value(argument))  # type: ignore[arg-type]
        named: dict[str, Value] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise CodeError("SyntaxError", "** is not available here", node.lineno)
            named[keyword.arg] = await self.value(keyword.value)
        return args, named

    def printed(self, args: Sequence[Value], named: Mapping[str, Value]) -> None:
        separator, end = named.get("sep", " "), named.get("end", "\n")
        if set(named) - {"sep", "end"} or not (isinstance(separator, str) and isinstance(end, str)):
            raise CodeError("TypeError", "print() takes values, sep and end")
        texts = [text_of(value, self.meter) for value in args]
        self.meter.text(sum(map(len, texts)) + len(separator) * len(texts))
        self.print(separator.join(texts) + end)


def _answer_text(args: Sequence[Value], named: Mapping[str, Value], meter: Meter) -> str:
    if len(args) != 1 or named or not isinstance(args[0], (str, *NUMBERS)):
        raise CodeError("TypeError", "answer() takes one text or number")
    return text_of(args[0], meter)


def node_words(node: ast.AST) -> str:
    """`FunctionDef` as `function def`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()
