"""Which episodes become traces: some of every step, and every kind of trouble now and then. Parquet has them all.

A trace costs MLflow several milliseconds and its database 20 KB, so what goes wrong in the same way at every step is
shown once in a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.runs.episode_store import EpisodeFile

_MARKS = ("failures", "stop", *(f"turns.list.element.{name}" for name in ("failures", "operator_failure", "fault")))
"""Columns of an episode file that `troubles` looks at: a seventh of the work of reading all."""


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


def kinds_in(file: EpisodeFile) -> list[list[str]]:
    """The troubles of every episode of a file. Raises pyarrow.ArrowException."""
    return [troubles(row) for row in file.read(columns=_MARKS).to_pylist()]


def rows_at(file: EpisodeFile, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Some episodes of a file, which is read only if there are any to take. Raises pyarrow.ArrowException."""
    rows: list[dict[str, Any]] = file.read().take(positions).to_pylist() if positions else []
    return rows


AGAIN_AFTER = 50
"""Steps after which a kind of trouble that was shown is shown again."""


class Sampler:
    """Chooses among a trial's episodes, step after step in their order.

    The first episode of every kind of trouble that was not shown in the present AGAIN_AFTER steps (0 to 49, 50 to 99,
    …), and `others` of every step, evenly from the rest of its splits: where there are more splits than that, those
    come first that were shown least in these steps. The choice depends on the episodes from the first of these steps
    on and on nothing else, so it is the same at every replay.
    """

    def __init__(self, others: int) -> None:
        self._others = others
        self._period = -1
        self._kinds: set[str] = set()
        self._shown: Counter[str] = Counter()  # split -> others

    def choose(self, step: int, kinds: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[int]]:
        """Positions to show by split, ascending; `kinds[split][i]` are the troubles of that split's episode i."""
        if self._period != step // AGAIN_AFTER:
            self._period, self._kinds, self._shown = step // AGAIN_AFTER, set(), Counter()
        chosen: dict[str, set[int]] = {split: set() for split in kinds}
        for split, episodes in kinds.items():
            for i, found in enumerate(episodes):
                if not self._kinds.issuperset(found):
                    chosen[split].add(i)
                    self._kinds.update(found)
        rest = {split: [i for i in range(len(kinds[split])) if i not in of] for split, of in chosen.items()}
        others: Counter[str] = Counter()
        for _ in range(self._others):
            left = [split for split in rest if others[split] < len(rest[split])]
            if left:
                least = min(left, key=lambda split: self._shown[split])
                others[least] += 1
                self._shown[least] += 1
        return {split: sorted(of.union(evenly(rest[split], others[split]))) for split, of in chosen.items()}


def evenly(positions: Sequence[int], n: int) -> list[int]:
    """At most `n` of the positions, spread evenly over them."""
    n = min(n, len(positions))
    return [positions[k * len(positions) // n] for k in range(n)]


def starts_anew(step: int) -> int:
    """The first of the steps that the choice at `step` depends on."""
    return step - step % AGAIN_AFTER
