"""Every operator by name and the named pools. One explicit dictionary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from harness.operators import generate, judge, search, warning
from harness.operators.base import OperatorSpec

OPERATORS: Mapping[str, OperatorSpec] = {
    spec.name: spec for spec in (*generate.SPECS, *judge.SPECS, *search.SPECS, warning.SPEC)
}

CALLABLE: tuple[str, ...] = tuple(name for name, spec in OPERATORS.items() if spec.run is not None)

_MINIMAL = ("AnswerGenerate", "Search")

POOLS: Mapping[str, tuple[str, ...]] = {
    "minimal": _MINIMAL,
    "review": (*_MINIMAL, "Review"),
    "revise": (*_MINIMAL, "Review", "Revise"),
    "optimizer": (*_MINIMAL, "Review", "Revise", "PromptOptimizer"),
    "full": CALLABLE,
    "no_search": tuple(name for name in CALLABLE if name != "Search"),
    "search_only": ("Search",),
}


def did_you_mean(name: str, options: Sequence[str]) -> str:
    """`; did you mean 'X'?` for the nearest of `options`, or an empty string."""
    folded = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(name[:100].casefold(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def resolve_pool(pool: str | Sequence[str]) -> tuple[str, ...]:
    """Operator names of a named pool or of an explicit list.

    Raises ValueError for an unknown name, one that cannot be called, a duplicate, or an empty pool.
    """
    if isinstance(pool, str):
        if pool not in POOLS:
            raise ValueError(
                f"unknown operator pool {pool!r}{did_you_mean(pool, list(POOLS))} (pools: {', '.join(POOLS)})"
            )
        return POOLS[pool]
    names = tuple(pool)
    if not names:
        raise ValueError(f"the operator pool is empty (operators: {', '.join(CALLABLE)})")
    for name in names:
        if name not in OPERATORS:
            raise ValueError(
                f"unknown operator {name!r}{did_you_mean(name, CALLABLE)} (operators: {', '.join(CALLABLE)})"
            )
        if name not in CALLABLE:
            raise ValueError(f"{name} belongs to the environment and cannot be in a pool")
    if len(set(names)) != len(names):
        raise ValueError(f"the operator pool names an operator twice: {', '.join(names)}")
    return names
