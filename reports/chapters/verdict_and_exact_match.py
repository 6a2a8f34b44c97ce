"""Verdict, and Exact Match in detail."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd

from analysis import exact_match
from analysis.caveats import COLLAPSE_LIMIT
from analysis.check_result import COULD_NOT_TELL, check_table, failed
from analysis.frames import Frames
from analysis.outcome import outcome_of
from analysis.planted_effects import run_assay
from analysis.registered_plan import AnalysisPlan
from analysis.run_states import run_states
from analysis.summary import summarise
from analysis.verdict import ContrastVerdict, summarise_findings
from harness.config.arm_names import value_text
from reports.chapters.chapter import Chapter
from reports.chapters.spread_and_factors import registered_arms
from reports.drawn_names import drawn_names
from reports.figures import aggregates, forest, learning_curves
from reports.published_tables import ablation_table, main_table
from reports.report_data import ReportData


def verdict_chapter(m: ReportData) -> Chapter:
    could_not_tell = bool(failed(m.summary.checks))
    confirmatory = any(f.confirmatory for f in m.findings)
    role = COULD_NOT_TELL if could_not_tell else "confirmatory" if confirmatory else "exploratory"
    chapter = Chapter("verdict", "Verdict", role, m.stamp)
    promised = [f for f in m.findings if f.comparison.contrast.confirmatory]
    chapter.text += summarise_findings(promised, m.plan)
    if any(f.confirmatory and f.verdict in (ContrastVerdict.HIGHER, ContrastVerdict.LOWER) for f in promised):
        chapter.text.append(COLLAPSE_LIMIT)
    states = run_states(m.frames, m.plan.metric)
    if states is not None:
        chapter.text.append(states.sentence(registered_arms(m)))
    chapter.text += m.summary.notes
    chapter.table(
        "design_checks",
        "Design checks",
        check_table(m.summary.checks),
        "Registered with the plan and evaluated before any verdict; where one fails, the registered contrast has none.",
        required="text",
        observed="text",
    )
    assay = run_assay(m.frames, m.plan)
    if assay is not None and m.plan.assay is not None:
        chapter.table(
            "assay",
            "Assay: planted effects",
            assay.table(),
            f"Simulated: share of studies of the planned size that the design's own test finds an effect of "
            f"{outcome_of(m.plan).amount(m.plan.assay.effect)} in, at the spread between seeds of this study, and "
            "without an effect. Rows with an interval: arms that ran beside the study's, against its baseline.",
            difference="signed",
            low="signed",
            high="signed",
        )
    drawn = [r for r in m.summary.contrasts if not (could_not_tell and r.contrast.confirmatory)]
    chapter.figure(lambda: forest.draw_forest(m.frames, drawn, m.plan, _forest_label(m.plan)))
    named = ", ".join(dict.fromkeys(f.comparison.contrast.label for f in promised)) or "none"
    registered = f"Registered, without a verdict: {named}" if could_not_tell else f"Confirmatory: {named}"
    plan = m.summary.plan
    t_interval = "t of pairs" if plan.paired else "Welch's t"
    chapter.table(
        "contrasts",
        "Contrasts",
        m.summary.contrast_table(),
        f"{m.summary.contrasted}. {plan.test_name}; p adj.: {m.plan.correction_name} "
        "over suites; least p: the smallest this design can give; p TOST: equivalence within the margin. Interval: "
        f"inversion of the test, else {t_interval}. {registered}; all others exploratory.",
        interval="drop",
        test="drop",
        role="drop",
    )
    chapter.table(
        "arms",
        "Arms",
        m.summary.arm_table(),
        f"{m.plan.metric}; start is the policy before training, final step {m.summary.final_step}; t over seeds.",
        interval="drop",
        rise_low="signed",
    )
    names = arm_names(m.frames)
    if len(names):
        chapter.table(
            "arm_names", "Names of arms", names, "Labels in tables and figures, and the settings they stand for."
        )
    for table in (ablation_table(m.frames), main_table(m.frames)):
        if table is not None:
            chapter.tables.append(table)
    return chapter


def arm_names(frames: Frames) -> pd.DataFrame:
    """arm, drawn (in figures), settings; empty where every label is its settings and drawn as it is."""
    drawn = drawn_names(list(frames.arms))
    if all(a.label == a.full_label == name for a, name in zip(frames.arms.values(), drawn, strict=True)):
        return pd.DataFrame()
    settings = [", ".join(f"{n}={value_text(v)}" for n, v in a.settings.items()) for a in frames.arms.values()]
    return pd.DataFrame({"arm": list(frames.arms), "drawn": drawn, "settings": settings})


def _forest_label(plan: AnalysisPlan) -> str:
    return "Exact Match" if (plan.metric, plan.over) == ("eval/em", "last") else outcome_of(plan).name


def exact_match_chapter(m: ReportData) -> Chapter:
    chapter = Chapter("em", "Exact Match", stamp=m.stamp)
    chapter.text += summarise_findings([f for f in m.findings if not f.comparison.contrast.confirmatory], m.plan)
    for metric, label in learning_curves.CURVE_METRICS.items():
        if m.frames.has(metric):
            chapter.figure(partial(learning_curves.draw_learning_curves, m.frames, metric, label, m.plan.level))
    if m.frames.suites("eval/em_sampled/"):
        sampled = summarise(m.frames, replace(m.plan, over="last"), "eval/em_sampled")
        chapter.table(
            "contrasts_sampled",
            "Contrasts, sampled answers",
            sampled.contrast_table(),
            f"EM of answers sampled at the rollout temperature, step {sampled.final_step}; {m.plan.test_name.lower()}, "
            f"p adj.: {m.plan.correction_name} over suites; exploratory.",
            interval="drop",
            test="drop",
            role="drop",
        )
    if m.greedy.episodes.empty:
        chapter.text.append("No episodes of the last greedy evaluation were kept.")
        return chapter
    arms = list(m.frames.arms)
    totals = exact_match.aggregates(m.greedy, arms, m.contrasts, m.plan.level)
    chapter.figure(lambda: aggregates.draw_aggregates(m.frames, totals))
    chapter.figure(
        lambda: aggregates.draw_performance_profile(m.frames, exact_match.profiles(m.greedy, arms, m.plan.level))
    )
    by = "Means over seeds, t interval; last greedy evaluation."
    chapter.table("em_by_hops", "EM by hops", exact_match.by_hops(m.greedy, m.plan.level), by)
    held = exact_match.by_held_out(m.greedy, m.plan.level)
    if held["held_out"].nunique() > 1:
        chapter.table("em_held_out", "EM on seen and held-out entities", held, by)
    chapter.table("aggregates", "Aggregates", totals, "Jackknife t over whole seeds.", method="drop")
    chapter.table(
        "cross_checks",
        "Other tests of the same differences",
        exact_match.cross_checks(m.greedy, m.contrasts, m.plan),
        "Beside the permutation test: two-way cluster (seed × question) t with 2S − 2 df, seed-and-question bootstrap. "
        "Uncorrected; exploratory.",
        method="drop",
    )
    claims = exact_match.checkpoint_claims(m.greedy, m.contrasts, m.plan)
    chapter.text.append(exact_match.checkpoint_sentence(claims, m.plan.alpha))
    chapter.table(
        "checkpoint_claims",
        "Checkpoint claims",
        exact_match.checkpoint_claims(m.greedy, m.contrasts, m.plan, together=True),
        "The two checkpoints of a seed over all questions: exact McNemar, paired questions z interval, uncorrected. A "
        "claim about these checkpoints, none about the objectives. a only, b only: questions that one alone answers.",
        claim="drop",
        suite="drop",
    )
    return chapter
