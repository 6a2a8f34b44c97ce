"""The chapters of a report: text, figures and tables of one question each. One function a chapter, in reading order.

A chapter whose data the sweep does not have says so in one sentence instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from analysis import convergence, correction, exact_match, parsing, robustness, slips
from analysis.compare import compare, comparison_table
from analysis.stats.results import DegenerateInput
from analysis.summary import summarise
from analysis.verdict import findings
from reports.figures import aggregate, failures, forest, learning, penalty, stability, survival
from reports.material import Material
from reports.published import ablation_table, main_table
from reports.section import Section, fit_sentence


def verdicts(m: Material) -> Section:
    confirmatory = any(f.confirmatory for f in m.findings)
    section = Section("verdict", "What was shown", "confirmatory" if confirmatory else "exploratory")
    section.text += [f.sentence for f in m.findings if f.comparison.contrast.confirmatory]
    section.text += m.summary.notes
    section.figure(lambda: forest.draw(m.frames, m.summary.contrasts, m.plan))
    section.table(
        "contrasts",
        "Contrasts",
        m.summary.contrast_table(),
        f"{m.plan.metric} at step {m.summary.final_step}; p adjusted by {m.plan.correction_name} over suites.",
        interval="drop",
        test="drop",
    )
    section.table("arms", "Arms", m.summary.arm_table(), "Start is the policy before training.", interval="drop")
    for table in (ablation_table(m.frames), main_table(m.frames)):
        if table is not None:
            section.tables.append(table)
    return section


def exact_matches(m: Material) -> Section:
    section = Section("em", "Exact Match")
    section.text += [f.sentence for f in m.findings if not f.comparison.contrast.confirmatory]
    for metric, label in learning.METRICS.items():
        if m.frames.has(metric):
            section.figure(partial(learning.draw, m.frames, metric, label, m.plan.level))
    if m.frames.suites("eval/em_sampled/"):
        sampled = summarise(m.frames, m.plan, "eval/em_sampled")
        section.table(
            "contrasts_sampled",
            "Contrasts, sampled answers",
            sampled.contrast_table(),
            f"EM of answers sampled at the rollout temperature, step {sampled.final_step}; exploratory.",
            interval="drop",
            test="drop",
            role="drop",
        )
    if m.greedy.episodes.empty:
        section.text.append("No episodes of the last greedy evaluation were kept.")
        return section
    arms = list(m.frames.arms)
    totals = exact_match.aggregates(m.greedy, arms, m.contrasts, m.plan.level)
    section.figure(lambda: aggregate.draw_intervals(m.frames, totals))
    section.figure(lambda: aggregate.draw_profile(m.frames, exact_match.profiles(m.greedy, arms, m.plan.level)))
    section.table("em_by_hops", "EM by hops", exact_match.by_hops(m.greedy, m.plan.level), "Seed means, t interval.")
    held = exact_match.by_held_out(m.greedy, m.plan.level)
    if held["held_out"].nunique() > 1:
        section.table("em_held_out", "EM on seen and held-out entities", held, "Seed means, t interval.")
    section.table("aggregates", "Aggregates", totals, "Whole seeds resampled.", method="drop")
    section.table(
        "cross_checks",
        "Other routes to the same differences",
        exact_match.cross_checks(m.greedy, m.contrasts, m.plan),
        "Two-way cluster t and seed-and-question bootstrap, beside the permutation test.",
    )
    section.text.append(
        exact_match.checkpoint_sentence(exact_match.checkpoint_claims(m.greedy, m.contrasts, m.plan), m.plan.alpha)
    )
    return section


def parse_reliability(m: Material) -> Section:
    section = Section("parsing", "Parse reliability")
    section.table(
        "parse_links",
        "Malformed turns and what follows in training",
        parsing.link_table(parsing.link_to_learning(m.frames)),
        "Strongest lag (steps by which malformed turns lead), Spearman's ρ of changes, averaged over runs; EM, never "
        "the reward, which contains the format score.",
        note="drop",
    )
    section.table(
        "instability", "Instability", parsing.instability(m.frames), "Events in training and what came before."
    )
    section.figure(lambda: stability.draw(m.frames, level=m.plan.level))
    if m.greedy.episodes.empty:
        section.text.append("No episodes of the last greedy evaluation were kept.")
        return section
    level = m.plan.level
    hops = m.greedy.of(m.greedy.episodes["hops"] >= 0)
    section.figure(lambda: failures.draw_rates(m.frames, parsing.rates(hops, ["arm", "hops"], level), "hops"))
    section.figure(lambda: failures.draw_rates(m.frames, parsing.rates(m.greedy, ["arm", "suite"], level), "suite"))
    section.table(
        "parse_rates", "Turns without a parse failure", parsing.rates(m.greedy, ["arm"], level), "Design-effect Wilson."
    )
    section.table("parse_kinds", "Kinds of failure", parsing.kinds(m.greedy, ["arm"], level), "Share of turns.")
    rows = compare(parsing.seed_rates(m.greedy, "suite"), m.contrasts, m.plan)
    section.table(
        "parse_contrasts",
        "Differences in parse rate",
        comparison_table(rows),
        "Exact seed permutation.",
        interval="drop",
        test="drop",
        role="drop",
        p_equivalence="drop",
    )
    section.text += [f.sentence for f in findings(rows, m.plan, "the parse rate") if f.verdict in ("higher", "lower")]
    try:
        em, odds = parsing.complexity(m.greedy, level)
        for fit, what in ((em, "EM on failure share × hops"), (odds, "malformed episode on hops")):
            section.text.append(fit_sentence(fit, what))
    except DegenerateInput as reason:
        section.text.append(f"{reason}.")
    return section


def self_correction(m: Material) -> Section:
    section = Section("correction", "Self-correction")
    frames, level = m.frames, m.plan.level
    if m.greedy.episodes.empty:
        section.text.append("No episodes of the last greedy evaluation were kept.")
        return section
    first, back = slips.slip_curves(m.greedy, level)
    section.figure(
        lambda: survival.draw(
            frames,
            first,
            "turns_to_failure",
            "Turns to the first parse failure",
            "Share of episodes without a parse failure yet, by turn; censored where the episode ends",
            "turn",
        )
    )
    section.figure(
        lambda: survival.draw(
            frames,
            back,
            "turns_to_recovery",
            "Turns from a malformed turn to a well-formed one",
            "Episodes with a malformed turn: share not yet back to a well-formed one; censored where the episode ends",
            "turns since the first malformed turn",
        )
    )
    tables = {
        arm: slips.failure_transitions(m.everything.of(m.everything.episodes["arm"] == arm)) for arm in frames.arms
    }
    section.figure(lambda: failures.draw_transitions(frames, tables))
    looks = slips.second_looks(m.greedy)
    section.table(
        "second_looks",
        "What a second look does to an answer",
        slips.second_look_table(looks, level),
        "Episodes that called Review, Revise or ScEnsemble after an operator had given a candidate answer; hurt: a "
        "right candidate ended in a wrong answer.",
    )
    if looks.empty:
        section.text.append("No episode reviewed a candidate answer.")
    try:
        pairs = correction.exposures(m.everything)
    except DegenerateInput as reason:
        section.text.append(f"Injected faults: {reason}.")
        return section
    section.figure(
        lambda: survival.draw(
            frames,
            correction.recovery_curves(pairs, level),
            "fault_recovery",
            "Turns to recovery from a fault",
            "Exposures: share not yet recovered; episodes that never do are censored at the cap",
            "turns since the faulted call",
        )
    )
    for by, title in ((["arm"], "by arm"), (["arm", "fault"], "by fault"), (["arm", "suite"], "by suite")):
        section.table(
            f"faults_{by[-1]}",
            f"Injected faults {title}",
            correction.table(pairs, by, level),
            "Effect: EM with the fault minus EM of the fault-free twin, t interval over seeds.",
        )
    section.table("after_fault", "What follows a fault", correction.after_fault(pairs), "twin: without the fault")
    for contrast in m.contrasts:
        fit = correction.interaction(pairs, contrast, level)
        section.text.append(fit_sentence(fit, f"EM on fault × arm, {contrast.label}"))
    for values in (correction.seed_recovery(pairs), correction.seed_effects(pairs, "fault")):
        rows = compare(values, m.contrasts, m.plan)
        section.text += [f.sentence for f in findings(rows, m.plan, "the value") if f.verdict in ("higher", "lower")]
    return section


def speed(m: Material) -> Section:
    section = Section("convergence", "Convergence and stability")
    frames, plan = m.frames, m.plan
    rows = compare(convergence.areas(frames, plan.metric), m.contrasts, plan)
    section.table(
        "areas",
        "Area under the learning curve",
        comparison_table(rows, "measure"),
        "Mean height of the curve, by seed.",
        interval="drop",
        test="drop",
        role="drop",
        p_equivalence="drop",
        p_adjusted="drop",
    )
    try:
        times = convergence.times(frames, plan.metric, plan.threshold)
        section.table(
            "speed",
            "Steps to a threshold",
            convergence.speed_table(times, m.contrasts, plan.level),
            f"Threshold {times.threshold:.3f}, held for {convergence.SUSTAINED} evaluations, "
            f"{'fixed before the sweep' if times.fixed else 'set after the fact (half-way from start to best arm)'}; "
            f"runs that never hold it count with the last step, {times.horizon:g}. Steps: difference of restricted "
            "means; p and log-rank p: exact seed permutation; exploratory.",
            steps="number",
            low="number",
        )
    except DegenerateInput as reason:
        section.text.append(f"{reason}.")
    section.table(
        "stability",
        "Stability",
        convergence.stability(frames, plan.metric, plan.level),
        f"Collapsed: last value below {convergence.COLLAPSE:g} × the run's own best.",
    )
    return section


def prompts(m: Material) -> Section:
    section = Section("robustness", "Prompt robustness")
    spreads = None
    try:
        section.table(
            "perturbations",
            "By perturbation",
            robustness.by_perturbation(m.everything, m.plan.level),
            "Compliance: share of episodes without a failure.",
        )
        section.table("spreads", "Spread over prompts", robustness.spread_table(m.everything, m.plan.level))
        rows = compare(robustness.seed_spreads(m.everything), m.contrasts, m.plan)
        section.table(
            "spread_contrasts",
            "Differences",
            comparison_table(rows, "measure"),
            "",
            interval="drop",
            test="drop",
            role="drop",
            p_equivalence="drop",
        )
        spreads = robustness.spreads(m.everything)
        for axis in dict.fromkeys(a for arm in m.frames.arms.values() for a in arm.settings if "prompt" in a):
            crossed = robustness.cross_table(m.everything, m.frames, axis).reset_index()
            section.table("prompt_cross", "Trained under, evaluated under", crossed, f"Mean EM; trained under: {axis}.")
    except DegenerateInput as reason:
        section.text.append(f"{str(reason)[0].upper()}{str(reason)[1:]}.")
    with contextlib.suppress(DegenerateInput):  # most sweeps do not vary the penalty
        section.figures.append(penalty.draw(m.frames, spreads, m.plan.level))
    return section


SECTIONS: tuple[Callable[[Material], Section], ...] = (
    verdicts,
    exact_matches,
    parse_reliability,
    self_correction,
    speed,
    prompts,
)
"""The chapters, in order."""
