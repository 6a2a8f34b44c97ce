"""Summary of a sweep: EM by suite and arm with its interval over seeds, and every contrast with its exact test.

Seeds are the units. An arm's interval is Student's t on seed means; a contrast's is the inversion of the exact
permutation test where the design permits one, else a t interval; the method is named beside it. Holm runs over the
suites of a contrast. "Start" is step 0, "final" the last step that every included trial evaluated.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.aligned_text import aligned_text
from analysis.check_result import COULD_NOT_TELL, CheckResult, check_table, failed
from analysis.compare import (
    Comparison,
    compare_arms,
    comparison_table,
    format_p,
    format_share,
    interval_columns,
    number_or_blank,
    unpaired_seeds,
    unreachable_contrasts,
)
from analysis.csv_text import csv_cell
from analysis.factorial_designs import FactorEffect, effect_sentences, main_effects
from analysis.frames import CHANGE_RANGE, SHARE_RANGE, Frames, is_share
from analysis.random_factors import at_random_levels
from analysis.registered_plan import AnalysisPlan, contrasts, read_analysis_plan
from analysis.seed_outcomes import checkpoint_values, final_step, outcome_values, seed_values
from analysis.stats.permutation import mean_interval
from analysis.stats.types import Estimate

OVERALL = "all suites"


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm on one suite. `rise` is final − start, seed by seed; None where step 0 was not evaluated."""

    suite: str
    arm: str
    seeds: tuple[int, ...]
    final: Estimate
    start: Estimate | None
    rise: Estimate | None
    diverged: int = 0
    """Further trials of the arm that diverged, which no number here includes."""


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """Result of `summarise`, with renderings as text and CSV. Where one of `checks` fails, the registered
    contrast has no verdict."""

    name: str
    metric: str
    final_step: int
    config_hash: str
    plan: AnalysisPlan
    arms: tuple[ArmRow, ...]
    contrasts: tuple[Comparison, ...]
    left_out: tuple[tuple[str, str, str], ...]  # trial, status, reason
    notes: tuple[str, ...]
    checks: tuple[CheckResult, ...] = ()
    effects: tuple[FactorEffect, ...] = ()
    """Main effects of a factorial design, pooled over the cells of the other axes."""

    @property
    def contrasted(self) -> str:
        """What the contrasts compare: the metric at the last step, or the area under its curve."""
        area = self.plan.over == "area"
        return f"{self.metric}{', area under the curve to' if area else ' at'} step {self.final_step}"

    @property
    def verdict_lines(self) -> list[str]:
        """A sentence for each failed check."""
        return [r.sentence for r in failed(self.checks)]

    def arm_table(self) -> pd.DataFrame:
        """One row a suite and arm; numbers as floats, absent ones as empty strings. The column `diverged` where any
        trial did."""
        rows = []
        diverged = any(r.diverged for r in self.arms)
        for r in self.arms:
            rows.append(
                {
                    "suite": r.suite,
                    "arm": r.arm,
                    "seeds": len(r.seeds),
                    **({"diverged": r.diverged} if diverged else {}),
                    "start": number_or_blank(r.start.value if r.start else None),
                    "final": number_or_blank(r.final.value),
                    **interval_columns(r.final),
                    "rise": number_or_blank(r.rise.value if r.rise else None),
                    **interval_columns(r.rise, "rise_"),
                    "interval": r.final.interval.method if r.final.interval else r.final.note,
                }
            )
        return pd.DataFrame(rows)

    def contrast_table(self) -> pd.DataFrame:
        """One row a suite and contrast."""
        table = comparison_table(self.contrasts)
        if failed(self.checks) and not table.empty:
            table["role"] = table["role"].replace("confirmatory", COULD_NOT_TELL)
        return table

    def text(self) -> str:
        """Plain text, 80–120 columns, no colour."""
        lines = [f"{self.name}: {self.metric} at step {self.final_step} (configuration {self.config_hash})", ""]
        lines += [aligned_text(_display(self.arm_table(), ARM_COLUMNS)), ""]
        if self.contrasts:
            lines += [f"contrasts of {self.contrasted}, {self.plan.test_name.lower()}"] if self.plan.sensitive else []
            lines += [aligned_text(_display(self.contrast_table(), CONTRAST_COLUMNS)), ""]
        lines += [*effect_sentences(self.effects, self.plan), ""] if self.effects else []
        lines += [aligned_text(check_table(self.checks)), ""] if self.checks else []
        lines += [*self.verdict_lines, *self.notes]
        lines += [f"excluded: {trial} ({status}): {reason}" for trial, status, reason in self.left_out]
        return "\n".join(lines).rstrip() + "\n"

    def csv(self) -> str:
        """Arms and contrasts in one long table, full precision."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for kind, frame in (("arm", self.arm_table()), ("contrast", self.contrast_table())):
            if frame.empty:
                continue
            writer.writerow(["kind", *frame.columns])
            writer.writerows([kind, *map(csv_cell, row)] for row in frame.itertuples(index=False))
        return out.getvalue()


_HEADS = {"p_adjusted": "p adj", "smallest_p": "least p"}
ARM_COLUMNS = ("suite", "arm", "seeds", "diverged", "start", "final", "ci", "rise", "rise_ci")
CONTRAST_COLUMNS = ("contrast", "role", "suite", "seeds", "difference", "ci", "p", "p_adjusted", "smallest_p")


def _display(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    shown = {}
    for name in columns:
        if name == "diverged" and name not in frame:
            continue
        if name.endswith("ci"):
            prefix, signed = name.removesuffix("ci"), "difference" in frame or name != "ci"
            shown[name.replace("_", " ")] = [
                "–" if low == "" else f"[{format_share(low, signed)}, {format_share(high, signed)}]"
                for low, high in zip(frame[prefix + "low"], frame[prefix + "high"], strict=True)
            ]
        elif name.startswith("p") or name == "smallest_p":
            shown[_HEADS.get(name, name)] = [format_p(v) for v in frame[name]]
        elif name in ("start", "final", "difference", "rise"):
            shown[name] = [format_share(v, name in ("difference", "rise")) for v in frame[name]]
        else:
            shown[name] = [str(v) for v in frame[name]]
    return pd.DataFrame(shown)


def summarise(
    frames: Frames,
    plan: AnalysisPlan | None = None,
    metric: str | None = None,
    checks: Sequence[CheckResult] = (),
) -> SweepSummary:
    """Summary of `frames`. On a `metric` other than the plan's the same pairs are contrasted, all exploratory.
    `checks`: of the plan's design, for its own metric. Raises ValueError without a finished trial or logged metric."""
    plan = plan if plan is not None else read_analysis_plan(frames.config.get("analysis"))
    frames, plan = at_random_levels(frames, plan)
    pairs = contrasts(frames, plan)
    if metric is not None and metric != plan.metric:
        plan, pairs, checks = replace(plan, metric=metric), [replace(c, confirmatory=False) for c in pairs], ()
    prefix = plan.metric + "/"
    suites = frames.suites(prefix)
    step = final_step(frames, plan.metric)
    names = [(s, prefix + s) for s in suites]
    if len(suites) != 1 and frames.metrics["metric"].eq(plan.metric).any():
        names.append((OVERALL if suites else plan.metric.rsplit("/", 1)[-1], plan.metric))
    diverged = frames.diverged()
    notes = [*frames.divergence_notes(), *frames.identity_notes()]
    arms: list[ArmRow] = []
    share, change = (SHARE_RANGE, CHANGE_RANGE) if is_share(plan.metric) else (None, None)
    for suite, metric in names:
        for label in frames.arms:
            final = seed_values(frames, metric, label, step)
            logged = frames.values(metric, step).query("arm == @label")
            missing = sorted(set(logged["seed"]) - set(final.index))
            if missing:
                listed = ", ".join(map(str, missing))
                notes.append(f"{label}: {metric} is not finite at step {step} for seed {listed}; excluded")
            if final.empty:
                notes.append(f"{label}: no value of {metric} at step {step}")
                continue
            start = seed_values(frames, metric, label, frames.start_step)
            both = final.index.intersection(start.index)
            arms.append(
                ArmRow(
                    suite,
                    label,
                    tuple(int(s) for s in final.index),
                    mean_interval(final, plan.level).within(share),
                    mean_interval(start, plan.level).within(share) if len(start) else None,
                    mean_interval((final - start)[both], plan.level).within(change) if len(both) and step else None,
                    len(diverged.get(label, ())),
                )
            )
    finals = {
        (suite, label): found
        for suite, metric in names
        for label, found in outcome_values(frames, plan, metric, step).items()
    }
    covariates = {
        (suite, label): found
        for suite, metric in names
        for label, found in checkpoint_values(frames, plan, metric).items()
    }
    notes += unpaired_seeds(finals, pairs) if plan.paired else []
    # The mean over suites is no further hypothesis: it takes no part in the correction.
    rows = compare_arms(finals, pairs, plan, {OVERALL}, plan.margin, change, covariates)
    left_out = tuple((str(r.trial), str(r.status), str(r.reason)) for r in frames.left_out.itertuples())
    return SweepSummary(
        frames.name,
        plan.metric,
        step,
        frames.config_hash,
        plan,
        tuple(arms),
        tuple(rows),
        left_out,
        (*notes, *unreachable_contrasts(rows, plan.alpha)),
        tuple(checks),
        tuple(main_effects(frames, plan)),
    )
