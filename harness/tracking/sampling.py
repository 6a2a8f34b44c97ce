"""Which episodes of a file become traces: one of every kind of trouble, and a few more. All are in Parquet besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def troubles(row: Mapping[str, Any]) -> list[str]:
    """What went wrong in an episode, by kind, each once, in order of appearance.

    `unclosed_tag` (a parse failure), `operator:timeout` (a failed call), `fault:wrong_entity` (an injected fault), and
    the stop reason unless the episode ended with an answer.
    """
    kinds = list(row["failures"])
    for turn in row["turns"]:
        kinds += [f"operator:{turn['operator_failure']}"] if turn["operator_failure"] else []
        kinds += [f"fault:{turn['fault']}"] if turn["fault"] else []
    kinds += [row["stop"]] if row["stop"] != "answered" else []
    return list(dict.fromkeys(kinds))


def choose(kinds: Sequence[Sequence[str]], others: int) -> list[int]:
    """Positions to show, ascending: the first episode of every kind, and `others` spread evenly over the rest.

    `kinds[i]` are the troubles of episode i. The choice depends on nothing else, so it is the same at every replay.
    """
    first: dict[str, int] = {}
    for i, found in enumerate(kinds):
        for kind in found:
            first.setdefault(kind, i)
    chosen = set(first.values())
    rest = [i for i in range(len(kinds)) if i not in chosen]
    n = min(others, len(rest))
    return sorted(chosen | {rest[k * len(rest) // n] for k in range(n)})
