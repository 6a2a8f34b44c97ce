"""Public classes and functions have one name each across the product, so that a name leads to one definition."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("harness", "analysis", "reports")

SAME_WORD = {"main"}
"""Names that mean the same in every file that defines them."""


def public_names() -> dict[str, tuple[str, ...]]:
    """Files that define each public class or function at their top level."""
    found: dict[str, set[str]] = defaultdict(set)
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                    found[node.name].add(path.relative_to(ROOT).as_posix())
    return {name: tuple(sorted(files)) for name, files in found.items()}


def test_public_names_are_unique_across_the_project():
    shared = {name: files for name, files in public_names().items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in SAME_WORD} == {}
    assert shared.keys() >= SAME_WORD
