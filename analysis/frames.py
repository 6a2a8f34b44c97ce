"""Schema of the tables that analyses read, and the grouping of trials into arms. Readers are in `load.py`.

trials    one row a trial, finished or not
    trial str · arm str · seed int · status str (done | failed | diverged | unfinished) · included bool ·
    reason str (why it is excluded, "" otherwise) · steps int (planned) ·
    config_hash str (of the configuration without its seed)
metrics   one row a logged value of an included trial
    trial str · arm str · seed int · step int · metric str · value float
episodes  one row an episode of an included trial: see EPISODE_COLUMNS
turns     one row a turn of such an episode: see TURN_COLUMNS

Step 0 is the start policy. Failed, diverged and unfinished trials stay in `trials`, and in no other table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config.arm_names import arm_labels, full_label
from harness.config.identity import flatten

TRIAL_COLUMNS = ("trial", "arm", "seed", "status", "included", "reason", "steps", "config_hash")
METRIC_COLUMNS = ("trial", "arm", "seed", "step", "metric", "value")

SHARE_RANGE, CHANGE_RANGE = (0.0, 1.0), (-1.0, 1.0)
"""Ranges of a share, and of a difference of two shares."""
SHARE_METRICS = frozenset(
    {"em", "em_sampled", "f1", "lenient", "format_ok", "parse_ok_rate", "lazy", "no_answer"}
    | {"clip_fraction", "recovered", "detected", "detected_twin", "accepted"}
)
"""Metrics that are shares, or scores in [0, 1], by the part of their name after the first slash."""

NOT_A_SETTING = frozenset({"seed", "threads"})
"""Configuration paths that do not distinguish arms."""


def is_share(metric: str) -> bool:
    """Whether a metric (such as `eval/em/world_chain`) is bounded by [0, 1]."""
    return any(part in SHARE_METRICS for part in metric.split("/")[1:2])


def short_hash(value: Any) -> str:
    """First 12 hex digits of SHA-256 over canonical JSON (sorted keys): the hash printed in captions."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def swept_axes(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paths whose value differs between configurations (seed and threads apart), in order of first appearance."""
    flat = [flatten(c) for c in configs]
    paths = dict.fromkeys(p for f in flat for p in f if p not in NOT_A_SETTING)
    return [p for p in paths if len({json.dumps(f.get(p), sort_keys=True, default=str) for f in flat}) > 1]


@dataclass(frozen=True)
class Arm:
    """One configuration run with several seeds. `settings` holds the swept axes only, as the sweep file writes them;
    `config` the whole configuration (of one of its trials)."""

    label: str
    settings: Mapping[str, Any]
    config_hash: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def full_label(self) -> str:
        """All of its settings in words, of any length."""
        return full_label(self.settings)

    def value(self, path: str) -> Any:
        """The value at a dotted path; None where there is none."""
        return self.settings[path] if path in self.settings else setting(self.config, path)


def setting(config: Mapping[str, Any], path: str) -> Any:
    """Value at a dotted path, a mapping included; None where the path ends early."""
    node: Any = config
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


def arms_of(
    configs: Mapping[str, Mapping[str, Any]],
    axes: Sequence[str] | None = None,
    declared: Mapping[str, Mapping[str, Any]] | None = None,
    labels: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Arm]:
    """trial → its arm. `axes` (e.g. a sweep's declared parameters) or else every path that differs. `labels`: the sweep
    file's, as `arm_labels` takes them.

    `declared` gives values of axes as the sweep file wrote them, where they are known (a mapping as an axis value
    stands in the configuration with its defaults filled in).
    """
    axes = list(axes) if axes is not None else swept_axes(list(configs.values()))
    found = {}
    for trial, config in configs.items():
        written = (declared or {}).get(trial, {})
        found[trial] = {a: written.get(a, setting(config, a)) for a in axes if a not in NOT_A_SETTING}
    out = {}
    for (trial, settings), label in zip(found.items(), arm_labels(list(found.values()), labels), strict=True):
        rest = {p: v for p, v in flatten(configs[trial]).items() if p not in NOT_A_SETTING}
        out[trial] = Arm(label, settings, short_hash(rest), configs[trial])
    return out


@dataclass(frozen=True)
class Frames:
    """A sweep as tables. `config` is the sweep's own file; `arms` maps labels to arms in display order."""

    name: str
    config: Mapping[str, Any]
    trials: pd.DataFrame
    metrics: pd.DataFrame
    arms: Mapping[str, Arm] = field(default_factory=dict)
    questions: Mapping[str, int] = field(default_factory=dict)  # suite → questions evaluated; empty: not known
    path: Path | None = None  # the sweep's directory, where it has one
    promises: frozenset[str] = frozenset()  # pre-registration hashes found with the trials
    codes: frozenset[str] = frozenset()  # code versions the trials ran with

    @property
    def config_hash(self) -> str:
        """Hash over the arms' configurations and the seeds, for captions."""
        used = self.trials[self.trials["included"]]
        return short_hash(sorted((str(h), int(s)) for h, s in zip(used["config_hash"], used["seed"], strict=True)))

    @cached_property
    def identical(self) -> dict[str, str]:
        """Arm → the first arm, in display order, that its runs are bit-identical to; other arms are left out.

        Every seed that both ran gave the same training and evaluation metrics at every step: one arm under two names,
        which no test may count twice. A setting without effect does that, as a reduction where it makes no difference.
        """
        runs = {str(arm): dict(list(rows.groupby("seed"))) for arm, rows in self.metrics.groupby("arm", observed=True)}
        prints = {arm: {seed: _fingerprint(rows) for seed, rows in by_seed.items()} for arm, by_seed in runs.items()}
        same: dict[str, str] = {}
        for arm in (a for a in self.arms if prints.get(a)):
            others = [o for o in self.arms if o in prints and o not in same]
            shared = {o: prints[arm].keys() & prints[o].keys() for o in others[: others.index(arm)]}
            alike = (o for o, s in shared.items() if s and all(prints[arm][i] == prints[o][i] != "" for i in s))
            if (first := next(alike, None)) is not None:
                same[arm] = first
        return same

    def identity_notes(self) -> list[str]:
        """A sentence for each arm that is identical to an earlier one."""
        return [
            f"{arm} and {first} are one arm: every run is bit-identical (equal rewards and scores at every step), and"
            " no test counts both"
            for arm, first in self.identical.items()
        ]

    @property
    def start_step(self) -> int:
        """Step at which the arms' own training starts: 0, or the sweep's branch point."""
        return int((self.config.get("branch") or {}).get("after", 0))

    @property
    def left_out(self) -> pd.DataFrame:
        """Excluded trials with the reason."""
        return self.trials.loc[~self.trials["included"], ["trial", "arm", "seed", "status", "reason"]]

    def diverged(self) -> dict[str, list[str]]:
        """Arm → where each of its diverged trials did ("step 3: the loss"); arms without any are left out."""
        rows = self.trials[self.trials["status"] == "diverged"]
        return {str(arm): [str(r) for r in group["reason"]] for arm, group in rows.groupby("arm", observed=True)}

    def divergence_notes(self) -> list[str]:
        """For each arm how many trials diverged, and where: the mean of the others is no estimate of the arm's."""
        notes = []
        for arm, places in self.diverged().items():
            total = int((self.trials["arm"] == arm).sum())
            shown = "; ".join(places[:3]) + ("; …" if len(places) > 3 else "")
            rest = "its numbers are of the others alone" if len(places) < total else "it has no numbers"
            notes.append(f"{arm}: {len(places)} of {total} trials diverged ({shown}); {rest}")
        return notes

    def seed_text(self) -> str:
        """ "5 per arm", or "4–5 per arm" where arms differ, for captions."""
        counts = self.trials[self.trials["included"]].groupby("arm")["seed"].nunique()
        low, high = int(counts.min()), int(counts.max())
        return f"{low} per arm" if low == high else f"{low}–{high} per arm"

    def question_text(self) -> str:
        """ "200 per suite", or the number of each suite where they differ, for captions."""
        if not self.questions:
            return "not recorded"
        numbers = sorted(set(self.questions.values()))
        if len(numbers) == 1:
            return f"{numbers[0]} per suite"
        return ", ".join(f"{suite} {n}" for suite, n in sorted(self.questions.items()))

    def has(self, metric: str) -> bool:
        """Whether a metric was logged, as such or by suite (`metric/<suite>`)."""
        names = self.metrics["metric"]
        return bool((names == metric).any() or names.str.startswith(metric + "/").any())

    def values(self, metric: str, step: int | None = None) -> pd.DataFrame:
        """Rows of one metric (columns trial, arm, seed, step, value), at one step or all of them."""
        rows = self.metrics[self.metrics["metric"] == metric]
        if step is not None:
            rows = rows[rows["step"] == step]
        return rows[["trial", "arm", "seed", "step", "value"]]

    def suites(self, prefix: str = "eval/em/") -> list[str]:
        """Suites that have a metric `prefix<suite>`, sorted."""
        names = self.metrics["metric"].unique()
        return sorted(n[len(prefix) :] for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :])


DISTINCT_REWARDS = 5
"""Values of a run's training reward without which it is not called identical to another: few may agree by chance."""


def _fingerprint(run: pd.DataFrame) -> str:
    """Hash of the training and evaluation metrics of a run; "" where they are too few to tell it from another."""
    if run.loc[run["metric"] == "train/reward_mean", "value"].nunique() < DISTINCT_REWARDS:
        return ""
    kept = run[run["metric"].str.startswith(("train/", "eval"))].sort_values(["metric", "step"])
    numbers = kept["step"].to_numpy("int64").tobytes() + kept["value"].to_numpy("float64").tobytes()
    return hashlib.sha256("\n".join(kept["metric"]).encode() + numbers).hexdigest()


def trials_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(TRIAL_COLUMNS))
    return frame.astype({"seed": "int64", "included": bool, "steps": "int64"})


def metrics_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(METRIC_COLUMNS))
    return frame.astype({"seed": "int64", "step": "int64", "value": "float64"})
