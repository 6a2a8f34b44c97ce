"""What is said of a trial that has ended, from its journal lines and episode files: pure reading, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from harness.runs.episode_store import open_episodes

Line = tuple[int, dict[str, float], int]
"""(step, values, time in ms) of a metrics line."""

EVALUATION = "eval/"
KEPT = ("em", "em_sampled", "f1", "lenient", "reward_mean", "format_ok", "parse_ok_rate", "calls", "turns", "tokens")
"""Of an evaluation's metrics those that `final/…` and `best/…` repeat, beside EM by benchmark: few, to be columns."""
ONCE = 0
"""Step of what is said once of a trial: MLflow draws metrics that have no later step as bars, one a trial."""
SCORE = "eval/em"
RATES = ("operator_loop", "warning_loop", "repeat_loop", "lazy", "wrong_order", "no_answer")
"""`train/…` rates of episodes that foretell or explain a failure of training."""
EVENTS = {"reward_variance_cliffs": "train/reward_variance_cliff", "grad_spikes": "update/grad_spike"}
"""Numbers of steps at which something sudden happened."""


def best(lines: Sequence[Line]) -> Line | None:
    """The evaluation with the highest EM, the first of equals, as `best/…` metrics and `best/step`; None without any.

    It is chosen by the very questions it is scored on, so it is optimistic: `final/…` is what arms are compared by.
    """
    scored = [line for line in lines if SCORE in line[1]]
    if not scored:
        return None
    step, values, ts = max(scored, key=lambda line: (line[1][SCORE], -line[0]))
    return ONCE, {**evaluation("best", values), "best/step": float(step)}, ts


def evaluation(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """The kept metrics of an evaluation, EM by benchmark among them, under another prefix than `eval`."""
    names = {n.removeprefix(EVALUATION): v for n, v in values.items() if n.startswith(EVALUATION)}
    return {f"{prefix}/{n}": v for n, v in names.items() if n in KEPT or n.startswith("em/")}


def signatures(lines: Sequence[Line]) -> dict[str, float]:
    """`signature/<rate>`: the highest that a rate of trouble was; `signature/<events>`: how often one happened."""
    found: dict[str, float] = {}
    for name in RATES:
        seen = [values[f"train/{name}"] for _, values, _ in lines if f"train/{name}" in values]
        found |= {f"signature/{name}": max(seen)} if seen else {}
    for name, metric in EVENTS.items():
        seen = [values[metric] for _, values, _ in lines if metric in values]
        found |= {f"signature/{name}": sum(seen)} if seen else {}
    return found


def failures(folder: Path, split: str = "train") -> dict[str, float]:
    """`failure/<kind>`: share of the split's episodes, all steps together, with that failure; kinds that occurred."""
    counts: Counter[str] = Counter()
    total = 0
    for path in sorted(folder.glob(f"step-*-{split}.parquet")):
        try:
            column = open_episodes(path).read(columns=["failures"]).column(0).to_pylist()
        except (OSError, pa.ArrowException):  # whoever reads the episodes reports a broken file
            continue
        total += len(column)
        counts.update(kind for found in column for kind in set(found))
    return {f"failure/{kind}": n / total for kind, n in sorted(counts.items())}
