"""Summary metrics of a trial that has ended, from its journal lines and episode files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from harness.runs.episode_store import open_episodes
from harness.runs.records import MetricsLine
from harness.runs.run import TrialRun

EVALUATION = "eval/"
KEPT = ("em", "em_sampled", "f1", "lenient", "reward_mean", "format_ok", "parse_ok_rate", "calls", "turns", "tokens")
"""Metrics of an evaluation that `final/…` and `best/…` repeat, beside EM by benchmark: few, to be columns."""
SUMMARY_STEP = 0
"""Step of summary metrics: MLflow draws metrics without a later step as bars, one a trial."""
SCORE = "eval/em"
RATES = ("operator_loop", "warning_loop", "repeat_loop", "lazy", "wrong_order", "no_answer")
"""`train/…` rates of episodes that predict or explain a failure of training."""
EVENTS = {"reward_variance_cliffs": "train/reward_variance_cliff", "grad_spikes": "update/grad_spike"}
"""Metrics that count sudden events at a step."""


def best_evaluation(lines: Sequence[MetricsLine]) -> MetricsLine | None:
    """The evaluation with the highest EM, the first of equals, as `best/…` metrics and `best/step`; None without any.

    It is selected on the questions it is scored on, so it is optimistic: arms are compared by `final/…`.
    """
    scored = [line for line in lines if SCORE in line.values]
    if not scored:
        return None
    step, values, ts = max(scored, key=lambda line: (line.values[SCORE], -line.step))
    return MetricsLine(SUMMARY_STEP, {**evaluation_summary("best", values), "best/step": float(step)}, ts)


def evaluation_summary(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """The kept metrics of an evaluation, EM by benchmark among them, under another prefix than `eval`."""
    names = {n.removeprefix(EVALUATION): v for n, v in values.items() if n.startswith(EVALUATION)}
    return {f"{prefix}/{n}": v for n, v in names.items() if n in KEPT or n.startswith("em/")}


def diagnostics_summary(lines: Sequence[MetricsLine]) -> dict[str, float]:
    """`signature/<rate>`: the maximum of a failure rate; `signature/<events>`: the total of an event count."""
    found: dict[str, float] = {}
    for name in RATES:
        seen = [values[f"train/{name}"] for _, values, _ in lines if f"train/{name}" in values]
        found |= {f"signature/{name}": max(seen)} if seen else {}
    for name, metric in EVENTS.items():
        seen = [values[metric] for _, values, _ in lines if metric in values]
        found |= {f"signature/{name}": sum(seen)} if seen else {}
    return found


def failure_rates(trial: TrialRun, split: str = "train") -> dict[str, float]:
    """`failure/<kind>`: share of the split's episodes, over all steps, with that failure; kinds that occurred."""
    counts: Counter[str] = Counter()
    total = 0
    for file in trial.episode_files(split=split):
        try:
            column = open_episodes(file.path).read(columns=["failures"]).column(0).to_pylist()
        except (OSError, pa.ArrowException):  # broken files are reported where episodes are analysed
            continue
        total += len(column)
        counts.update(kind for found in column for kind in set(found))
    return {f"failure/{kind}": n / total for kind, n in sorted(counts.items())}
