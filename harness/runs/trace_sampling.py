"""Choice of the episodes that become traces: a few of every step, and each kind of failure every `REPEAT_STEPS` steps.

A trace costs MLflow several milliseconds and its database 20 KB, so a failure that repeats at every step is not shown
every time. Parquet files hold all episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.runs.episode_store import EpisodeFile
from harness.types import StopReason

_MARKS = ("failures", "stop", *(f"turns.list.element.{name}" for name in ("failures", "operator_failure", "fault")))
"""Columns of an episode file that `trace_failures` reads: a seventh of the work of reading all."""


def trace_failures(row: Mapping[str, Any]) -> list[str]:
    """Kinds of failures in an episode, each once, in order of appearance.

    `unclosed_tag` (a parse failure), `operator:timeout` (a failed call), `fault:wrong_entity` (an injected fault), and
    the stop reason unless the episode ended with an answer.
    """
    kinds = list(row["failures"])
    for turn in row["turns"]:
        kinds += [f"operator:{turn['operator_failure']}"] if turn["operator_failure"] else []
        kinds += [f"fault:{turn['fault']}"] if turn["fault"] else []
    kinds += [row["stop"]] if row["stop"] != StopReason.ANSWERED else []
    return list(dict.fromkeys(kinds))


def trace_failures_in(file: EpisodeFile) -> list[list[str]]:
    """`trace_failures` of every episode of a file. Raises pyarrow.ArrowException."""
    return [trace_failures(row) for row in file.read(columns=_MARKS).to_pylist()]


def rows_at(file: EpisodeFile, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Episodes of a file by position; the file is read only if there are any. Raises pyarrow.ArrowException."""
    rows: list[dict[str, Any]] = file.read().take(positions).to_pylist() if positions else []
    return rows


REPEAT_STEPS = 50
"""Length of the windows of steps in each of which a kind of failure is shown once."""


class TraceSampler:
    """Chooses among a trial's episodes, step by step in their order.

    It takes the first episode of each kind of failure in a window of REPEAT_STEPS steps (0 to 49, 50 to 99, …), and
    `others` episodes of every step, evenly from the rest of its splits: where there are more splits than that, those
    shown least in the window come first. The choice depends only on the episodes since the start of the window, so it
    is the same at every replay.
    """

    def __init__(self, others: int) -> None:
        self._others = others
        self._window = -1
        self._kinds: set[str] = set()  # shown in the window
        self._shown: Counter[str] = Counter()  # split -> others

    def choose(self, step: int, kinds: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[int]]:
        """Positions to show by split, ascending; `kinds[split][i]`: failure kinds of that split's episode i."""
        if self._window != step // REPEAT_STEPS:
            self._window, self._kinds, self._shown = step // REPEAT_STEPS, set(), Counter()
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
        return {split: sorted(of.union(evenly_spaced(rest[split], others[split]))) for split, of in chosen.items()}


def evenly_spaced(positions: Sequence[int], n: int) -> list[int]:
    """At most `n` of the positions, evenly spaced."""
    n = min(n, len(positions))
    return [positions[k * len(positions) // n] for k in range(n)]


def window_start(step: int) -> int:
    """The first step of the window that the choice at `step` depends on."""
    return step - step % REPEAT_STEPS
