"""From model text to a syntax tree that is safe to walk. Nothing here is ever compiled or run."""

from __future__ import annotations

import ast
import io
import keyword
import textwrap
import tokenize
import warnings
from collections.abc import Iterator

from harness.env.interfaces.code.limits import CodeError, Limits

PROGRAM = "<program>"
"""File name given to the parser. It looks for a line of such a file to quote in a syntax error; there is none."""

_NESTING = ("(", "[", "{", "-", "+", "~", "*", "not ", " if ", "lambda", "await")
"""Tokens that can nest one expression in another."""


def read_program(source: str, limits: Limits) -> ast.Module:
    """Parse `source`. Raises CodeError (with a line where one is known) for anything that cannot be parsed safely.

    `ast.parse` is a C parser that recurses on nesting, so its input is bounded first: length, brackets open at one
    place, tokens of one logical line. What the evaluator walks by recursion is bounded after: the tree's depth.
    """
    if len(source) > limits.source_chars:
        raise CodeError("SizeLimit", f"a program may have at most {limits.source_chars} characters")
    source = textwrap.dedent(source)
    if "\0" in source:
        raise CodeError("SyntaxError", "a program cannot hold null characters")
    _check_tokens(source, limits)
    try:
        with warnings.catch_warnings():  # such as invalid escapes: for the policy, not for the log
            warnings.simplefilter("ignore")
            tree = ast.parse(source, filename=PROGRAM)
    except SyntaxError as error:
        raise CodeError("SyntaxError", str(error.msg), error.lineno) from None
    except (ValueError, RecursionError, MemoryError):  # lone surrogates; nesting that the bounds above let through
        raise CodeError("SyntaxError", "the program cannot be parsed") from None
    _check_depth(tree, limits)
    return tree


def _check_tokens(source: str, limits: Limits) -> None:
    depth = tokens = indents = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            tokens += 1
            if token.type == tokenize.NEWLINE:
                tokens = 0
            elif token.type == tokenize.INDENT:
                indents += 1
            elif token.type == tokenize.DEDENT:
                indents -= 1
            elif token.type == tokenize.STRING and "{" in token.string:
                tokens += sum(map(token.string.count, _NESTING))  # an f-string is one token, whatever it holds
            elif token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
            line = token.start[0]
            if depth > limits.source_brackets or indents > limits.source_brackets:
                raise CodeError("SyntaxError", "brackets or blocks are nested too deeply", line)
            if tokens > limits.source_tokens:
                raise CodeError("SyntaxError", f"a line may have at most {limits.source_tokens} words and signs", line)
    except tokenize.TokenError as error:
        raise CodeError("SyntaxError", str(error.args[0]), error.args[1][0]) from None
    except SyntaxError as error:  # inconsistent dedent
        raise CodeError("SyntaxError", str(error.msg), error.lineno) from None
    except (ValueError, RecursionError):
        raise CodeError("SyntaxError", "the program cannot be parsed") from None


def _check_depth(tree: ast.AST, limits: Limits) -> None:
    """Without recursion: the nodes of each level are the children of the level above.

    A chain of `elif`s nests in the tree but not in the text, and the evaluator follows it by a loop: it counts once.
    """
    level: list[ast.AST] = [tree]
    line = 1
    for _ in range(limits.tree_depth):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
        line = next((n.lineno for n in level if isinstance(n, ast.expr | ast.stmt)), line)
    raise CodeError("SyntaxError", "the program is nested too deeply", line)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.If):
        yield from ast.iter_child_nodes(node)
        return
    for branch, otherwise in chain_of(node):
        yield branch.test
        yield from branch.body
        yield from otherwise


def chain_of(node: ast.If) -> Iterator[tuple[ast.If, list[ast.stmt]]]:
    """The `if` and its `elif`s in order, the last with the `else` block (others with nothing)."""
    while len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        yield node, []
        node = node.orelse[0]
    yield node, node.orelse


def check_name(name: str, taken: frozenset[str] | set[str], line: int) -> None:
    """Refuse to bind names that are keywords, hold a double underscore, or already mean a function."""
    if "__" in name or keyword.iskeyword(name):
        raise CodeError("NameError", f"the name {name[:40]!r} cannot be used", line)
    if name in taken:
        raise CodeError("NameError", f"{name!r} is a function here; choose another name", line)
