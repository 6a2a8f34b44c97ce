"""Every operator by name and the named pools. One explicit dictionary."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.operators.base import spelling_hint
from harness.operators.roles import Role
from harness.operators.spec import OperatorSpec
from harness.operators.specs import (
    answer_generate,
    custom,
    multi_answer_generate,
    prompt_optimizer,
    review,
    revise,
    sc_ensemble,
    search,
    warning,
)

OPERATORS: dict[str, OperatorSpec] = {
    spec.name: spec
    for spec in (
        answer_generate.SPEC,
        custom.SPEC,
        prompt_optimizer.SPEC,
        multi_answer_generate.SPEC,
        review.SPEC,
        revise.SPEC,
        sc_ensemble.SPEC,
        search.SPEC,
        warning.SPEC,
    )
}

CALLABLE: tuple[str, ...] = tuple(name for name, spec in OPERATORS.items() if spec.run is not None)

_MINIMAL = ("AnswerGenerate", "Search")

POOLS: dict[str, tuple[str, ...]] = {
    "minimal": _MINIMAL,
    "review": (*_MINIMAL, "Review"),
    "revise": (*_MINIMAL, "Review", "Revise"),
    "optimizer": (*_MINIMAL, "Review", "Revise", "PromptOptimizer"),
    "full": CALLABLE,
    "no_search": tuple(name for name in CALLABLE if name != "Search"),
    "search_only": ("Search",),
}


def with_role(roles: Collection[Role]) -> tuple[str, ...]:
    """Names of the operators that have one of `roles`, in the registry's order."""
    return tuple(name for name, spec in OPERATORS.items() if spec.role in roles)


def resolve_pool(pool: str | Sequence[str]) -> tuple[str, ...]:
    """Operator names of a named pool or of an explicit list.

    Raises ValueError for an unknown name, one that cannot be called, a duplicate, or an empty pool.
    """
    if isinstance(pool, str):
        if pool not in POOLS:
            raise ValueError(
                f"unknown operator pool {pool!r}{spelling_hint(pool, list(POOLS))} (pools: {', '.join(POOLS)})"
            )
        return POOLS[pool]
    names = tuple(pool)
    if not names:
        raise ValueError(f"the operator pool is empty (operators: {', '.join(CALLABLE)})")
    for name in names:
        if name not in OPERATORS:
            raise ValueError(
                f"unknown operator {name!r}{spelling_hint(name, CALLABLE)} (operators: {', '.join(CALLABLE)})"
            )
        if OPERATORS[name].run is None:
            raise ValueError(f"{name} belongs to the environment and cannot be in a pool")
    if len(set(names)) != len(names):
        raise ValueError(f"the operator pool names an operator twice: {', '.join(names)}")
    return names
