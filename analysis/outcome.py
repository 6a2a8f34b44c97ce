"""Outcome variables and their names in sentences, captions and columns."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.frames import is_share
from analysis.registered_plan import AnalysisPlan


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome variable of a sentence. A share is shown in points (hundredths), any other quantity in its own unit."""

    name: str
    share: bool = True

    def amount(self, value: float | None, signed: bool = True) -> str:
        """`value` with its unit: "+1.2 points", "-0.23"; "unknown" for None."""
        if value is None:
            return "unknown"
        return f"{self.digits(value, signed)}{' points' if self.share else ''}"

    def digits(self, value: float, signed: bool = True) -> str:
        shown = round(100 * value, 1) + 0.0 if self.share else float(f"{value:.3g}") + 0.0
        sign = "+" if signed else ""
        return f"{shown:{sign}.1f}" if self.share else f"{shown:{sign}g}"


METRIC_NAMES = {
    "eval/em": "EM",
    "eval/em_sampled": "EM of sampled answers",
    "eval/calls": "the number of calls",
    "eval/parse_ok_rate": "the share of well-formed turns",
    "eval/format_ok": "the share of well-formed episodes",
    "eval_sampled/em": "EM of sampled answers",
    "eval_sampled/f1": "F1 of sampled answers",
    "eval_sampled/reward_mean": "reward of sampled answers",
    "eval_sampled/parse_ok_rate": "the share of well-formed turns (sampled answers)",
    "eval_sampled/format_ok": "the share of well-formed episodes (sampled answers)",
    "eval_sampled/lazy": "the share of sampled answers without a call",
    "eval_sampled/operator_diversity": "operator diversity (sampled answers)",
    "eval_sampled/calls": "the number of calls (sampled answers)",
    "eval_sampled/turns": "the number of turns (sampled answers)",
    "eval_sampled/tokens": "the number of tokens (sampled answers)",
    "eval_fault/recovered": "P(right | fault)",
    "eval_fault/effect": "the effect of a fault on EM",
    "eval_prompt_distractor/em": "EM (prompt with a distractor)",
}
"""Metric → its name in a sentence."""


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric)


def metric_outcome(metric: str) -> Outcome:
    return Outcome(metric_name(metric), is_share(metric) or metric == "eval_fault/effect")


def outcome_of(plan: AnalysisPlan) -> Outcome:
    """The registered outcome."""
    found = metric_outcome(plan.metric)
    return found if plan.over == "last" else Outcome(f"{found.name} (area under the curve)", found.share)
