"""Which episodes become traces: some of every step, and every kind of trouble now and then. Parquet has them all.

A trace costs MLflow's database 15 ms, so what goes wrong in the same way at every step is shown once in a while.
"""

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


AGAIN_AFTER = 10
"""Steps after which a kind of trouble that was shown is shown again."""


class Sampler:
    """Chooses among a trial's episodes, file after file in the order of their steps.

    The first episode of every kind of trouble that the split has not shown in the present AGAIN_AFTER steps (0 to 9,
    10 to 19, …), and `others` spread evenly over the rest. The choice depends on the episodes from the first of these
    steps on and on nothing else, so it is the same at every replay.
    """

    def __init__(self, others: int) -> None:
        self._others = others
        self._shown: dict[str, tuple[int, set[str]]] = {}  # split -> (which steps, kinds shown in them)

    def choose(self, step: int, split: str, kinds: Sequence[Sequence[str]]) -> list[int]:
        """Positions to show, ascending; `kinds[i]` are the troubles of episode i."""
        period = step // AGAIN_AFTER
        shown = self._shown.get(split)
        if shown is None or shown[0] != period:
            shown = self._shown[split] = (period, set())
        first: dict[str, int] = {}
        for i, found in enumerate(kinds):
            for kind in found:
                if kind not in shown[1]:
                    first.setdefault(kind, i)
        shown[1].update(first)
        chosen = set(first.values())
        rest = [i for i in range(len(kinds)) if i not in chosen]
        return sorted(chosen | set(evenly(rest, self._others)))


def evenly(positions: Sequence[int], n: int) -> list[int]:
    """At most `n` of the positions, spread evenly over them."""
    n = min(n, len(positions))
    return [positions[k * len(positions) // n] for k in range(n)]


def starts_anew(step: int) -> int:
    """The first of the steps that the choice at `step` depends on."""
    return step - step % AGAIN_AFTER
