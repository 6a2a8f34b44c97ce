"""The facts in what a command prints, whatever the words around them."""

from __future__ import annotations

import re


def counted(printed: str, *numbers: int) -> bool:
    """Whether a line gives these whole numbers, in this order, and no others (those within a path do not count)."""
    given = (re.findall(r"(?<!\S)\d+(?=[,;.:]?(?:\s|$))", line) for line in printed.splitlines())
    return any([int(n) for n in found] == [*numbers] for found in given)
