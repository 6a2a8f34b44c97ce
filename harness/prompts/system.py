"""The instruction an episode begins with, in two styles: full for real models, compact for the tiny policy."""

from __future__ import annotations

from collections.abc import Sequence

from harness.operators import Style, describe_pool
from harness.protocol import XML, Grammar

_FULL = """You answer a question by building a workflow, one step a turn. In every turn, first think, then take
exactly one action: call one operator, or give the final answer. After a call you read its result and go on.

Operators:
{operators}

Every turn has one of these two forms and nothing else:
{forms}

The final answer is as short as possible: a name, a number, a date, yes or no."""


def system_prompt(pool: str | Sequence[str], style: Style, grammar: Grammar = XML) -> str:
    """The system message. The operators' text comes from the registry: what is documented is what can be called."""
    if style == "compact":
        return "Operators: " + ", ".join(line.partition(":")[0] for line in describe_pool(pool, "compact").splitlines())
    return _FULL.format(operators=describe_pool(pool, "full"), forms="\n".join(grammar.forms()))
