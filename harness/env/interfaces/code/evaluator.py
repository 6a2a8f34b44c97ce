"""Interpreter of a program, statement by statement, over its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from enum import Enum, auto

from harness.env.interfaces.code.expressions import Expressions, node_words
from harness.env.interfaces.code.library import invoke
from harness.env.interfaces.code.limits import CodeError
from harness.env.interfaces.code.methods import METHODS
from harness.env.interfaces.code.operations import binary, get_item, set_item
from harness.env.interfaces.code.program import chain_of
from harness.env.interfaces.code.values import Value, items_of, text_of


class _Flow(Enum):
    NEXT = auto()
    BREAK = auto()
    CONTINUE = auto()


class Evaluator(Expressions):
    """Interpreter of one program."""

    async def run(self, program: ast.Module) -> None:
        """Run a program; as in notebooks, a last bare expression is printed.

        Raises CodeError (with its line) or Answered.
        """
        body = program.body
        last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
        if last is not None:
            body = body[:-1]
        try:
            if await self.block(body) is not _Flow.NEXT:
                raise CodeError("SyntaxError", "break and continue belong inside a loop")
            if last is not None:
                self.line = last.lineno
                value = await self.value(last.value)
                if value is not None:
                    self.print(text_of(value, self.meter) + "\n")
        except CodeError as error:
            error.line = error.line or self.line
            raise

    async def block(self, statements: Sequence[ast.stmt]) -> _Flow:
        for statement in statements:
            flow = await self.statement(statement)
            if flow is not _Flow.NEXT:
                return flow
        return _Flow.NEXT

    async def statement(self, node: ast.stmt) -> _Flow:
        self.meter.spend()
        self.line = node.lineno
        match node:
            case ast.Expr():
                await self.value(node.value)
            case ast.Assign():
                value = await self.value(node.value)
                for target in node.targets:
                    await self.assign(target, value)
            case ast.AugAssign():
                await self.augment(node)
            case ast.If():
                for branch, otherwise in chain_of(node):
                    self.line = branch.lineno
                    if await self.value(branch.test):
                        return await self.block(branch.body)
                    if otherwise:
                        return await self.block(otherwise)
            case ast.For():
                return await self.loop(node)
            case ast.Pass():
                pass
            case ast.Break():
                return _Flow.BREAK
            case ast.Continue():
                return _Flow.CONTINUE
            case _:
                raise CodeError("SyntaxError", f"{node_words(node)} is not available here")
        return _Flow.NEXT

    async def loop(self, node: ast.For) -> _Flow:
        items = await self.value(node.iter)
        at, length = 0, len(items_of(items, self.meter))
        keys = list(items) if isinstance(items, dict) else items
        while True:  # a list that grows during its loop lengthens the loop, as in Python
            if isinstance(items, dict) and len(items) != length:
                raise CodeError("RuntimeError", "dictionary changed size during iteration")
            if at >= len(keys):
                break
            self.meter.spend()
            await self.assign(node.target, keys[at])
            at += 1
            flow = await self.block(node.body)
            if flow is _Flow.BREAK:
                return _Flow.NEXT
        return await self.block(node.orelse)

    async def augment(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            old = self.lookup(node.target)
            new = await self.augmented(node, old)
            await self.assign(node.target, new)
        elif isinstance(node.target, ast.Subscript):
            container = await self.value(node.target.value)
            index = await self.index(node.target.slice)
            new = await self.augmented(node, get_item(container, index, self.meter))
            set_item(container, index, new, self.meter)
        else:
            raise CodeError("SyntaxError", f"cannot assign to {node_words(node.target)}")

    async def augmented(self, node: ast.AugAssign, old: Value) -> Value:
        """`old op= value`; a list is changed in place, as in Python."""
        value = await self.value(node.value)
        if isinstance(old, list) and isinstance(node.op, ast.Add):
            invoke(METHODS[list]["extend"], self.meter, (old, value), {})
            return old
        new = binary(node.op, old, value, self.meter)
        if isinstance(old, list):
            old[:] = new
            return old
        return new
